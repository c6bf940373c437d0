//! Reports of a run: repeated, at once, abandoned, and from within calls of functions.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use http::StatusCode;
use onward_core::{Store, run::Status, store::RunFilter};
use onward_sqlite::SqliteStore;
use onward_testing::{Call, FaultyStore, MemoryStore};
use serde_json::{Value, json};

use crate::{
    engine::options,
    script::{key, op, program},
    slow::Slow,
    world::{World, asked, soon},
};

#[tokio::test]
async fn one_first_report_that_comes_sixteen_times_at_once_is_one_run() {
    let store = Arc::new(SqliteStore::in_memory().unwrap());
    let world = World::new(store.clone()).await;
    for _ in 0..10 {
        let asked = asked();
        let steps = [op("a", &json!({ "op": "StepRun", "data": { "n": 1 } }))];
        let posts = (0..16).map(|_| world.endpoint.post_first(&asked, &steps));
        for answer in soon("the answers", join_all(posts)).await {
            let (status, body) = answer.unwrap();
            assert_eq!(status, StatusCode::OK, "{body}");
            assert_eq!(body["data"]["run_id"], asked.run_id);
            assert!(!body["data"]["token"].as_str().unwrap().is_empty());
        }
        assert_eq!(world.entries(&asked.run_id, "a").await.len(), 1);
        // The same with another output changes nothing.
        let other = [op("a", &json!({ "op": "StepRun", "data": { "n": 2 } }))];
        assert_eq!(world.endpoint.post_first(&asked, &other).await.unwrap().0, StatusCode::OK);
        let entries = world.entries(&asked.run_id, "a").await;
        assert_eq!(entries.len(), 1);
        assert!(format!("{:?}", entries[0].change).contains("Succeeded"), "{entries:?}");
    }
    let runs = store.runs(RunFilter { limit: 100, ..RunFilter::default() }).await.unwrap().runs;
    assert_eq!(runs.len(), 10);
    assert_eq!(world.measured("onward_runs_started_total").await.as_deref(), Some("10"));
}

#[tokio::test]
async fn a_run_goes_on_whose_endpoint_left_while_its_beginning_was_written() {
    let memory: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let slow = Slow::new(Arc::clone(&memory), Duration::from_millis(60));
    let world = World::with(options(), memory, Arc::new(slow)).await;
    world.serve(
        "/run",
        program(|s| {
            s.sleep("z", "1ms")?;
            Ok(json!("done"))
        }),
    );
    let asked = asked();
    let steps = [op("z", &json!({ "op": "Sleep", "name": "1ms" }))];
    let first = tokio::time::timeout(Duration::from_millis(30), world.endpoint.post_first(&asked, &steps)).await;
    assert!(first.is_err(), "the store is slow, so this is given up");
    // What the SDK does next.
    let (status, _) = world.endpoint.post_first(&asked, &steps).await.unwrap();
    assert_eq!(status, StatusCode::OK);
    world.becomes(&asked.run_id, Status::Completed).await;
}

#[tokio::test]
async fn a_run_goes_on_whose_endpoint_left_and_never_came_again() {
    let memory: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let slow = Slow::new(Arc::clone(&memory), Duration::from_millis(60));
    let mut options = options();
    options.first_request_lease = Duration::from_millis(200);
    let world = World::with(options, memory, Arc::new(slow)).await;
    world.serve("/run", program(|s| Ok(json!([s.value("a", json!(1))?, s.value("b", json!(2))?]))));
    let asked = asked();
    let steps = [op("a", &json!({ "op": "StepRun", "data": 1 }))];
    let first = tokio::time::timeout(Duration::from_millis(30), world.endpoint.post_first(&asked, &steps)).await;
    assert!(first.is_err(), "the store is slow, so this is given up");
    world.becomes(&asked.run_id, Status::Completed).await;
    assert_eq!(world.endpoint.begun(&asked.run_id, "a"), 0);
    assert_eq!(world.endpoint.begun(&asked.run_id, "b"), 1);
}

