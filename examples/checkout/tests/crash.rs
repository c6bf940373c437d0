//! The real program, killed with -9 at seeded moments under load: P1 to P4, P6 and P7, checked from outside.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "this is a test")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::OpenOptions,
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::Value;

/// How often the program is killed.
const KILLS: u32 = 200;
/// How many clients order at once.
const CLIENTS: u64 = 12;
const SEED: u64 = 20_261_124;

struct Program {
    child: Child,
}

impl Program {
    fn start(address: &str, payments: &str, directory: &Path) -> Self {
        let log = OpenOptions::new().create(true).append(true).open(directory.join("program.log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_checkout"))
            .args([address, payments])
            .arg(directory)
            .stdout(Stdio::from(log))
            .spawn()
            .unwrap();
        Self { child }
    }

    /// SIGKILL: nothing of the program runs after it.
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Program {
    /// A test that fails leaves no program behind.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What clients were told.
#[derive(Default)]
struct Told {
    /// The run of each order that was accepted: a redirect was sent for it.
    runs: BTreeMap<String, String>,
    /// The orders whose approval was accepted: it is never sent again.
    approved: BTreeSet<String>,
    /// The response of each order, as often as it was asked for.
    responses: BTreeMap<String, Vec<String>>,
}

struct Client {
    http: reqwest::Client,
    base: String,
    told: Arc<Mutex<Told>>,
    stop: Arc<AtomicBool>,
}

impl Client {
    /// Orders until a response has come; the program may die under it at any time.
    async fn order(&self, id: &str) {
        loop {
            if let Some(response) = self.attempt(id).await {
                self.told.lock().unwrap().responses.entry(id.to_owned()).or_default().push(response);
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn attempt(&self, id: &str) -> Option<String> {
        let order = serde_json::json!({ "orderId": id, "item": "lamp", "cents": 4200 });
        let request = self.http.post(format!("{}/checkout", self.base)).header("idempotency-key", id).json(&order);
        let accepted = request.send().await.ok()?;
        if accepted.status() == 200 {
            return accepted.text().await.ok();
        }
        if accepted.status() == 503 {
            return None;
        }
        assert_eq!(accepted.status(), 303, "order {id}");
        let mut location = accepted.headers()["location"].to_str().unwrap().to_owned();
        let run = location.split(['=', '&']).nth(1).unwrap().to_owned();
        let before = self.told.lock().unwrap().runs.insert(id.to_owned(), run.clone());
        assert!(before.is_none_or(|before| before == run), "order {id} became another run");
        let event = serde_json::json!({ "id": format!("approve-{id}"), "name": "approval/received", "data": { "orderId": id, "approved": true } });
        if !self.told.lock().unwrap().approved.contains(id) {
            let accepted = self.http.post(format!("{}/events", self.base)).json(&event).send().await.ok()?;
            if accepted.status() != 200 {
                return None;
            }
            self.told.lock().unwrap().approved.insert(id.to_owned());
        }
        loop {
            let response = self.http.get(format!("{}{location}", self.base)).send().await.ok()?;
            match response.status().as_u16() {
                200 => return response.text().await.ok(),
                307 => response.headers()["location"].to_str().unwrap().clone_into(&mut location),
                503 => return None,
                other => panic!("order {id}: an accepted run was answered with {other}: {:?}", response.text().await),
            }
        }
    }
}

#[test]
fn asked_to_end_it_drains_and_exits_cleanly() {
    let directory = tempfile::tempdir().unwrap();
    let address = free_address();
    let mut program = Program::start(&address, &free_address(), directory.path());
    while std::net::TcpStream::connect(&address).is_err() {
        std::thread::sleep(Duration::from_millis(5));
    }
    let asked = Command::new("kill").args(["-TERM", &program.child.id().to_string()]).status().unwrap();
    assert!(asked.success());
    assert!(program.child.wait().unwrap().success());
    assert!(!directory.path().join("checkout.db-wal").exists(), "the log was copied into the database");
}

fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_200_times_under_load_it_loses_nothing_and_charges_once() {
    let directory = tempfile::tempdir().unwrap();
    let (address, payments) = (free_address(), free_address());
    let (told, stop) = (Arc::<Mutex<Told>>::default(), Arc::<AtomicBool>::default());
    let next = Arc::new(AtomicU64::new(0));
    rustls::crypto::ring::default_provider().install_default().unwrap();
    let http = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(Duration::from_secs(10))
        .build()
        .unwrap();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let client = Client {
                http: http.clone(),
                base: format!("http://{address}"),
                told: told.clone(),
                stop: stop.clone(),
            };
            let next = next.clone();
            #[expect(clippy::disallowed_methods, reason = "a client of the test, which waits for it")]
            tokio::spawn(async move {
                while !client.stop.load(Ordering::Relaxed) {
                    let id = format!("o-{}", next.fetch_add(1, Ordering::Relaxed));
                    client.order(&id).await;
                    client.order(&id).await; // a duplicate joins the run and gets its one response
                }
            })
        })
        .collect();
    let mut random = StdRng::seed_from_u64(SEED);
    for _ in 0..KILLS {
        let program = Program::start(&address, &payments, directory.path());
        tokio::time::sleep(Duration::from_millis(random.random_range(30..600))).await;
        program.kill();
    }
    let program = Program::start(&address, &payments, directory.path());
    tokio::time::sleep(Duration::from_secs(1)).await;
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        let ended = tokio::time::timeout(Duration::from_secs(60), client).await;
        if !matches!(ended, Ok(Ok(()))) {
            let kept = directory.keep();
            program.kill();
            panic!("a client failed, or an accepted run did not end; see {}: {ended:?}", kept.display());
        }
    }
    let get = async |url: String| http.get(url).send().await.unwrap().text().await.unwrap().trim().to_owned();
    let stock: u64 = get(format!("http://{address}/stock")).await.parse().unwrap();
    let charges: u64 = get(format!("http://{payments}/charges")).await.parse().unwrap();
    program.kill();

    let told = told.lock().unwrap();
    let orders = next.load(Ordering::Relaxed);
    println!("{orders} orders, {} redirected, {KILLS} kills", told.runs.len());
    assert!(orders > 50, "the load was too small to say anything: {orders} orders");
    assert_eq!(told.responses.len() as u64, orders, "every order has its response");
    assert_eq!(charges, orders, "each order was charged once");
    assert_eq!(100_000 - stock, orders, "each order took one lamp out of stock");
    let mut taken = Vec::new();
    for (id, responses) in &told.responses {
        assert!(responses.len() == 2 && responses[0] == responses[1], "{id} has one outcome: {responses:?}");
        let receipt: Value = serde_json::from_str(&responses[0]).unwrap();
        assert_eq!((&receipt["orderId"], &receipt["status"]), (&Value::from(id.as_str()), &Value::from("confirmed")));
        assert!(receipt["pausedMs"].as_u64().unwrap() >= 200, "the pause of {id} was short: {receipt}");
        taken.push(receipt["left"].as_i64().unwrap());
    }
    taken.sort_unstable();
    taken.dedup();
    assert_eq!(taken.len() as u64, orders, "no reservation ran twice");
}
