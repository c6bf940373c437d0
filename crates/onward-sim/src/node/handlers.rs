//! The endpoints: each exercises one thing that must survive.

use axum::{Json, Router, extract::State, routing::post};
use bytes::Bytes;
use onward::{Onward, Options, Step, StepError};
use serde::Deserialize;

use super::{App, traced::Traced};
use crate::order::{Order, Output, Receipt};

type Answer = Result<Json<Receipt>, StepError>;

pub(super) fn routes(onward: &Onward) -> Router<App> {
    Router::new()
        .merge(onward.route("/steps", post(steps)))
        .merge(onward.route("/flaky", post(flaky)))
        .merge(onward.route("/hopeless", post(hopeless)))
        .merge(onward.route("/nap", post(nap)))
        .merge(onward.route("/event", post(event)))
        .merge(onward.route("/late", post(late)))
        .merge(onward.route("/pair", post(pair)))
        .merge(onward.route("/group", post(group)))
        .merge(onward.route("/signal", post(signal)))
        .merge(onward.route("/parent", post(parent)))
        .merge(onward.route("/child", post(child)))
        .merge(onward.route("/stream", post(stream)))
        .merge(onward.route("/money", post(money)))
        .merge(onward.endpoint().options(Options::default().crashes_max(CRASHES_MAX)).route("/fatal", post(fatal)))
        .merge(onward.route("/blocking", post(blocking)))
}

/// How often a run may take its process down until it fails.
pub(crate) const CRASHES_MAX: u32 = 2;

#[derive(Deserialize)]
struct Sent {
    number: u32,
}

fn receipt(traced: &Traced, order: Order, outputs: Vec<Output>, came: Vec<String>) -> Json<Receipt> {
    Json(Receipt { op: order.op, run: traced.run().to_owned(), outputs, came })
}

async fn steps(State(app): State<App>, step: Step, Json(order): Json<Order>) -> Answer {
    let traced = Traced::enter(&app, step, &order);
    let outputs = vec![traced.work("0-a").await?, traced.work("1-b").await?, traced.work("2-c").await?];
    Ok(receipt(&traced, order, outputs, Vec::new()))
}

async fn flaky(State(app): State<App>, step: Step, Json(order): Json<Order>) -> Answer {
    let traced = Traced::enter(&app, step, &order);
    let outputs =
        vec![traced.work("0-a").await?, traced.work_after("1-b", order.fails).await?, traced.work("2-c").await?];
    Ok(receipt(&traced, order, outputs, Vec::new()))
}

async fn hopeless(State(app): State<App>, step: Step, Json(order): Json<Order>) -> Answer {
    let traced = Traced::enter(&app, step, &order);
    let outputs = vec![traced.work("0-a").await?, traced.fail("1-b").await?];
    Ok(receipt(&traced, order, outputs, Vec::new()))
}

async fn nap(State(app): State<App>, step: Step, Json(order): Json<Order>) -> Answer {
    let traced = Traced::enter(&app, step, &order);
    let before = traced.work("0-before").await?;
    traced.step.sleep("nap", std::time::Duration::from_millis(order.nap_ms)).await?;
    let after = traced.work("1-after").await?;
    Ok(receipt(&traced, order, vec![before, after], Vec::new()))
}

/// What came of a wait without a timeout.
fn came(event: Option<onward::Event<Sent>>) -> Result<String, StepError> {
    let event = event.ok_or_else(|| StepError::fail("a wait without an end has timed out"))?;
    Ok(format!("{} {}", event.id, event.data.number))
}

async fn event(State(app): State<App>, step: Step, Json(order): Json<Order>) -> Answer {
    let traced = Traced::enter(&app, step, &order);
    let before = traced.work("0-a").await?;
    let event = traced.step.wait_for_event("wait", "sim/event").equal_to("data.op", &order.op).since_start().await?;
    let after = traced.work("1-b").await?;
    Ok(receipt(&traced, order, vec![before, after], vec![came(event)?]))
}

async fn late(State(app): State<App>, step: Step, Json(order): Json<Order>) -> Answer {
    let traced = Traced::enter(&app, step, &order);
    let before = traced.work("0-a").await?;
    let event =
        traced.step.wait_for_event("wait", "sim/event").when(format!("async.data.op == '{}'", order.op)).await?;
    let after = traced.work("1-b").await?;
    Ok(receipt(&traced, order, vec![before, after], vec![came(event)?]))
}