#[tokio::test]
async fn a_run_whose_first_request_falls_silent_is_called_again() {
    let mut options = options();
    options.first_request_lease = Duration::from_millis(150);
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let world = World::with(options, Arc::clone(&store), store).await;
    world.serve("/run", program(|s| Ok(json!([s.value("a", json!(1))?, s.value("b", json!(2))?]))));
    let asked = asked();
    let steps = [op("a", &json!({ "op": "StepRun", "data": 1 }))];
    world.endpoint.post_first(&asked, &steps).await.unwrap();
    world.becomes(&asked.run_id, Status::Completed).await;
    assert_eq!(world.endpoint.begun(&asked.run_id, "b"), 1);
    // The first request was only slow: what it says now is too late, and changes nothing.
    let before = world.stored(&asked.run_id).await.unwrap().journal;
    let late = [op("b", &json!({ "op": "StepRun", "data": "late" }))];
    let (status, _) = world.endpoint.post(&asked.run_id, &late).await.unwrap();
    assert_eq!(status, StatusCode::OK, "a step that is known is acknowledged");
    let late = [op("c", &json!({ "op": "StepRun", "data": "late" }))];
    let (status, _) = world.endpoint.post(&asked.run_id, &late).await.unwrap();
    assert_eq!(status, StatusCode::GONE);
    assert_eq!(world.stored(&asked.run_id).await.unwrap().journal, before);
}

#[tokio::test]
async fn the_end_that_is_reported_just_after_a_restart_is_stored_or_not_acknowledged() {
    let ends = [
        json!({ "op": "RunComplete", "id": key("complete"), "data": { "status": 200, "headers": {}, "body": "1" } }),
        json!({ "op": "StepError", "id": key("complete"), "error": {} }),
    ];
    for end in ends {
        let memory: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let mut world = World::new(Arc::clone(&memory)).await;
        world.serve("/run", program(|s| s.value("a", json!(1))));
        let asked = asked();
        let steps = [op("a", &json!({ "op": "StepRun", "data": 1 }))];
        assert_eq!(world.endpoint.post_first(&asked, &steps).await.unwrap().0, StatusCode::OK);
        // The run is not under way in the next engine when the report comes.
        world.start(Arc::new(Slow::at_claims(memory, Duration::from_millis(100)))).await;
        let (status, _) =
            soon("the answer", world.endpoint.post(&asked.run_id, std::slice::from_ref(&end))).await.unwrap();
        assert_eq!(status, StatusCode::OK, "{end}");
        let stored = world.stored(&asked.run_id).await.unwrap();
        assert!(stored.record.status.is_final() || stored.journal.len() > 1, "{end} is lost: {stored:?}");
        world.becomes(&asked.run_id, Status::Completed).await;
    }
}

#[tokio::test]
async fn a_function_reports_steps_from_within_its_call() {
    let memory: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let faulty = FaultyStore::counting(Arc::clone(&memory), Call::is_fact);
    let world = World::with(options(), memory, Arc::new(faulty)).await;
    world.register(&[("app-child", "app/started")]).await;
    world.serve("/run", program(|s| s.invoke("i", "app-child", &json!({}))));
    // Its step `x` reports `y` before it returns.
    world.serve(
        "app-child",
        program(|s| {
            let x = s.run("x", |doing| async move {
                let y = [op("y", &json!({ "op": "StepRun", "data": "y" }))];
                let (status, _) = doing.endpoint.post_to(&doing.run_id, "async", &y).await.unwrap();
                Ok(json!(status.as_u16()))
            })?;
            Ok(json!([x, s.value("y", json!("it ran again"))?, s.value("z", json!("z"))?]))
        }),
    );
    let run_id = world.handed_over().await;
    assert_eq!(world.outcome(&run_id).await, (200, json!([200, "y", "z"])));
    assert_eq!(world.endpoint.wrong(), Vec::<String>::new());
    assert_eq!(world.left_over().await, None);
}

#[tokio::test]
async fn what_is_no_report_or_of_no_run_is_refused() {
    let world = World::new(Arc::new(MemoryStore::new())).await;
    let steps = [op("a", &json!({ "op": "StepRun", "data": 1 }))];
    for route in ["steps", "async"] {
        let (status, body) = world.endpoint.post_to(&asked().run_id, route, &steps).await.unwrap();
        assert_eq!(status, StatusCode::NOT_FOUND, "{body}");
    }
    let answer: Value = json!({ "steps": [] });
    assert_eq!(world.post("/v1/checkpoint", &[], &answer).await.unwrap().0, StatusCode::BAD_REQUEST);
}
