//! Clients and senders that mean no good, against an app that serves on a real socket.
//!
//! Each test measures its whole process, its own clients among it, and so has it to itself: with `cargo test`, they
//! wait for one another.
#![cfg(all(target_os = "linux", feature = "axum", feature = "sqlite"))]
#![expect(clippy::unwrap_used, reason = "a test fails where it is wrong")]

use std::{net::SocketAddr, time::Duration};

use axum::{Router, routing::post};
use bytes::Bytes;
use onward::{Builder, Onward, Options, Step, StepError};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::{Mutex, MutexGuard, oneshot},
    task::JoinSet,
};

const MIB: usize = 1024 * 1024;

/// How long anything may take: machines that test have much else to do.
const PATIENCE: Duration = Duration::from_secs(30);

static ALONE: Mutex<()> = Mutex::const_new(());

/// The cost of this process.
#[derive(Clone, Copy, Debug)]
struct Cost {
    /// The most MiB that it has had at once since it was last asked to forget.
    peak_mib: usize,
    descriptors: usize,
}

impl Cost {
    fn now() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        let kib: usize = peak.trim().strip_suffix(" kB").unwrap().parse().unwrap();
        Self { peak_mib: kib / 1024, descriptors: std::fs::read_dir("/proc/self/fd").unwrap().count() }
    }
}

struct App {
    address: SocketAddr,
    onward: Onward,
    before: Cost,
    stop: oneshot::Sender<()>,
    serving: JoinSet<Result<(), onward::Error>>,
    _alone: MutexGuard<'static, ()>,
}

impl App {
    async fn serve(builder: Builder, routes: impl FnOnce(&Onward) -> Router) -> Self {
        let alone = ALONE.lock().await;
        let onward = builder.open("memory:").await.unwrap();
        let app = routes(&onward).route("/wait", onward.proxy()).route("/events", onward.events());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, mut serving) = (listener.local_addr().unwrap(), JoinSet::new());
        let (stop, stopped) = oneshot::channel::<()>();
        let serves = onward.clone();
        serving.spawn(async move { serves.serve_until(listener, app, async { drop(stopped.await) }).await });
        let this = Self { address, onward, before: Cost::now(), stop, serving, _alone: alone };
        eventually("the app is ready", async || this.onward.is_ready()).await;
        std::fs::write("/proc/self/clear_refs", "5").unwrap(); // forgets the peak
        Self { before: Cost::now(), ..this }
    }

    async fn connect(&self, bytes: &[u8]) -> Option<TcpStream> {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(bytes).await.ok().map(|()| stream)
    }

    /// The whole answer to a request.
    async fn post(&self, path: &str, headers: &str, body: &[u8]) -> String {
        let length = body.len();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n"
        );
        let mut stream = self.connect(&[head.as_bytes(), body].concat()).await.unwrap();
        let mut answer = Vec::new();
        tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("the app answers").unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    fn grown_mib(&self) -> usize {
        Cost::now().peak_mib.saturating_sub(self.before.peak_mib)
    }

    async fn settles(&self) {
        let before = self.before.descriptors;
        eventually("descriptors return", async || Cost::now().descriptors <= before + 4).await;
    }

    async fn stop(mut self) {
        self.stop.send(()).unwrap();
        self.serving.join_next().await.unwrap().unwrap().unwrap();
    }
}

