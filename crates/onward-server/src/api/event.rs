//! Events and signals from outside.

use axum::{
    extract::{Path, Request, State},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode};
use onward_core::{NAME_BYTES_MAX, Payload, check_name, event::Event, waiter::Signal};
use onward_protocol::sdk::event::{EventLimits, InvalidEvents, event_ids, parse_events};
use serde::Deserialize;
use serde_json::{json, value::RawValue};

use super::{Engine, authorize, json, read, refusal::Refusal, refused, share};
use crate::{ask::payload, functions, record::from_millis, shared::Shared};

/// `POST /e/{key}`: accepts events. They are stored, and have woken who waited for them, when this is answered.
pub(super) async fn events(State(shared): Engine, Path(key): Path<String>, request: Request) -> Response {
    let answered = accept(&shared, &key, request).await;
    let mut response = match answered {
        Ok(ids) => json(&json!({ "ids": ids, "status": 200 })),
        Err(refusal) => refusal.into_response(),
    };
    share(response.headers_mut());
    response
}

async fn accept(shared: &Shared, key: &str, request: Request) -> Result<Vec<String>, Refusal> {
    if !is_known(shared, key) {
        return Err(Refusal::new(StatusCode::UNAUTHORIZED, "the event key is not one of the engine's"));
    }
    let limits = shared.options.limits;
    let seed = seed(request.headers());
    let bytes_max = limits.event_bytes.saturating_mul(limits.events.min(64)).max(1024 * 1024);
    let (body, _share) = read(shared, request, bytes_max.min(limits.bodies_bytes)).await?;
    let (count, event_bytes) = (limits.events, limits.event_bytes);
    let event_limits = EventLimits { count, event_bytes, name_bytes: NAME_BYTES_MAX };
    let events = parse_events(&body, event_limits).map_err(|invalid| {
        let status = if matches!(invalid, InvalidEvents::TooLarge { .. }) {
            StatusCode::PAYLOAD_TOO_LARGE
        } else {
            StatusCode::BAD_REQUEST
        };
        Refusal::new(status, &invalid.to_string())
    })?;
    let now = shared.clock.now();
    let ids = event_ids(seed.as_deref(), events.len(), now.as_millis(), rand::random());
    let events: Vec<_> = events
        .into_iter()
        .zip(ids)
        .map(|(event, id)| Event {
            id: event.id.unwrap_or(id),
            name: event.name,
            data: payload(&event.data),
            ts: event.ts.map_or(now, from_millis),
            more: if event.more.is_empty() { Payload::default() } else { json!(event.more).to_string().into() },
        })
        .collect();
    let ids = events.iter().map(|event| event.id.clone()).collect();
    for event in &events {
        // It would start fewer runs than it should, and would not be taken again.
        let checked = shared.functions.check_event(&event.name);
        checked.map_err(|error| Refusal::new(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()))?;
    }
    // Why first: an event that is known already starts nothing more, and what it starts must not be lost.
    for event in &events {
        functions::start(shared, event).await.map_err(|error| refused(&error))?;
    }
    let count = events.len() as u64;
    let woken = shared.store.send_events(events, now).await.map_err(|error| refused(&error))?;
    shared.scheduler.woken(&woken);
    shared.metrics.events_accepted(count);
    Ok(ids)
}

/// Whether an event key is one of the engine's. Without any, all are.
fn is_known(shared: &Shared, key: &str) -> bool {
    use sha2::{Digest, Sha256};
    let keys = &shared.options.event_keys;
    // Why digests: comparing them tells nothing of the key, however long the comparison takes.
    let given = Sha256::digest(key.as_bytes());
    keys.is_empty() || keys.iter().fold(false, |known, own| known | (Sha256::digest(own.as_bytes()) == given))
}

fn seed(headers: &HeaderMap) -> Option<String> {
    headers.get("x-inngest-event-id-seed").and_then(|seed| seed.to_str().ok()).map(str::to_owned)
}

#[derive(Deserialize)]
struct PostedSignal {
    signal: String,
    #[serde(default)]
    data: Option<Box<RawValue>>,
}

/// `POST /v1/signals`: gives a signal to the run that waits for it.
pub(super) async fn signal(State(shared): Engine, request: Request) -> Result<Response, Refusal> {
    authorize(&shared, request.headers())?;
    let (body, _share) = read(&shared, request, shared.options.limits.event_bytes).await?;
    let posted: PostedSignal =
        serde_json::from_slice(&body).map_err(|_| Refusal::malformed("send a JSON object {\"signal\", \"data\"}"))?;
    check_name("signal name", &posted.signal).map_err(|invalid| Refusal::malformed(&invalid.to_string()))?;
    let data = posted.data.map_or_else(|| Payload::from("null"), |data| payload(&data));
    let signal = Signal { name: posted.signal, data };
    let woken = shared.store.send_signal(signal, shared.clock.now()).await.map_err(|error| refused(&error))?;
    let Some(woken) = woken else {
        return Err(Refusal::new(StatusCode::NOT_FOUND, "no run waits for this signal"));
    };
    shared.scheduler.woken(&[woken]);
    Ok(json(&json!({ "data": { "run_id": woken.run_id.to_string() } })))
}
