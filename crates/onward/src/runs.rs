//! Runs from Rust: list, look at, cancel, retry, delete.

mod http;

use std::{
    collections::BTreeMap,
    fmt,
    time::{Duration, SystemTime},
};

use ::http::Response;
use bytes::Bytes;
use onward_core::{
    EndpointId, RunId, StoreError, Timestamp,
    journal::{Change, Entry},
    run::{Outcome, RunRecord, Status, machine::Machine},
    step::StepKind,
    store::{Control, Loaded, RunFilter},
};
use onward_host::operate;
use onward_scheduler::head;
use serde::Serialize;

use crate::{
    Error, Onward, StepError,
    context::blocked::Missing,
    error::chain,
    record::{self, KeptRequest},
};

/// The runs of an app: see [`Onward::runs`].
///
/// # Example
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), onward::Error> {
/// # use onward::{Onward, RunQuery, RunStatus};
/// # let onward = Onward::open("memory:").await?;
/// for run in onward.runs().list(RunQuery::new().status(RunStatus::Failed)).await?.runs {
///     let run_id = run.run_id.parse().expect("it is listed under its id");
///     if let Some(run) = onward.runs().get(run_id).await? {
///         println!("{} failed: {:?}", run.summary.endpoint, run.error);
///     }
///     onward.runs().retry(run_id).await?; // or `delete`; `cancel` for one that goes on
/// }
/// # onward.shutdown().await }
/// ```
#[derive(Clone, Debug)]
pub struct Runs<'a>(&'a Onward);

/// Which runs to list: all, or those that every given condition lets through. Newest first.
///
/// # Example
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), onward::Error> {
/// # let onward = onward::Onward::open("memory:").await?;
/// use onward::{RunQuery, RunStatus};
///
/// let failed = RunQuery::new().status(RunStatus::Failed).endpoint("POST /pay").limit(20);
/// let page = onward.runs().list(failed).await?;
/// assert!(page.runs.is_empty() && page.next.is_none());
/// # onward.shutdown().await }
/// ```
#[derive(Clone, Debug)]
pub struct RunQuery {
    filter: RunFilter,
    endpoint: Option<String>,
}

/// Where a run stands.
pub type RunStatus = Status;

/// A run as it is listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RunSummary {
    /// Its id.
    pub run_id: String,
    /// The id of its endpoint.
    pub endpoint: String,
    /// The version of its endpoint that it was started with, where that had one.
    pub version: Option<String>,
    /// Whether that version alone may go on with it.
    pub pinned: bool,
    /// Where it stands.
    pub status: &'static str,
    /// When its request arrived.
    pub created_at: SystemTime,
    /// When it ended.
    pub finished_at: Option<SystemTime>,
    /// The cause for which its record cannot be read: it is damaged, a newer release wrote it, or it is encrypted with a key
    /// that was not given. [`Runs::get`] looks for itself; a list tells what this node has met as it tried to go on with the
    /// run. Such a run rests between two attempts, for a second and later for up to five minutes; [`Runs::cancel`] and
    /// [`Runs::delete`] end it, and so does its timeout.
    pub unreadable: Option<String>,
}

/// A page of runs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RunPage {
    /// The runs, newest first.
    pub runs: Vec<RunSummary>,
    /// What [`RunQuery::before`] takes for the next page; `None` on the last.
    pub next: Option<RunId>,
}

/// A run with its steps.
#[non_exhaustive]
pub struct RunDetail {
    /// The run.
    pub summary: RunSummary,
    /// Its steps, in the order in which they were first recorded.
    pub steps: Vec<StepDetail>,
    /// The response that who waits gets, once it has ended.
    pub response: Option<Response<Bytes>>,
    /// Why it failed, where it did.
    pub error: Option<StepError>,
    /// Why it does not go on, where its handler cannot go on with its journal.
    pub blocked: Option<BlockedDetail>,
    /// How often in a row the process that executed it ended without the run getting further.
    pub crashes: u32,
}

/// Why a run does not go on: see [`Options::blocked_for`](crate::Options::blocked_for).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct BlockedDetail {
    /// Since when.
    pub since: SystemTime,
    /// The id of the step at which the handler cannot go on; the name of a carried value that cannot be restored.
    pub step: String,
    /// What is wrong.
    pub why: String,
}

impl fmt::Debug for RunDetail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunDetail").field("summary", &self.summary).field("steps", &self.steps).finish_non_exhaustive()
    }
}

/// What the journal says of a step.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct StepDetail {
    /// Its id, with its index where the id was used again: `item:1`.
    pub id: String,
    /// What kind of operation it is.
    pub kind: &'static str,
    /// `retrying`, `waiting`, `succeeded`, `failed` or `reset`.
    pub status: &'static str,
    /// How many attempts are recorded.
    pub attempts: u32,
    /// What it waits for: an event's or signal's name, the invoked run's id.
    pub subject: Option<String>,
    /// When it is due: the end of its wait, or its next attempt.
    pub due_at: Option<SystemTime>,
    /// When its last change was recorded.
    pub at: SystemTime,
    /// Its output as it is kept (JSON; of an invoked run its stored response).
    #[serde(skip)]
    pub output: Option<Bytes>,
    /// What its last error says.
    pub error: Option<String>,
}

