//! Endpoints that never answer, answer without end, or fill their runs.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::JoinSet,
};

use crate::engine::{Engine, eventually};

/// A server of raw answers, by the number of the call. Without an answer, the server holds the connection.
struct Raw {
    address: SocketAddr,
    calls: Arc<AtomicUsize>,
    _task: JoinSet<()>,
}

impl Raw {
    async fn new(answer: impl Fn(usize) -> Option<Vec<u8>> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, calls, mut task) =
            (listener.local_addr().unwrap(), Arc::<AtomicUsize>::default(), JoinSet::new());
        let (counts, answer) = (Arc::clone(&calls), Arc::new(answer));
        task.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let (counts, answer) = (Arc::clone(&counts), Arc::clone(&answer));
                connections.spawn(async move {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        let Ok(byte) = stream.read_u8().await else { return };
                        head.push(byte);
                    }
                    if let Some(answer) = answer(counts.fetch_add(1, Ordering::SeqCst)) {
                        // The engine may have had enough of it.
                        let _ = stream.write_all(&answer).await;
                    }
                    let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
                });
            }
        });
        Self { address, calls, _task: task }
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

/// The answer of the SDK that a step was run, with a key that no other call has.
fn ran(number: usize, data: &Value) -> Vec<u8> {
    let ops =
        json!([{ "id": format!("{number:040x}"), "op": "StepRun", "displayName": "s", "data": data }]).to_string();
    let head = "HTTP/1.1 206 Partial Content\r\ncontent-type: application/json\r\nx-inngest-sdk: js:v4.24.0\r\n";
    format!("{head}connection: close\r\ncontent-length: {}\r\n\r\n{ops}", ops.len()).into_bytes()
}

#[tokio::test]
async fn calls_that_never_get_an_answer_leave_places_for_others() {
    let engine = Engine::start(&["dev", "--limit-reentries", "16", "--limit-reentries-per-origin", "16"]).await;
    let before = engine.cost();
    let silent = [Raw::new(|_| None).await, Raw::new(|_| None).await, Raw::new(|_| None).await];
    let honest = Raw::new(|number| Some(ran(number, &json!(1)))).await;
    let mut functions: Vec<_> = silent
        .iter()
        .enumerate()
        .map(|(at, raw)| (["s0", "s1", "s2"][at], "app/silent", format!("http://{}", raw.address)))
        .collect();
    functions.push(("honest", "app/honest", format!("http://localhost:{}", honest.address.port())));
    assert_eq!(engine.register(&functions).await.0, 200);
    for _ in 0..20 {
        assert_eq!(engine.send(&json!({ "name": "app/silent", "data": {} })).await.0, 200);
    }
    let held = || silent.iter().map(Raw::calls).sum::<usize>();
    eventually("the silent are called", async || held() >= 8).await;
    assert_eq!(engine.send(&json!({ "name": "app/honest", "data": {} })).await.0, 200);
    eventually("the honest one is called", async || honest.calls() > 0).await;
    assert_eq!(held(), 8, "one host has half of the places, whatever its ports");
    drop(silent);
    eventually("descriptors return", async || engine.cost().descriptors <= before.descriptors + 20).await;
}

/// A proxy would see every call with its signature.
#[tokio::test]
async fn calls_use_no_proxy_of_the_environment() {
    let proxy = Raw::new(|_| None).await;
    let url = format!("http://{}", proxy.address);
    let names = ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"];
    let engine = Engine::start_in(&names.map(|name| (name, url.as_str())), &["dev"]).await;
    let endpoint = Raw::new(|number| Some(ran(number, &json!(1)))).await;
    assert_eq!(engine.register(&[("f", "app/e", format!("http://{}", endpoint.address))]).await.0, 200);
    assert_eq!(engine.send(&json!({ "name": "app/e", "data": {} })).await.0, 200);
    eventually("the endpoint is called", async || endpoint.calls() > 0).await;
    assert_eq!(proxy.calls(), 0);
}

/// An answer that says how long it is, and one that does not.
#[tokio::test]
async fn answers_that_stop_in_the_middle_take_no_more_memory_than_transfers_may() {
    let engine = Engine::start(&["dev", "--limit-transfers-bytes", "48MiB", "--limit-state-bytes", "16MiB"]).await;
    let before = engine.cost();
    let part = vec![b' '; 12 * 1024 * 1024];
    let stalled = Raw::new(move |number| {
        let length = if number % 2 == 0 { "content-length: 16777216\r\n" } else { "connection: close\r\n" };
        let head = format!("HTTP/1.1 206 OK\r\nx-inngest-sdk: js:v4.24.0\r\n{length}\r\n");
        Some([head.as_bytes(), &part].concat())
    })
    .await;
    let honest = Raw::new(|number| Some(ran(number, &json!("x".repeat(30_000))))).await;
    let functions = [
        ("stalled", "app/stalled", format!("http://{}", stalled.address)),
        ("honest", "app/honest", format!("http://localhost:{}", honest.address.port())),
    ];
    assert_eq!(engine.register(&functions).await.0, 200);
    for _ in 0..20 {
        assert_eq!(engine.send(&json!({ "name": "app/stalled", "data": {} })).await.0, 200);
    }
    eventually("all are called: they wait for no memory", async || stalled.calls() >= 20).await;
    assert_eq!(engine.send(&json!({ "name": "app/honest", "data": {} })).await.0, 200);
    eventually("the honest one goes on", async || honest.calls() >= 3).await;
    let peak = engine.cost().peak_mib - before.peak_mib;
    assert!(peak < 48 + 60, "{peak} MiB more at its peak");
}

#[tokio::test]
async fn a_run_that_fills_its_state_fails_and_says_so() {
    let engine = Engine::start(&["dev", "--limit-state-bytes", "4MiB"]).await;
    let filling = Raw::new(|number| Some(ran(number, &json!("x".repeat(1024 * 1024))))).await;
    assert_eq!(engine.register(&[("fill", "app/fill", format!("http://{}", filling.address))]).await.0, 200);
    assert_eq!(engine.send(&json!({ "name": "app/fill", "data": {} })).await.0, 200);
    let run = async || {
        let (_, runs) = engine.ask("GET", "/v1/runs", &[], "").await;
        runs["data"][0]["run_id"].as_str().unwrap_or_default().to_owned()
    };
    let mut shown = Value::Null;
    for _ in 0..500 {
        shown = engine.ask("GET", &format!("/v1/runs/{}", run().await), &[], "").await.1;
        if shown["data"]["status"] == "Failed" {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let error = &shown["data"]["output"]["error"];
    assert_eq!(error["name"], "StateTooLarge", "{}", shown["data"]["status"]);
    assert!(error["message"].as_str().unwrap().contains("--limit-state-bytes"), "{error}");
    assert_eq!(filling.calls(), 4, "the fourth output passes 4 MiB with its quotes");
}
