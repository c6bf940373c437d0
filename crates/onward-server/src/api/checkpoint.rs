//! What endpoints report while their client's own request executes a run. Answered when it is durable.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{Path, Request, State},
    response::Response,
};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use onward_core::{
    RunId, Timestamp,
    run::{NewRun, Status},
};
use onward_protocol::sdk::{
    checkpoint::{Checkpoint, parse_checkpoint, parse_steps},
    op::Op,
};
use serde_json::json;

use super::{Engine, authorize, json, read, refusal::Refusal, refused, run_id};
use crate::{
    live::{Live, NotTaken, knows_all},
    peers::{Passing, REPORT_TIMEOUT},
    record::{Origin, Target, from_millis},
    shared::Shared,
};

/// How many retries a run has that does not say.
const RETRIES_DEFAULT: u32 = 3;
/// How long a report waits for its run to be claimed, after a restart.
const CLAIM_WAIT: Duration = Duration::from_secs(3);
/// How often it is looked whether another engine has claimed it.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How far an endpoint's clock may be behind before its time of a request is not believed.
const BEHIND_MAX: Duration = Duration::from_secs(3600);

/// `POST /v1/checkpoint`: begins a run. The same again is the same run.
pub(super) async fn first(State(shared): Engine, request: Request) -> Result<Response, Refusal> {
    authorize(&shared, request.headers())?;
    let (is_base64, traceparent) = (is_base64(request.headers()), traceparent(request.headers()));
    let (request, passing) = passing(request);
    let limits = shared.options.limits;
    let (body, _share) = read(&shared, request, limits.checkpoint_bytes).await?;
    let checkpoint =
        parse_checkpoint(&body, limits.steps, is_base64).map_err(|invalid| Refusal::malformed(&invalid.to_string()))?;
    let Checkpoint { run_id, event, request_version, retries, ops } = checkpoint;
    let run_id = RunId::from_bytes(run_id);
    let Some(event) = event else { return Err(Refusal::malformed("the checkpoint has no event")) };
    check(&shared, &event)?;
    let (endpoint, app) = (shared.names.of(&event), event.domain.clone());
    let now = shared.clock.now();
    let created_at = created_at(run_id, now);
    let target = Target::Endpoint { request: event, version: request_version };
    let retries = retries.unwrap_or(RETRIES_DEFAULT);
    let origin = Origin::new(run_id.to_string(), created_at.as_millis(), retries, target).traced(traceparent);
    let new = NewRun {
        run_id,
        endpoint: endpoint.clone(),
        version: None,
        pinned: false,
        created_at,
        request: origin.encode(),
        timeout_at: None,
        retention: shared.options.retention,
        key: None,
        parent: None,
    };
    let passing = Report { passing, body };
    if let Some(answer) = report(&shared, run_id, Some((new, origin)), ops, &passing).await? {
        return Ok(answer);
    }
    let token = shared.token(run_id);
    let data = json!({
        "fn_id": endpoint.as_str(),
        "app_id": if app.is_empty() { "-" } else { &app },
        "run_id": run_id.to_string(),
        "realtime_token": format!("{run_id}.{token}"),
        "token": token,
    });
    Ok(json(&json!({ "data": data })))
}

/// `POST /v1/checkpoint/{run}/steps`: more of a run.
pub(super) async fn steps(
    State(shared): Engine,
    Path(run): Path<String>,
    request: Request,
) -> Result<Response, Refusal> {
    authorize(&shared, request.headers())?;
    let run_id = run_id(&run)?;
    let limits = shared.options.limits;
    let (request, passing) = passing(request);
    let (body, _share) = read(&shared, request, limits.checkpoint_bytes).await?;
    let ops = parse_steps(&body, limits.steps).map_err(|invalid| Refusal::malformed(&invalid.to_string()))?;
    let answer = report(&shared, run_id, None, ops, &Report { passing, body }).await?;
    Ok(answer.unwrap_or_else(|| json(&json!({ "data": {} }))))
}

/// A report as it came: another engine may be the one to take it.
struct Report {
    passing: Passing,
    body: Bytes,
}

fn passing(request: Request) -> (Request, Passing) {
    let (parts, body) = request.into_parts();
    let passing = Passing::of(&parts);
    (Request::from_parts(parts, body), passing)
}

/// Whether the endpoint may be called again: a run that cannot go on should not begin.
fn check(shared: &Shared, event: &onward_protocol::sdk::checkpoint::HttpRequestEvent) -> Result<(), Refusal> {
    let url = reqwest::Url::parse(&event.domain);
    let url = url.map_err(|_| Refusal::malformed("event.data.domain is not an origin: set INNGEST_SERVE_ORIGIN"))?;
    let reach = shared.caller.reach();
    reach.check(&url).map_err(|refused| Refusal::new(StatusCode::FORBIDDEN, &reach.explain(&url, refused)))
}

