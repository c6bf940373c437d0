//! An engine that is told to stop: calls under way are finished, clients come again, and the next engine goes on.

use std::{sync::Arc, time::Duration};

use http::StatusCode;
use onward_core::{Store, journal::Change, run::Status};
use onward_testing::MemoryStore;
use serde_json::json;
use tokio::sync::Semaphore;

use crate::{
    client,
    engine::options,
    script::program,
    world::{World, asked, soon},
};

#[tokio::test]
async fn a_call_under_way_is_finished_and_the_next_engine_goes_on() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let mut world = World::new(Arc::clone(&store)).await;
    let gate = Arc::new(Semaphore::new(0));
    let gates = Arc::clone(&gate);
    world.serve(
        "/run",
        program(move |s| {
            s.sleep("z", "1ms")?;
            let gate = Arc::clone(&gates);
            let slow = s.run("slow", move |doing| async move {
                doing.push(&json!("chunk"));
                let _ = gate.acquire().await;
                Ok(json!("slow"))
            })?;
            Ok(json!([slow, s.value("next", json!("next"))?]))
        }),
    );
    let run_id = world.begin(asked());
    let tokens = world.tokens(&run_id).await;
    world.begins(&run_id, "slow", 1).await;
    let mut engine = world.engine.take().unwrap();

    let mut told = Vec::new();
    let output = world.address.url(&format!("/v1/http/runs/{run_id}/output?token={}", tokens.token));
    let waits = world.http.get(&output).send();
    let reads = client::connection(&world.http, &world.address, &tokens, &mut told);
    let stops = async {
        tokio::time::sleep(Duration::from_millis(40)).await;
        engine.tell_to_stop();
        tokio::time::sleep(Duration::from_millis(60)).await;
        assert!(world.entries(&run_id, "slow").await.is_empty(), "the call is still under way");
        let ended = world.endpoint.begun(&run_id, "next");
        gate.close();
        ended
    };
    let held = async {
        let began = tokio::time::Instant::now();
        (waits.await, began.elapsed())
    };
    let ((redirected, time), (), ended) =
        soon("held connections to end", async { tokio::join!(held, reads, stops) }).await;
    assert!(time >= Duration::from_millis(100), "who waits is held until the calls are over: {time:?}");
    assert_eq!(ended, 0);
    let redirected = redirected.unwrap();
    assert_eq!(redirected.status(), StatusCode::TEMPORARY_REDIRECT);
    let location = redirected.headers()["location"].to_str().unwrap();
    assert!(output.ends_with(location), "{location}");
    soon("the engine to stop", engine.stopped()).await;
    let entries = world.entries(&run_id, "slow").await;
    assert!(matches!(entries.last().unwrap().change, Change::Succeeded { .. }), "{entries:?}");
    assert_eq!(world.endpoint.begun(&run_id, "next"), 0, "nothing more is begun");

    world.start(store).await;
    let rest = soon("the rest of the stream", async {
        loop {
            client::connection(&world.http, &world.address, &tokens, &mut told).await;
            if world.status(&run_id).await == Some(Status::Completed) {
                break told;
            }
        }
    });
    let told = rest.await;
    assert_eq!(world.outcome(&run_id).await, (200, json!(["slow", "next"])));
    assert_eq!(world.endpoint.begun(&run_id, "slow"), 1);
    let read = client::committed(&told).unwrap();
    assert_eq!(read.iter().map(|(_, data)| data).collect::<Vec<_>>(), [&json!("chunk")]);
    assert_eq!(world.endpoint.wrong(), Vec::<String>::new());
}

#[tokio::test]
async fn an_engine_stops_at_once_where_nothing_is_under_way() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let mut world = World::new(Arc::clone(&store)).await;
    world.serve(
        "/run",
        program(|s| {
            s.sleep("z", "300ms")?;
            Ok(json!("done"))
        }),
    );
    let run_id = world.begin(asked());
    world.knows(&run_id, "z").await;
    let began = tokio::time::Instant::now();
    let mut engine = world.engine.take().unwrap();
    engine.tell_to_stop();
    soon("the engine to stop", engine.stopped()).await;
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    world.start(store).await;
    assert_eq!(world.outcome(&run_id).await, (200, json!("done")));
}

#[tokio::test]
async fn a_client_that_was_held_long_enough_is_asked_to_come_again() {
    let mut options = options();
    options.hold = Duration::from_millis(50);
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let mut world = World::with(options, Arc::clone(&store), store).await;
    world.serve(
        "/run",
        program(|s| {
            s.sleep("z", "200ms")?;
            Ok(json!("done"))
        }),
    );
    let run_id = world.begin(asked());
    let tokens = world.tokens(&run_id).await;
    let path = format!("/v1/http/runs/{run_id}/output?token={}&response=compatible", tokens.token);
    let began = tokio::time::Instant::now();
    let response = world.http.get(world.address.url(&path)).send().await.unwrap();
    assert!(began.elapsed() >= Duration::from_millis(50));
    assert_eq!(response.status(), StatusCode::TEMPORARY_REDIRECT);
    assert_eq!(response.headers()["location"].to_str().unwrap(), path);
    assert_eq!(response.headers()["access-control-allow-origin"], "*");
    assert_eq!(world.outcome(&run_id).await, (200, json!("done")));
}
