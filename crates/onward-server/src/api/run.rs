//! Runs, for operators: listed, shown, cancelled, tried again.

use std::collections::BTreeMap;

use axum::{
    extract::{Path, State},
    response::Response,
};
use http::{HeaderMap, StatusCode};
use onward_core::{
    EndpointId, Payload, RunId, StepKey, Store, StoreError, Timestamp,
    journal::{Change, Entry},
    run::{Outcome, RunRecord, Status},
    step::StepKind,
    store::{Control, Loaded, RunFilter, RunPage},
};
use onward_host::operate;
use onward_scheduler::head;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Engine, authorize, json, output::public, query::Query, refusal::Refusal, refused, run_id};
use crate::{
    live::NotTaken,
    plan::wire,
    record::{Answer, Origin, Unreadable, cancelled, chain},
    shared::Shared,
};

/// How many runs a page has.
const PAGE: usize = 50;
const PAGE_MAX: usize = 500;

#[derive(Debug, Default, Deserialize)]
pub(crate) struct Filter {
    pub(crate) status: Option<String>,
    pub(crate) endpoint: Option<String>,
    pub(crate) before: Option<String>,
    pub(crate) limit: Option<usize>,
}

/// `GET /v1/runs`: newest first.
pub(super) async fn list(
    State(shared): Engine,
    Query(asked): Query<Filter>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    authorize(&shared, &headers)?;
    let filter = asked.filter().map_err(|invalid| Refusal::malformed(&invalid))?;
    let page = shared.store.runs(filter).await.map_err(|error| refused(&error))?;
    let mut page_of_runs = page_of(&page);
    let now = shared.clock.now();
    for (run, record) in page_of_runs["data"].as_array_mut().into_iter().flatten().zip(&page.runs) {
        if let Some(cause) = shared.unreadable.cause(record.run_id, now).filter(|_| !record.status.is_final()) {
            run["unreadable"] = cause.into();
        }
    }
    Ok(json(&page_of_runs))
}

impl Filter {
    pub(crate) fn filter(self) -> Result<RunFilter, String> {
        let statuses = self.status.as_deref().map_or(Ok(Vec::new()), statuses)?;
        let endpoint = self.endpoint.map(EndpointId::try_new).transpose().map_err(|invalid| invalid.to_string())?;
        let before = self.before.as_deref().map(str::parse).transpose().map_err(|_| "before is not the id of a run")?;
        let limit = self.limit.unwrap_or(PAGE).clamp(1, PAGE_MAX);
        Ok(RunFilter { statuses, endpoint, before, limit, ..RunFilter::default() })
    }
}

/// A page of runs.
pub(crate) fn page_of(page: &RunPage) -> Value {
    let runs: Vec<_> = page.runs.iter().map(summary).collect();
    json!({ "data": runs, "next": page.next.map(|next| next.to_string()) })
}

fn statuses(text: &str) -> Result<Vec<Status>, String> {
    let mut found = Vec::new();
    for name in text.split(',').map(str::trim) {
        let before = found.len();
        found.extend(Status::ALL.into_iter().filter(|status| title(*status).eq_ignore_ascii_case(name)));
        if found.len() == before {
            return Err("status is one of running, completed, failed, cancelled".to_owned());
        }
    }
    Ok(found)
}

fn summary(record: &RunRecord) -> Value {
    json!({
        "run_id": record.run_id.to_string(),
        "endpoint": record.endpoint.as_str(),
        "status": title(record.status),
        "run_started_at": rfc3339(record.created_at),
        "ended_at": record.finished_at.map(rfc3339),
    })
}

/// A status as the original API tells it: a run that waits is running.
const fn title(status: Status) -> &'static str {
    match status {
        Status::Running | Status::Suspended => "Running",
        Status::Completed => "Completed",
        Status::Failed => "Failed",
        Status::Cancelled => "Cancelled",
    }
}

fn rfc3339(at: Timestamp) -> String {
    jiff::Timestamp::from_microsecond(at.as_micros()).map(|at| at.to_string()).unwrap_or_default()
}

/// `GET /v1/runs/{run}`: a run with its steps and, to who has the signing key, its output. Of a run whose record cannot be
/// read, what is known, and the cause as `unreadable`.
pub(super) async fn show(
    State(shared): Engine,
    Path(run): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    authorize(&shared, &headers)?;
    let run_id = run_id(&run)?;
    let loaded = match shared.store.load(run_id).await {
        Err(error @ StoreError::Corrupt(_)) => {
            let known = known(&*shared.store, run_id, &error).await.map_err(|error| refused(&error))?;
            return Ok(json(&json!({ "data": known })));
        }
        loaded => loaded.map_err(|error| refused(&error))?.ok_or_else(|| refused(&StoreError::RunNotFound))?,
    };
    let mut data = whole(&loaded);
    if let Err(error) = decoded(&loaded) {
        data["unreadable"] = error.to_string().into();
    }
    Ok(json(&json!({ "data": data })))
}

/// Whether the engine can read what made a run and what came of it.
fn decoded(loaded: &Loaded) -> Result<(), Unreadable> {
    Origin::decode(&loaded.record.request)?;
    match &loaded.record.outcome {
        Some(outcome) if outcome.status == Status::Completed => Answer::decode(outcome).map(drop),
        _ => Ok(()),
    }
}

