//! A run of which something could not be written goes on by itself: nobody has to restart the engine for it.

use std::sync::Arc;

use onward_core::{Store, run::Status};
use onward_testing::{Call, Fault, FaultyStore, MemoryStore};
use serde_json::json;
use tokio::sync::Semaphore;

use crate::{
    engine::options,
    script::{Branch, program},
    world::{World, asked, pause},
};

async fn faulty(nth: usize) -> (World, FaultyStore) {
    let memory: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let faulty = FaultyStore::counting(Arc::clone(&memory), Call::is_fact).with_fault(nth, Fault::Fail);
    (World::with(options(), memory, Arc::new(faulty.clone())).await, faulty)
}

#[tokio::test]
async fn a_run_whose_suspension_is_refused_gets_its_event() {
    // The first write begins the run, the second is its suspension.
    let (world, faulty) = faulty(2).await;
    world.serve("/run", program(|s| Ok(s.wait("w", "app/go", "1h")?["data"].clone())));
    let run_id = world.handed_over().await;
    while faulty.writes() < 2 {
        pause().await;
    }
    world.send(&json!([{ "name": "app/go", "data": { "n": 1 } }])).await;
    assert_eq!(world.outcome(&run_id).await, (200, json!({ "n": 1 })));
}

#[tokio::test]
async fn a_run_of_which_one_of_several_writes_at_once_is_refused_goes_on() {
    const STEPS: usize = 8;
    for nth in 2..2 + STEPS {
        let (mut world, _) = faulty(nth).await;
        let gate = Arc::new(Semaphore::new(0));
        let gates = Arc::clone(&gate);
        world.serve(
            "/run",
            program(move |s| {
                let branch = |id: usize| -> Branch<'static> {
                    let gate = Arc::clone(&gates);
                    Box::new(move |s| {
                        s.run(&format!("s{id}"), move |_| async move {
                            let _ = gate.acquire().await;
                            Ok(json!(id))
                        })
                    })
                };
                s.all((0..STEPS).map(branch).collect())
            }),
        );
        let run_id = world.begin(asked());
        for id in 0..STEPS {
            world.begins(&run_id, &format!("s{id}"), 1).await;
        }
        gate.close();
        assert_eq!(world.outcome(&run_id).await, (200, json!([0, 1, 2, 3, 4, 5, 6, 7])));
        assert_eq!(world.endpoint.wrong(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_cancellation_that_could_not_be_written_is_refused_and_works_again() {
    for time in ["30s", "1h"] {
        // In memory and suspended: there it is the second write, here the third.
        let nth = if time == "1h" { 3 } else { 2 };
        let (world, faulty) = faulty(nth).await;
        world.serve("/run", program(move |s| s.wait("w", "app/go", time)));
        let run_id = world.handed_over().await;
        while faulty.writes() < nth - 1 {
            pause().await;
        }
        assert_eq!(world.cancel(&run_id).await, 503, "{time}");
        assert!(!world.status(&run_id).await.unwrap().is_final(), "{time}");
        assert_eq!(world.cancel(&run_id).await, 204, "{time}");
        world.becomes(&run_id, Status::Cancelled).await;
        assert_eq!(world.left_over().await, None, "{time}");
    }
}
