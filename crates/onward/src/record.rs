//! How requests and responses are kept: a version byte, then a record of that version.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header::ACCEPT};
use onward_core::{
    Payload, RunId, StoreError,
    run::{Outcome, Status},
};
use onward_protocol::{
    problem::{Code, Problem},
    sse,
};
use serde::{Deserialize, Serialize};

/// The version that is written.
const VERSION: u8 = 1;

/// Stored bytes that are not a request or response of a known version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a stored request or response cannot be read")]
pub(crate) struct InvalidRecord;

impl From<InvalidRecord> for StoreError {
    fn from(error: InvalidRecord) -> Self {
        Self::Corrupt(error.into())
    }
}

/// A request as it is kept with its run: its head encoded, so that it holds on to no buffer of its connection.
pub(crate) struct KeptRequest {
    pub(crate) method: Method,
    /// Headers of the request that replays will lack, though nobody said that they may.
    pub(crate) lacks: Vec<&'static str>,
    head: Bytes,
    body: Bytes,
}

/// A small body is copied out of the buffer that it came in: that one is larger.
const COPIED_MAX: usize = 4096;

/// What a request says beside its body.
pub(crate) struct RequestHead<'a> {
    pub(crate) method: &'a Method,
    /// The URI that the handler sees; a nested router has cut its prefix off.
    pub(crate) uri: &'a Uri,
    /// The URI that the client asked for.
    pub(crate) original_uri: &'a Uri,
    /// The route's template with all prefixes, where a router matched one.
    pub(crate) matched_path: Option<&'a str>,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) peer: Option<SocketAddr>,
    /// What outer middleware put into the request and the endpoint carries.
    pub(crate) carried: &'a [(String, Vec<u8>)],
}

/// A request as its handler gets it again.
pub(crate) struct RequestRecord {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) original_uri: Uri,
    pub(crate) matched_path: Option<String>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    #[cfg_attr(not(feature = "axum"), expect(dead_code, reason = "it is given back as axum's `ConnectInfo`"))]
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) carried: Vec<(String, Vec<u8>)>,
}

/// The head alone: the body's bytes follow.
#[derive(Serialize, Deserialize)]
struct RequestV1<'a> {
    method: &'a str,
    uri: &'a str,
    original_uri: Option<&'a str>,
    matched_path: Option<&'a str>,
    #[serde(borrow)]
    headers: Vec<(&'a str, &'a [u8])>,
    peer: Option<SocketAddr>,
    carried: Vec<(&'a str, &'a [u8])>,
}

#[derive(Serialize, Deserialize)]
struct ResponseV1<'a> {
    status: u16,
    #[serde(borrow)]
    headers: Vec<(&'a str, &'a [u8])>,
    body: &'a [u8],
}

impl KeptRequest {
    /// Keeps a request, with those headers alone that `keep` lets through.
    pub(crate) fn new(head: &RequestHead<'_>, body: Bytes, keep: impl Fn(&HeaderName) -> bool) -> Self {
        let uri = head.uri.to_string();
        let original = (head.original_uri != head.uri).then(|| head.original_uri.to_string());
        let record = RequestV1 {
            method: head.method.as_str(),
            original_uri: original.as_deref(),
            uri: &uri,
            matched_path: head.matched_path,
            headers: pairs(head.headers, keep),
            peer: head.peer,
            carried: head.carried.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect(),
        };
        let body = if body.len() <= COPIED_MAX { Bytes::copy_from_slice(&body) } else { body };
        Self { method: head.method.clone(), lacks: Vec::new(), head: encode(&record, 256).into_bytes(), body }
    }

    /// What was stored, with what it says.
    pub(crate) fn read(payload: &Payload) -> Result<(Self, RequestRecord), InvalidRecord> {
        let record = RequestRecord::decode(payload)?;
        let head = payload.bytes().slice(..payload.len() - record.body.len());
        Ok((Self { method: record.method.clone(), lacks: Vec::new(), head, body: record.body.clone() }, record))
    }

    /// The same, of a request that had these headers beside what is kept.
    pub(crate) fn lacking(self, lacks: Vec<&'static str>) -> Self {
        Self { lacks, ..self }
    }

    /// How many bytes it has.
    pub(crate) const fn len(&self) -> usize {
        self.head.len() + self.body.len()
    }

    /// The bytes to store.
    pub(crate) fn payload(&self) -> Payload {
        Payload::from([&self.head[..], &self.body[..]].concat())
    }