impl fmt::Debug for StepDetail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StepDetail")
            .field("id", &self.id)
            .field("kind", &self.kind)
            .field("status", &self.status)
            .field("attempts", &self.attempts)
            .finish_non_exhaustive()
    }
}

impl Default for RunQuery {
    fn default() -> Self {
        Self::new()
    }
}

impl RunQuery {
    /// All runs, 50 a page.
    pub fn new() -> Self {
        Self { filter: RunFilter { limit: 50, ..RunFilter::default() }, endpoint: None }
    }

    /// Only those of this status; given again, those of either.
    pub fn status(mut self, status: RunStatus) -> Self {
        self.filter.statuses.push(status);
        self
    }

    /// Only those of the endpoint of this id.
    pub fn endpoint(mut self, id: impl Into<String>) -> Self {
        self.endpoint = Some(id.into());
        self
    }

    /// Only those whose request arrived then or later.
    pub fn created_from(mut self, from: SystemTime) -> Self {
        self.filter.created_from = Some(timestamp(from));
        self
    }

    /// Only those whose request arrived before.
    pub fn created_before(mut self, before: SystemTime) -> Self {
        self.filter.created_before = Some(timestamp(before));
        self
    }

    /// Goes on where a page ended.
    pub fn before(mut self, next: RunId) -> Self {
        self.filter.before = Some(next);
        self
    }

    /// How many a page has, 1 to 1,000.
    pub fn limit(mut self, runs: usize) -> Self {
        self.filter.limit = runs.clamp(1, 1000);
        self
    }
}

impl Onward {
    /// The runs of this app's store.
    pub fn runs(&self) -> Runs<'_> {
        Runs(self)
    }
}

impl Runs<'_> {
    /// A page of runs. A run whose handler took no step is not stored and not listed.
    pub async fn list(&self, query: RunQuery) -> Result<RunPage, Error> {
        let mut filter = query.filter;
        if let Some(id) = query.endpoint {
            filter.endpoint = Some(EndpointId::try_new(id).map_err(|error| Error::invalid(error.to_string()))?);
        }
        let page = self.0.0.store.runs(filter).await?;
        let now = self.0.0.clock.now();
        let unreadable = |record: &RunRecord| {
            if record.status.is_final() { None } else { self.0.0.unreadable.cause(record.run_id, now) }
        };
        let runs =
            page.runs.iter().map(|record| RunSummary { unreadable: unreadable(record), ..summary(record) }).collect();
        Ok(RunPage { runs, next: page.next })
    }

    /// A run with its steps; `None` where there is none, or no longer. Of a run whose record cannot be read, the summary
    /// alone, with the [cause](RunSummary::unreadable).
    pub async fn get(&self, run_id: RunId) -> Result<Option<RunDetail>, Error> {
        let store = &*self.0.0.store;
        let loaded = match store.load(run_id).await {
            Ok(Some(loaded)) => loaded,
            Ok(None) => return Ok(None),
            Err(error @ StoreError::Corrupt(_)) => {
                return Ok(head(store, run_id).await?.map(|record| unreadable(&record, &error)));
            }
            Err(error) => return Err(error.into()),
        };
        let outcome = loaded.record.outcome.as_ref();
        let request = KeptRequest::read(&loaded.record.request).map(drop);
        let response = outcome.map(|outcome| record::response_of(run_id, outcome)).transpose();
        let invalid = request.err().or(response.as_ref().err().copied());
        Ok(Some(RunDetail {
            summary: RunSummary { unreadable: invalid.map(|error| error.to_string()), ..summary(&loaded.record) },
            steps: steps(&loaded.journal),
            response: response.ok().flatten(),
            error: outcome
                .filter(|outcome| outcome.status == Status::Failed && !outcome.error.is_empty())
                .map(|outcome| StepError::from_payload(&outcome.error)),
            blocked: blocked(&loaded).filter(|_| outcome.is_none()),
            crashes: loaded.crashes.count,
        }))
    }

    /// Cancels a run. Who waits for it gets a `409` problem; a step that is running is dropped, and nothing of the
    /// run is written any more.
    ///
    /// # Errors
    /// `is_not_found`, or `is_wrong_status` where it has ended already.
    pub async fn cancel(&self, run_id: RunId) -> Result<(), Error> {
        let shared = &self.0.0;
        let response = record::encode_response(&record::cancelled(run_id));
        let outcome = Outcome { status: Status::Cancelled, response, error: onward_core::Payload::default() };
        let woken = shared.store.control(run_id, Control::Cancel(outcome.clone()), shared.clock.now()).await?;
        shared.unreadable.forget(run_id);
        shared.hub.cancel(run_id);
        shared.hub.finish(run_id, std::sync::Arc::new(outcome));
        shared.scheduler.woken(&woken);
        Ok(())
    }

    /// Makes a failed run go on from the step that failed it; what succeeded before stays, and so does a failure that
    /// the handler had handled. The step, or the handler, has all its attempts again, and the run its whole timeout.
    /// Its waits for events and signals begin anew.
    ///
    /// # Errors
    /// `is_not_found`, or `is_wrong_status` where it has not failed.
    pub async fn retry(&self, run_id: RunId) -> Result<(), Error> {
        let shared = &self.0.0;
        let Loaded { record, journal, .. } = shared.store.load(run_id).await?.ok_or(StoreError::RunNotFound)?;
        // What cannot be read names no step: the handler goes on from the start of its journal.
        let step = record.outcome.as_ref().and_then(|outcome| operate::failed_step(outcome, &journal).ok()?);
        let now = shared.clock.now();
        let endpoint = shared.endpoints.goes_on_with(&record);
        let timeout = match endpoint.or_else(|| shared.endpoints.newest(record.endpoint.as_str())) {
            Some(endpoint) => endpoint.options.timeout,
            // Another node has it: as long as the run had.
            None => record.timeout_at.map(|at| at.since(record.created_at)),
        };
        let timeout_at = timeout.map(|timeout| now.after(timeout));
        let woken = shared.store.control(run_id, Control::Retry { step, timeout_at }, now).await?;
        shared.scheduler.woken(&woken);
        Ok(())
    }

    /// Removes an ended run with all that belongs to it; its idempotency key is free again.
    ///
    /// # Errors
    /// `is_not_found`, or `is_wrong_status` where it has not ended.
    pub async fn delete(&self, run_id: RunId) -> Result<(), Error> {
        let shared = &self.0.0;
        shared.store.control(run_id, Control::Delete, shared.clock.now()).await?;
        shared.unreadable.forget(run_id);
        Ok(())
    }
}

