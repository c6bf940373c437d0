//! The smallest durable app: a flaky step, a pause, and a greeting.

use axum::{Json, Router, extract::Query, routing::get};
use onward::{Onward, Step, StepError};

#[derive(serde::Deserialize)]
struct Params {
    name: String,
}

async fn greet(step: Step, Query(q): Query<Params>) -> Result<Json<String>, StepError> {
    let user = step.run_with("find-user", async |cx| find(&q.name, cx.attempt).await).await?;
    step.sleep("think", "2s").await?;
    let text = step.run("greet", async || Ok::<_, StepError>(format!("hello {user}"))).await?;
    Ok(Json(text))
}

/// A dependency that fails at first.
async fn find(name: &str, attempt: u32) -> Result<String, std::io::Error> {
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    if attempt < 2 { Err(std::io::Error::other("directory is down")) } else { Ok(name.to_uppercase()) }
}

#[tokio::main]
async fn main() -> Result<(), onward::Error> {
    tracing_subscriber::fmt().init();
    let onward = Onward::open("sqlite:quickstart.db").await?;
    let app = Router::new().merge(onward.route("/greet", get(greet))).route("/wait", onward.proxy());
    onward.serve("127.0.0.1:3000", app).await
}
