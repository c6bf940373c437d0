//! Bodies that never end, and connections that say nothing.

use serde_json::json;

use crate::engine::{Engine, eventually};

const MIB: usize = 1024 * 1024;

/// Forty such bodies took 1.2 GB once.
#[tokio::test]
async fn stalled_bodies_take_no_more_than_their_budget_and_give_way_to_honest_ones() {
    let engine = Engine::start(&["dev", "--limit-bodies-bytes", "48MiB"]).await;
    let before = engine.cost();
    let head = format!("POST /e/key HTTP/1.1\r\nhost: {}\r\ncontent-length: {}\r\n\r\n", engine.address, 31 * MIB);
    let sends = [head.as_bytes(), &vec![b'x'; 30 * MIB]].concat();
    let (mut wave, mut refused) = (Vec::new(), 0);
    for _ in 0..40 {
        let mut stream = tokio::net::TcpStream::connect(engine.address).await.unwrap();
        // A sender that is refused is cut off in the middle.
        match tokio::io::AsyncWriteExt::write_all(&mut stream, &sends).await {
            Ok(()) => wave.push(stream),
            Err(_) => refused += 1,
        }
    }
    let large = json!({ "name": "app/large", "data": { "x": "x".repeat(200 * 1024) } });
    eventually("an honest event is taken", async || {
        let (status, said) = engine.send(&large).await;
        assert!(status == 200 || (status == 503 && said["error"].as_str().unwrap().contains("try again")), "{said}");
        status == 200
    })
    .await;
    let (status, said) = engine.send(&json!({ "name": "app/small", "data": {} })).await;
    assert_eq!(status, 200, "small bodies are not counted: {said}");
    assert!(engine.measured("onward_bodies_bytes").await <= 48 * MIB);
    let peak = engine.cost().peak_mib - before.peak_mib;
    assert!(peak < 48 + 100, "{peak} MiB more at its peak; {refused} were cut off");
    drop(wave);
    engine.settles(before).await;
    eventually("memory returns", async || engine.measured("onward_bodies_bytes").await == 0).await;
}

#[tokio::test]
async fn operators_are_answered_while_silent_connections_have_all_places() {
    let engine = Engine::start(&["dev", "--limit-connections", "20"]).await;
    let before = engine.cost();
    let mut wave = Vec::new();
    for sends in [&b""[..], b"G", b"PRI * HTTP/2.0\r\n\r\n", b"POST /e/key HTTP/1.1\r\nhost: localhost\r\n"] {
        for _ in 0..5 {
            wave.push(engine.connect(sends).await);
        }
    }
    assert_eq!(engine.ask("GET", "/health", &[], "").await.0, 200);
    assert_eq!(engine.ask("GET", "/v1/runs", &[], "").await.0, 200);
    let (status, _) = engine.send(&json!({ "name": "app/e", "data": {} })).await;
    assert_eq!(status, 503, "others are told to come again");
    drop(wave);
    engine.settles(before).await;
    assert_eq!(engine.send(&json!({ "name": "app/e", "data": {} })).await.0, 200);
}