fn timestamp(time: SystemTime) -> Timestamp {
    Timestamp::EPOCH.after(time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
}

fn time(at: Timestamp) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_micros(u64::try_from(at.as_micros()).unwrap_or(0))
}

fn summary(record: &RunRecord) -> RunSummary {
    RunSummary {
        run_id: record.run_id.to_string(),
        endpoint: record.endpoint.as_str().to_owned(),
        version: record.version.as_ref().map(ToString::to_string),
        pinned: record.pinned,
        status: record.status.as_str(),
        created_at: time(record.created_at),
        finished_at: record.finished_at.map(time),
        unreadable: None,
    }
}

/// A run of which the store knows no more than what a list shows.
fn unreadable(record: &RunRecord, error: &StoreError) -> RunDetail {
    let summary = RunSummary { unreadable: Some(chain(error)), ..summary(record) };
    RunDetail { summary, steps: Vec::new(), response: None, error: None, blocked: None, crashes: 0 }
}

/// Why a run does not go on, by the last that its journal says of its handler.
fn blocked(loaded: &Loaded) -> Option<BlockedDetail> {
    let last = loaded.journal.iter().rev().find(|entry| entry.change != Change::LetGo)?;
    let Change::Blocked { step, cause } = &last.change else { return None };
    let why = Missing { step: step.clone(), cause: *cause }.text();
    let since = Machine::replay(&loaded.journal).blocked().map_or(last.at, |blocked| blocked.since);
    Some(BlockedDetail { since: time(since), step: step.clone(), why })
}

/// What a journal says of each step, by its last entry.
fn steps(journal: &[Entry]) -> Vec<StepDetail> {
    let mut places = BTreeMap::new();
    let mut steps: Vec<StepDetail> = Vec::new();
    for entry in journal.iter().filter(|entry| !matches!(entry.change, Change::Blocked { .. })) {
        let place = *places.entry((entry.kind == StepKind::Handler, entry.key())).or_insert_with(|| {
            steps.push(StepDetail {
                id: entry.step.to_string(),
                kind: entry.kind.as_str(),
                status: "",
                attempts: 0,
                subject: None,
                due_at: None,
                at: time(entry.at),
                output: None,
                error: None,
            });
            steps.len() - 1
        });
        apply(&mut steps[place], entry);
    }
    steps
}

fn apply(step: &mut StepDetail, entry: &Entry) {
    if matches!(entry.change, Change::LetGo | Change::Blocked { .. }) {
        return; // what was recorded of the step before stays
    }
    step.at = time(entry.at);
    step.due_at = None;
    match &entry.change {
        Change::AttemptFailed { attempt, error, retry_at } => {
            step.status = "retrying";
            step.attempts = attempt.0;
            step.due_at = Some(time(*retry_at));
            step.error = Some(StepError::from_payload(error).message().to_owned());
        }
        Change::Waiting { until, subject } => {
            step.status = "waiting";
            step.due_at = until.map(time);
            step.subject = Some(subject.clone()).filter(|subject| !subject.is_empty());
        }
        Change::Succeeded { attempt, output } => {
            step.status = "succeeded";
            step.attempts = attempt.0;
            step.output = Some(output.bytes().clone());
            step.error = None;
        }
        Change::Failed { attempt, error } => {
            step.status = "failed";
            step.attempts = attempt.0;
            step.error = Some(StepError::from_payload(error).message().to_owned());
        }
        Change::Reset => step.status = "reset",
        Change::LetGo | Change::Blocked { .. } => {}
    }
}
