//! Functions that events start.

use std::{sync::Arc, time::Duration};

use axum::{body::Body, response::Response};
use futures_util::future::join_all;
use http::StatusCode;
use onward_core::{Store, journal::Change, run::Status, store::RunFilter};
use onward_server::{Options, options::Retry};
use onward_sqlite::SqliteStore;
use onward_testing::{Call, Fault, FaultyStore, MemoryStore};
use serde_json::json;

use crate::{
    endpoint::Asked,
    engine::options,
    script::program,
    world::{World, asked, pause, soon},
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

#[tokio::test]
async fn calls_for_an_app_whose_registration_cannot_be_read_say_so_until_it_can_be() {
    let store = MemoryStore::shared();
    // As a newer release may write it: without what this one needs.
    let newer = r#"{"app":"later","functions":[{"id":"later-child","triggers":[{"event":"later/*"}]}]}"#;
    store.register("app:later".to_owned(), newer.into()).await.unwrap();
    let options = Options { retry: Retry::Every(Duration::from_millis(200)), ..options() };
    let mut world = World::with(options, Arc::new(store.another()), Arc::new(store.another())).await;
    for name in ["app-a", "later-child"] {
        world.serve(name, program(|s| s.value("s", json!(1))));
    }
    world.serve("/run", program(|s| s.invoke("i", "later-child", &json!({}))));
    world.register(&[("app-a", "app/e")]).await;
    world.send(&json!([{ "name": "app/e", "data": {} }])).await;
    complete(&world, &[("app-a".to_owned(), Status::Completed)]).await;

    let sentence = "the registration of app \"later\" cannot be read";
    let event = json!([{ "name": "later/e", "data": {} }]);
    let (status, said) = world.post("/e/key", &[], &event).await.unwrap();
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(said["error"].as_str().unwrap().contains(sentence), "{said}");
    let run_id = world.begin(Asked { retries: 20, ..asked() });
    world.knows(&run_id, "i").await;
    let Change::AttemptFailed { error, .. } = &world.entries(&run_id, "i").await[0].change else {
        panic!("{}", world.told().await)
    };
    assert!(String::from_utf8_lossy(error.as_ref()).contains("RegistrationUnreadable"), "{error:?}");

    let url = format!("{}/api?fnId=later-child&stepId=step", world.endpoint.url);
    let read = json!({ "app": "later", "functions": [{ "id": "later-child", "name": "child", "url": url, "retries": 3,
        "triggers": [{ "event": "later/*" }] }] });
    store.register("app:later".to_owned(), read.to_string().into()).await.unwrap();
    assert_eq!(world.outcome(&run_id).await, (200, json!(1)));
    world.send(&event).await;
    soon("the event starts a run", async {
        let done = ("later-child".to_owned(), Status::Completed);
        while statuses(&world).await.iter().filter(|status| **status == done).count() < 2 {
            pause().await;
        }
    })
    .await;
}

#[tokio::test]
async fn runs_of_an_app_whose_registration_cannot_be_read_are_called_when_it_can_be() {
    let store = MemoryStore::shared();
    let options = Options { retry: Retry::Every(Duration::from_millis(50)), ..options() };
    let options = Options { unreachable_for: Duration::from_secs(60), ..options };
    let world = World::with(options, Arc::new(store.another()), Arc::new(store.another())).await;
    world.register(&[("app-a", "app/e")]).await;
    world.serve(
        "app-a",
        program(|s| {
            s.wait("w", "app/go", "1h")?;
            s.value("s", json!(1))
        }),
    );
    world.send(&json!([{ "name": "app/e", "data": {} }])).await;
    let known = world.store.registrations().await.unwrap().into_iter().find(|(name, _)| name == "app:app").unwrap();
    let run_id = world.store.runs(RunFilter { limit: 1, ..RunFilter::default() }).await.unwrap().runs[0].run_id;
    world.knows(&run_id.to_string(), "w").await;
    store.register("app:app".to_owned(), "{}".into()).await.unwrap();
    let shown = || async {
        let response = world.http.get(world.address.url(&format!("/v1/runs/{run_id}"))).send().await.unwrap();
        response.text().await.unwrap()
    };
    let functions = || async { world.http.get(world.address.url("/dev")).send().await.unwrap().text().await.unwrap() };
    soon("the registration is found unreadable", async {
        while !functions().await.contains("\"functions\":0") {
            pause().await;
        }
    })
    .await;
    world.send_anew(&json!([{ "name": "app/go", "data": {} }])).await;
    soon("the run says why it is not called", async {
        while !shown().await.contains("the registration of app") {
            pause().await;
        }
    })
    .await;
    store.register(known.0, known.1).await.unwrap();
    complete(&world, &[("app-a".to_owned(), Status::Completed)]).await;
}
