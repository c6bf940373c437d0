//! Reading a run's stream over HTTP: frames as server-sent events, from the beginning or after one that was seen.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use onward_core::{
    RunId, StoreError,
    run::{Outcome, Status},
    stream::{Frame, FrameKind, Place},
};
use onward_protocol::{
    problem::{Code, Problem},
    sse::{self, Content, EVENT_STREAM, HEARTBEAT, Position, ResponseStatus, encode},
};
use onward_scheduler::{Read, Reader};
use serde_json::value::RawValue;

use crate::{durable::DurableBody, onward::Shared, record::response_of};

/// Where who began the run is: it gets all, also what is rolled back before its connection takes anything.
pub(crate) const BEGINNING: Position = Position::After(0);

/// Answers with a run's stream. `url` is where it goes on when the connection ends.
pub(crate) async fn respond<B>(
    shared: &Arc<Shared>,
    run_id: RunId,
    position: Position,
    url: String,
) -> Response<DurableBody<B>> {
    let refused = |code| Problem::new(code).into_response().map(DurableBody::kept);
    let ended = match check(shared, run_id, position).await {
        Ok(Some(ended)) => ended,
        Ok(None) => return refused(Code::StreamPositionUnknown),
        Err(StoreError::RunNotFound) => return refused(Code::RunGone),
        Err(error) => {
            tracing::error!(run_id = %run_id, error = &error as &dyn std::error::Error, "a stream cannot be read");
            return refused(Code::StoreUnavailable);
        }
    };
    if ended && matches!(position, Position::End(_)) {
        return nothing_more();
    }
    let connection = Connection::new(shared, run_id, position, &url, ended);
    let mut response = Response::new(DurableBody::stream(connection.bytes()));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(EVENT_STREAM));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-store"));
    // Why: proxies that collect an answer before they pass it on would make a stream of it no more.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// The answer to a reader who has seen all, the response too.
pub(crate) fn nothing_more<B>() -> Response<DurableBody<B>> {
    let mut response = Response::new(DurableBody::kept(Bytes::new()));
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// Whether the run has ended; `None` where the stream has no frame at which the reader says it is.
async fn check(shared: &Shared, run_id: RunId, position: Position) -> Result<Option<bool>, StoreError> {
    let record = shared.store.run(run_id).await?.ok_or(StoreError::RunNotFound)?;
    let place = Place(position.place());
    if place > Place(0) {
        let at = shared.store.frames(run_id, Place(place.0 - 1), 1).await?;
        if at.first().is_none_or(|frame| frame.place != place) {
            return Ok(None);
        }
    }
    // Who has the response of a failed run that is tried again goes on where that ended.
    Ok(Some(record.status.is_final()))
}

/// One connection that reads a stream.
struct Connection {
    reader: Reader,
    /// What it begins with.
    head: Option<String>,
}

impl Connection {
    fn new(shared: &Arc<Shared>, run_id: RunId, position: Position, url: &str, ended: bool) -> Self {
        let at = Place(position.place());
        let metadata = sse::Frame::Metadata { run_id: run_id.to_string() };
        let redirect = sse::Frame::RedirectInfo { run_id: run_id.to_string(), url: url.to_owned() };
        let id = at.0.to_string();
        let reader = match position {
            Position::Start => Reader::fresh(&shared.store, &shared.hub, run_id, ended),
            _ => Reader::after(&shared.store, &shared.hub, run_id, at),
        };
        let reader = reader.until(shared.tasks.shutdown_token().clone());
        Self { reader, head: Some(encode(&metadata, &id) + &encode(&redirect, &id)) }
    }

    /// The bytes of the answer, made when the connection can take them.
    fn bytes(self) -> BoxStream<'static, Bytes> {
        let next = async |mut connection: Self| connection.next().await.map(|text| (Bytes::from(text), connection));
        stream::unfold(self, next).fuse().boxed()
    }

    async fn next(&mut self) -> Option<String> {
        if let Some(head) = self.head.take() {
            return Some(head);
        }
        match self.reader.next().await {
            Ok(Some(Read::Frames(frames))) => Some(write(&frames)),
            Ok(Some(Read::Silence)) => Some(HEARTBEAT.to_owned()),
            Ok(Some(Read::Ended(outcome))) => Some(ending(self.reader.run_id(), &outcome, self.reader.at())),
            Ok(None) => None,
            Err(error) => {
                // The client comes again, with the id of what it has seen.
                let run_id = self.reader.run_id();
                tracing::warn!(run_id = %run_id, error = &error as &dyn std::error::Error, "a stream broke off");
                None
            }
        }
    }
}

