//! An assistant whose answer streams to a page, survives a flaky model, a reload and `kill -9`, and waits for a person.
//!
//! `cargo run -p example-assistant [ADDRESS [DIRECTORY]]`, then open the address in a browser.

mod model;
mod page;

use std::time::Duration;

use axum::{Json, Router, routing::post};
use onward::{Onward, RetryPolicy, Step, StepError};
use serde::{Deserialize, Serialize};

/// What the assistant does before it answers, and how long a piece of it takes.
const OUTLINE: [&str; 4] = ["Read the question", "List what matters", "Put it in order", "Choose the words"];
const OUTLINE_PAUSE: Duration = Duration::from_millis(220);

#[derive(Deserialize)]
struct Ask {
    id: String,
    question: String,
}

#[derive(Deserialize)]
struct Approval {
    approved: bool,
}

#[derive(Serialize)]
struct Answer {
    answer: String,
    approved: bool,
}

/// What is streamed besides the words of the answer.
#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Note<'a> {
    /// First of all, so that a page which only has the waiting URL knows what it shows.
    Question { id: &'a str, question: &'a str },
    /// A piece of the outline is done.
    Outline { text: &'a str, done: usize, of: usize },
    /// From here on a person's word is awaited.
    Waiting,
    /// The last line.
    Closing { text: &'a str },
}

async fn ask(step: Step, Json(ask): Json<Ask>) -> Result<Json<Answer>, StepError> {
    step.stream().push(&Note::Question { id: &ask.id, question: &ask.question });

    step.run("outline", async || {
        let stream = step.stream();
        for (before, text) in OUTLINE.into_iter().enumerate() {
            tokio::time::sleep(OUTLINE_PAUSE).await;
            stream.push(&Note::Outline { text, done: before + 1, of: OUTLINE.len() });
        }
        Ok::<_, StepError>(())
    })
    .await?;

    // A failed attempt takes its words back; those of the one that succeeds are permanent with the step.
    let answer =
        step.run_with("answer", async |cx| step.stream().pipe(model::answer(&ask.question, cx.attempt)).await).await?;

    step.stream().push(&Note::Waiting);
    let approval = step
        .wait_for_event::<Approval>("approval", "answer/approved")
        .matching("data.id")
        .since_start()
        .timeout("24h")
        .await?;
    let approved = approval.as_ref().is_some_and(|event| event.data.approved);
    let closing = match approval {
        Some(_) if approved => "Approved by a person, and published.",
        Some(_) => "Rejected by a person: nothing was published.",
        None => "Nobody decided within a day: nothing was published.",
    };
    step.run("publish", async || {
        step.stream().push(&Note::Closing { text: closing });
        Ok::<_, StepError>(())
    })
    .await?;
    Ok(Json(Answer { answer, approved }))
}

fn app(onward: &Onward) -> Result<Router, StepError> {
    // Quick, so that one can watch it: the first retry comes after 200 to 400 ms.
    let quick = RetryPolicy::try_new(Duration::from_millis(400), Duration::from_secs(5), 4)?;
    Ok(Router::new()
        .merge(onward.endpoint().retry_policy(quick).route("/ask", post(ask)))
        .route("/wait", onward.proxy())
        .route("/events", onward.events())
        .merge(page::routes()))
}

/// `assistant [ADDRESS [DIRECTORY]]`
fn arguments() -> (String, String) {
    let mut args = std::env::args().skip(1);
    let mut next = |default: &str| args.next().unwrap_or_else(|| default.to_owned());
    (next("127.0.0.1:3000"), next("."))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().with_target(false).init();
    let (address, directory) = arguments();
    let onward = Onward::open(&format!("sqlite:{directory}/assistant.db")).await?;
    let app = app(&onward)?;
    let listener = tokio::net::TcpListener::bind(address).await?;
    tracing::info!("the assistant listens on http://{}", listener.local_addr()?);
    onward.serve(listener, app).await?;
    Ok(())
}
