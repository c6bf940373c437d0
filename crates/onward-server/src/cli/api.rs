//! Talks to an engine over its HTTP API.

use std::time::Duration;

use http::{Method, StatusCode};
use reqwest::{Client, Url};
use serde_json::Value;

use super::output::{Failure, chain, plain};
use crate::config::Operator;

/// How long an engine may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long it may take to be reached.
const CONNECT: Duration = Duration::from_secs(5);

/// An engine.
pub(super) struct Api {
    http: Client,
    operator: Operator,
}

/// A client for HTTP; one on this machine is not looked for behind a proxy.
pub(super) fn client(url: &Url) -> Result<Client, Failure> {
    // Only the first of a process is taken; all are the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = Client::builder().timeout(PATIENCE).connect_timeout(CONNECT);
    let is_here = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
    let builder = if is_here { builder.no_proxy() } else { builder };
    builder.build().map_err(|error| Failure::failed(&error))
}

impl Api {
    pub(super) fn new(operator: Operator) -> Result<Self, Failure> {
        Ok(Self { http: client(&operator.url)?, operator })
    }

    /// The address of a path below the engine's; each part is one segment, whatever is in it.
    fn address(&self, path: &[&str]) -> Url {
        let mut url = self.operator.url.clone();
        // One of HTTP always has a path.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        url
    }

    /// Calls the run API.
    pub(super) async fn call(&self, method: Method, path: &[&str], query: &[(&str, String)]) -> Result<Value, Failure> {
        let mut url = self.address(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let mut request = self.http.request(method, url);
        if let Some(key) = &self.operator.signing_key {
            request = request.bearer_auth(key);
        }
        self.answer(request, "give the engine's signing key with --signing-key or ONWARD_SIGNING_KEY").await
    }

    /// Sends an event.
    pub(super) async fn send(&self, event: &Value) -> Result<Value, Failure> {
        let key = self.operator.event_key.as_deref().unwrap_or("NO_EVENT_KEY_SET");
        let request = self.http.post(self.address(&["e", key]));
        let request = request.header(http::header::CONTENT_TYPE, "application/json").body(event.to_string());
        self.answer(request, "give an event key of the engine with --event-key or ONWARD_EVENT_KEY").await
    }

    async fn answer(&self, request: reqwest::RequestBuilder, without_key: &str) -> Result<Value, Failure> {
        // An event key is part of an address, which is therefore not shown.
        let failed = |error: reqwest::Error| {
            let (connect, why) = (error.is_connect(), chain(&error.without_url()));
            let hint = if connect { "; is it running? name it with --url or ONWARD_URL" } else { "" };
            Failure::Failed(format!("no answer from the engine at {}: {why}{hint}", self.operator.url))
        };
        let response = request.send().await.map_err(failed)?;
        let status = response.status();
        let body = response.bytes().await.map_err(failed)?;
        if status.is_success() && body.is_empty() {
            return Ok(Value::Object(serde_json::Map::new()));
        }
        let value: Option<Value> = serde_json::from_slice(&body).ok();
        match value {
            Some(value) if status.is_success() => Ok(value),
            value => Err(Failure::Failed(refusal(status, value.as_ref(), without_key))),
        }
    }
}

/// Why an engine refused.
fn refusal(status: StatusCode, body: Option<&Value>, without_key: &str) -> String {
    let Some(body) = body else { return format!("the answer ({status}) is not of an engine; check --url") };
    let why = body["error"].as_str().unwrap_or("it does not say why");
    let hint = if status == StatusCode::UNAUTHORIZED { format!("; {without_key}") } else { String::new() };
    format!("the engine refused ({}): {}{hint}", status.as_u16(), plain(why))
}