async fn pair(State(app): State<App>, step: Step, Json(order): Json<Order>) -> Answer {
    let traced = Traced::enter(&app, step, &order);
    let before = traced.work("0-a").await?;
    let mut both = Vec::new();
    for _ in 0..2 {
        let wait = traced.step.wait_for_event("wait", "sim/event").equal_to("data.op", &order.op).since_start();
        both.push(came(wait.await?)?);
    }
    let after = traced.work("1-b").await?;
    Ok(receipt(&traced, order, vec![before, after], both))
}

async fn group(State(app): State<App>, step: Step, Json(order): Json<Order>) -> Answer {
    let traced = Traced::enter(&app, step, &order);
    let before = traced.work("0-a").await?;
    let event = traced.step.wait_for_event("wait", "sim/group").matching("data.group").since_start().await?;
    let after = traced.work("1-b").await?;
    Ok(receipt(&traced, order, vec![before, after], vec![came(event)?]))
}

async fn signal(State(app): State<App>, step: Step, Json(order): Json<Order>) -> Answer {
    let traced = Traced::enter(&app, step, &order);
    let before = traced.work("0-a").await?;
    let number: Option<u32> = traced.step.wait_for_signal("wait", &order.op).await?;
    let number = number.ok_or_else(|| StepError::fail("a wait without an end has timed out"))?;
    let after = traced.work("1-b").await?;
    Ok(receipt(&traced, order, vec![before, after], vec![number.to_string()]))
}

async fn parent(State(app): State<App>, step: Step, Json(order): Json<Order>) -> Answer {
    let traced = Traced::enter(&app, step, &order);
    let before = traced.work("0-a").await?;
    let of_child = Order { op: format!("{}/child", order.op), nap_ms: 30, ..order.clone() };
    let body = Bytes::from(serde_json::to_vec(&of_child).map_err(StepError::fail)?);
    let request = http::Request::post("/child").header("content-type", "application/json").body(body);
    let response = traced.step.invoke("child", "POST /child", request.map_err(StepError::fail)?).await?;
    let after = traced.work("1-b").await?;
    let came = String::from_utf8_lossy(response.body()).into_owned();
    Ok(receipt(&traced, order, vec![before, after], vec![came]))
}

async fn child(State(app): State<App>, step: Step, Json(order): Json<Order>) -> Answer {
    let traced = Traced::enter(&app, step, &order);
    let first = traced.work("0-a").await?;
    traced.step.sleep("nap", std::time::Duration::from_millis(order.nap_ms)).await?;
    let last = traced.work("1-b").await?;
    Ok(receipt(&traced, order, vec![first, last], Vec::new()))
}

async fn stream(State(app): State<App>, step: Step, Json(order): Json<Order>) -> Answer {
    let traced = Traced::enter(&app, step, &order);
    traced.step.stream().push("first");
    let outputs = vec![traced.stream("0-a", 4, order.fails).await?, traced.stream("1-b", 5, 0).await?];
    traced.step.sleep("nap", std::time::Duration::from_millis(order.nap_ms)).await?;
    traced.step.stream().push("last");
    let last = traced.work("2-c").await?;
    Ok(receipt(&traced, order, [outputs, vec![last]].concat(), Vec::new()))
}

async fn money(State(app): State<App>, step: Step, Json(order): Json<Order>) -> Answer {
    let traced = Traced::enter(&app, step, &order);
    let outputs = vec![traced.work("0-a").await?, traced.transact("1-money").await?, traced.work("2-c").await?];
    Ok(receipt(&traced, order, outputs, Vec::new()))
}

async fn fatal(State(app): State<App>, step: Step, Json(order): Json<Order>) -> Answer {
    let traced = Traced::enter(&app, step, &order);
    let outputs = vec![traced.work("0-a").await?, traced.die("1-fatal").await?];
    Ok(receipt(&traced, order, outputs, Vec::new()))
}

async fn blocking(State(app): State<App>, step: Step, Json(order): Json<Order>) -> Answer {
    let traced = Traced::enter(&app, step, &order);
    let outputs = vec![traced.work("0-a").await?, traced.block("1-block").await?, traced.work("2-c").await?];
    Ok(receipt(&traced, order, outputs, Vec::new()))
}
