//! Requests that the engine makes for steps: `step.fetch` and `step.ai.infer`.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use onward_core::{Attempt, Payload, StepKey, step::StepKind};
use onward_protocol::sdk::request::{AiRequest, FetchRequest};
use serde_json::{Value, json};

use super::{NoAnswer, host_of};
use crate::{
    live::Live,
    plan::{Failure, error},
};

/// How long a request may take.
const TIMEOUT: Duration = Duration::from_secs(300);

/// Makes the request of a step and tells the run of its answer.
pub(crate) async fn request(live: Arc<Live>, key: StepKey, kind: StepKind, attempt: Attempt, request: String) {
    let name = if kind == StepKind::Ai { "AIGatewayError" } else { "GatewayError" };
    let answered = tokio::time::timeout(TIMEOUT, async {
        if kind == StepKind::Ai { ask_model(&live, &request).await } else { fetch(&live, &request).await }
    });
    let answered = tokio::select! {
        answered = answered => answered.unwrap_or_else(|_| Err(Gateway::passing("the request took too long"))),
        () = live.over() => return,
    };
    match answered {
        Ok(output) => live.request_answered(key, Payload::from(output.to_string())),
        Err(Gateway { message, retryable }) => {
            let failure = Failure { retryable, ..Failure::passing(error(name, &message)) };
            live.request_failed(key, attempt, failure);
        }
    }
}

/// Why a request got no answer that counts.
struct Gateway {
    message: String,
    retryable: bool,
}

impl Gateway {
    fn passing(message: impl Into<String>) -> Self {
        Self { message: message.into(), retryable: true }
    }

    fn final_(message: impl Into<String>) -> Self {
        Self { message: message.into(), retryable: false }
    }
}

/// What was answered.
struct Answered {
    status: u16,
    headers: BTreeMap<String, String>,
    body: String,
}

/// Calls a URL: any answer counts.
async fn fetch(live: &Arc<Live>, request: &str) -> Result<Value, Gateway> {
    let request: FetchRequest =
        serde_json::from_str(request).map_err(|_| Gateway::final_("the request cannot be read"))?;
    let body = request.body.unwrap_or_default();
    let answered = send(live, &request.method, &request.url, &request.headers, body).await?;
    let Answered { status, headers, body } = answered;
    Ok(json!({ "url": request.url, "status_code": status, "headers": headers, "body": body }))
}

/// Asks a model: an answer that is no success is an error.
async fn ask_model(live: &Arc<Live>, request: &str) -> Result<Value, Gateway> {
    let request: AiRequest =
        serde_json::from_str(request).map_err(|_| Gateway::final_("the request cannot be read"))?;
    let mut headers = request.headers;
    headers.entry("content-type".to_owned()).or_insert_with(|| "application/json".to_owned());
    let mut url = request.url;
    // How each provider takes its key.
    if let Some(key) = request.auth_key.filter(|key| !key.is_empty()) {
        match request.format.as_deref() {
            Some("anthropic") => {
                headers.insert("x-api-key".to_owned(), key);
                headers.entry("anthropic-version".to_owned()).or_insert_with(|| "2023-06-01".to_owned());
            }
            Some("gemini") => {
                let sign = if url.contains('?') { '&' } else { '?' };
                if !url.contains("key=") {
                    url = format!("{url}{sign}key={key}");
                }
            }
            Some("azure-openai") => drop(headers.insert("api-key".to_owned(), key)),
            _ => drop(headers.insert("authorization".to_owned(), format!("Bearer {key}"))),
        }
    }
    let Answered { status, body, .. } = send(live, "POST", &url, &headers, request.body.get().to_owned()).await?;
    if !(200..300).contains(&status) {
        let again = matches!(status, 408 | 409 | 425 | 429) || status >= 500;
        let message = format!("the model's provider answered with status {status}");
        return Err(Gateway { message, retryable: again });
    }
    serde_json::from_str(&body)
        .map_err(|_| Gateway::passing("the model's provider answered with something else than JSON"))
}

async fn send(
    live: &Arc<Live>,
    method: &str,
    url: &str,
    headers: &BTreeMap<String, String>,
    body: String,
) -> Result<Answered, Gateway> {
    let caller = &live.shared.caller;
    let url = reqwest::Url::parse(url).map_err(|_| Gateway::final_("invalid URL"))?;
    caller.reach().check_host(&url).map_err(|refused| {
        tracing::warn!(run_id = %live.run_id, endpoint = %live.endpoint, %refused, "a step's URL may not be called");
        Gateway::final_("the engine may not call this URL")
    })?;
    let method = reqwest::Method::from_bytes(method.to_ascii_uppercase().as_bytes())
        .map_err(|_| Gateway::final_("the method is not one"))?;
    let mut request = caller.gateway_client(&url).request(method, url.clone());
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let _place = caller.gateway_place(&url).await;
    // Why until there is an answer: the request may be redirected, and is then sent again.
    let share = caller.transfers.send(host_of(&url), body.len()).await;
    if !body.is_empty() {
        request = request.body(body);
    }
    if !live.may_call() {
        std::future::pending::<()>().await; // the run is over here, and with it this request
    }
    let mut response = request.send().await.map_err(|error| {
        if error.is_builder() {
            Gateway::final_("a header is not one")
        } else {
            Gateway::passing(super::unreachable(&error))
        }
    })?;
    drop(share);
    let status = response.status().as_u16();
    let headers = response
        .headers()
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
    let headers = headers.collect();
    let read = caller.transfers.read(host_of(&url), &mut response, live.shared.options.limits.reply_bytes).await;
    let (body, _share) = read.map_err(|error| match error {
        NoAnswer::Unreached(why) => Gateway::passing(why),
        NoAnswer::TooLarge(limit) => Gateway::final_(format!("the answer has more than {limit} bytes")),
    })?;
    Ok(Answered { status, headers, body: String::from_utf8_lossy(&body).into_owned() })
}
