//! A run is cancelled in each of its phases: it ends, who waits is told, and what comes late changes nothing.

use std::{sync::Arc, time::Duration};

use http::StatusCode;
use onward_core::{Store, run::Status};
use onward_testing::MemoryStore;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::{
    client,
    endpoint::First,
    script::{op, program},
    world::{World, asked, pause, soon},
};

/// Where a run stands when it is cancelled.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    /// Its client's own request runs a step.
    FirstRequest,
    /// A call of its endpoint runs a step.
    Call,
    /// Its next attempt is to come.
    Retry,
    /// It sleeps, and is in memory.
    Sleep,
    /// It waits for an event, and is in memory.
    Wait,
    /// It waits for an event, and is in the store alone.
    Suspended,
    /// It waits for the run that it has invoked.
    Invoke,
}

#[tokio::test]
async fn a_run_is_cancelled_in_every_phase() {
    use Phase::{Call, FirstRequest, Invoke, Retry, Sleep, Suspended, Wait};
    for phase in [FirstRequest, Call, Retry, Sleep, Wait, Suspended, Invoke] {
        cancelled_in(phase).await;
    }
}

async fn cancelled_in(phase: Phase) {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let mut world = World::new(store).await;
    let gate = Arc::new(Semaphore::new(0));
    serve(&world, phase, &gate).await;
    let run_id = world.begin(asked());
    let tokens = world.tokens(&run_id).await;
    match phase {
        Phase::FirstRequest | Phase::Call => world.begins(&run_id, "stall", 1).await,
        Phase::Suspended => world.becomes(&run_id, Status::Suspended).await,
        Phase::Retry => world.knows(&run_id, "stall").await,
        Phase::Sleep | Phase::Wait | Phase::Invoke => world.knows(&run_id, "w").await,
    }
    let waits = client::outcome(&world.http, &world.address, &run_id, &tokens.token);
    let reads = client::read(&world.http, &world.address, &tokens);
    let cancels = async {
        // Others wait already by then.
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(world.cancel(&run_id).await, 204, "{phase:?}");
    };
    let ((status, body), told, ()) = soon("the end", async { tokio::join!(waits, reads, cancels) }).await;
    assert_eq!(status, 409, "{phase:?}");
    assert_eq!(body["error"]["name"], "RunCancelled", "{phase:?}");
    assert!(format!("{:?}", told.last().unwrap().frame).contains("Failed"), "{phase:?} {told:?}");

    let before = world.stored(&run_id).await.unwrap();
    assert_eq!(before.record.status, Status::Cancelled, "{phase:?}");
    gate.close();
    for (route, id) in [("steps", "late"), ("async", "later")] {
        let late = [op(id, &json!({ "op": "StepRun", "data": 1 }))];
        let (status, _) = world.endpoint.post_to(&run_id, route, &late).await.unwrap();
        assert_eq!(status, StatusCode::GONE, "{phase:?}");
    }
    assert_eq!(world.cancel(&run_id).await, 409, "{phase:?}: it was cancelled already");
    world.send(&json!([{ "name": "app/go", "data": {} }])).await;
    for _ in 0..20 {
        pause().await;
    }
    let after = world.stored(&run_id).await.unwrap();
    assert_eq!((after.journal, after.record), (before.journal, before.record), "{phase:?}");
    assert_eq!(world.left_over().await, None, "{phase:?}");
    assert_eq!(world.endpoint.begun(&run_id, "after"), 0, "{phase:?}");
}

async fn serve(world: &World, phase: Phase, gate: &Arc<Semaphore>) {
    let gate = Arc::clone(gate);
    world.register(&[("app-child", "app/started")]).await;
    world.serve("app-child", program(|s| s.sleep("z", "1h")));
    let stall = move |s: &mut crate::script::Replay<'_>, fails: bool| {
        let gate = Arc::clone(&gate);
        s.run("stall", move |_| async move {
            if fails {
                return Err(crate::script::Failed { error: crate::script::error("no"), retryable: true });
            }
            let _ = gate.acquire().await;
            Ok(json!(1))
        })
    };
    world.serve(
        "/run",
        program(move |s| {
            s.value("a", json!("a"))?;
            match phase {
                Phase::FirstRequest => stall(s, false)?,
                Phase::Call => {
                    s.sleep("z", "1ms")?;
                    stall(s, false)?
                }
                Phase::Retry => stall(s, true)?,
                Phase::Sleep => s.sleep("w", "30s")?,
                Phase::Wait => s.wait("w", "app/go", "30s")?,
                Phase::Suspended => s.wait("w", "app/go", "1h")?,
                Phase::Invoke => s.invoke("w", "app-child", &Value::Null)?,
            };
            s.value("after", json!("after"))
        }),
    );
}

#[tokio::test]
async fn the_first_request_of_a_cancelled_run_is_told_so() {
    let world = World::new(Arc::new(MemoryStore::new())).await;
    let gate = Arc::new(Semaphore::new(0));
    serve(&world, Phase::FirstRequest, &gate).await;
    let asked = asked();
    let run_id = asked.run_id.clone();
    let request = Arc::clone(&world.endpoint).request(asked);
    let cancels = async {
        world.begins(&run_id, "stall", 1).await;
        assert_eq!(world.cancel(&run_id).await, 204);
        gate.close();
    };
    let (first, ()) = soon("the refusal", async { tokio::join!(request, cancels) }).await;
    assert_eq!(first, First::Refused(410));
    assert_eq!(world.ask("GET", &format!("/v0/runs/{run_id}/actions"), &[]).await, 410);
}
