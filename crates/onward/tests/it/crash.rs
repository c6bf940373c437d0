//! P1 to P4 and P6: killed before and after every write, an app loses nothing and does nothing twice.

use std::{sync::Arc, time::Duration};

use axum::{Router, body::Body, routing::post};
use http::Request;
use http_body_util::BodyExt;
use onward::{Onward, Step, StepError};
use onward_core::Clock;
use onward_testing::{World, crash_everywhere};
use tower::ServiceExt;

/// An order: steps, an attempt that fails, a sleep and events.
async fn order(step: Step, ran: &World) -> Result<String, StepError> {
    let stock = step
        .run("reserve", async || {
            ran.ran("reserve");
            Ok::<_, StepError>(3)
        })
        .await?;
    let (card, mail) = tokio::join!(
        step.run_with("charge", async |cx| {
            ran.ran("charge");
            if cx.attempt < 2 { Err(std::io::Error::other("declined")) } else { Ok("paid".to_owned()) }
        }),
        step.run("mail", async || {
            ran.ran("mail");
            Ok::<_, StepError>(())
        }),
    );
    mail?;
    step.sleep("settle", "24h").await?;
    step.send_event("announce", "order/settled", &1).await?;
    let settled = step.wait_for_event::<u32>("settled", "order/settled").since_start().timeout("1h").await?;
    Ok(format!("{stock} {} {}", card?, settled.is_some()))
}

/// A picture whose second step takes the process down each time.
async fn picture(step: Step, ran: &World) -> Result<(), StepError> {
    step.run("fetch", async || {
        ran.ran("fetch");
        Ok::<_, StepError>(())
    })
    .await?;
    step.run("render", async || -> Result<(), StepError> {
        ran.ran("render");
        ran.die().await
    })
    .await
}

/// A parcel whose steps take time, and so are cut off where the process dies meanwhile.
async fn parcel(step: Step, ran: &World) -> Result<&'static str, StepError> {
    for (number, name) in (0..).zip(["pick", "pack", "post"]) {
        step.run(name, async || {
            ran.ran(name);
            let clock = ran.clock();
            clock.sleep_until(clock.now().after(Duration::from_secs(2))).await;
            Ok::<_, StepError>(number)
        })
        .await?;
    }
    Ok("posted")
}

/// Opens the app of a world.
async fn open(world: &World) -> Router {
    let onward = Onward::builder().clock(Arc::new(world.clock())).store(world.store()).await.unwrap();
    let (orders, pictures, parcels) = (world.clone(), world.clone(), world.clone());
    let app: Router = Router::new()
        .merge(onward.route("/order", post(async move |step: Step| order(step, &orders).await)))
        .merge(onward.route("/picture", post(async move |step: Step| picture(step, &pictures).await)))
        .merge(onward.route("/parcel", post(async move |step: Step| parcel(step, &parcels).await)))
        .route("/wait", onward.proxy());
    onward.start().await.unwrap();
    app
}

/// Sends a keyed request, and follows it to its response.
async fn send(app: &Router, uri: &str) -> (u16, String) {
    let request = Request::post(uri).header("idempotency-key", uri).body(Body::from("x")).unwrap();
    let mut response = app.clone().oneshot(request).await.unwrap();
    while response.status().is_redirection() {
        let location = response.headers()["location"].to_str().unwrap().to_owned();
        response = app.clone().oneshot(Request::get(location).body(Body::empty()).unwrap()).await.unwrap();
    }
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8_lossy(&body).into_owned())
}

#[tokio::test(start_paused = true)]
async fn one_outcome_and_no_committed_step_twice_wherever_it_is_killed() {
    let report = crash_everywhere(async |world: World| send(&open(&world).await, "/order").await);
    let report = tokio::time::timeout(Duration::from_secs(1_000_000), report).await.unwrap();
    // Few of the moments may be missed: two writes that race are not always in the same order.
    assert!(report.writes >= 8 && report.crashes >= report.writes * 3 / 2, "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn a_step_that_takes_its_process_down_fails_its_run_alone_wherever_it_is_killed() {
    let report = crash_everywhere(async |world: World| {
        let app = open(&world).await;
        let (order, (status, problem), parcel) =
            tokio::join!(send(&app, "/order"), send(&app, "/picture"), send(&app, "/parcel"));
        // The first crash does not count, because the run has got as far as its first step; the next five do. The kill may
        // be one of them.
        let rendered = world.times_run("render");
        assert!((5..=6).contains(&rendered), "the step began {rendered} times");
        let told = (status, problem.contains("/errors/run-crashed"));
        assert_eq!((told, order.0, parcel), ((500, true), 200, (200, "posted".to_owned())));
        order.1
    });
    let report = tokio::time::timeout(Duration::from_secs(1_000_000), report).await.unwrap();
    assert_eq!(report.deaths, 6);
    assert!(report.writes >= 25 && report.crashes >= report.writes * 3 / 2, "{report:?}");
}
