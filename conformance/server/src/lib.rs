//! The endpoints that the cases in `conformance/` are about: what they stream and answer is said there.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Json, Router,
    response::IntoResponse,
    routing::{get, post},
};
use http::{StatusCode, header};
use onward::{Onward, RetryPolicy, RunId, Step, StepError};
use serde_json::json;

/// The runs whose first attempt has failed: each fails once.
type Failed = Arc<Mutex<BTreeSet<RunId>>>;

async fn sync(step: Step) -> Result<impl IntoResponse, StepError> {
    let total = step
        .run("a", async || {
            step.stream().push("one");
            step.stream().push(&json!({ "progress": 50 }));
            Ok::<_, StepError>(7)
        })
        .await?;
    step.run("b", async || Ok::<_, StepError>(())).await?;
    Ok((StatusCode::CREATED, [("x-total", total.to_string())], Json(json!({ "total": total }))))
}

async fn asynchronous(step: Step) -> Result<String, StepError> {
    step.run("a", async || {
        step.stream().push("before");
        Ok::<_, StepError>(())
    })
    .await?;
    step.sleep("pause", Duration::from_millis(300)).await?;
    step.run("b", async || {
        step.stream().push("after");
        Ok::<_, StepError>("slept".to_owned())
    })
    .await
}

async fn rollback(step: Step, failed: Failed) -> Result<String, StepError> {
    step.run("a", async || {
        step.stream().push("draft");
        if failed.lock().is_ok_and(|mut failed| failed.insert(step.run_id())) {
            return Err(StepError::retry("the first attempt fails"));
        }
        step.stream().push("final");
        Ok("mended".to_owned())
    })
    .await
}

async fn failing(step: Step) -> Result<String, StepError> {
    step.run("a", async || {
        step.stream().push("lost");
        Err::<String, _>(StepError::fail("what is inside stays inside"))
    })
    .await
}

async fn outside(step: Step) -> &'static str {
    step.stream().push("no step");
    step.stream().push(&None::<u32>);
    "outside"
}

async fn binary(step: Step) -> Result<impl IntoResponse, StepError> {
    step.run("a", async || Ok::<_, StepError>(())).await?;
    let cookies = [(header::SET_COOKIE, "a=1"), (header::SET_COOKIE, "b=2")];
    let mut response = bytes::Bytes::from_static(&[0, 159, 146, 150]).into_response();
    for (name, value) in cookies {
        response.headers_mut().append(name, http::HeaderValue::from_static(value));
    }
    Ok(response)
}

/// A hundred chunks, a few milliseconds apart: long enough to be cut.
async fn many(step: Step) -> Result<String, StepError> {
    step.run("a", async || {
        for number in 0..100 {
            step.stream().push(&number);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok::<_, StepError>("100".to_owned())
    })
    .await
}

/// Waits until an event names it.
async fn approval(step: Step) -> Result<String, StepError> {
    step.run("a", async || {
        step.stream().push("please approve");
        Ok::<_, StepError>(())
    })
    .await?;
    let event = step.wait_for_event::<serde_json::Value>("wait", "approval/received").matching("data.id").await?;
    Ok(event.map_or_else(String::new, |event| event.data["by"].as_str().unwrap_or_default().to_owned()))
}

/// The whole app.
pub fn app(onward: &Onward) -> Router {
    let failed = Failed::default();
    let policy = RetryPolicy::try_new(Duration::from_millis(50), Duration::from_millis(100), 3);
    let quick = onward.endpoint().retry_policy(policy.expect("the figures are in their limits"));
    Router::new()
        .merge(onward.route("/sync", get(sync).post(sync)))
        .merge(onward.route("/async", get(asynchronous)))
        .merge(quick.route("/rollback", get(async move |step: Step| rollback(step, failed.clone()).await)))
        .merge(onward.route("/failed", get(failing)))
        .merge(onward.route("/outside", get(outside)))
        .merge(onward.route("/plain", get(async |_: Step| "plain")))
        .merge(onward.route("/binary", get(binary)))
        .merge(onward.route("/many", get(many)))
        .merge(onward.route("/approval", post(approval).get(approval)))
        .route("/unwrapped", get(async || "unwrapped"))
        .route("/wait", onward.proxy())
        .route("/events", onward.events())
        .nest("/runs", onward.runs_api())
}
