//! The server that is measured, in a process of its own.

use std::{
    path::Path,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use axum::{Json, Router, extract::Query, routing::get};
use hdrhistogram::Histogram;
use onward::{Onward, Step, StepError};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::{process::Process, wal::Wal};

/// About 150 bytes, as in the measured workload.
fn output() -> Value {
    json!({ "id": 4_200_042, "status": "accepted", "note": "x".repeat(100) })
}

/// So many steps, one after the other.
pub(crate) async fn steps(step: &Step, count: u32) -> Result<Json<Value>, StepError> {
    for _ in 0..count {
        step.run("step", async || Ok::<_, StepError>(output())).await?;
    }
    Ok(Json(json!({ "steps": count })))
}

/// Microseconds since the Unix epoch.
pub(crate) fn micros() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(0)
}

#[derive(serde::Deserialize)]
struct Sleep {
    ms: u64,
}

/// Waits for an event, and answers with the time that it tells.
async fn event(step: Step) -> Result<String, StepError> {
    let event = step.wait_for_event::<Value>("wait", "bench/go").matching("data.id").await?;
    Ok(event.map_or_else(String::new, |event| event.data["at"].to_string()))
}

#[derive(serde::Deserialize)]
struct Chunks {
    n: u32,
    ms: u64,
}

/// Streams the time, again and again; with no pause, as fast as the store keeps.
async fn chunks(step: Step, Query(chunks): Query<Chunks>) -> Result<&'static str, StepError> {
    step.run("stream", async || {
        let stream = step.stream();
        let mut tick = tokio::time::interval(std::time::Duration::from_millis(chunks.ms.max(1)));
        for number in 0..chunks.n {
            if chunks.ms > 0 {
                tick.tick().await;
            } else if number % 100 == 99 {
                stream.flush().await;
            }
            stream.push(&micros());
        }
        Ok::<_, StepError>(())
    })
    .await?;
    Ok("done")
}

/// The same by hand: one chunk of an ordinary handler.
async fn plain_sse() -> impl axum::response::IntoResponse {
    let chunk = format!("event: inngest.stream\ndata: {{\"data\":{}}}\n\n", micros());
    ([("content-type", "text/event-stream")], chunk)
}

/// Serves until it is killed.
pub(crate) async fn serve(address: &str, directory: &str) {
    let directory = Path::new(directory);
    let wal = Wal::open(&directory.join("control.wal"));
    let control = async move || {
        for _ in 0..3 {
            let bytes = serde_json::to_vec(&output()).unwrap_or_default();
            wal.append(bytes).await;
        }
        Json(json!({ "steps": 3 }))
    };
    let late =
        Arc::new(Mutex::new(Histogram::<u64>::new_with_bounds(1, 120_000_000, 3).expect("the bounds are bounds")));
    let record = late.clone();
    let sleep = async move |step: Step, Query(sleep): Query<Sleep>| {
        let record = record.clone();
        let start = step.run("start", async || Ok::<_, StepError>(micros())).await?;
        step.sleep("nap", std::time::Duration::from_millis(sleep.ms)).await?;
        let deadline = start + sleep.ms * 1000;
        record.lock().saturating_record(micros().saturating_sub(deadline));
        Ok::<_, StepError>("awake")
    };
    let curve = async |step: Step| {
        let mut took = Vec::new();
        for _ in 0..10 {
            let start = micros();
            for _ in 0..100 {
                step.run("step", async || Ok::<_, StepError>(output())).await?;
            }
            took.push(micros() - start);
        }
        Ok::<_, StepError>(Json(took))
    };
    let url = format!("sqlite:{}", directory.join("bench.db").display());
    let onward = Onward::builder().parked_max(20_000).open(&url).await.expect("the store opens");
    let sender = onward.clone();
    let app = Router::new()
        .route("/plain", get(async || Json(json!({ "steps": 0 }))))
        .route("/control-wal", get(control))
        .merge(onward.route("/steps/0", get(async |step: Step| steps(&step, 0).await)))
        .merge(onward.route("/steps/1", get(async |step: Step| steps(&step, 1).await)))
        .merge(onward.route("/steps/3", get(async |step: Step| steps(&step, 3).await)))
        .merge(onward.route("/steps/10", get(async |step: Step| steps(&step, 10).await)))
        .merge(onward.route("/curve", get(curve)))
        .route("/plain-sse", get(plain_sse))
        .merge(onward.route("/chunks", get(chunks)))
        .merge(onward.route("/sleep", get(sleep)))
        .merge(onward.route("/event", get(event)))
        .route(
            "/send",
            get(async move |Query(query): Query<Value>| {
                let data = json!({ "id": query["id"], "at": micros() });
                let _ = sender.send_event("bench/go", &data).await;
                micros().to_string()
            }),
        )
        .route(
            "/late",
            get(async move || {
                let mut late = late.lock();
                let answer = json!([late.len(), late.value_at_quantile(0.5), late.value_at_quantile(0.99), late.max()]);
                late.reset();
                Json(answer)
            }),
        )
        .route("/wait", onward.proxy());
    onward.serve(address, app).await.expect("the server serves");
}

/// Starts it in a process of its own.
pub(crate) async fn start(directory: &Path) -> Process {
    let process = Process::ours("serve", &[&directory.to_string_lossy()]);
    process.listens().await;
    process
}