async fn eventually(what: &str, holds: impl AsyncFn() -> bool) {
    let until = tokio::time::Instant::now() + PATIENCE;
    while !holds().await {
        assert!(tokio::time::Instant::now() < until, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn length(_: Step, body: Bytes) -> String {
    body.len().to_string()
}

#[tokio::test]
async fn stalled_bodies_take_no_more_than_their_budget_and_give_way_to_honest_ones() {
    let defaults = Options::default().body_bytes_max(16 * MIB);
    let builder = Onward::builder().defaults(defaults).bodies_bytes_max(24 * MIB);
    let app = App::serve(builder, |onward| onward.route("/", post(length))).await;
    let head = format!("POST / HTTP/1.1\r\nhost: h\r\ncontent-length: {}\r\n\r\n", 16 * MIB);
    let sends = [head.as_bytes(), &vec![b'x'; 15 * MIB]].concat();
    let mut wave = Vec::new();
    for _ in 0..30 {
        wave.push(app.connect(&sends).await);
    }
    eventually("an honest request is served", async || {
        let answer = app.post("/", "", &vec![b'x'; MIB / 2]).await;
        let refused = answer.starts_with("HTTP/1.1 503") && answer.contains("too-many-bodies");
        assert!(refused || answer.ends_with("\r\n\r\n524288"), "{answer}");
        assert!(!refused || answer.contains("retry-after: 1"), "{answer}");
        !refused
    })
    .await;
    assert!(app.post("/", "", b"small").await.ends_with("\r\n\r\n5"), "small bodies are not counted");
    let grown = app.grown_mib();
    assert!(grown < 24 + 80, "{grown} MiB more at its peak");
    drop(wave);
    app.settles().await;
    app.stop().await;
}

#[tokio::test]
async fn runs_that_wait_with_large_requests_keep_no_more_memory_than_they_may() {
    let waits = async |step: Step, body: Bytes| {
        drop(body);
        step.wait_for_event::<bool>("go", "go").since_start().timeout("50s").await?;
        Ok::<_, StepError>("gone")
    };
    let builder = Onward::builder().parked_bytes_max(8 * MIB);
    let app = App::serve(builder, |onward| onward.route("/", post(waits))).await;
    let body = vec![b'x'; MIB - 4096];
    for _ in 0..30 {
        let answer = app.post("/", "", &body).await;
        assert!(answer.starts_with("HTTP/1.1 303"), "{answer}");
    }
    eventually("eight are parked, and the others have left memory", async || {
        let load = app.onward.load();
        assert!(load.parked <= 8, "{load:?}");
        (load.parked, load.executing) == (8, 8)
    })
    .await;
    app.onward.send_event("go", &true).await.unwrap();
    eventually("all go on", async || {
        let page = app.onward.runs().list(onward::RunQuery::new().limit(100)).await.unwrap();
        page.runs.iter().filter(|run| run.status == "completed").count() == 30
    })
    .await;
    app.stop().await;
}

/// A reader who takes nothing costs no more than `docs/STREAMING.md` says.
#[tokio::test]
async fn readers_who_take_nothing_cost_what_was_promised() {
    let streams = async |step: Step| {
        step.run("all", async || {
            let stream = step.stream();
            for _ in 0..200 {
                stream.push(&"x".repeat(200 * 1024));
                stream.flush().await;
            }
            Ok::<_, StepError>("streamed".to_owned())
        })
        .await
    };
    let app = App::serve(Onward::builder(), |onward| onward.route("/", post(streams))).await;
    let answer = app.post("/", "prefer: respond-async\r\n", b"").await;
    let at = answer.lines().find_map(|line| line.strip_prefix("location: ")).unwrap_or_else(|| panic!("{answer}"));
    let at = at.trim().to_owned();
    let read = |at: &str| format!("GET {at} HTTP/1.1\r\nhost: h\r\naccept: text/event-stream\r\n\r\n");
    let mut one = app.connect(read(&at).as_bytes()).await.unwrap();
    let mut all = Vec::new();
    let ended = async {
        let mut piece = vec![0; MIB];
        while !all.windows(16).any(|text| text == b"inngest.response") {
            let read = one.read(&mut piece).await.unwrap();
            assert!(read > 0, "the stream ends with its response");
            let keep = all.len().saturating_sub(32);
            all.drain(..keep);
            all.extend_from_slice(&piece[..read]);
        }
    };
    tokio::time::timeout(PATIENCE, ended).await.expect("the run ends");
    drop(one);
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = Cost::now();
    let mut wave = Vec::new();
    for _ in 0..100 {
        wave.push(app.connect(read(&at).as_bytes()).await.unwrap());
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    let all = Cost::now().peak_mib - before.peak_mib;
    assert!(all < 100, "{all} MiB for a hundred readers");
    drop(wave);
    app.settles().await;
    app.stop().await;
}

#[tokio::test]
async fn pages_and_senders_are_refused_at_the_edge() {
    let app = App::serve(Onward::builder(), |_| Router::new()).await;
    let event = json!({ "name": "app/e", "data": {} }).to_string();
    for headers in ["", "content-type: text/plain\r\norigin: https://evil.example\r\n"] {
        let answer = app.post("/events", headers, event.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 415"), "{answer}");
        assert!(!answer.contains("access-control-allow-origin"), "no page may read it: {answer}");
    }
    let preflight = b"OPTIONS /events HTTP/1.1\r\nhost: h\r\norigin: https://evil.example\r\nconnection: close\r\n\r\n";
    let mut stream = app.connect(preflight).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(!answer.to_lowercase().contains("access-control-allow"), "{answer}");
    let is_json = "content-type: application/json\r\n";
    for wrong in [
        json!({ "name": "n".repeat(1_025), "data": {} }),
        json!({ "name": "app/e", "id": "n".repeat(1_025), "data": {} }),
        json!({ "name": "a\u{0}b", "data": {} }),
    ] {
        let answer = app.post("/events", is_json, wrong.to_string().as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("event-malformed"), "{answer}");
    }
    let large = json!({ "name": "app/e", "data": "x".repeat(513 * 1024) }).to_string();
    assert!(app.post("/events", is_json, large.as_bytes()).await.starts_with("HTTP/1.1 413"));
    assert!(app.post("/events", is_json, event.as_bytes()).await.starts_with("HTTP/1.1 200"));
    app.stop().await;
}
