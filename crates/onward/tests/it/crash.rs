//! P1 to P4 and P6: killed before and after every write, an app loses nothing and does nothing twice.

use std::{sync::Arc, time::Duration};

use axum::{Router, body::Body, routing::post};
use http::Request;
use http_body_util::BodyExt;
use onward::{Onward, Step, StepError};
use onward_testing::{World, crash_everywhere};
use tower::ServiceExt;

/// Starts the app of a world, sends the keyed request, and follows it to its response.
async fn life(world: World) -> (u16, String) {
    let ran = world.clone();
    let handler = async move |step: Step| {
        let ran = &ran;
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
        Ok::<_, StepError>(format!("{stock} {} {}", card?, settled.is_some()))
    };
    let onward = Onward::builder().clock(Arc::new(world.clock())).store(world.store()).await.unwrap();
    let app: Router = Router::new().merge(onward.route("/order", post(handler))).route("/wait", onward.proxy());
    let app = app.with_state(());
    onward.start().await.unwrap();
    let request = Request::post("/order").header("idempotency-key", "order-1").body(Body::from("x")).unwrap();
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
    let report = tokio::time::timeout(Duration::from_secs(1_000_000), crash_everywhere(life)).await.unwrap();
    // Few of the moments may be missed: two writes that race are not always in the same order.
    assert!(report.writes >= 8 && report.crashes >= report.writes * 3 / 2, "{report:?}");
}
