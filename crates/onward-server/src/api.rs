//! The engine over HTTP: what endpoints report and ask, what their clients wait for, and what operators do.

mod checkpoint;
mod event;
mod info;
mod output;
mod query;
mod refusal;
mod register;
pub(crate) mod run;
mod state;
mod stream;
mod tee;

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::Request,
    response::{IntoResponse, Response},
    routing::{MethodRouter, get, post},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use onward_core::{RunId, StoreError};
use onward_host::bodies::{Held, Refused, Share};
use serde::Serialize;

use self::refusal::Refusal;
use crate::shared::Shared;

/// What a route is given.
type Engine = axum::extract::State<Arc<Shared>>;

/// The pages that may call a route of an engine without keys, as far as a browser tells whose a page is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pages {
    /// Everybody's: the route needs a run's token, or tells nothing of anybody.
    Any,
    /// Everybody's where there is an event key, which the page must know.
    WithEventKey,
    /// Pages of this machine.
    Local,
}

/// All routes, and whose pages may call each.
fn routes() -> Vec<(&'static str, Pages, MethodRouter<Arc<Shared>>)> {
    vec![
        ("/v1/checkpoint", Pages::Local, post(checkpoint::first)),
        ("/v1/checkpoint/{run}/steps", Pages::Local, post(checkpoint::steps)),
        ("/v1/checkpoint/{run}/async", Pages::Local, post(checkpoint::steps)),
        ("/v0/runs/{run}/actions", Pages::Local, get(state::actions)),
        ("/v0/runs/{run}/batch", Pages::Local, get(state::batch)),
        ("/v1/http/runs/{run}/output", Pages::Any, get(output::output).options(preflight)),
        ("/v1/checkpoint/{run}/output", Pages::Any, get(output::output).options(preflight)),
        ("/v1/realtime/publish/tee", Pages::Local, post(tee::tee)),
        ("/v1/realtime/sse", Pages::Any, get(stream::stream).options(preflight)),
        ("/e/{key}", Pages::WithEventKey, post(event::events).options(preflight)),
        ("/v1/signals", Pages::Local, post(event::signal)),
        ("/fn/register", Pages::Local, post(register::register)),
        ("/v1/runs", Pages::Local, get(run::list)),
        ("/v1/runs/{run}", Pages::Local, get(run::show).delete(run::cancel)),
        ("/v1/runs/{run}/retry", Pages::Local, post(run::retry)),
        ("/health", Pages::Any, get(info::health)),
        ("/metrics", Pages::Local, get(info::metrics)),
        ("/dev", Pages::Local, get(info::dev)),
    ]
}

/// The routes as a service.
pub(crate) fn router(shared: Arc<Shared>) -> Router {
    let mut router = Router::new();
    for (path, pages, methods) in routes() {
        let guard = axum::middleware::from_fn_with_state((Arc::clone(&shared), pages), guard_pages);
        router = router.route(path, methods.layer(guard));
    }
    router
        .fallback(async || Refusal::new(StatusCode::NOT_FOUND, "the engine has no such route"))
        .method_not_allowed_fallback(async || {
            Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "the route does not take this method")
        })
        .layer(axum::middleware::from_fn_with_state(Arc::clone(&shared), guard_host))
        .with_state(shared)
}

/// The answer to every request before the store is open.
pub(crate) fn opening() -> Router {
    Router::new().fallback(async || {
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the engine starts, and waits for its store: try again")
    })
}

/// Without keys, any page that a developer has open could order the engine about: a browser says whose page it is.
async fn guard_pages(
    axum::extract::State((shared, pages)): axum::extract::State<(Arc<Shared>, Pages)>,
    request: Request,
    next: axum::middleware::Next,
) -> Response {
    let options = &shared.options;
    let is_open = match pages {
        Pages::Any => true,
        Pages::WithEventKey => !options.event_keys.is_empty(),
        Pages::Local => false,
    };
    if is_open || !options.signing_keys.is_empty() || request.headers().get_all(header::ORIGIN).iter().all(is_loopback)
    {
        return next.run(request).await;
    }
    let text = "a page of another origin may not call this: set a signing key, for events an event key";
    Refusal::new(StatusCode::FORBIDDEN, text).into_response()
}

/// A request names its host once. Without keys, the name must be one that no page elsewhere can have: else it may have
/// been made to lead here.
async fn guard_host(axum::extract::State(shared): Engine, request: Request, next: axum::middleware::Next) -> Response {
    let mut named = request.headers().get_all(header::HOST).iter();
    let host = match (named.next(), named.next(), request.uri().authority()) {
        (Some(host), None, _) => host.to_str().ok().map(str::to_owned),
        (None, None, Some(authority)) => Some(authority.as_str().to_owned()),
        _ => None,
    };
    let Some(host) = host else { return Refusal::malformed("the request must have one Host header").into_response() };
    if shared.options.signing_keys.is_empty() && !is_near(&host, &shared.options.hosts) {
        let text = "without keys, the engine is called by an address, localhost or host.docker.internal: allow another \
                    name with --allow-host NAME";
        return Refusal::new(StatusCode::MISDIRECTED_REQUEST, text).into_response();
    }
    next.run(request).await
}

/// Whether a host is an address, or a name that leads to this machine or was allowed.
fn is_near(host: &str, allowed: &[String]) -> bool {
    let name = host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
    let name = name.map_or(host, |(name, _)| name).to_ascii_lowercase();
    let is_address = name.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok();
    let is_local = matches!(name.as_str(), "localhost" | "host.docker.internal") || name.ends_with(".localhost");
    is_address || is_local || allowed.contains(&name)
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

/// How long a request's body may be silent while it is read.
const BODY_SILENCE: std::time::Duration = std::time::Duration::from_secs(60);

/// The body of a request, up to a limit. The caller holds the share until the request is answered.
async fn read(shared: &Shared, request: Request, limit: usize) -> Result<(Bytes, Share), Refusal> {
    let read = shared.bodies.read(request.into_body(), limit, Some(BODY_SILENCE)).await;
    read.map(Held::into_parts).map_err(|refused| match refused {
        Refused::TooLarge => {
            Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, &format!("the body is larger than {limit} bytes"))
        }
        Refused::Limited => Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "the body is larger than is taken"),
        Refused::Silent => Refusal::new(StatusCode::REQUEST_TIMEOUT, "the body was silent for too long"),
        Refused::Unreadable => Refusal::new(StatusCode::BAD_REQUEST, "the body could not be read"),
        Refused::Full => {
            let text = "too many request bodies are under way: try again, and send the body without pauses \
                        (--limit-bodies-bytes)";
            Refusal::new(StatusCode::SERVICE_UNAVAILABLE, text)
        }
    })
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
mod tests;
