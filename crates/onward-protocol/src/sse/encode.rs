//! Writing frames.

use serde::Serialize;
use serde_json::value::RawValue;

use super::{Content, Frame, ResponseStatus};

/// What keeps a silent connection from being taken for a dead one: a comment.
pub const HEARTBEAT: &str = ":\n\n";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RunIdData<'a> {
    run_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ChunkData<'a> {
    data: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    hashed_step_id: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StepData<'a> {
    hashed_step_id: Option<&'a str>,
}

#[derive(Serialize)]
struct ResponseData<'a> {
    status: ResponseStatus,
    response: &'a Content,
}

/// A frame as it goes over the wire, under an id. A reader that has it resumes after it with `Last-Event-ID`.
///
/// ```
/// # use onward_protocol::sse::{Frame, encode};
/// let frame = Frame::Commit { step: Some("86f7".to_owned()) };
/// assert_eq!(encode(&frame, "7"), "id: 7\nevent: inngest.commit\ndata: {\"hashedStepId\":\"86f7\"}\n\n");
/// ```
pub fn encode(frame: &Frame, id: &str) -> String {
    let (name, data) = match frame {
        Frame::Metadata { run_id } => ("metadata", json(&RunIdData { run_id, url: None })),
        Frame::Chunk { data, step } => ("stream", json(&ChunkData { data, hashed_step_id: step.as_deref() })),
        Frame::Commit { step } => ("commit", json(&StepData { hashed_step_id: step.as_deref() })),
        Frame::Rollback { step } => ("rollback", json(&StepData { hashed_step_id: step.as_deref() })),
        Frame::RedirectInfo { run_id, url } => ("redirect_info", json(&RunIdData { run_id, url: Some(url) })),
        Frame::Response { status, content } => ("response", json(&ResponseData { status: *status, response: content })),
    };
    format!("id: {id}\nevent: inngest.{name}\ndata: {data}\n\n")
}

/// JSON on one line: what users wrote may have line breaks between its tokens.
fn json(data: &impl Serialize) -> String {
    let text = serde_json::to_string(data).expect("strings and numbers always serialise");
    if text.contains(['\n', '\r']) { text.replace(['\n', '\r'], " ") } else { text }
}
