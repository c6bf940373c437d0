//! An operator tries failed runs again.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use onward_core::run::Status;
use onward_testing::MemoryStore;
use serde_json::json;

use crate::{
    endpoint::Asked,
    script::{program, thrown},
    world::{World, asked},
};

#[tokio::test]
async fn a_failed_run_goes_on_with_the_step_that_failed_it() {
    let mut world = World::new(Arc::new(MemoryStore::new())).await;
    let works = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&works);
    world.serve(
        "/run",
        program(move |s| {
            let works = flag.load(Ordering::Relaxed);
            let a = s.value("a", json!("a"))?;
            s.sleep("z", "1ms")?;
            let b = s.value("b", json!("b"))?;
            let caught = s.run("caught", |_| async { Err(thrown("this one is handled")) });
            let caught = match caught {
                Err(crate::script::Stop::Threw { error, .. }) => error["message"].clone(),
                other => other?,
            };
            let f = s.run("f", move |_| async move { if works { Ok(json!("f")) } else { Err(thrown("not yet")) } })?;
            Ok(json!([a, b, caught, f, s.value("g", json!("g"))?]))
        }),
    );
    let run_id = world.begin(Asked { retries: 0, ..asked() });
    let (status, body) = world.outcome(&run_id).await;
    assert_eq!((status, &body["error"]["message"]), (500, &json!("not yet")));
    let path = format!("/v1/runs/{run_id}/retry");
    works.store(true, Ordering::Relaxed);
    assert_eq!(world.ask("POST", &path, &[]).await, 204);
    world.becomes(&run_id, Status::Completed).await;
    let expected = json!(["a", "b", "this one is handled", "f", "g"]);
    assert_eq!(world.outcome(&run_id).await, (200, expected));
    for (id, times) in [("a", 1), ("b", 1), ("caught", 1), ("f", 2), ("g", 1)] {
        assert_eq!(world.endpoint.begun(&run_id, id), times, "{id}");
    }
    assert_eq!(world.ask("POST", &path, &[]).await, 409, "it completed");
    assert_eq!(world.endpoint.wrong(), Vec::<String>::new());
    assert_eq!(world.left_over().await, None);
}

#[tokio::test]
async fn a_handler_that_failed_outside_of_its_steps_is_tried_again() {
    let mut world = World::new(Arc::new(MemoryStore::new())).await;
    let works = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&works);
    world.serve(
        "/run",
        program(move |s| {
            let a = s.value("a", json!("a"))?;
            s.sleep("z", "1ms")?;
            if !flag.load(Ordering::Relaxed) {
                return Err(crate::script::Stop::Threw { error: crate::script::error("outside"), retryable: true });
            }
            Ok(a)
        }),
    );
    let run_id = world.begin(Asked { retries: 1, ..asked() });
    let (status, body) = world.outcome(&run_id).await;
    assert_eq!((status, &body["error"]["message"]), (500, &json!("outside")));
    assert_eq!(world.ask("POST", &format!("/v1/runs/{run_id}/retry"), &[]).await, 204);
    world.becomes(&run_id, Status::Failed).await;
    works.store(true, Ordering::Relaxed);
    // It may be that it fails once more before it works.
    while world.status(&run_id).await != Some(Status::Completed) {
        let _ = world.ask("POST", &format!("/v1/runs/{run_id}/retry"), &[]).await;
        crate::world::pause().await;
    }
    assert_eq!(world.outcome(&run_id).await, (200, json!("a")));
    assert_eq!(world.endpoint.begun(&run_id, "a"), 1);
}
