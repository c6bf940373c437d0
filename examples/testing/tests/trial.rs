//! A day passes in no time, and the app survives being killed at every write, and by a step of its own.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::sync::Arc;

use axum::{Router, body::Body, routing::post};
use http::{Request, Response};
use http_body_util::BodyExt;
use onward::{Onward, Step, StepError};
use onward_testing::{ManualClock, MemoryStore, World, crash_everywhere};
use tower::ServiceExt;

/// Sends the keyed request, as a client does that tries again after a crash, and follows it to its response.
async fn order(app: Router) -> String {
    send(app, "/trial").await
}

async fn send(app: Router, uri: &str) -> String {
    let request = Request::post(uri).header("idempotency-key", "ada").body(Body::empty()).unwrap();
    let mut response: Response<Body> = app.clone().oneshot(request).await.unwrap();
    while response.status().is_redirection() {
        let location = response.headers()["location"].to_str().unwrap().to_owned();
        response = app.clone().oneshot(Request::get(location).body(Body::empty()).unwrap()).await.unwrap();
    }
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_trial_that_nobody_pays_for_expires_after_a_day() {
    let clock = ManualClock::new();
    let builder = Onward::builder().clock(Arc::new(clock.clone()));
    let onward = builder.store(Arc::new(MemoryStore::new())).await.unwrap();
    let app = example_testing::app(&onward);
    onward.start().await.unwrap();
    assert_eq!(clock.drive(order(app)).await, "expired");
}

#[tokio::test(start_paused = true)]
async fn it_survives_being_killed_before_and_after_every_write() {
    let report = crash_everywhere(async |world: World| {
        let builder = Onward::builder().clock(Arc::new(world.clock()));
        let onward = builder.store(world.store()).await.unwrap();
        let app = example_testing::app(&onward);
        onward.start().await.unwrap();
        order(app).await
    })
    .await;
    assert!(report.crashes > 0, "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn a_trial_expires_beside_a_run_that_takes_the_process_down() {
    let report = crash_everywhere(async |world: World| {
        let builder = Onward::builder().clock(Arc::new(world.clock()));
        let onward = builder.store(world.store()).await.unwrap();
        let dying = world.clone();
        let import = async move |step: Step| {
            // As a step does that aborts, or needs more memory than there is.
            step.run("import", async || -> Result<(), StepError> { dying.die().await }).await
        };
        let app = example_testing::app(&onward).merge(onward.route("/import", post(import)));
        onward.start().await.unwrap();
        let (trial, import) = tokio::join!(order(app.clone()), send(app, "/import"));
        assert!(trial == "expired" && import.contains("/errors/run-crashed"), "{trial} {import}");
    })
    .await;
    // As often as `Options::crashes_max` says.
    assert_eq!(report.deaths, 5);
}
