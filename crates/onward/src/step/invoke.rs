//! `step.invoke`: a call of another endpoint of the app.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use onward_core::{
    IntoDuration, RunId,
    run::{NewRun, Parent},
    step::StepKind,
};

use super::{Asked, Make, Step, StepFuture, refused, step_future};
use crate::{StepError, endpoint::Carried, error::ErrorKind, record};

/// A call of another endpoint: see [`Step::invoke`].
#[must_use = "a step runs when it is awaited"]
pub struct Invoke<'a, T = Response<Bytes>> {
    options: InvokeOptions,
    make: Option<Make<'a, InvokeOptions, T>>,
    future: Option<StepFuture<'a, T>>,
}

#[derive(Default)]
struct InvokeOptions {
    timeout: Option<Duration>,
    error: Option<StepError>,
}

impl<T> Invoke<'_, T> {
    /// How long to wait for the response; then the step fails. The invoked run goes on. Default: for ever.
    pub fn timeout(mut self, timeout: impl IntoDuration) -> Self {
        match timeout.into_duration() {
            Ok(timeout) => self.options.timeout = Some(timeout),
            Err(error) => self.options.error = Some(error.into()),
        }
        self
    }
}

step_future!(Invoke<'a, T>);

impl Step {
    /// Starts a run of another endpoint, exactly once, and waits for its response.
    ///
    /// `endpoint` is its id (`"POST /ship"` by default). The request goes straight to the endpoint: outer middleware
    /// does not see it. What the endpoint carries is taken from the request's extensions.
    ///
    /// # Errors
    /// An endpoint that the app does not have, a request that is too large, a timeout; or the invoked run failed or
    /// was cancelled. A response of any status is no error.
    ///
    /// ```
    /// # use onward::{Step, StepError};
    /// # async fn handler(step: Step) -> Result<(), StepError> {
    /// let request = http::Request::post("/ship").body(bytes::Bytes::from("{}")).map_err(StepError::fail)?;
    /// let response = step.invoke("ship", "POST /ship", request).await?;
    /// # Ok(()) }
    /// ```
    pub fn invoke<'a>(&self, id: &str, endpoint: &str, request: Request<Bytes>) -> Invoke<'a> {
        let asked = Asked::new(self, id, StepKind::Invoke);
        let endpoint = endpoint.to_owned();
        let make: Make<'a, InvokeOptions, Response<Bytes>> = Box::new(move |options| match asked {
            Ok(asked) => Box::pin(invoke(asked, endpoint, request, options)),
            Err(error) => refused(error),
        });
        Invoke { options: InvokeOptions::default(), make: Some(make), future: None }
    }
}

async fn invoke(
    mut asked: Asked,
    endpoint: String,
    request: Request<Bytes>,
    options: InvokeOptions,
) -> Result<Response<Bytes>, StepError> {
    if asked.is_new() {
        match child(&asked, &endpoint, request, &options) {
            Ok(child) => {
                let until = options.timeout.map(|timeout| asked.context.now().after(timeout));
                asked.context.wait(asked.key, until, child.run_id.to_string(), |_| None, Some(child));
            }
            Err(error) => asked.refuse(&error),
        }
    }
    let output = asked.outcome().await?;
    record::decode_response(&output).map_err(|error| {
        asked.error(StepError::new(ErrorKind::Invoke, format!("the response of the invoked run: {error}"), false))
    })
}

fn child(asked: &Asked, endpoint: &str, request: Request<Bytes>, options: &InvokeOptions) -> Result<NewRun, StepError> {
    if let Some(error) = &options.error {
        return Err(error.clone());
    }
    let invalid = |text: String| StepError::new(ErrorKind::Invalid, text, false);
    let context = &asked.context;
    let target = context.shared.endpoint(endpoint);
    let target = target.ok_or_else(|| invalid(format!("the app has no endpoint {endpoint:?} to invoke")))?;
    let limit = target.options.body_bytes_max;
    if request.body().len() > limit {
        return Err(invalid(format!(
            "the request body has {} bytes, the endpoint takes {limit}",
            request.body().len()
        )));
    }
    let now = context.now();
    let (parts, body) = request.into_parts();
    let carried = Carried::take_all(&target.carried, &parts.extensions).map_err(|error| invalid(error.to_string()))?;
    let head = record::RequestHead {
        method: &parts.method,
        original_uri: &parts.uri,
        uri: &parts.uri,
        matched_path: target.template.as_deref(),
        headers: &parts.headers,
        peer: None,
        carried: &carried,
    };
    let request = record::KeptRequest::new(&head, body, |name| target.options.headers.keeps(name));
    Ok(NewRun {
        run_id: RunId::new(now, rand::random()),
        endpoint: target.id.clone(),
        version: None,
        pinned: false,
        created_at: now,
        request: request.payload(),
        timeout_at: target.options.timeout.map(|timeout| now.after(timeout)),
        retention: target.options.retention,
        key: None,
        parent: Some(Parent { run_id: context.run_id, step: asked.key }),
    })
}
