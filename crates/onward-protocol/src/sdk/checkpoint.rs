//! Checkpoints: how an endpoint reports the steps that it ran while its client waits.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Number, Value, json, value::RawValue};
use ulid::Ulid;

use super::{
    json::{object, read, whole},
    op::{InvalidOp, Op, ops},
};

/// The most retries that anybody can ask for.
pub const RETRIES_MAX: u32 = 20;
/// The version of the SDK's execution that is asked for where a checkpoint names none.
const REQUEST_VERSION: i32 = 2;

/// The first checkpoint of a run: it makes the run known.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// The run's id, which the SDK has made: a ULID.
    pub run_id: [u8; 16],
    /// The client's request. [`parse_checkpoint`] always gives it.
    pub event: Option<HttpRequestEvent>,
    /// The version of the SDK's execution; a re-entry repeats it.
    pub request_version: i32,
    /// How often a failed attempt is tried again: at most [`RETRIES_MAX`]. `None` where it does not say.
    pub retries: Option<u32>,
    /// What the run did so far.
    pub ops: Vec<Op>,
}

/// A client's request to an endpoint, as the data of the event `inngest/http.request`. Nothing of its other headers is
/// known to the SDK's engine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HttpRequestEvent {
    /// Scheme, host and port of the endpoint.
    #[serde(deserialize_with = "text")]
    pub domain: String,
    /// The method.
    #[serde(deserialize_with = "text")]
    pub method: String,
    /// The path, as it was encoded.
    #[serde(deserialize_with = "text")]
    pub path: String,
    /// The query, without the question mark.
    #[serde(deserialize_with = "text")]
    pub query_params: String,
    /// The type of the body.
    #[serde(deserialize_with = "text")]
    pub content_type: String,
    /// The client's address.
    #[serde(deserialize_with = "text")]
    pub ip: String,
    /// The body, as text.
    #[serde(deserialize_with = "text")]
    pub body: String,
    /// The endpoint's id; empty where its author gave none.
    #[serde(rename = "fn", deserialize_with = "text")]
    pub function: String,
}

/// What is no checkpoint. It tells what is wrong, and repeats nothing of what users wrote.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidCheckpoint {
    /// It is no JSON object.
    #[error("the checkpoint is not a JSON object")]
    NotAnObject,
    /// Something is absent, or not what it has to be.
    #[error("the checkpoint has no {0}")]
    Missing(&'static str),
    /// One of its ops is wrong.
    #[error(transparent)]
    Op(#[from] InvalidOp),
}

/// Reads the first checkpoint of a run (`POST /v1/checkpoint`). The request's body is text; the Go SDK sends it in
/// base64, which is for the caller to know.
///
/// # Example
///
/// ```
/// let json = br#"{"run_id":"01M851YY222ANQDPYZT1BS03D8","event":{"data":{"method":"GET","path":"/ok"}},"steps":[]}"#;
/// let checkpoint = onward_protocol::sdk::parse_checkpoint(json, 100, false)?;
/// assert_eq!(checkpoint.event.unwrap().path, "/ok");
/// # Ok::<(), onward_protocol::sdk::InvalidCheckpoint>(())
/// ```
pub fn parse_checkpoint(json: &[u8], ops_max: usize, body_is_base64: bool) -> Result<Checkpoint, InvalidCheckpoint> {
    let wire = Wire::read(json)?;
    let mut event = wire.event().ok_or(InvalidCheckpoint::Missing("event with the request as its data"))?;
    if body_is_base64 && let Ok(bytes) = STANDARD.decode(&event.body) {
        event.body = String::from_utf8_lossy(&bytes).into_owned();
    }
    Ok(Checkpoint {
        run_id: wire.run_id().ok_or(InvalidCheckpoint::Missing("run_id that is a ULID"))?,
        event: Some(event),
        request_version: wire.request_version()?,
        retries: wire.retries()?,
        ops: wire.ops(ops_max)?,
    })
}

/// Reads the ops of a later checkpoint (`POST /v1/checkpoint/{run}/steps` and `/async`): the run is in its path.
///
/// ```
/// # use onward_protocol::sdk::parse_steps;
/// assert_eq!(parse_steps(br#"{"fn_id":"f","steps":[{"op":"RunComplete","data":1}]}"#, 100)?.len(), 1);
/// # Ok::<(), onward_protocol::sdk::InvalidCheckpoint>(())
/// ```
pub fn parse_steps(json: &[u8], ops_max: usize) -> Result<Vec<Op>, InvalidCheckpoint> {
    Wire::read(json)?.ops(ops_max)
}

/// Reads a ULID.
pub(super) fn ulid(text: &str) -> Option<[u8; 16]> {
    // The crate takes more than 128 bits and forgets the first ones.
    if text.as_bytes().first().is_none_or(|first| *first > b'7') {
        return None;
    }
    Ulid::from_string(text).ok().map(|id| id.to_bytes())
}

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow)]
    run_id: Option<&'a RawValue>,
    #[serde(borrow)]
    event: Option<&'a RawValue>,
    #[serde(borrow)]
    request_version: Option<&'a RawValue>,
    #[serde(borrow)]
    retries: Option<&'a RawValue>,
    #[serde(borrow)]
    steps: Option<&'a RawValue>,
}

