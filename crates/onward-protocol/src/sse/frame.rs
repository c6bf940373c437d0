//! One frame of a run's stream.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// A frame, in the shapes of the SDK protocol (section 8.1).
#[derive(Clone, Debug)]
pub enum Frame {
    /// Names the run; the first of every connection.
    Metadata {
        /// The run's id.
        run_id: String,
    },
    /// A chunk: provisional until its step is committed.
    Chunk {
        /// What was streamed, as JSON.
        data: Box<RawValue>,
        /// The hashed id of the step that streamed it; `None` outside of steps.
        step: Option<String>,
    },
    /// The step succeeded: its chunks are permanent.
    Commit {
        /// The step.
        step: Option<String>,
    },
    /// An attempt failed: the step's chunks since its last commit or rollback no longer count.
    Rollback {
        /// The step.
        step: Option<String>,
    },
    /// Where the stream goes on if this connection ends.
    RedirectInfo {
        /// The run's id.
        run_id: String,
        /// The waiting URL.
        url: String,
    },
    /// How the run ended; the last frame.
    Response {
        /// Whether it succeeded.
        status: ResponseStatus,
        /// The response.
        content: Content,
    },
}

/// Whether a run succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ResponseStatus {
    /// Its handler returned a response.
    Succeeded,
    /// It failed for good, or was cancelled; the body is a JSON string that says so.
    Failed,
}

/// A response inside a frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Content {
    /// The body: text, or bytes in base64 where `body_encoding` says so.
    pub body: String,
    /// `base64`, where the body is no text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_encoding: Option<String>,
    /// The status.
    pub status_code: u16,
    /// The headers; of one that occurs more than once, the first value.
    pub headers: BTreeMap<String, String>,
    /// Headers that occur more than once, such as `set-cookie`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub header_pairs: Vec<(String, String)>,
}

/// A frame with a known name whose data is not of its shape.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the data of an {name} frame has not the frame's shape")]
pub struct InvalidFrame {
    pub(super) name: String,
}

impl Content {
    /// A response as a frame carries it.
    ///
    /// ```
    /// # use onward_protocol::sse::Content;
    /// let response = http::Response::builder().status(201).body(bytes::Bytes::from("made"))?;
    /// let content = Content::of(&response);
    /// assert_eq!((content.status_code, content.body.as_str()), (201, "made"));
    /// assert_eq!(content.into_response().unwrap().body(), "made");
    /// # Ok::<(), http::Error>(())
    /// ```
    pub fn of(response: &Response<Bytes>) -> Self {
        let (body, body_encoding) = match std::str::from_utf8(response.body()) {
            Ok(text) => (text.to_owned(), None),
            Err(_) => (STANDARD.encode(response.body()), Some("base64".to_owned())),
        };
        let (mut headers, mut header_pairs) = (BTreeMap::new(), Vec::new());
        for name in response.headers().keys() {
            let values = response.headers().get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
            let values: Vec<_> = values.map(std::borrow::Cow::into_owned).collect();
            if let Some(first) = values.first() {
                headers.insert(name.as_str().to_owned(), first.clone());
            }
            if values.len() > 1 {
                header_pairs.extend(values.into_iter().map(|value| (name.as_str().to_owned(), value)));
            }
        }
        Self { body, body_encoding, status_code: response.status().as_u16(), headers, header_pairs }
    }

    /// The response again; `None` where it is none.
    pub fn into_response(self) -> Option<Response<Bytes>> {
        let body = match self.body_encoding.as_deref() {
            Some("base64") => STANDARD.decode(self.body).ok()?.into(),
            Some(_) => return None,
            None => Bytes::from(self.body),
        };
        let mut response = Response::new(body);
        *response.status_mut() = StatusCode::from_u16(self.status_code).ok()?;
        let repeated: Vec<_> = self.header_pairs.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
        let once = self.headers.into_iter().filter(|(name, _)| !repeated.contains(&name.to_ascii_lowercase()));
        append(response.headers_mut(), once.chain(self.header_pairs));
        Some(response)
    }
}

/// What no header can be is left out.
fn append(headers: &mut HeaderMap, pairs: impl Iterator<Item = (String, String)>) {
    for (name, value) in pairs {
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(&value)) {
            headers.append(name, value);
        }
    }
}
