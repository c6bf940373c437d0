//! What the engine says of itself.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::json;

use super::{Engine, authorize, json, refusal::Refusal};
use crate::{
    observe::{Levels, METRICS_TYPE},
    options::Mode,
};

/// `GET /health`: whether the engine takes requests. It does not when its store has not answered for the length of a
/// lease.
pub(super) async fn health(State(shared): Engine) -> Response {
    if shared.is_draining() || !shared.scheduler.is_ready() {
        return Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the engine is stopping, or its store does not answer")
            .into_response();
    }
    json(&json!({ "status": 200, "message": "OK" }))
}

/// `GET /metrics`: figures for Prometheus.
pub(super) async fn metrics(State(shared): Engine) -> Response {
    shared.metrics.measured(&Levels {
        live_runs: shared.live.len(),
        streams_open: Arc::strong_count(&shared.streams_open) - 1,
        bodies_bytes: shared.bodies.taken(),
        runs_bytes: shared.memory.taken(),
        executions_hung: shared.scheduler.stats().hung,
        runs_unreadable: shared.unreadable.total(),
    });
    let mut response = Response::new(Body::from(shared.metrics.render()));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(METRICS_TYPE));
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
