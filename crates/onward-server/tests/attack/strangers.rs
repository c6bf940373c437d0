//! Pages, senders and clients whom nobody has asked.

use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use crate::engine::Engine;

#[tokio::test]
async fn a_page_of_a_stranger_orders_no_developers_engine_about() {
    let engine = Engine::start(&["dev"]).await;
    let event = json!({ "name": "app/e", "data": {} }).to_string();
    for path in ["/e/output", "/e/key", "/v1/signals", "/fn/register", "/v1/checkpoint"] {
        for headers in [
            &[("origin", "https://evil.example")][..],
            &[("origin", "null")],
            &[("origin", "https://evil.example"), ("content-type", "text/plain")],
        ] {
            let (status, said) = engine.ask("POST", path, headers, &event).await;
            assert_eq!(status, 403, "{path} {headers:?}: {said}");
        }
        for host in ["evil.example", "printer.local", "db.internal", "engine"] {
            let (status, said) = engine.ask("POST", path, &[("host", host)], &event).await;
            assert_eq!(status, 421, "{path} as {host}: {said}");
        }
    }
    let local = engine.ask("POST", "/e/key", &[("origin", "http://localhost:3000")], &event).await;
    assert_eq!(local.0, 200, "{}", local.1);
}

#[tokio::test]
async fn a_request_names_one_host() {
    let engine = Engine::start(&["dev"]).await;
    for hosts in ["", "host: localhost\r\nhost: localhost\r\n"] {
        let answer = engine.raw(format!("GET /v1/runs HTTP/1.1\r\n{hosts}connection: close\r\n\r\n").as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{hosts:?}: {answer}");
    }
}

/// The SDK takes an endpoint's origin from the `Host` of its client's request.
#[tokio::test]
async fn a_stranger_gets_no_signed_call() {
    let stranger = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    stranger.set_nonblocking(true).unwrap();
    let url = format!("http://{}", stranger.local_addr().unwrap());
    let (key, bearer) = ("a1b2c3d4", [("authorization", "Bearer a1b2c3d4")]);
    let args = [
        "start",
        "--signing-key",
        key,
        "--event-key",
        "event",
        "--allow-origin",
        "http://127.0.0.1:9",
        "--store",
        "memory:",
    ];
    let engine = Engine::start(&args).await;
    let event =
        json!({ "name": "http/run.started", "data": { "domain": url, "method": "GET", "path": "/", "fn": "f" } });
    let run_id = "01KB0000000000000000000000";
    let checkpoint = json!({ "run_id": run_id, "event": event, "steps": [] }).to_string();
    let (status, said) = engine.ask("POST", "/v1/checkpoint", &bearer, &checkpoint).await;
    assert_eq!(status, 403, "{said}");
    assert!(said["error"].as_str().unwrap().contains(&format!("--allow-origin {url}")), "{said}");
    assert_eq!(engine.ask("POST", "/v1/checkpoint", &[], &checkpoint).await.0, 401);
    assert!(stranger.accept().is_err(), "nobody was called");
}

#[tokio::test]
async fn names_that_no_store_takes_are_refused_at_once() {
    let engine = Engine::start(&["dev"]).await;
    let long = "n".repeat(1_025);
    for event in [
        json!({ "name": long, "data": {} }),
        json!({ "name": "app/e", "id": long, "data": {} }),
        json!([{ "name": "app/e", "data": {} }, { "name": "a\u{0}b", "data": {} }]),
    ] {
        let (status, said) = engine.send(&event).await;
        assert_eq!(status, 400, "{said}");
        assert!(!said["error"].as_str().unwrap().is_empty());
    }
    let signal = json!({ "signal": long, "data": 1 }).to_string();
    assert_eq!(engine.ask("POST", "/v1/signals", &[], &signal).await.0, 400);
    let (status, said) = engine.ask("GET", "/v1/runs?limit=x", &[], "").await;
    assert_eq!((status, &said["status"]), (400, &json!(400)), "a query is refused with a problem: {said}");
}

#[tokio::test]
async fn nobody_else_reads_the_files() {
    let engine = Engine::start(&["dev"]).await;
    assert_eq!(engine.send(&json!({ "name": "app/e", "data": {} })).await.0, 200);
    let files = std::fs::read_dir(engine.folder.path()).unwrap().map(|file| file.unwrap());
    let modes: Vec<_> =
        files.map(|file| (file.file_name(), file.metadata().unwrap().permissions().mode() & 0o777)).collect();
    assert!(modes.len() >= 2 && modes.iter().all(|(_, mode)| *mode == 0o600), "{modes:?}");
}
