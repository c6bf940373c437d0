//! The run API over HTTP: for operators, behind an authentication of the app's own.

use std::time::SystemTime;

use bytes::Bytes;
use http::{Method, Response, StatusCode, Uri};
use onward_core::{RunId, run::Status};
use onward_protocol::{
    location::query_pairs,
    problem::{Code, Problem, Public},
    run::{BlockedInfo, RunDetails, RunInfo, RunList, StepInfo},
};

use super::{RunDetail, RunQuery, RunSummary, StepDetail, timestamp};
use crate::{
    Error, Onward,
    events::{json, method_not_allowed},
};

impl Onward {
    /// Answers a request to the run API, for apps that route by hand; [`Onward::runs_api`] is it as an axum router.
    ///
    /// `path` is what follows the place where it is mounted: `""` (`GET`: a page of runs, by `status`, `endpoint`,
    /// `limit` and `before`), `/{id}` (`GET`: a run with its steps; `DELETE`), `/{id}/cancel` and `/{id}/retry`
    /// (`POST`). Whoever reaches it is an operator: put your authentication in front.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), onward::Error> {
    /// # let onward = onward::Onward::open("memory:").await?;
    /// let uri = http::Uri::from_static("/runs?status=failed");
    /// let answer = onward.answer_runs(&http::Method::GET, "", &uri).await;
    /// assert_eq!(answer.body(), r#"{"runs":[],"next":null}"#);
    /// # onward.shutdown().await }
    /// ```
    pub async fn answer_runs(&self, method: &Method, path: &str, uri: &Uri) -> Response<Bytes> {
        let mut parts = path.split('/').filter(|part| !part.is_empty());
        let (id, action, more) = (parts.next(), parts.next(), parts.next());
        let Some(id) = id else {
            return if *method == Method::GET { self.list_runs(uri).await } else { method_not_allowed("GET") };
        };
        let Ok(run_id) = id.parse::<RunId>() else { return not_found() };
        let done = match (method, action, more) {
            (&Method::GET, None, _) => return self.show_run(run_id).await,
            (&Method::DELETE, None, _) => self.runs().delete(run_id).await,
            (&Method::POST, Some("cancel"), None) => self.runs().cancel(run_id).await,
            (&Method::POST, Some("retry"), None) => self.runs().retry(run_id).await,
            (_, None, _) => return method_not_allowed("GET, DELETE"),
            (_, Some("cancel" | "retry"), None) => return method_not_allowed("POST"),
            _ => return not_found(),
        };
        match done {
            Ok(()) => {
                let mut response = Response::new(Bytes::new());
                *response.status_mut() = StatusCode::NO_CONTENT;
                response
            }
            Err(error) => refused(&error),
        }
    }

    async fn list_runs(&self, uri: &Uri) -> Response<Bytes> {
        match query(uri) {
            Ok(query) => match self.runs().list(query).await {
                Ok(page) => {
                    let runs = page.runs.iter().map(info).collect();
                    json(StatusCode::OK, &RunList { runs, next: page.next.map(|next| next.to_string()) })
                }
                Err(error) => refused(&error),
            },
            Err(wrong) => Problem::new(Code::RequestMalformed).detail(Public::literal(wrong)).into_response(),
        }
    }

    async fn show_run(&self, run_id: RunId) -> Response<Bytes> {
        match self.runs().get(run_id).await {
            Ok(Some(run)) => json(StatusCode::OK, &details(&run)),
            Ok(None) => not_found(),
            Err(error) => refused(&error),
        }
    }
}

fn query(uri: &Uri) -> Result<RunQuery, &'static str> {
    let mut query = RunQuery::new();
    for (name, value) in query_pairs(uri.query().unwrap_or("")) {
        query = match name.as_str() {
            "status" => {
                let status = Status::ALL.into_iter().find(|status| status.as_str() == value);
                query.status(status.ok_or("status is running, suspended, completed, failed or cancelled")?)
            }
            "endpoint" => query.endpoint(value),
            "limit" => query.limit(value.parse().map_err(|_| "limit is a number from 1 to 1000")?),
            "before" => query.before(value.parse().map_err(|_| "before is the next of the page before")?),
            _ => return Err("the parameters are status, endpoint, limit and before"),
        };
    }
    Ok(query)
}

fn refused(error: &Error) -> Response<Bytes> {
    if error.is_not_found() {
        return not_found();
    }
    if error.is_wrong_status() {
        return Problem::new(Code::RunWrongStatus).into_response();
    }
    if error.is_invalid() {
        return Problem::new(Code::RequestMalformed).into_response();
    }
    tracing::error!(error = error as &dyn std::error::Error, "the run API could not answer");
    Problem::new(Code::StoreUnavailable).into_response()
}

fn not_found() -> Response<Bytes> {
    Problem::new(Code::RunNotFound).into_response()
}

fn info(run: &RunSummary) -> RunInfo {
    RunInfo {
        run_id: run.run_id.clone(),
        endpoint: run.endpoint.clone(),
        version: run.version.clone(),
        pinned: run.pinned,
        status: run.status.to_owned(),
        created_at: millis(run.created_at),
        finished_at: run.finished_at.map(millis),
        unreadable: run.unreadable.clone(),
    }
}

fn details(run: &RunDetail) -> RunDetails {
    let blocked = run.blocked.as_ref().map(|blocked| BlockedInfo {
        since: millis(blocked.since),
        step: blocked.step.clone(),
        why: blocked.why.clone(),
    });
    RunDetails { run: info(&run.summary), steps: run.steps.iter().map(step).collect(), blocked, crashes: run.crashes }
}

fn step(step: &StepDetail) -> StepInfo {
    StepInfo {
        id: step.id.clone(),
        kind: step.kind.to_owned(),
        status: step.status.to_owned(),
        attempts: step.attempts,
        subject: step.subject.clone(),
        due_at: step.due_at.map(millis),
        at: millis(step.at),
    }
}

fn millis(time: SystemTime) -> i64 {
    timestamp(time).as_millis()
}
