//! `step.invoke`: a call of another endpoint of the app.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use onward_core::{
    EndpointId, IntoDuration, RunId, Version,
    run::{NewRun, Parent},
    step::StepKind,
};

use super::{Asked, Make, Step, StepFuture, refused, step_future};
use crate::{
    Options, StepError,
    context::Halt,
    endpoint::{Carried, Endpoint},
    error::ErrorKind,
    record,
    shared_endpoints::{self, Elsewhere},
};

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
    /// An endpoint that no node of the app has, a request that is too large, a timeout; or the invoked run failed or
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
        let target = Target::find(&asked, &endpoint).await;
        match target.and_then(|target| child(&asked, &target, request, &options)) {
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

/// What is invoked.
enum Target {
    Here(Arc<Endpoint>),
    /// Another node of the store has it.
    Elsewhere(EndpointId, Elsewhere),
}

impl Target {
    async fn find(asked: &Asked, endpoint: &str) -> Result<Self, StepError> {
        let shared = &asked.context.shared;
        if let Some(here) = shared.endpoints.newest(endpoint) {
            return Ok(Self::Here(here));
        }
        let told = match shared_endpoints::find(&*shared.store, endpoint).await {
            Ok(told) => told,
            Err(error) => {
                // The run goes on from here when the store can be read.
                asked.context.halt(Halt::Store(error));
                std::future::pending().await
            }
        };
        let id = EndpointId::try_new(endpoint).ok();
        let (Some(id), Some(told)) = (id, told) else {
            return Err(invalid(format!("the app has no endpoint {endpoint:?} to invoke")));
        };
        if told.carries {
            return Err(invalid(format!(
                "the endpoint {endpoint:?} carries values: it can be invoked by a node that has it, and this has not"
            )));
        }
        Ok(Self::Elsewhere(id, told))
    }

    /// The version that its run is made with, and whether it is pinned. Which version of an endpoint elsewhere will take
    /// it is not known here.
    fn version(&self) -> (Option<Version>, bool) {
        match self {
            Self::Here(endpoint) => (endpoint.options.version.clone(), endpoint.options.pinned),
            Self::Elsewhere(..) => (None, false),
        }
    }
}

fn invalid(text: String) -> StepError {
    StepError::new(ErrorKind::Invalid, text, false)
}

fn child(
    asked: &Asked,
    target: &Target,
    request: Request<Bytes>,
    options: &InvokeOptions,
) -> Result<NewRun, StepError> {
    if let Some(error) = &options.error {
        return Err(error.clone());
    }
    let context = &asked.context;
    let (id, template, limit, timeout, retention, headers, carries) = match target {
        Target::Here(endpoint) => {
            let Endpoint { id, template, options, carried, .. } = &**endpoint;
            let Options { body_bytes_max, timeout, retention, headers, .. } = &**options;
            (id, template, *body_bytes_max, *timeout, *retention, headers, &**carried)
        }
        Target::Elsewhere(id, told) => {
            let headers = &context.shared.defaults.headers;
            (id, &told.template, told.body_bytes_max, told.timeout(), told.retention(), headers, &[][..])
        }
    };
    if request.body().len() > limit {
        let len = request.body().len();
        return Err(invalid(format!("the request body has {len} bytes, the endpoint takes {limit}")));
    }
    let (version, pinned) = target.version();
    let now = context.now();
    let (parts, body) = request.into_parts();
    let carried = Carried::take_all(carries, &parts.extensions).map_err(|error| invalid(error.to_string()))?;
    let head = record::RequestHead {
        method: &parts.method,
        original_uri: &parts.uri,
        uri: &parts.uri,
        matched_path: template.as_deref(),
        headers: &parts.headers,
        peer: None,
        carried: &carried,
    };
    let request = record::KeptRequest::new(&head, body, |name| headers.keeps(name));
    Ok(NewRun {
        run_id: RunId::new(now, rand::random()),
        endpoint: id.clone(),
        version,
        pinned,
        created_at: now,
        request: request.payload(),
        timeout_at: timeout.map(|timeout| now.after(timeout)),
        retention,
        key: None,
        parent: Some(Parent { run_id: context.run_id, step: asked.key }),
    })
}
