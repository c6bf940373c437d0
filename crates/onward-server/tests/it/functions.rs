//! Functions that events start.

use std::{sync::Arc, time::Duration};

use axum::{body::Body, response::Response};
use futures_util::future::join_all;
use http::StatusCode;
use onward_core::{Store, run::Status, store::RunFilter};
use onward_sqlite::SqliteStore;
use onward_testing::{Call, Fault, FaultyStore, MemoryStore};
use serde_json::json;

use crate::{
    engine::options,
    script::program,
    world::{World, pause, soon},
};

async fn statuses(world: &World) -> Vec<(String, Status)> {
    let runs = world.store.runs(RunFilter { limit: 100, ..RunFilter::default() }).await.unwrap().runs;
    let mut statuses: Vec<_> = runs.into_iter().map(|run| (run.endpoint.as_str().to_owned(), run.status)).collect();
    statuses.sort_unstable_by_key(|(name, _)| name.clone());
    statuses
}

async fn complete(world: &World, expected: &[(String, Status)]) {
    soon("the runs", async {
        while statuses(world).await != expected {
            pause().await;
        }
    })
    .await;
}

#[tokio::test]
async fn an_event_that_comes_again_starts_its_functions_once() {
    let world = World::new(Arc::new(SqliteStore::in_memory().unwrap())).await;
    world.register(&[("app-a", "app/e"), ("app-b", "app/e")]).await;
    for name in ["app-a", "app-b"] {
        world.serve(name, program(|s| s.value("s", json!(1))));
    }
    let event = json!([{ "name": "app/e", "data": {}, "id": "once" }]);
    let sent = soon("the events", join_all((0..16).map(|_| world.send(&event)))).await;
    assert!(sent.iter().all(|answer| answer["ids"] == json!(["once"])), "{sent:?}");
    world.send(&event).await;
    let done = |name: &str| (name.to_owned(), Status::Completed);
    complete(&world, &[done("app-a"), done("app-b")]).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(statuses(&world).await.len(), 2);
    world.send(&json!([{ "name": "app/e", "data": {}, "id": "another" }])).await;
    complete(&world, &[done("app-a"), done("app-a"), done("app-b"), done("app-b")]).await;
}

/// A large body is not kept while its answer is awaited, so it is written anew.
#[tokio::test]
async fn a_call_with_a_large_state_is_redirected_with_its_body() {
    let world = World::new(Arc::new(MemoryStore::new())).await;
    world.register(&[("app-a", "app/e")]).await;
    world.serve(
        "app-a",
        program(|s| {
            s.value("large", json!("x".repeat(40_000)))?;
            s.value("s", json!(1))
        }),
    );
    world.endpoint.hook(|seen| {
        let to = format!("/moved?{}", seen.query);
        let moved = || Response::builder().status(307).header("location", to).body(Body::empty()).unwrap();
        (seen.path == "/api").then(moved)
    });
    world.send(&json!([{ "name": "app/e", "data": {} }])).await;
    complete(&world, &[("app-a".to_owned(), Status::Completed)]).await;
    let seen = world.endpoint.seen();
    let moved: Vec<_> = seen.iter().filter(|call| call.path == "/moved").map(|call| call.body.len()).collect();
    assert_eq!((seen.len(), moved.len()), (6, 3), "three calls, each redirected");
    assert!(moved[2] > 40_000, "{moved:?}");
}

#[tokio::test]
async fn an_event_that_could_not_be_stored_between_its_functions_starts_each_once() {
    // The writes: a run of the one, a run of the other, the event.
    for nth in 1..=3 {
        let memory: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let faulty = FaultyStore::counting(Arc::clone(&memory), Call::is_fact).with_fault(nth, Fault::Fail);
        let world = World::with(options(), memory, Arc::new(faulty)).await;
        world.register(&[("app-a", "app/e"), ("app-b", "app/e")]).await;
        for name in ["app-a", "app-b"] {
            world.serve(name, program(|s| s.value("s", json!(1))));
        }
        let event = json!([{ "name": "app/e", "data": {} }]);
        let seed = ("x-inngest-event-id-seed", "1795466247032,AAECAwQFBgcICQ==");
        let mut refused = 0;
        while world.post("/e/key", &[seed], &event).await.unwrap().0 != StatusCode::OK {
            refused += 1;
        }
        let done = |name: &str| (name.to_owned(), Status::Completed);
        complete(&world, &[done("app-a"), done("app-b")]).await;
        // The runs have begun to write meanwhile, so which write failed may be one of theirs.
        assert!(refused <= 1, "{nth}: {refused}");
        world.send(&event).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(statuses(&world).await.len(), 2, "write {nth} failed");
    }
}

#[tokio::test]
async fn functions_are_known_after_a_restart() {
    let memory: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let mut world = World::new(Arc::clone(&memory)).await;
    world.register(&[("app-a", "app/e")]).await;
    world.serve("app-a", program(|s| s.value("s", json!(1))));
    world.start(memory).await;
    world.send(&json!([{ "name": "app/e", "data": {} }])).await;
    complete(&world, &[("app-a".to_owned(), Status::Completed)]).await;
}
