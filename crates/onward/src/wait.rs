//! The waiting route: who has a run's token gets its response as soon as there is one.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri, header};
use http_body_util::Empty;
use onward_core::{RunId, StoreError, run::Outcome};
use onward_protocol::{
    location::query_pairs,
    prefer::Preferences,
    problem::{Code, Problem},
    sse::Position,
    token::verify,
};
use tokio::time::Instant;

use crate::{
    Cors, Onward,
    durable::DurableBody,
    onward::Shared,
    reader,
    record::{self, response_of},
};

/// The body of the waiting route's answers: bytes, or a run's stream. It does not fail.
pub type WaitBody = DurableBody<Empty<Bytes>>;

/// A run's outcome, if it comes within a time. Woken, not polled, also where another node ends the run; the store is
/// looked at again now and then all the same. How long a connection is held is the process's own time, not the durable
/// clock's.
///
/// A store that is unavailable is waited for as well: who waits for a run can do nothing better. Only where it has not
/// answered once in that time, this fails.
pub(crate) async fn outcome(
    shared: &Arc<Shared>,
    run_id: RunId,
    wait: Duration,
) -> Result<Option<Arc<Outcome>>, StoreError> {
    const LOOK_EVERY: Duration = Duration::from_secs(30);
    const REST: Duration = Duration::from_secs(1);
    let mut watch = shared.hub.watch(run_id);
    let until = Instant::now() + wait;
    let mut has_answered = false;
    loop {
        let pause = match tokio::time::timeout_at(until.max(Instant::now() + REST), shared.store.run(run_id)).await {
            Ok(Ok(record)) => {
                has_answered = true;
                match record.ok_or(StoreError::RunNotFound)?.outcome {
                    Some(outcome) => return Ok(Some(Arc::new(outcome))),
                    None => LOOK_EVERY,
                }
            }
            Ok(Err(StoreError::Unavailable(error))) if !has_answered && Instant::now() >= until => {
                return Err(StoreError::Unavailable(error));
            }
            Err(_) if !has_answered => {
                return Err(StoreError::Unavailable("the store has not answered in time".into()));
            }
            Ok(Err(StoreError::Unavailable(_))) | Err(_) => REST,
            Ok(Err(error)) => return Err(error),
        };
        let now = Instant::now();
        if now >= until {
            return Ok(None);
        }
        tokio::select! {
            outcome = watch.outcome() => return Ok(Some(outcome)),
            () = tokio::time::sleep_until(until.min(now + pause)) => {}
            () = shared.tasks.shutdown_token().cancelled() => return Ok(None),
        }
    }
}

impl Onward {
    /// Answers a request to the waiting route, for apps that route by hand; [`Onward::proxy`] is it as an axum route.
    ///
    /// GET and HEAD with `runId` and `token` get the run's response: status, headers and body as the handler made
    /// them. While the run goes on the connection is held, up to [`wait_max`](crate::Builder::wait_max); then a `307`
    /// to the same URL sends the client round again. `Prefer: wait=N` shortens that, and gets `202` with
    /// `Retry-After` instead. A store that is gone for a while is waited for like the run, so a client that follows
    /// redirects does not notice; with `Prefer: wait=N` it gets a `503` with `Retry-After`.
    ///
    /// With `Accept: text/event-stream` they get the run's stream instead, from its beginning or after `Last-Event-ID`;
    /// see [`Step::stream`](crate::Step::stream).
    ///
    /// A wrong, expired or foreign token gets `401`, whether or not the run exists.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), onward::Error> {
    /// # let onward = onward::Onward::open("memory:").await?;
    /// # use http::{HeaderMap, Method, Uri};
    /// let uri = Uri::from_static("/wait?runId=01ARZ3NDEKTSV4RRFFQ69G5FAV&token=guessed");
    /// let answer = onward.wait(&Method::GET, &uri, &HeaderMap::new(), &onward::Cors::default()).await;
    /// assert_eq!(answer.status(), 401);
    /// # onward.shutdown().await }
    /// ```
    pub async fn wait(&self, method: &Method, uri: &Uri, headers: &HeaderMap, cors: &Cors) -> Response<WaitBody> {
        if *method == Method::OPTIONS {
            return cors.preflight("GET, HEAD, OPTIONS", headers).map(WaitBody::kept);
        }
        let mut response = if matches!(*method, Method::GET | Method::HEAD) {
            self.answer(uri, headers).await
        } else {
            crate::events::method_not_allowed("GET, HEAD, OPTIONS").map(WaitBody::kept)
        };
        cors.apply(headers, response.headers_mut());
        response
    }

    async fn answer(&self, uri: &Uri, headers: &HeaderMap) -> Response<WaitBody> {
        let refused = |code| Problem::new(code).into_response().map(WaitBody::kept);
        let (mut run_id, mut token) = (None, None);
        for (name, value) in query_pairs(uri.query().unwrap_or("")) {
            match name.as_str() {
                "runId" => run_id = Some(value),
                "token" => token = Some(value),
                _ => {}
            }
        }
        let (Some(run_id), Some(token)) = (run_id, token) else {
            return refused(Code::RequestMalformed);
        };
        // Why: a run id that is none is verified like any other, so that it takes as long and says as little.
        let parsed = run_id.parse::<RunId>();
        let id = parsed.clone().unwrap_or_else(|_| RunId::from_bytes([0; 16]));
        let now_ms = self.0.clock.now().as_millis();
        let valid = verify(&self.0.keys, id.to_bytes(), &token, now_ms).is_ok();
        if !valid || parsed.is_err() {
            return refused(Code::TokenInvalid);
        }
        if record::streams(headers) {
            let Some(position) = Position::read(headers) else { return refused(Code::StreamPositionUnknown) };
            let own = uri.path_and_query().map_or("/", |own| own.as_str());
            let url = format!("{}{own}", reader::origin(uri, headers).unwrap_or_default());
            return reader::respond(&self.0, id, position, url).await;
        }
        let prefer = Preferences::from_headers(headers);
        let wait = prefer.wait.map_or(self.0.config.wait_max, |wait| wait.min(self.0.config.wait_max));
        let response = match outcome(&self.0, id, wait).await {
            Ok(Some(outcome)) => response_of(id, &outcome).unwrap_or_else(|error| {
                tracing::error!(run_id = %id, error = &error as &dyn std::error::Error, "a response cannot be read");
                Problem::new(Code::RunFailed).into_response()
            }),
            Ok(None) => again(uri, &prefer),
            Err(StoreError::RunNotFound) => Problem::new(Code::RunGone).into_response(),
            // Why: who follows redirects is kept by one, and would be lost by a refusal.
            Err(StoreError::Unavailable(_)) if prefer.wait.is_none() && !wait.is_zero() => again(uri, &prefer),
            Err(error) => {
                tracing::error!(run_id = %id, error = &error as &dyn std::error::Error, "a run cannot be read");
                Problem::new(Code::StoreUnavailable).into_response()
            }
        };
        response.map(WaitBody::kept)
    }
}

/// Sends a client whose run goes on round again.
fn again(uri: &Uri, prefer: &Preferences) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    if let Ok(location) = HeaderValue::from_str(target) {
        headers.insert(header::LOCATION, location);
    }
    if let Some(applied) = prefer.applied().and_then(|applied| HeaderValue::try_from(applied).ok()) {
        headers.insert("preference-applied", applied);
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        *response.status_mut() = StatusCode::ACCEPTED;
    } else {
        *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
    }
    response
}
