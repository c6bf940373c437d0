//! Replies: what an endpoint answers when the engine calls it again.

use std::{collections::BTreeMap, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, header};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    json::{is_object, literal, object, whole},
    op::{InvalidOp, Op, parse_ops},
    time::{RETRY_AFTER, Until},
};

const SDK: &str = "x-inngest-sdk";
const SDK_HANDLED: &str = "x-inngest-sdk-handled";
const NO_RETRY: &str = "x-inngest-no-retry";

/// What an endpoint answered.
#[derive(Clone, Debug)]
pub enum Reply {
    /// What its run did, or wants next. No op at all is the same as [`OpKind::Nothing`](super::OpKind::Nothing).
    Ops {
        /// The ops.
        ops: Vec<Op>,
        /// When an op that failed wants to be tried again: at least a second away and at most a day, where it is a
        /// duration. Of an instant, [`Until::retry_delay`] gives the delay.
        retry_after: Option<Until>,
    },
    /// A registered function returned.
    Result {
        /// Its result.
        data: Box<RawValue>,
    },
    /// The run failed for good.
    Failed {
        /// The error: a JSON object.
        error: Box<RawValue>,
    },
    /// The call failed; another may not.
    Error {
        /// The error: a JSON object.
        error: Box<RawValue>,
        /// When to try again, as in [`Reply::Ops`].
        retry_after: Option<Until>,
    },
    /// The SDK answered with ops that are none, or that are not known here.
    Invalid {
        /// What is wrong with them.
        error: InvalidOp,
    },
    /// It was not the SDK that answered, or not to this engine: never the end of a run.
    NotTheSdk {
        /// Why it seems so.
        why: &'static str,
    },
}

impl Reply {
    /// Reads an answer.
    ///
    /// # Example
    ///
    /// ```
    /// use onward_protocol::sdk::Reply;
    ///
    /// let mut headers = http::HeaderMap::new();
    /// let gateway = Reply::read(502, &headers, b"Bad Gateway", 100);
    /// assert!(matches!(gateway, Reply::NotTheSdk { .. }));
    /// headers.insert("x-inngest-sdk", "inngest-js:v4.24.0".parse()?);
    /// let done = Reply::read(206, &headers, br#"{"op":"RunComplete","data":1}"#, 100);
    /// assert!(matches!(done, Reply::Ops { ops, .. } if ops.len() == 1));
    /// # Ok::<(), http::header::InvalidHeaderValue>(())
    /// ```
    pub fn read(status: u16, headers: &HeaderMap, body: &[u8], ops_max: usize) -> Self {
        if status == 201 {
            return match Envelope::read(body) {
                Some(Envelope { status: 201, .. }) | None => {
                    Self::NotTheSdk { why: "a status 201 without a reply in it" }
                }
                Some(inner) => Self::read(inner.status, &inner.headers(), inner.body.as_bytes(), ops_max),
            };
        }
        if status == 401 {
            let handled = headers.contains_key(SDK_HANDLED);
            let why = if handled { "the signature was refused" } else { "the call was refused with status 401" };
            return Self::NotTheSdk { why };
        }
        if !headers.contains_key(SDK) {
            return Self::NotTheSdk { why: "there is no header x-inngest-sdk: something else answered" };
        }
        let no_retry = headers.get(NO_RETRY).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"true"));
        match status {
            206 => match parse_ops(body, ops_max) {
                Ok(ops) => Self::Ops { ops, retry_after: retry_after(headers) },
                Err(error) => Self::Invalid { error },
            },
            200 if body.is_empty() => Self::Result { data: RawValue::NULL.to_owned() },
            200 => match whole(body) {
                Some(data) => Self::Result { data: data.to_owned() },
                None => Self::NotTheSdk { why: "a status 200 whose body is not JSON" },
            },
            400.. if no_retry => Self::Failed { error: error(body) },
            400.. => Self::Error { error: error(body), retry_after: retry_after(headers) },
            _ => Self::NotTheSdk { why: "a status that the SDK does not answer with" },
        }
    }
}

/// A reply inside the body of a status 201, from where the SDK began to answer before it knew how it would.
#[derive(Deserialize)]
struct Envelope {
    status: u16,
    #[serde(default)]
    headers: BTreeMap<String, serde_json::Value>,
    #[serde(default)]
    body: String,
}

impl Envelope {
    fn read(body: &[u8]) -> Option<Self> {
        object(whole(body))
    }

    fn headers(&self) -> HeaderMap {
        let pairs = self.headers.iter().filter_map(|(name, value)| {
            let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
            Some((name, HeaderValue::from_str(value.as_str()?).ok()?))
        });
        pairs.collect()
    }
}

fn retry_after(headers: &HeaderMap) -> Option<Until> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty() {
        let seconds = text.parse().unwrap_or(u64::MAX);
        return Some(Until::For(Duration::from_secs(seconds).clamp(RETRY_AFTER.0, RETRY_AFTER.1)));
    }
    match Until::parse(text) {
        Ok(Until::At(instant)) => Some(Until::At(instant)),
        _ => None,
    }
}

fn error(body: &[u8]) -> Box<RawValue> {
    let error = whole(body).filter(|error| is_object(error));
    error.map_or_else(|| literal(r#"{"name":"Error","message":"Unknown error"}"#), ToOwned::to_owned)
}

#[cfg(test)]
mod tests;
