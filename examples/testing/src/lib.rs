//! The app under test: a trial that ends after a day unless it is paid for.

use axum::{Router, routing::post};
use onward::{Onward, Step, StepError};

async fn trial(step: Step) -> Result<&'static str, StepError> {
    step.run("open", async || Ok::<_, StepError>(())).await?;
    let paid = step.wait_for_event::<()>("paid", "trial/paid").timeout("24h").await?;
    step.run("close", async || Ok::<_, StepError>(())).await?;
    Ok(if paid.is_some() { "customer" } else { "expired" })
}

/// The app, on whatever store and clock `onward` was opened with.
pub fn app(onward: &Onward) -> Router {
    Router::new().merge(onward.route("/trial", post(trial))).route("/wait", onward.proxy())
}
