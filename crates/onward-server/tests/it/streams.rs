//! Streams of output whose bytes come after the answer that they belong to: on the wire nothing orders the two.

use std::{sync::Arc, time::Duration};

use onward_server::options::Retry;
use onward_testing::MemoryStore;
use serde_json::{Value, json};

use crate::{
    client::{self, committed},
    engine::options,
    script::{key, program, thrown},
    world::{World, soon},
};

/// Failed attempts are made again after `retry`, and each stream comes so much later than it is opened.
async fn world(retry: Duration, late: Duration) -> World {
    let mut options = options();
    options.retry = Retry::Every(retry);
    let store = Arc::new(MemoryStore::new());
    let world = World::with(options, Arc::<MemoryStore>::clone(&store), store).await;
    *world.endpoint.streams_late.lock() = late;
    world
}

async fn streams(fails: bool) -> (Vec<(String, Value)>, World) {
    let world = world(Duration::from_millis(150), Duration::from_millis(15)).await;
    world.serve(
        "/run",
        program(move |s| {
            s.sleep("z", "1ms")?;
            for id in ["a", "b"] {
                s.run(id, move |doing| async move {
                    doing.push(&json!([id, doing.nth]));
                    if fails && doing.nth == 1 { Err(thrown("at first it fails")) } else { Ok(json!(id)) }
                })?;
                // By then it has come.
                s.sleep(&format!("after {id}"), "100ms")?;
            }
            Ok(json!("done"))
        }),
    );
    let run_id = world.handed_over().await;
    let tokens = world.tokens(&run_id).await;
    let told = soon("the end of the stream", client::read(&world.http, &world.address, &tokens)).await;
    assert_eq!(world.outcome(&run_id).await, (200, json!("done")));
    (committed(&told).unwrap(), world)
}

#[tokio::test]
async fn what_comes_after_the_answer_of_a_step_that_succeeded_is_kept() {
    let (read, _) = streams(false).await;
    assert_eq!(read, [(key("a"), json!(["a", 1])), (key("b"), json!(["b", 1]))]);
}

#[tokio::test]
async fn what_comes_after_the_answer_of_an_attempt_that_failed_is_taken_back() {
    let (read, _) = streams(true).await;
    assert_eq!(read, [(key("a"), json!(["a", 2])), (key("b"), json!(["b", 2]))]);
}

/// The run has streamed before, and its last step is followed by a wait for which it leaves memory.
async fn then_waits(retry: Duration, late: Duration, fails: bool) -> Vec<(String, Value)> {
    let world = world(retry, late).await;
    world.serve(
        "/run",
        program(move |s| {
            s.sleep("z", "1ms")?;
            s.run("before", |doing| async move {
                doing.push(&json!(0));
                Ok(json!(1))
            })?;
            s.sleep("it has come", "400ms")?;
            s.run("a", move |doing| async move {
                doing.push(&json!(doing.nth));
                if fails && doing.nth == 1 { Err(thrown("at first it fails")) } else { Ok(json!(1)) }
            })?;
            s.wait("w", "app/go", "1h")?;
            Ok(json!("done"))
        }),
    );
    let run_id = world.handed_over().await;
    world.knows(&run_id, "w").await;
    assert_eq!(world.left_over().await, None, "it is suspended");
    world.send_anew(&json!([{ "name": "app/go", "data": {} }])).await;
    assert_eq!(world.outcome(&run_id).await, (200, json!("done")));
    let tokens = world.tokens(&run_id).await;
    let told = soon("the end of the stream", client::read(&world.http, &world.address, &tokens)).await;
    committed(&told).unwrap()
}

#[tokio::test]
async fn a_run_that_waits_for_long_stays_for_what_its_last_step_has_streamed() {
    let read = then_waits(Duration::from_millis(150), Duration::from_millis(200), false).await;
    assert_eq!(read, [(key("before"), json!(0)), (key("a"), json!(1))]);
}

#[tokio::test]
async fn what_an_attempt_that_failed_has_streamed_never_counts_however_late_it_comes() {
    // The second attempt is made, and has succeeded, before anything of the first comes.
    let read = then_waits(Duration::from_millis(50), Duration::from_millis(200), true).await;
    assert_eq!(read, [(key("before"), json!(0)), (key("a"), json!(2))]);
}