impl<'a> Wire<'a> {
    fn read(json: &'a [u8]) -> Result<Self, InvalidCheckpoint> {
        object(whole(json)).ok_or(InvalidCheckpoint::NotAnObject)
    }

    fn run_id(&self) -> Option<[u8; 16]> {
        ulid(&read::<String>(self.run_id)?)
    }

    fn event(&self) -> Option<HttpRequestEvent> {
        #[derive(Deserialize)]
        struct Event<'a> {
            #[serde(borrow)]
            data: Option<&'a RawValue>,
        }
        object(object::<Event<'_>>(self.event)?.data)
    }

    fn request_version(&self) -> Result<i32, InvalidCheckpoint> {
        let Some(value) = self.request_version else { return Ok(REQUEST_VERSION) };
        read(Some(value)).ok_or(InvalidCheckpoint::Missing("request_version that is a number"))
    }

    fn retries(&self) -> Result<Option<u32>, InvalidCheckpoint> {
        let Some(value) = self.retries else { return Ok(None) };
        let retries = read::<Number>(Some(value)).and_then(|retries| retries.as_u64());
        let retries = retries.ok_or(InvalidCheckpoint::Missing("retries that are a number from 0"))?;
        Ok(Some(u32::try_from(retries).unwrap_or(RETRIES_MAX).min(RETRIES_MAX)))
    }

    fn ops(&self, max: usize) -> Result<Vec<Op>, InvalidCheckpoint> {
        self.steps.map_or_else(|| Ok(Vec::new()), |steps| Ok(ops(steps, max)?))
    }
}

impl HttpRequestEvent {
    /// The name of the event.
    pub const NAME: &str = "inngest/http.request";

    /// The event as the SDK reads it.
    ///
    /// ```
    /// # use onward_protocol::sdk::HttpRequestEvent;
    /// let request = HttpRequestEvent { path: "/ok".into(), ..HttpRequestEvent::default() };
    /// let event = request.to_event_json("01M851YY222ANQDPYZT1BS03D8", 7);
    /// assert_eq!(event["data"]["path"], "/ok");
    /// ```
    pub fn to_event_json(&self, id: &str, ts_ms: i64) -> Value {
        event(id, ts_ms, self.data())
    }

    /// The event as expressions see it (`event` in the `if` of a wait): beside the keys of [`Self::to_event_json`],
    /// `query` has the query's parameters and `json` the body, where it is JSON. Each parameter and each member of a
    /// body that is an object is a member of `data` too, so that `match: "data.userId"` means what it seems to. Where
    /// names clash, the SDK's keys win, then `query` and `json`, then the body.
    ///
    /// ```
    /// # use onward_protocol::sdk::HttpRequestEvent;
    /// let request = HttpRequestEvent { query_params: "userId=7".into(), ..HttpRequestEvent::default() };
    /// let event = request.to_match_json("01M851YY222ANQDPYZT1BS03D8", 7);
    /// assert_eq!(event["data"]["userId"], "7");
    /// ```
    pub fn to_match_json(&self, id: &str, ts_ms: i64) -> Value {
        let query = self.query();
        let body = serde_json::from_str::<Value>(&self.body).ok();
        let mut data = query.clone();
        if let Some(Value::Object(members)) = &body {
            data.extend(members.clone());
        }
        data.insert("query".to_owned(), Value::Object(query));
        if let Some(body) = body {
            data.insert("json".to_owned(), body);
        }
        data.extend(self.data());
        event(id, ts_ms, data)
    }

    fn data(&self) -> Map<String, Value> {
        let pairs = [
            ("domain", &self.domain),
            ("method", &self.method),
            ("path", &self.path),
            ("query_params", &self.query_params),
            ("content_type", &self.content_type),
            ("ip", &self.ip),
            ("body", &self.body),
            ("fn", &self.function),
        ];
        pairs.into_iter().map(|(name, value)| (name.to_owned(), Value::String(value.clone()))).collect()
    }

    fn query(&self) -> Map<String, Value> {
        let mut values = BTreeMap::<String, Vec<Value>>::new();
        for (name, value) in form_urlencoded::parse(self.query_params.as_bytes()) {
            values.entry(name.into_owned()).or_default().push(Value::String(value.into_owned()));
        }
        let one = |mut values: Vec<Value>| if values.len() == 1 { values.remove(0) } else { Value::Array(values) };
        values.into_iter().map(|(name, values)| (name, one(values))).collect()
    }
}

fn event(id: &str, ts_ms: i64, data: Map<String, Value>) -> Value {
    let mut event = json!({ "name": HttpRequestEvent::NAME, "id": id, "ts": ts_ms, "user": {} });
    event["data"] = Value::Object(data);
    event
}

/// `null` is an empty text.
fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests;