fn write<'a>(frames: impl IntoIterator<Item = &'a Frame>) -> String {
    frames.into_iter().map(|frame| encode(&on_the_wire(frame), &frame.place.0.to_string())).collect()
}

fn on_the_wire(frame: &Frame) -> sse::Frame {
    let step = frame.step.map(|step| step.to_string());
    match &frame.kind {
        FrameKind::Chunk(data) => {
            let json = std::str::from_utf8(data.as_ref()).ok().and_then(|text| serde_json::from_str(text).ok());
            sse::Frame::Chunk { data: json.unwrap_or_else(|| RawValue::NULL.to_owned()), step }
        }
        FrameKind::Commit => sse::Frame::Commit { step },
        FrameKind::Rollback => sse::Frame::Rollback { step },
    }
}

/// How the run ended, as the last frame. What a failed run says is a title of ours: nothing of what is inside.
fn ending(run_id: RunId, outcome: &Outcome, at: Place) -> String {
    let response = response_of(run_id, outcome).unwrap_or_else(|_| Problem::new(Code::RunFailed).into_response());
    let (status, content) = if outcome.status == Status::Completed {
        (ResponseStatus::Succeeded, Content::of(&response))
    } else {
        let problem: Option<serde_json::Value> = serde_json::from_slice(response.body()).ok();
        let title = problem.as_ref().and_then(|problem| problem.get("title")).and_then(serde_json::Value::as_str);
        let title = title.unwrap_or("The request could not be completed");
        let mut failed = Response::new(Bytes::from(serde_json::Value::from(title).to_string()));
        *failed.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        failed.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        (ResponseStatus::Failed, Content::of(&failed))
    };
    encode(&sse::Frame::Response { status, content }, &Position::end(at.0))
}

/// The origin by which a client reached the app, as far as its request tells: `http://host`.
pub(crate) fn origin(uri: &http::Uri, headers: &HeaderMap) -> Option<String> {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let host = host.or_else(|| uri.authority().map(http::uri::Authority::as_str))?;
    let forwarded = headers.get("x-forwarded-proto").and_then(|proto| proto.to_str().ok());
    let scheme = match forwarded.and_then(|proto| proto.split(',').next()).map(str::trim).or(uri.scheme_str()) {
        Some("https") => "https",
        _ => "http",
    };
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]%".contains(&byte);
    (!host.is_empty() && host.bytes().all(is_host)).then(|| format!("{scheme}://{host}"))
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Uri};

    use super::origin;

    #[test]
    fn an_origin_is_the_hosts_by_which_the_client_came() {
        let of = |uri: &'static str, pairs: &[(&'static str, &'static str)]| {
            let pairs = pairs.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)));
            origin(&Uri::from_static(uri), &pairs.collect())
        };
        assert_eq!(of("/a", &[("host", "localhost:3000")]).as_deref(), Some("http://localhost:3000"));
        assert_eq!(of("https://a.example/x", &[]).as_deref(), Some("https://a.example"));
        assert_eq!(
            of("/a", &[("host", "a.example"), ("x-forwarded-proto", "https, http")]).as_deref(),
            Some("https://a.example")
        );
        assert_eq!(of("/a", &[]), None);
        assert_eq!(of("/a", &[("host", "a\"b")]), None);
    }
}
