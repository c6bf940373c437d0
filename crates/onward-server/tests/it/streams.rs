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

async fn streams(fails: bool) -> (Vec<(String, Value)>, World) {
    let mut options = options();
    options.retry = Retry::Every(Duration::from_millis(150));
    let store = Arc::new(MemoryStore::new());
    let world = World::with(options, Arc::<MemoryStore>::clone(&store), store).await;
    *world.endpoint.streams_late.lock() = Duration::from_millis(15);
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
