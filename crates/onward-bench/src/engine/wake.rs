//! From an event's arrival to the answer of the redirected client.

use std::time::{Duration, Instant};

use super::{fake, folder, start, wire};
use crate::{Setup, client::Connection, process::Process, say, wal::Wal};

/// How many writes follow each other: the event, the claim of the run, its step, its outcome.
const WRITES: usize = 4;

pub(super) async fn run(setup: &Setup) {
    let folder = folder(setup, "engine-event");
    let wal = Wal::open(&folder.join("control.wal"));
    let engine = start(&folder, &[]).await;
    let endpoint = fake("fake-endpoint", &[]).await;
    let events: u32 = if setup.quick { 100 } else { 500 };
    let control =
        tell("control: a call and 4 appends, one after the other", control(&endpoint, &wal, events).await, None);
    // `if` with a literal, as the SDK's documentation has it, and `match`, for which the store has an index.
    let query = format!("n=0&engine={}", engine.address);
    let by_literal = |n: u32| (format!("async.data.id == '{n}'"), query.clone());
    let by_match = |n: u32| (String::from("event.data.id == async.data.id"), format!("{query}&id={n}"));
    tell("event to client, with `if`", measure(&engine, &endpoint, 0..events, by_literal).await, Some(control));
    tell("event to client, with `match`", measure(&engine, &endpoint, 0..events, by_match).await, Some(control));
    let others: u32 = if setup.quick { 1_000 } else { 10_000 };
    let crowd = |name: &str| format!("{name}, {others} other runs wait with it");
    wait(&engine, &endpoint, events..events + others, by_match).await;
    let took = measure(&engine, &endpoint, 0..events, by_match).await;
    tell(&crowd("`match`"), took, Some(control));
    wait(&engine, &endpoint, events..events + others, by_literal).await;
    let took = measure(&engine, &endpoint, 0..events, by_literal).await;
    tell(&crowd("`if`"), took, Some(control));
    say("");
}

/// Prints percentiles; gives the p50.
fn tell(what: &str, mut took: Vec<f64>, control: Option<f64>) -> f64 {
    took.sort_by(f64::total_cmp);
    let (p50, p99) = (took[took.len() / 2], took[took.len() * 99 / 100]);
    let of = control.map_or_else(String::new, |control| format!(", {:.1} of control", p50 / control));
    say(&format!("{what}: p50 {p50:.2} ms, p99 {p99:.2} ms ({} times){of}", took.len()));
    p50
}

/// Begins a run that waits for the event of its number. Where its outcome is.
async fn begin(connection: &mut Connection, endpoint: &str, (expression, query): (String, String)) -> String {
    let run = wire::run_id();
    let op = wire::wait_for_event("wait", "bench/go", &expression);
    let answer = connection.post("/v1/checkpoint", &wire::first(&run, endpoint, "/steps", &query, &op)).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    wire::output_path(&run, &answer.body)
}

/// Begins runs whose events never come.
async fn wait(
    engine: &Process,
    endpoint: &Process,
    numbers: std::ops::Range<u32>,
    ask: impl Fn(u32) -> (String, String),
) {
    let mut tasks = tokio::task::JoinSet::new();
    let all: Vec<_> = numbers.map(ask).collect();
    for part in all.chunks(all.len().div_ceil(16)) {
        let (engine, endpoint, part) = (engine.address.clone(), endpoint.address.clone(), part.to_vec());
        tasks.spawn(async move {
            let mut connection = Connection::open(&engine).await;
            for ask in part {
                begin(&mut connection, &endpoint, ask).await;
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.expect("a connection ends");
    }
}

/// One event after the other, each for one run. Milliseconds.
async fn measure(
    engine: &Process,
    endpoint: &Process,
    numbers: std::ops::Range<u32>,
    ask: impl Fn(u32) -> (String, String),
) -> Vec<f64> {
    let mut took = Vec::new();
    let mut sender = Connection::open(&engine.address).await;
    let mut client = Connection::open(&engine.address).await;
    for number in numbers {
        let path = begin(&mut client, &endpoint.address, ask(number)).await;
        let event = format!(r#"[{{"name":"bench/go","data":{{"id":"{number}"}}}}]"#);
        let (answered, sent) = tokio::join!(
            async {
                let answer = client.get(&path).await;
                assert_eq!(answer.status, 200, "{}", answer.body);
                Instant::now()
            },
            async {
                // Long enough for the run to be suspended, and the engine to have the client.
                tokio::time::sleep(Duration::from_millis(10)).await;
                let sent = Instant::now();
                let answer = sender.post("/e/bench", &event).await;
                assert_eq!(answer.status, 200, "{}", answer.body);
                sent
            }
        );
        took.push(answered.saturating_duration_since(sent).as_secs_f64() * 1e3);
    }
    took
}

/// The floor. Milliseconds.
async fn control(endpoint: &Process, wal: &Wal, times: u32) -> Vec<f64> {
    let mut took = Vec::new();
    let mut connection = Connection::open(&endpoint.address).await;
    for _ in 0..times {
        let start = Instant::now();
        let answer = connection.get("/steps?n=0").await;
        for _ in 0..WRITES {
            wal.append(answer.body.clone().into_bytes()).await;
        }
        took.push(start.elapsed().as_secs_f64() * 1e3);
    }
    took
}
