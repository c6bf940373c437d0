//! `step.fetch`: a durable HTTP call.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use onward_core::{IntoDuration, RetryPolicy, run::machine::Next, step::StepKind};

use super::{
    Asked, Make, Step, StepFuture, refused,
    run::{RunOptions, work_context},
    step_future,
};
use crate::{StepError, error::ErrorKind, record};

/// How long an attempt may take where the step does not say.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A durable HTTP call: see [`Step::fetch`].
#[must_use = "a step runs when it is awaited"]
pub struct Fetch<'a, T = Response<Bytes>> {
    options: FetchOptions,
    make: Option<Make<'a, FetchOptions, T>>,
    future: Option<StepFuture<'a, T>>,
}

#[derive(Default)]
struct FetchOptions {
    run: RunOptions,
    error_for_status: bool,
}

impl<T> Fetch<'_, T> {
    /// How often the call is made again after a failure, 0 to 20. Default: the endpoint's.
    pub fn retries(mut self, retries: u32) -> Self {
        self.options.run.set_retries(retries);
        self
    }

    /// The call's own back-off. Default: the endpoint's.
    pub fn retry_policy(mut self, policy: RetryPolicy) -> Self {
        self.options.run.set_policy(policy);
        self
    }

    /// How long an attempt may take, the response's body included. Default 30 s.
    pub fn timeout(mut self, timeout: impl IntoDuration) -> Self {
        self.options.run.set_timeout(timeout);
        self
    }

    /// Counts a response of 400 or more as a failure: `408`, `425`, `429` and 5xx are tried again, after the time in
    /// their `Retry-After` (seconds) if they have one; others fail the step. Default: every response is a success.
    pub fn error_for_status(mut self) -> Self {
        self.options.error_for_status = true;
        self
    }
}

step_future!(Fetch<'a, T>);

impl Step {
    /// Makes an HTTP call whose response is kept, like the output of any other step.
    ///
    /// A call that gets no response is tried again. A request that is neither GET, HEAD nor OPTIONS and has no
    /// `Idempotency-Key` gets one, the same in every attempt. The response's body counts against
    /// [`output_bytes_max`](crate::Options::output_bytes_max).
    ///
    /// # Errors
    /// No response in any attempt, a response that is too large, or one of
    /// [`error_for_status`](Fetch::error_for_status).
    ///
    /// ```
    /// # use onward::{Step, StepError};
    /// # async fn handler(step: Step) -> Result<(), StepError> {
    /// let request = http::Request::get("http://rates.internal/eur").body(bytes::Bytes::new()).map_err(StepError::fail)?;
    /// let response = step.fetch("rates", request).error_for_status().timeout("5s").await?;
    /// # Ok(()) }
    /// ```
    pub fn fetch<'a>(&self, id: &str, request: Request<Bytes>) -> Fetch<'a> {
        let asked = Asked::new(self, id, StepKind::Fetch);
        let make: Make<'a, FetchOptions, Response<Bytes>> = Box::new(move |options| match asked {
            Ok(asked) => Box::pin(attempts(asked, options, request)),
            Err(error) => refused(error),
        });
        Fetch { options: FetchOptions::default(), make: Some(make), future: None }
    }
}

async fn attempts(
    mut asked: Asked,
    options: FetchOptions,
    mut request: Request<Bytes>,
) -> Result<Response<Bytes>, StepError> {
    let strict = options.error_for_status;
    let (policy, timeout) =
        options.run.resolve(asked.context.endpoint.options.retry).map_err(|error| asked.error(error))?;
    let safe = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if !safe && !request.headers().contains_key("idempotency-key") {
        let key = work_context(&asked, onward_core::Attempt::FIRST).idempotency_key;
        if let Ok(key) = HeaderValue::try_from(format!("\"{key}\"")) {
            request.headers_mut().insert("idempotency-key", key);
        }
    }
    while let Some(attempt) = asked.attempt().await {
        let running = asked.context.running();
        let called = tokio::time::timeout(timeout.unwrap_or(TIMEOUT), call(&asked, request.clone(), strict)).await;
        let late = || Err(StepError::new(ErrorKind::Timeout, "the call took too long", true));
        match called.unwrap_or_else(|_| late()) {
            Ok(response) => {
                asked.context.succeed(asked.key, record::encode_response(&response), |_| ());
                drop(running);
                break;
            }
            Err(error) => {
                let next = asked.context.fail_attempt(asked.key, attempt, &error, &policy);
                drop(running);
                asked.next = next.unwrap_or(Next::Recorded);
            }
        }
    }
    let output = asked.outcome().await?;
    record::decode_response(&output)
        .map_err(|error| asked.error(StepError::new(ErrorKind::Fetch, error.to_string(), false)))
}

/// Makes the call once.
async fn call(asked: &Asked, request: Request<Bytes>, strict: bool) -> Result<Response<Bytes>, StepError> {
    let client = client(asked)?;
    let room = asked.context.room();
    let failed = |error: reqwest::Error| {
        let retryable = !error.is_builder();
        StepError::new(ErrorKind::Fetch, StepError::retry(error.without_url()).message(), retryable)
    };
    let request = reqwest::Request::try_from(request).map_err(failed)?;
    let mut response = client.execute(request).await.map_err(failed)?;
    let mut kept = Response::new(Bytes::new());
    *kept.status_mut() = response.status();
    *kept.headers_mut() = std::mem::take(response.headers_mut());
    if strict && kept.status().as_u16() >= 400 {
        return Err(refused_by(&kept));
    }
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        room.check(body.len() + chunk.len())?;
        body.extend_from_slice(&chunk);
    }
    *kept.body_mut() = body.freeze();
    Ok(kept)
}

fn refused_by(response: &Response<Bytes>) -> StepError {
    let status = response.status();
    let again = matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS);
    let error = StepError::new(
        ErrorKind::Fetch,
        format!("the call was answered with {status}"),
        again || status.is_server_error(),
    );
    let delay = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    match delay.filter(|_| error.is_retryable()) {
        Some(secs) => StepError::retry_after(error, Duration::from_secs(secs).min(onward_core::duration::DURATION_MAX)),
        None => error,
    }
}

/// The app's HTTP client, made at its first use.
fn client(asked: &Asked) -> Result<reqwest::Client, StepError> {
    let http = &asked.context.shared.http;
    if let Some(client) = http.get() {
        return Ok(client.clone());
    }
    // An app may have chosen its provider already; then that one stays.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().tcp_nodelay(true).build();
    let client = client.map_err(|error| StepError::new(ErrorKind::Fetch, error.to_string(), true))?;
    Ok(http.get_or_init(|| client).clone())
}
