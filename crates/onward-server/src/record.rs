//! What the engine keeps of a run beside its journal: what made it, and how it ended.

use onward_core::{
    EndpointId, Payload, StoreError, Timestamp,
    run::{Outcome, Status},
};
use onward_protocol::{sdk::checkpoint::HttpRequestEvent, sse::Content};
use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};

/// The version that is written. Older ones stay readable.
const VERSION: u8 = 1;

/// What made a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Origin {
    v: u8,
    /// The id of its event.
    pub(crate) event_id: String,
    /// When that was, in milliseconds since the Unix epoch.
    pub(crate) event_ts: i64,
    /// How many tries follow a unit's first.
    pub(crate) retries: u32,
    /// The trace that it belongs to, where its endpoint has told of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) traceparent: Option<String>,
    /// What is called again.
    pub(crate) target: Target,
}

/// What is called again.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Target {
    /// A durable endpoint: the client's own request is made again.
    Endpoint {
        /// That request.
        request: HttpRequestEvent,
        /// The version of execution that its SDK asked for.
        version: i32,
    },
    /// A registered function.
    Function {
        /// Its id, with that of its app.
        id: String,
        /// Its URL.
        url: String,
        /// The event that it is called with.
        event: Value,
    },
}

/// A stored record that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the run's record cannot be read")]
pub(crate) struct Unreadable;

impl From<Unreadable> for StoreError {
    fn from(error: Unreadable) -> Self {
        Self::Corrupt(error.into())
    }
}

/// An error with its causes, as a text.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let more = cause.to_string();
        // Some errors repeat their cause.
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        source = cause.source();
    }
    text
}

impl Origin {
    /// A run of a target.
    pub(crate) const fn new(event_id: String, event_ts: i64, retries: u32, target: Target) -> Self {
        Self { v: VERSION, event_id, event_ts, retries, traceparent: None, target }
    }

    /// The trace that the run belongs to.
    pub(crate) fn traced(self, traceparent: Option<String>) -> Self {
        Self { traceparent, ..self }
    }

    /// The record, as it is stored.
    pub(crate) fn encode(&self) -> Payload {
        Payload::from(serde_json::to_vec(self).expect("strings and numbers always serialise"))
    }

    /// Reads a record back.
    pub(crate) fn decode(bytes: &Payload) -> Result<Self, Unreadable> {
        let origin: Self = serde_json::from_slice(bytes.as_ref()).map_err(|_| Unreadable)?;
        if origin.v == VERSION { Ok(origin) } else { Err(Unreadable) }
    }

    /// The event by which it began, as the SDK reads it.
    pub(crate) fn event(&self) -> Value {
        match &self.target {
            Target::Endpoint { request, .. } => request.to_event_json(&self.event_id, self.event_ts),
            Target::Function { event, .. } => event.clone(),
        }
    }

    /// The event as expressions see it: with what the request's query and body say beside it.
    pub(crate) fn event_to_match(&self) -> Value {
        match &self.target {
            Target::Endpoint { request, .. } => request.to_match_json(&self.event_id, self.event_ts),
            Target::Function { event, .. } => event.clone(),
        }
    }
}

/// The longest id of an endpoint.
const ENDPOINT_ID_BYTES_MAX: usize = 256;

/// The endpoint that a request is for: its function's id where it has one, else `METHOD /path` with a `:id` for each
/// part of the path that names one thing among many. Else each order would be an endpoint of its own.
fn endpoint_of(request: &HttpRequestEvent) -> EndpointId {
    let name = if request.function.is_empty() {
        let parts = request.path.split('/').map(|part| if is_id(part) { ":id" } else { part });
        format!("{} {}", request.method, parts.collect::<Vec<_>>().join("/"))
    } else {
        request.function.clone()
    };
    endpoint_id(&name)
}

/// The endpoints that are named by their paths. Their number is bounded: whoever can make a request may make up paths.
#[derive(Debug, Default)]
pub(crate) struct Names(parking_lot::Mutex<std::collections::BTreeSet<EndpointId>>);

/// How many there are.
const NAMES_MAX: usize = 1_000;

