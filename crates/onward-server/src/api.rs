//! The engine over HTTP: what endpoints report and ask, what their clients wait for, and what operators do.

mod checkpoint;
mod event;
mod info;
mod output;
mod refusal;
mod register;
mod run;
mod state;
mod stream;
mod tee;

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::Request,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use onward_core::{RunId, StoreError};
use serde::Serialize;

use self::refusal::Refusal;
use crate::shared::Shared;

/// What a route is given.
type Engine = axum::extract::State<Arc<Shared>>;

/// All routes.
pub(crate) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/v1/checkpoint", post(checkpoint::first))
        .route("/v1/checkpoint/{run}/steps", post(checkpoint::steps))
        .route("/v1/checkpoint/{run}/async", post(checkpoint::steps))
        .route("/v0/runs/{run}/actions", get(state::actions))
        .route("/v0/runs/{run}/batch", get(state::batch))
        .route("/v1/http/runs/{run}/output", get(output::output).options(preflight))
        .route("/v1/checkpoint/{run}/output", get(output::output).options(preflight))
        .route("/v1/realtime/publish/tee", post(tee::tee))
        .route("/v1/realtime/sse", get(stream::stream).options(preflight))
        .route("/e/{key}", post(event::events).options(preflight))
        .route("/v1/signals", post(event::signal))
        .route("/fn/register", post(register::register))
        .route("/v1/runs", get(run::list))
        .route("/v1/runs/{run}", get(run::show).delete(run::cancel))
        .route("/v1/runs/{run}/retry", post(run::retry))
        .route("/health", get(info::health))
        .route("/metrics", get(info::metrics))
        .route("/dev", get(info::dev))
        .fallback(async || Refusal::new(StatusCode::NOT_FOUND, "the engine has no such route"))
        .method_not_allowed_fallback(async || {
            Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "the route does not take this method")
        })
        .layer(axum::middleware::from_fn_with_state(Arc::clone(&shared), from_elsewhere))
        .with_state(shared)
}

/// What every request is told before the store is open.
pub(crate) fn opening() -> Router {
    Router::new().fallback(async || {
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the engine starts, and waits for its store: try again")
    })
}

/// Without keys, any page that a developer has open could order the engine about: a browser says where it comes from,
/// and by which name it was led here.
async fn from_elsewhere(
    axum::extract::State(shared): Engine,
    request: Request,
    next: axum::middleware::Next,
) -> Response {
    if !shared.options.signing_keys.is_empty() {
        return next.run(request).await;
    }
    let path = request.uri().path();
    let is_open = path.ends_with("/output")
        || path == "/v1/realtime/sse"
        || (path.starts_with("/e/") && !shared.options.event_keys.is_empty());
    let headers = request.headers();
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    if !is_open && !headers.get(header::ORIGIN).is_none_or(is_loopback) {
        let text = "a page of another origin may not call this: set a signing key, for events an event key";
        return Refusal::new(StatusCode::FORBIDDEN, text).into_response();
    }
    if !host.is_none_or(is_near) {
        let text = "without keys, the engine is called by localhost, an address, or a name without dots";
        return Refusal::new(StatusCode::MISDIRECTED_REQUEST, text).into_response();
    }
    next.run(request).await
}

/// Whether a host is a name that no page elsewhere can have: else its name may have been made to lead here.
fn is_near(host: &str) -> bool {
    let name = host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
    let name = name.map_or(host, |(name, _)| name);
    let is_address = name.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok();
    is_address || !name.contains('.') || [".localhost", ".internal", ".local"].iter().any(|end| name.ends_with(end))
}

/// Whether an origin is on this machine.
fn is_loopback(origin: &HeaderValue) -> bool {
    let url = origin.to_str().ok().and_then(|origin| reqwest::Url::parse(origin).ok());
    let host = url.as_ref().and_then(|url| url.host_str()).unwrap_or_default();
    let ip = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    host == "localhost" || host.ends_with(".localhost") || ip.is_ok_and(|ip| ip.is_loopback())
}

/// Whether a request comes from who has a signing key. Without any key, all do.
fn authorize(shared: &Shared, headers: &HeaderMap) -> Result<(), Refusal> {
    if shared.options.signing_keys.is_empty() {
        return Ok(());
    }
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if shared.keys.verify_bearer(bearer) {
        Ok(())
    } else {
        Err(Refusal::new(
            StatusCode::UNAUTHORIZED,
            "the signing key is not one of the engine's: set INNGEST_SIGNING_KEY",
        ))
    }
}

/// How long a request's body may take to come.
const BODY_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(60);

/// The body of a request, up to a limit.
async fn read(request: Request, limit: usize) -> Result<Bytes, Refusal> {
    use http_body_util::{BodyExt, LengthLimitError, Limited};
    let body = tokio::time::timeout(BODY_TIMEOUT, Limited::new(request.into_body(), limit).collect()).await;
    let body = body.map_err(|_| Refusal::new(StatusCode::REQUEST_TIMEOUT, "the body took too long to come"))?;
    match body {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            let text = format!("the body is larger than {limit} bytes");
            Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, &text))
        }
        Err(_) => Err(Refusal::new(StatusCode::BAD_REQUEST, "the body could not be read")),
    }
}

fn run_id(text: &str) -> Result<RunId, Refusal> {
    text.parse().map_err(|_| Refusal::new(StatusCode::BAD_REQUEST, "the run id is not a ULID of 26 characters"))
}

/// Opens what is waited for to pages of every origin: a token is needed, and no cookie is looked at.
fn share(headers: &mut HeaderMap) {
    for (name, value) in [
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, OPTIONS"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "*"),
        (header::ACCESS_CONTROL_EXPOSE_HEADERS, "*"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

async fn preflight() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    share(response.headers_mut());
    response.headers_mut().insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    response
}

fn json(body: &impl Serialize) -> Response {
    json_bytes(serde_json::to_vec(body).expect("strings and numbers always serialise"))
}

fn json_bytes(bytes: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(bytes));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// What a store's error means to who asked.
fn refused(error: &StoreError) -> Refusal {
    match error {
        StoreError::RunNotFound => Refusal::new(StatusCode::NOT_FOUND, "there is no such run"),
        StoreError::WrongStatus(status) => {
            Refusal::new(StatusCode::CONFLICT, &format!("the run is {}", status.as_str()))
        }
        error => {
            tracing::error!(error = error as &dyn std::error::Error, "the store refused");
            Refusal::unavailable()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::is_near;

    #[test]
    fn a_name_that_a_page_elsewhere_can_have_is_not_near() {
        for near in
            ["localhost:8288", "127.0.0.1:8288", "[::1]:8288", "engine", "a.localhost", "host.docker.internal:1"]
        {
            assert!(is_near(near), "{near}");
        }
        for far in ["evil.example:8288", "evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80"] {
            assert!(!is_near(far), "{far}");
        }
    }
}
