//! Steps side by side, and a race between an answer and a deadline.

use axum::{Json, Router, routing::get};
use futures_util::future::try_join_all;
use onward::{Onward, Step, StepError};

const CITIES: [&str; 3] = ["Oslo", "Lima", "Pune"];

async fn quotes(step: Step) -> Result<Json<Vec<String>>, StepError> {
    // Each runs concurrently and is checkpointed on its own. The same id again gets an index.
    let quotes = try_join_all(CITIES.iter().map(|city| step.run("quote", move || quote(city)))).await?;
    // Whichever comes first is what every replay sees first, too.
    let news = tokio::select! {
        news = step.wait_for_event::<String>("news", "market/news") => news?.map(|event| event.data),
        slept = step.sleep("deadline", "5s") => slept.map(|()| None)?,
    };
    Ok(Json(quotes.into_iter().chain(news).collect()))
}

async fn quote(city: &str) -> Result<String, std::io::Error> {
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    Ok(format!("{city}: {}", city.len() * 7))
}

#[tokio::main]
async fn main() -> Result<(), onward::Error> {
    tracing_subscriber::fmt().init();
    let onward = Onward::open("sqlite:parallel.db").await?;
    let app = Router::new()
        .merge(onward.route("/quotes", get(quotes)))
        .route("/wait", onward.proxy())
        .route("/events", onward.events());
    onward.serve("127.0.0.1:3000", app).await
}
