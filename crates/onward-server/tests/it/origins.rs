//! Pages of other origins order no engine about that has no keys.

use std::sync::Arc;

use onward_testing::MemoryStore;

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
    assert_eq!(world.ask("GET", "/v1/runs", &[("host", "engine:8288")]).await, 200);
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