impl Names {
    /// The endpoint of a request: with as many paths as there may be, a new one is `METHOD /*`.
    pub(crate) fn of(&self, request: &HttpRequestEvent) -> EndpointId {
        let id = endpoint_of(request);
        if !request.function.is_empty() {
            return id;
        }
        let mut names = self.0.lock();
        if names.len() < NAMES_MAX {
            names.insert(id.clone());
        }
        if names.contains(&id) { id } else { endpoint_id(&format!("{} /*", request.method)) }
    }
}

/// A name as an endpoint's id.
pub(crate) fn endpoint_id(name: &str) -> EndpointId {
    let mut name: String = name.chars().map(|char| if char.is_control() { ' ' } else { char }).collect();
    while name.len() > ENDPOINT_ID_BYTES_MAX {
        name.pop();
    }
    let name = if name.is_empty() { "-".to_owned() } else { name };
    EndpointId::try_new(name).expect("it is short, not empty and has no control characters")
}

/// Whether a part of a path names one thing among many: it is a number, or long and of hex digits or a ULID's.
fn is_id(part: &str) -> bool {
    let digits = part.bytes().filter(u8::is_ascii_digit).count();
    let hex = part.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    let ulid = part.len() == 26 && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
    !part.is_empty() && (digits == part.len() || (digits > 0 && ((hex && part.len() >= 16) || ulid)))
}

/// How a run ended, as it is stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Answer {
    v: u8,
    /// What the SDK reported: `{"status","headers","body"}` of an endpoint, or a function's result.
    pub(crate) data: Box<RawValue>,
    /// The handler's own response, where the endpoint streamed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) response: Option<Content>,
}

impl Answer {
    /// The outcome of a run that completed.
    pub(crate) fn completed(data: Box<RawValue>, response: Option<Content>) -> Outcome {
        let answer = Self { v: VERSION, data, response };
        let response = serde_json::to_vec(&answer).expect("strings and numbers always serialise");
        Outcome { status: Status::Completed, response: response.into(), error: Payload::default() }
    }

    /// Reads the answer of a run that completed.
    pub(crate) fn decode(outcome: &Outcome) -> Result<Self, Unreadable> {
        let answer: Self = serde_json::from_slice(outcome.response.as_ref()).map_err(|_| Unreadable)?;
        if answer.v == VERSION { Ok(answer) } else { Err(Unreadable) }
    }
}

/// The outcome of a run that did not complete.
pub(crate) fn ended(status: Status, error: Payload) -> Outcome {
    Outcome { status, response: Payload::default(), error }
}

/// The error of a run that did not complete. An operator who cancels a run without its engine leaves none.
pub(crate) fn error_of(outcome: &Outcome) -> Payload {
    if outcome.status == Status::Cancelled && outcome.error.is_empty() {
        return cancelled().error;
    }
    outcome.error.clone()
}

/// The outcome of a run that an operator cancels.
pub(crate) fn cancelled() -> Outcome {
    ended(Status::Cancelled, crate::plan::error("RunCancelled", "the run was cancelled"))
}

/// What the caller of a function gets of its run's end.
pub(crate) fn result_of(outcome: &Outcome) -> Result<Payload, Payload> {
    if outcome.status != Status::Completed {
        return Err(error_of(outcome));
    }
    match Answer::decode(outcome) {
        Ok(answer) => Ok(Payload::from(String::from(Box::<str>::from(answer.data)))),
        Err(Unreadable) => Err(crate::plan::error("Error", "the function's result cannot be read")),
    }
}

/// A time in milliseconds as the engine counts it.
pub(crate) const fn from_millis(millis: i64) -> Timestamp {
    Timestamp::from_micros(millis.saturating_mul(1000))
}

#[cfg(test)]
mod tests {
    use super::{endpoint_id, is_id};

    #[test]
    fn parts_of_a_path_that_name_one_thing_are_told_from_words() {
        for part in ["42", "550e8400-e29b-41d4-a716-446655440000", "01M851YY222ANQDPYZT1BS03D8", "deadbeef00000000"] {
            assert!(is_id(part), "{part}");
        }
        for part in ["", "api", "v2", "cafe", "deadbeef", "users"] {
            assert!(!is_id(part), "{part}");
        }
    }

    #[test]
    fn any_name_becomes_an_id() {
        assert_eq!(endpoint_id("a\nb").as_str(), "a b");
        assert_eq!(endpoint_id("").as_str(), "-");
        assert_eq!(endpoint_id(&"é".repeat(300)).as_str().len(), 256);
    }
}
