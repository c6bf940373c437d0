//! Pages of other origins order no engine about that has no keys.

use std::sync::Arc;

use onward_core::Clock as _;
use onward_scheduler::SystemClock;
use onward_server::options::{Mode, Origins};
use onward_testing::MemoryStore;
use serde_json::json;

use crate::{
    engine::options,
    script::program,
    world::{World, asked},
};

#[tokio::test]
async fn pages_of_other_origins_reach_only_what_is_for_everyone() {
    let mut world = World::new(Arc::new(MemoryStore::new())).await;
    world.serve("/run", program(|s| s.sleep("z", "1h")));
    let run_id = world.begin(asked());
    let tokens = world.tokens(&run_id).await;
    let run = format!("/v1/runs/{run_id}");
    let retry = format!("{run}/retry");
    let closed = [
        ("POST", "/v1/checkpoint"),
        ("POST", "/v1/signals"),
        ("POST", "/fn/register"),
        ("GET", "/v1/runs"),
        ("GET", run.as_str()),
        ("DELETE", run.as_str()),
        ("POST", retry.as_str()),
        ("GET", "/metrics"),
    ];
    let strangers = [
        "https://evil.example",
        "null",
        "http://localhost.evil.example",
        "http://127.0.0.1.evil.example",
        "",
        "file://",
    ];
    for (method, path) in closed {
        for origin in strangers {
            assert_eq!(world.ask(method, path, &[("origin", origin)]).await, 403, "{method} {path} from {origin:?}");
        }
        for origin in ["http://localhost:3000", "http://127.0.0.1:5173", "http://[::1]:80", "http://app.localhost"] {
            if method != "DELETE" {
                let status = world.ask(method, path, &[("origin", origin)]).await;
                assert_ne!(status, 403, "{method} {path} from {origin}");
            }
        }
    }
    assert!(!world.status(&run_id).await.unwrap().is_final(), "nobody could cancel it");
    let stranger = [("origin", "https://shop.example")];
    let sse = format!("/v1/realtime/sse?token={}", tokens.realtime);
    assert_eq!(world.ask("GET", &sse, &stranger).await, 200);
    assert_eq!(world.ask("OPTIONS", "/v1/realtime/sse", &stranger).await, 204);
    assert_eq!(world.ask("GET", &format!("/v1/http/runs/{run_id}/output?token=x"), &stranger).await, 401);
    assert_eq!(world.ask("POST", "/e/key", &stranger).await, 403, "without event keys");
    for host in ["evil.example:8288", "127.0.0.1.evil.example"] {
        assert_eq!(
            world.ask("GET", "/v1/runs", &[("host", host)]).await,
            421,
            "{host}: a name that was made to lead here"
        );
    }
    assert_eq!(world.ask("GET", "/v1/runs", &[("host", "engine:8288")]).await, 421, "a name that was not allowed");
}

/// The SDK reports the origin that the client's `Host` names.
#[tokio::test]
async fn a_stranger_does_not_choose_where_signed_calls_go() {
    let key = "signkey-test-abababab";
    let mut options = options();
    (options.mode, options.signing_keys) = (Mode::Start, vec![key.to_owned()]);
    options.origins = Origins { only: vec!["http://127.0.0.1:1".to_owned()], ..Origins::default() };
    let store = Arc::new(MemoryStore::new());
    let world = World::with(options, Arc::<MemoryStore>::clone(&store), store).await;
    let stranger = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    stranger.set_nonblocking(true).unwrap();
    let domain = format!("http://{}", stranger.local_addr().unwrap());
    let run_id = onward_core::RunId::new(SystemClock::default().now(), 7).to_string();
    let event =
        json!({ "name": "http/run.started", "data": { "domain": domain, "method": "GET", "path": "/", "fn": "f" } });
    let checkpoint = json!({ "run_id": run_id, "event": event, "steps": [] });
    let signed = [("authorization", "Bearer signkey-test-abababab")];
    let (status, said) = world.post("/v1/checkpoint", &signed, &checkpoint).await.unwrap();
    let text = said["error"].as_str().unwrap_or_default();
    assert_eq!(status, 403, "{said}");
    assert!(text.contains(&format!("--allow-origin {domain}")) && text.contains("INNGEST_SERVE_ORIGIN"), "{text}");
    assert_eq!(world.status(&run_id).await, None, "no run began");
    assert!(stranger.accept().is_err(), "nobody was called");

    let functions = json!({ "appName": "app", "deployType": "ping", "sdk": "js:v4", "functions": [{
        "id": "f", "name": "f", "triggers": [{ "event": "e" }],
        "steps": { "step": { "id": "step", "name": "step", "runtime": { "type": "http", "url": domain } } },
    }] });
    let (status, said) = world.post("/fn/register", &signed, &functions).await.unwrap();
    assert_eq!(status, 403, "{said}");
}

#[tokio::test]
async fn with_event_keys_pages_send_events() {
    let mut options = options();
    options.event_keys = vec!["page".to_owned()];
    let store = Arc::new(MemoryStore::new());
    let world = World::with(options, Arc::<MemoryStore>::clone(&store), store).await;
    let stranger = [("origin", "https://shop.example")];
    assert_eq!(world.ask("POST", "/e/page", &stranger).await, 400, "it is no event, but it was read");
    assert_eq!(world.ask("POST", "/e/other", &stranger).await, 401);
}

#[tokio::test]
async fn with_keys_it_is_the_key_that_counts() {
    let mut options = options();
    options.signing_keys = vec!["signkey-test-abababab".to_owned()];
    let store = Arc::new(MemoryStore::new());
    let world = World::with(options, Arc::<MemoryStore>::clone(&store), store).await;
    let stranger = ("origin", "https://evil.example");
    assert_eq!(world.ask("GET", "/v1/runs", &[stranger]).await, 401);
    let key = ("authorization", "Bearer signkey-test-abababab");
    assert_eq!(world.ask("GET", "/v1/runs", &[stranger, key]).await, 200);
}