    /// What it says.
    pub(crate) fn record(&self) -> Result<RequestRecord, InvalidRecord> {
        RequestRecord::decode(&self.payload())
    }
}

impl RequestRecord {
    fn decode(payload: &Payload) -> Result<Self, InvalidRecord> {
        let (record, body) =
            postcard::take_from_bytes::<RequestV1<'_>>(versioned(payload)?).map_err(|_| InvalidRecord)?;
        let uri = |text: &str| text.parse::<Uri>().map_err(|_| InvalidRecord);
        Ok(Self {
            method: record.method.parse().map_err(|_| InvalidRecord)?,
            uri: uri(record.uri)?,
            original_uri: uri(record.original_uri.unwrap_or(record.uri))?,
            matched_path: record.matched_path.map(str::to_owned),
            headers: header_map(&record.headers)?,
            body: shared(payload, body),
            peer: record.peer,
            carried: record.carried.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec())).collect(),
        })
    }

    /// Whether its client reads the run's stream.
    pub(crate) fn streams(&self) -> bool {
        streams(&self.headers)
    }

    /// The request, without its extensions.
    pub(crate) fn to_request(&self) -> Request<Bytes> {
        let mut request = Request::new(self.body.clone());
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        request
    }
}

/// Whether headers ask for a run's stream.
pub(crate) fn streams(headers: &HeaderMap) -> bool {
    headers.get_all(ACCEPT).iter().any(|accept| accept.to_str().is_ok_and(sse::accepts))
}

/// The stored bytes of a response.
pub(crate) fn encode_response(response: &Response<Bytes>) -> Payload {
    let record = ResponseV1 {
        status: response.status().as_u16(),
        headers: pairs(response.headers(), |_| true),
        body: response.body(),
    };
    encode(&record, response.body().len() + 128)
}

/// What who waits for a cancelled run gets.
pub(crate) fn cancelled(run_id: RunId) -> Response<Bytes> {
    Problem::new(Code::RunCancelled).instance(format!("/runs/{run_id}")).into_response()
}

/// What who waits for a run gets that took longer than its timeout.
pub(crate) fn timed_out(run_id: RunId) -> Response<Bytes> {
    Problem::new(Code::RunTimedOut).instance(format!("/runs/{run_id}")).into_response()
}

/// The response of an ended run. An operator who cancels a run without its app leaves none.
pub(crate) fn response_of(run_id: RunId, outcome: &Outcome) -> Result<Response<Bytes>, InvalidRecord> {
    if outcome.status == Status::Cancelled && outcome.response.is_empty() {
        return Ok(cancelled(run_id));
    }
    decode_response(&outcome.response)
}

/// The response that was stored.
pub(crate) fn decode_response(payload: &Payload) -> Result<Response<Bytes>, InvalidRecord> {
    let record: ResponseV1<'_> = postcard::from_bytes(versioned(payload)?).map_err(|_| InvalidRecord)?;
    let mut response = Response::new(shared(payload, record.body));
    *response.status_mut() = StatusCode::from_u16(record.status).map_err(|_| InvalidRecord)?;
    *response.headers_mut() = header_map(&record.headers)?;
    Ok(response)
}

fn pairs(headers: &HeaderMap, keep: impl Fn(&HeaderName) -> bool) -> Vec<(&str, &[u8])> {
    headers.iter().filter(|(name, _)| keep(name)).map(|(name, value)| (name.as_str(), value.as_bytes())).collect()
}

fn header_map(pairs: &[(&str, &[u8])]) -> Result<HeaderMap, InvalidRecord> {
    let mut headers = HeaderMap::with_capacity(pairs.len());
    for (name, value) in pairs {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| InvalidRecord)?;
        headers.append(name, HeaderValue::from_bytes(value).map_err(|_| InvalidRecord)?);
    }
    Ok(headers)
}

fn encode(record: &impl Serialize, size: usize) -> Payload {
    let mut bytes = Vec::with_capacity(size);
    bytes.push(VERSION);
    postcard::to_extend(record, bytes).map(Payload::from).expect("a record of slices and numbers always encodes")
}

/// The bytes after the version that this release reads.
fn versioned(payload: &Payload) -> Result<&[u8], InvalidRecord> {
    match payload.as_ref().split_first() {
        Some((&VERSION, rest)) => Ok(rest),
        _ => Err(InvalidRecord),
    }
}

/// The part of a payload as bytes that share it.
fn shared(payload: &Payload, part: &[u8]) -> Bytes {
    if part.is_empty() { Bytes::new() } else { payload.bytes().slice_ref(part) }
}

#[cfg(test)]
mod tests;
