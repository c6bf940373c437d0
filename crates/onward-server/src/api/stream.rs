//! Reading what a run streams after its client's own request: from the beginning or after a frame that was seen.

use std::sync::Arc;

use axum::{body::Body, extract::State, response::Response};
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use onward_core::{
    RunId,
    run::{Outcome, Status},
    stream::{Frame, FrameKind, Place},
};
use onward_protocol::sse::{self, Content, EVENT_STREAM, HEARTBEAT, Position, ResponseStatus, encode};
use onward_scheduler::{Read, Reader};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use super::{Engine, output::public, query::Query, refusal::Refusal, refused, share};
use crate::{record::Answer, shared::Shared};

#[derive(Debug, Default, Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    token: String,
}

/// `GET /v1/realtime/sse?token=`: frames, and at the end how the run ended.
pub(super) async fn stream(
    State(shared): Engine,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let unknown = || Refusal::new(StatusCode::UNAUTHORIZED, "the token opens no stream, or has expired").shared();
    let (run, token) = asked.token.split_once('.').ok_or_else(unknown)?;
    let run_id: RunId = run.parse().map_err(|_| unknown())?;
    if !shared.opens(run_id, token) {
        return Err(unknown());
    }
    let position = Position::read(&headers);
    let position = position.ok_or_else(|| Refusal::malformed("Last-Event-ID names no frame of the stream").shared())?;
    let record = shared.store.run(run_id).await.map_err(|error| refused(&error).shared())?;
    let Some(record) = record else { return Err(Refusal::new(StatusCode::GONE, "the run is no longer kept").shared()) };
    let ended = record.status.is_final();
    let mut response = if ended && matches!(position, Position::End(_)) {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        response
    } else {
        Response::new(Body::from_stream(bytes(&shared, run_id, position, ended)))
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(EVENT_STREAM));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-store"));
    // Why: proxies that collect an answer before they pass it on would make a stream of it no more.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    share(headers);
    Ok(response)
}

struct Connection {
    reader: Reader,
    head: Option<String>,
    /// Counts it among the streams that are being read.
    _open: Arc<()>,
}

fn bytes(
    shared: &Arc<Shared>,
    run_id: RunId,
    position: Position,
    ended: bool,
) -> impl futures_util::Stream<Item = Result<Bytes, std::convert::Infallible>> + use<> {
    let at = Place(position.place());
    let reader = match position {
        Position::Start => Reader::fresh(&shared.store, &shared.hub, run_id, ended),
        Position::After(_) | Position::End(_) => Reader::after(&shared.store, &shared.hub, run_id, at),
    };
    let metadata = encode(&sse::Frame::Metadata { run_id: run_id.to_string() }, &at.0.to_string());
    let connection = Connection {
        reader: reader.until(shared.closing.clone()),
        head: Some(format!("{HEARTBEAT}{metadata}")),
        _open: Arc::clone(&shared.streams_open),
    };
    stream::unfold(connection, async |mut connection| {
        let text = connection.next().await?;
        Some((Ok(Bytes::from(text)), connection))
    })
}

impl Connection {
    async fn next(&mut self) -> Option<String> {
        if let Some(head) = self.head.take() {
            return Some(head);
        }
        match self.reader.next().await {
            Ok(Some(Read::Frames(frames))) => Some(frames.iter().map(write).collect()),
            Ok(Some(Read::Silence)) => Some(HEARTBEAT.to_owned()),
            Ok(Some(Read::Ended(outcome))) => Some(ending(&outcome, self.reader.at())),
            Ok(None) => None,
            Err(error) => {
                let run_id = self.reader.run_id();
                tracing::warn!(%run_id, error = &error as &dyn std::error::Error, "a stream broke off");
                None
            }
        }
    }
}

fn write(frame: &Frame) -> String {
    let step = frame.step.map(|step| step.to_string());
    let wire = match &frame.kind {
        FrameKind::Chunk(data) => {
            let json = std::str::from_utf8(data.as_ref()).ok().and_then(|text| serde_json::from_str(text).ok());
            sse::Frame::Chunk { data: json.unwrap_or_else(|| RawValue::NULL.to_owned()), step }
        }
        FrameKind::Commit => sse::Frame::Commit { step },
        FrameKind::Rollback => sse::Frame::Rollback { step },
    };
    encode(&wire, &frame.place.0.to_string())
}

/// How the run ended, as the last frame: made here where the endpoint has sent none.
fn ending(outcome: &Outcome, at: Place) -> String {
    let (status, content) = match outcome.status {
        Status::Completed => (ResponseStatus::Succeeded, succeeded(outcome)),
        _ => (ResponseStatus::Failed, failed(&public(outcome))),
    };
    encode(&sse::Frame::Response { status, content }, &Position::end(at.0))
}

fn succeeded(outcome: &Outcome) -> Content {
    let Ok(answer) = Answer::decode(outcome) else { return failed(&public(outcome)) };
    if let Some(content) = answer.response {
        return content;
    }
    // What the SDK reports of a handler that returned a plain value.
    let reported: Value = serde_json::from_str(answer.data.get()).unwrap_or_default();
    let body = reported.get("body").and_then(Value::as_str).map_or_else(|| reported.to_string(), str::to_owned);
    content(200, body)
}

fn failed(error: &Value) -> Content {
    content(500, error.get("message").cloned().unwrap_or_default().to_string())
}

fn content(status_code: u16, body: String) -> Content {
    let headers = [("content-type".to_owned(), "application/json".to_owned())].into();
    Content { body, body_encoding: None, status_code, headers, header_pairs: Vec::new() }
}
