//! What a client is told when its run goes on without it.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header};
use onward_core::{RunId, StoreError};
use onward_protocol::{
    location::resolve,
    prefer::Preferences,
    problem::{Code, Problem},
};
use serde::Serialize;

use crate::{AsyncResponse, config::RedirectTo, context::Context, events::json, record::response_of};

/// How long one who joins a run by its key is kept before it is sent to wait elsewhere.
const JOIN: Duration = Duration::from_secs(1);

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TokenBody<'a> {
    run_id: String,
    token: &'a str,
}

/// Where a client waits for a run: with an origin, absolute.
async fn location(context: &Context, run_id: RunId, token: &str, origin: Option<&str>) -> String {
    match &context.endpoint.options.redirect_to {
        RedirectTo::Path(path) => resolve(path, origin, &run_id.to_string(), token),
        RedirectTo::Call(make) => {
            let made = make(run_id.to_string(), token.to_owned()).await;
            let is_path = made.starts_with('/') && !made.starts_with("//");
            if is_path { format!("{}{made}", origin.unwrap_or("")) } else { made }
        }
    }
}

/// Where the stream of a context's own run goes on.
pub(super) async fn stream_url(context: &Context) -> String {
    stream_url_of(context, context.run_id).await
}

/// Where a run's stream goes on. It is absolute, if the request tells of its origin: not every client knows the URL
/// that it was answered from.
pub(super) async fn stream_url_of(context: &Context, run_id: RunId) -> String {
    let record = context.request.record().ok();
    let origin = record.and_then(|record| crate::reader::origin(&record.original_uri, &record.headers));
    location(context, run_id, &context.shared.token(run_id), origin.as_deref()).await
}

/// Sends a client to where it can wait for a run's outcome.
pub(super) async fn redirect(context: &Context, run_id: RunId, prefer: Preferences) -> Response<Bytes> {
    let options = &context.endpoint.options;
    let token = context.shared.token(run_id);
    let location = location(context, run_id, &token, None).await;
    let as_token = prefer.respond_async || options.async_response == AsyncResponse::Token;
    let mut response = if as_token {
        json(StatusCode::ACCEPTED, &TokenBody { run_id: run_id.to_string(), token: &token })
    } else {
        let safe = matches!(context.request.method, Method::GET | Method::HEAD);
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = if safe { StatusCode::FOUND } else { StatusCode::SEE_OTHER };
        response
    };
    let headers = response.headers_mut();
    match HeaderValue::from_str(&location) {
        Ok(location) => drop(headers.insert(header::LOCATION, location)),
        Err(_) => {
            tracing::error!(run_id = %run_id, "the redirect URL cannot be put into a header");
            return Problem::new(Code::EndpointMisconfigured).into_response();
        }
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(applied) = prefer.applied().and_then(|applied| HeaderValue::try_from(applied).ok()) {
        headers.insert("preference-applied", applied);
    }
    response
}

/// Answers a request whose key belongs to a run already: with that run's one response.
pub(super) async fn join(context: &Arc<Context>, run_id: RunId, prefer: Preferences) -> Response<Bytes> {
    let wait = match prefer.wait {
        Some(wait) => wait,
        None if prefer.respond_async => Duration::ZERO,
        None => context.endpoint.options.hold.max(JOIN),
    };
    wait_or_redirect(context, run_id, prefer, wait, true).await
}

/// Answers a client whose run was suspended or ended by somebody else. Whether it `is_stored` at all is not known where
/// the node lost its lease before the store had taken the run's first step.
pub(super) async fn elsewhere(context: &Arc<Context>, prefer: Preferences, is_stored: bool) -> Response<Bytes> {
    let wait = prefer.wait.unwrap_or(context.endpoint.options.hold);
    wait_or_redirect(context, context.run_id, prefer, wait, is_stored).await
}

async fn wait_or_redirect(
    context: &Arc<Context>,
    run_id: RunId,
    prefer: Preferences,
    wait: Duration,
    is_stored: bool,
) -> Response<Bytes> {
    let shared = &context.shared;
    match crate::wait::outcome(shared, run_id, wait).await {
        Ok(Some(outcome)) => response_of(run_id, &outcome).unwrap_or_else(|error| {
            tracing::error!(run_id = %run_id, error = &error as &dyn std::error::Error, "a response cannot be read");
            Problem::new(Code::RunFailed).into_response()
        }),
        Ok(None) => redirect(context, run_id, prefer).await,
        // Why also where the store is unavailable: the run is stored, and its client can wait for it.
        Err(StoreError::Unavailable(_)) if is_stored => redirect(context, run_id, prefer).await,
        // Nothing was promised: its first checkpoint was not written in time, and may be a moment later, or never.
        Err(StoreError::Unavailable(_) | StoreError::RunNotFound) if !is_stored => {
            Problem::new(Code::StoreUnavailable).into_response()
        }
        Err(StoreError::RunNotFound) => Problem::new(Code::RunGone).into_response(),
        Err(error) => {
            tracing::error!(run_id = %run_id, error = &error as &dyn std::error::Error, "a run cannot be read");
            Problem::new(Code::StoreUnavailable).into_response()
        }
    }
}
