//! Events and signals that come while a run is being suspended: none is lost.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt, future::join_all, stream};
use http::StatusCode;
use onward_core::Store;
use onward_sqlite::SqliteStore;
use onward_testing::MemoryStore;
use serde_json::{Value, json};

use crate::{
    engine::options,
    script::program,
    slow::Slow,
    world::{World, pause},
};

const RUNS: u64 = 40;
const WAITS: usize = 3;

/// On a store that takes its time: what is being written and what comes then overlap.
async fn world() -> World {
    let store: Arc<dyn Store> = Arc::new(SqliteStore::in_memory().unwrap());
    let slow = Slow::new(Arc::clone(&store), Duration::from_millis(2));
    World::with(options(), store, Arc::new(slow)).await
}

#[tokio::test]
async fn events_that_come_while_runs_are_suspended_are_not_lost() {
    let world = world().await;
    let runs = stream::iter(0..RUNS).map(async |nth| {
        let path: &'static str = format!("/run{nth}").leak();
        let name = move |wait: usize| format!("app/e{nth}.{wait}");
        world.serve(
            path,
            program(move |s| {
                let waits = (0..WAITS).map(|wait| s.wait(&format!("w{wait}"), &name(wait), "1h"));
                let mut got = Vec::new();
                for event in waits {
                    got.push(event?["data"]["n"].clone());
                }
                Ok(Value::from(got))
            }),
        );
        let asked = crate::endpoint::Asked { path, ..crate::world::asked() };
        let run_id = asked.run_id.clone();
        let request = Arc::clone(&world.endpoint).request(asked);
        let sends = async {
            for wait in 0..WAITS {
                world.knows(&run_id, &format!("w{wait}")).await;
                // From at once to long after it is suspended.
                tokio::time::sleep(Duration::from_micros(nth * 97 % 8_000)).await;
                world
                    .send(&json!([{ "name": name(wait), "data": { "n": wait }, "id": format!("{nth}.{wait}") }]))
                    .await;
            }
        };
        let (_, (), outcome) = tokio::join!(request, sends, world.outcome(&run_id));
        assert_eq!(outcome, (200, json!([0, 1, 2])), "run {nth}");
    });
    runs.buffer_unordered(16).collect::<Vec<()>>().await;
    assert_eq!(world.left_over().await, None);
}

#[tokio::test]
async fn signals_that_come_while_runs_are_suspended_are_not_lost() {
    let world = world().await;
    let runs = stream::iter(0..RUNS).map(async |nth| {
        let path: &'static str = format!("/run{nth}").leak();
        let name = format!("signal{nth}");
        let own = name.clone();
        world.serve(
            path,
            program(move |s| {
                let first = s.signal("w0", &own, "1h")?["data"].clone();
                let second = s.signal("w1", &own, "1h")?["data"].clone();
                Ok(json!([first, second]))
            }),
        );
        let asked = crate::endpoint::Asked { path, ..crate::world::asked() };
        let run_id = asked.run_id.clone();
        let request = Arc::clone(&world.endpoint).request(asked);
        let sends = async {
            for data in [1, 2] {
                let signal = json!({ "signal": name, "data": data });
                // Nobody waits before it is taken; once it is, it must arrive.
                while world.post("/v1/signals", &[], &signal).await.unwrap().0 != StatusCode::OK {
                    tokio::time::sleep(Duration::from_micros(nth * 61 % 5_000)).await;
                }
            }
        };
        let (_, (), outcome) = tokio::join!(request, sends, world.outcome(&run_id));
        assert_eq!(outcome, (200, json!([1, 2])), "run {nth}");
    });
    runs.buffer_unordered(16).collect::<Vec<()>>().await;
    assert_eq!(world.left_over().await, None);
}

#[tokio::test]
async fn one_event_wakes_all_that_wait_for_it() {
    let mut world = world().await;
    world.serve("/run", program(|s| Ok(s.wait("w", "app/all", "1h")?["data"].clone())));
    let runs: Vec<_> = (0..60).map(|_| world.begin(crate::world::asked())).collect();
    for (nth, run_id) in runs.iter().enumerate() {
        if nth % 2 == 0 {
            world.knows(run_id, "w").await;
        }
    }
    world.send(&json!([{ "name": "app/all", "data": { "go": true } }])).await;
    for outcome in join_all(runs.iter().map(|run_id| world.outcome(run_id))).await {
        assert_eq!(outcome, (200, json!({ "go": true })));
    }
}

#[tokio::test]
async fn an_event_that_came_just_before_its_wait_counts() {
    let world = World::new(Arc::new(MemoryStore::new())).await;
    world.serve(
        "/run",
        program(|s| {
            s.value("a", json!(1))?;
            s.sleep("z", "60ms")?;
            Ok(s.wait("w", "app/early", "1h")?["data"].clone())
        }),
    );
    let run_id = world.handed_over().await;
    world.send(&json!([{ "name": "app/early", "data": { "is": "early" } }])).await;
    pause().await;
    assert_eq!(world.outcome(&run_id).await, (200, json!({ "is": "early" })));
}
