//! Functions become known.

use axum::{
    extract::{Request, State},
    response::Response,
};
use http::StatusCode;
use onward_protocol::sdk::registration::Registration;
use serde_json::json;

use super::{Engine, authorize, json, read, refusal::Refusal, refused};

/// The largest registration, in bytes.
const BYTES_MAX: usize = 4 * 1024 * 1024;

/// `POST /fn/register`: an app's functions take the place of those that it had.
pub(super) async fn register(State(shared): Engine, request: Request) -> Result<Response, Refusal> {
    authorize(&shared, request.headers())?;
    let (body, _share) = read(&shared, request, BYTES_MAX).await?;
    let registration = Registration::parse(&body).map_err(|invalid| Refusal::malformed(&invalid.to_string()))?;
    for function in &registration.functions {
        if function.triggers.iter().any(|trigger| trigger.cron.is_some()) {
            tracing::warn!(function = function.id, "the engine starts no functions by cron: this one it does not");
        }
        let url = reqwest::Url::parse(&function.url).map_err(|_| Refusal::malformed("invalid URL of a function"))?;
        let reach = shared.caller.reach();
        let refuse = |refused| Refusal::new(StatusCode::FORBIDDEN, &reach.explain(&url, refused));
        reach.check(&url).map_err(refuse)?;
    }
    let modified = shared.functions.register(&*shared.store, &registration).await.map_err(|error| refused(&error))?;
    tracing::info!(app = registration.app, functions = registration.functions.len(), "functions registered");
    Ok(json(&json!({ "ok": true, "modified": modified })))
}
