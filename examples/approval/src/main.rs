//! A person in the loop: the run waits up to a day for an approval event that names its request.

use axum::{Json, Router, routing::post};
use onward::{Onward, Step, StepError};

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    request_id: String,
    amount: u32,
}

#[derive(serde::Deserialize)]
struct Approval {
    approved: bool,
    by: String,
}

async fn spend(step: Step, Json(request): Json<Request>) -> Result<String, StepError> {
    step.run("ask", async || {
        tracing::info!(request_id = request.request_id, amount = request.amount, "please decide");
        Ok::<_, StepError>(())
    })
    .await?;
    let approval = step
        .wait_for_event::<Approval>("wait-for-approval", "approval/received")
        .matching("data.requestId")
        .timeout("24h")
        .await?;
    Ok(match approval {
        Some(event) if event.data.approved => format!("{} approved {}\n", event.data.by, request.amount),
        Some(event) => format!("{} refused\n", event.data.by),
        None => "nobody decided within a day\n".to_owned(),
    })
}

#[tokio::main]
async fn main() -> Result<(), onward::Error> {
    tracing_subscriber::fmt().init();
    let onward = Onward::open("sqlite:approval.db").await?;
    let app = Router::new()
        .merge(onward.route("/spend", post(spend)))
        .route("/wait", onward.proxy())
        .route("/events", onward.events());
    onward.serve("127.0.0.1:3000", app).await
}