/// What is known of a run whose record cannot be read, with the cause.
pub(crate) async fn known(store: &dyn Store, run_id: RunId, error: &StoreError) -> Result<Value, StoreError> {
    let mut data = summary(&head(store, run_id).await?.ok_or(StoreError::RunNotFound)?);
    data["unreadable"] = chain(error).into();
    Ok(data)
}

/// A run with its steps and its output.
pub(crate) fn whole(loaded: &Loaded) -> Value {
    let mut data = summary(&loaded.record);
    data["output"] = loaded.record.outcome.as_ref().map_or(Value::Null, output);
    data["steps"] = steps(&loaded.journal).into();
    data["last_error"] = last_error(&loaded.journal);
    data
}

fn output(outcome: &Outcome) -> Value {
    if outcome.status != Status::Completed {
        return json!({ "error": public(outcome) });
    }
    Answer::decode(outcome).ok().and_then(|answer| serde_json::from_str(answer.data.get()).ok()).unwrap_or_default()
}

/// What the handler failed with last, or why its endpoint was not reached, where nothing has come after that.
fn last_error(journal: &[Entry]) -> Value {
    match journal.last().map(|entry| (entry.kind, &entry.change)) {
        Some((StepKind::Handler, Change::AttemptFailed { error, .. } | Change::Failed { error, .. })) => message(error),
        _ => Value::Null,
    }
}

/// The steps of a journal, in the order in which they were first recorded.
fn steps(journal: &[Entry]) -> Vec<Value> {
    let mut places: BTreeMap<StepKey, usize> = BTreeMap::new();
    let mut steps: Vec<Value> = Vec::new();
    for entry in journal.iter().filter(|entry| entry.kind != StepKind::Handler) {
        let at = *places.entry(entry.key()).or_insert_with(|| {
            let id =
                if entry.step.name().starts_with('#') { wire(&entry.step).to_string() } else { entry.step.to_string() };
            steps.push(json!({ "id": id, "kind": entry.kind.as_str(), "attempts": 0 }));
            steps.len() - 1
        });
        let step = &mut steps[at];
        let (status, attempts, due_at) = match &entry.change {
            Change::AttemptFailed { attempt, retry_at, .. } => ("retrying", Some(attempt.0), Some(*retry_at)),
            Change::Waiting { until, .. } => {
                let status = if entry.kind == StepKind::Run { "planned" } else { "waiting" };
                (status, None, *until)
            }
            Change::Succeeded { attempt, .. } => ("succeeded", Some(attempt.0), None),
            Change::Failed { attempt, .. } => ("failed", Some(attempt.0), None),
            Change::Reset => ("reset", None, None),
            Change::LetGo | Change::Blocked { .. } => continue, // the library alone records these
        };
        step["status"] = status.into();
        step["at"] = rfc3339(entry.at).into();
        step["due_at"] = due_at.map(rfc3339).into();
        if let Some(attempts) = attempts {
            step["attempts"] = attempts.into();
        }
        if let Change::AttemptFailed { error, .. } | Change::Failed { error, .. } = &entry.change {
            step["error"] = message(error);
        }
    }
    steps
}

/// `DELETE /v1/runs/{run}`: cancels a run.
pub(super) async fn cancel(
    State(shared): Engine,
    Path(run): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    authorize(&shared, &headers)?;
    let run_id = run_id(&run)?;
    let outcome = cancelled();
    if let Some(live) = shared.live.get(run_id) {
        match live.finish(outcome.clone()).await {
            Ok(()) => return Ok(no_content()),
            Err(NotTaken::Ended(status)) => {
                return Err(Refusal::new(StatusCode::CONFLICT, &format!("the run is {}", status.as_str())));
            }
            Err(NotTaken::Full | NotTaken::Unavailable) => return Err(Refusal::unavailable()),
            Err(NotTaken::Elsewhere) => {}
        }
    }
    control(&shared, run_id, Control::Cancel(outcome.clone())).await?;
    shared.unreadable.forget(run_id);
    tracing::info!(target: "onward::run", %run_id, status = "cancelled", "run ended");
    shared.metrics.run_finished(Status::Cancelled.as_str());
    shared.hub.cancel(run_id);
    shared.hub.finish(run_id, std::sync::Arc::new(outcome));
    Ok(no_content())
}

/// `POST /v1/runs/{run}/retry`: a failed run goes on from what failed it.
pub(super) async fn retry(
    State(shared): Engine,
    Path(run): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    authorize(&shared, &headers)?;
    let run_id = run_id(&run)?;
    let loaded = load(&shared, run_id).await?;
    let step = loaded.record.outcome.as_ref().and_then(|outcome| operate::failed_with(outcome, &loaded.journal));
    control(&shared, run_id, Control::Retry { step, timeout_at: None }).await?;
    Ok(no_content())
}

/// What an error says; null where it says nothing.
fn message(error: &Payload) -> Value {
    let error: Value = serde_json::from_slice(error.as_ref()).unwrap_or_default();
    error.get("message").cloned().unwrap_or_default()
}

async fn load(shared: &Shared, run_id: RunId) -> Result<Loaded, Refusal> {
    let loaded = shared.store.load(run_id).await.map_err(|error| refused(&error))?;
    loaded.ok_or_else(|| refused(&StoreError::RunNotFound))
}

async fn control(shared: &Shared, run_id: RunId, control: Control) -> Result<(), Refusal> {
    let woken = shared.store.control(run_id, control, shared.clock.now()).await.map_err(|error| refused(&error))?;
    shared.scheduler.woken(&woken);
    Ok(())
}

fn no_content() -> Response {
    let mut response = Response::new(axum::body::Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}
