//! What the engine says of itself.

use axum::{
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::json;

use super::{Engine, authorize, json, refusal::Refusal};
use crate::options::Mode;

/// `GET /health`: whether the engine takes requests.
pub(super) async fn health(State(shared): Engine) -> Response {
    if shared.is_draining() || shared.scheduler.node().is_none() {
        return Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the engine is stopping, or joining its store")
            .into_response();
    }
    json(&json!({ "status": 200, "message": "OK" }))
}

/// `GET /metrics`: figures for Prometheus.
pub(super) async fn metrics(State(shared): Engine) -> Response {
    let text = shared.metrics.render(shared.live.len(), shared.scheduler.stats());
    let mut response = Response::new(Body::from(text));
    let kind = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// `GET /dev`: what the SDK's tools look for.
pub(super) async fn dev(State(shared): Engine, headers: HeaderMap) -> Result<Response, Refusal> {
    if shared.options.mode == Mode::Start {
        authorize(&shared, &headers)?;
    }
    let version = env!("CARGO_PKG_VERSION");
    let functions = shared.functions.len();
    let is_dev = shared.options.mode == Mode::Dev;
    Ok(json(&json!({ "version": version, "startOpts": {}, "functions": functions, "isSingleNodeService": !is_dev })))
}