/// Takes a report, and counts it. It gives the answer of the engine that took it, where that is another.
async fn report(
    shared: &Arc<Shared>,
    run_id: RunId,
    first: Option<(NewRun, Origin)>,
    ops: Vec<Op>,
    report: &Report,
) -> Result<Option<Response>, Refusal> {
    let began = tokio::time::Instant::now();
    let taken = take(shared, run_id, first, ops, report).await;
    shared.metrics.checkpoint(if taken.is_ok() { "taken" } else { "refused" }, began.elapsed());
    taken
}

/// Takes a report, wherever its run is.
async fn take(
    shared: &Arc<Shared>,
    run_id: RunId,
    first: Option<(NewRun, Origin)>,
    ops: Vec<Op>,
    report: &Report,
) -> Result<Option<Response>, Refusal> {
    let until = tokio::time::Instant::now() + CLAIM_WAIT;
    loop {
        if let Some(live) = shared.live.get(run_id) {
            match live.report(ops.clone()).await {
                Ok(()) => return Ok(None),
                Err(NotTaken::Ended(status)) => return Err(over(status)),
                Err(NotTaken::Full) => return Err(full()),
                Err(NotTaken::Unavailable) => return Err(Refusal::unavailable()),
                Err(NotTaken::Elsewhere) => {}
            }
        }
        let stored = shared.store.load(run_id).await.map_err(|error| refused(&error))?;
        let Some(loaded) = stored else {
            let Some((new, origin)) = first else {
                return Err(Refusal::new(StatusCode::NOT_FOUND, "there is no such run"));
            };
            return match Live::begin(shared, new, origin, ops).await {
                Ok(()) => Ok(None),
                Err(NotTaken::Ended(status)) => Err(over(status)),
                Err(NotTaken::Full) => Err(full()),
                Err(NotTaken::Elsewhere | NotTaken::Unavailable) => Err(Refusal::unavailable()),
            };
        };
        let plan = shared.stored_plan(&loaded.journal);
        if knows_all(&plan, &ops, loaded.record.status.is_final()) {
            return Ok(None);
        }
        if loaded.record.status.is_final() {
            return Err(over(loaded.record.status));
        }
        if let Some(node) = loaded.record.node {
            let body = report.body.clone().into();
            if let Some(answer) = report.passing.pass_on(shared, node, body, Some(REPORT_TIMEOUT)).await {
                return Ok(Some(answer));
            }
        }
        // It is about to be claimed, unless it waits for long: then what is reported comes too late.
        let left = until.saturating_duration_since(tokio::time::Instant::now());
        let look = if shared.store.is_shared() { LOOK_EVERY } else { CLAIM_WAIT };
        let came = shared.live.wait_for(run_id, left.min(look)).await.is_some();
        if !came && left <= look {
            return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the run is not under way here: try again"));
        }
    }
}

fn full() -> Refusal {
    let text = "the runs under way have the memory that they may have: try again (--limit-runs-bytes)";
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, text)
}

fn over(status: Status) -> Refusal {
    Refusal::new(StatusCode::GONE, &format!("the run is {}: nothing more of it is recorded", status.as_str()))
}

/// When a request arrived, as its endpoint says, unless that is not to be believed.
fn created_at(run_id: RunId, now: Timestamp) -> Timestamp {
    let millis = i64::from_be_bytes({
        let mut bytes = [0; 8];
        bytes[2..].copy_from_slice(&run_id.to_bytes()[..6]);
        bytes
    });
    let at = from_millis(millis);
    if at > now || now.since(at) > BEHIND_MAX { now } else { at }
}

/// The SDK for Go sends the request's body in base64, that for JavaScript as text.
fn is_base64(headers: &HeaderMap) -> bool {
    let sdk = headers.get("x-inngest-sdk").and_then(|sdk| sdk.to_str().ok());
    sdk.is_some_and(|sdk| !sdk.starts_with("inngest-js:"))
}

/// The trace that the endpoint's own request belongs to, in the form of the W3C's recommendation.
fn traceparent(headers: &HeaderMap) -> Option<String> {
    let value = headers.get("traceparent")?.to_str().ok()?;
    let hex = |part: &str, len| part.len() == len && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    let mut parts = value.split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    (hex(version, 2) && hex(trace, 32) && hex(span, 16) && hex(flags, 2)).then(|| value.to_owned())
}
