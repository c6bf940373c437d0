//! Events and signals from outside a run, and the route that accepts events.

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body::Body;
use onward_core::{Payload, RunId, Timestamp, check_name, event::Event, waiter::Signal};
use onward_protocol::problem::{Code, Problem, Public};
use serde::{Deserialize, Serialize};

use crate::{Error, Onward, durable::body_refused, error::BoxError};

/// What the ids of events begin with that runs send: nobody else may send one under such an id first.
pub(crate) const OWN_EVENT_ID_PREFIX: &str = "onward/";
/// The most events that one request to the events route may have.
const EVENTS_MAX: usize = 1_000;

/// Checks an event; the error says what is not allowed.
pub(crate) fn checked_event(
    id: String,
    name: &str,
    data: Payload,
    ts: Timestamp,
    bytes_max: usize,
) -> Result<Event, String> {
    check_name("event name", name).map_err(|invalid| invalid.to_string())?;
    if name.starts_with("inngest/") || name.starts_with("onward/") {
        return Err("event names that begin with inngest/ or onward/ are reserved".to_owned());
    }
    check_name("event id", &id).map_err(|invalid| invalid.to_string())?;
    if data.len() > bytes_max {
        return Err(format!("the event's data has {} bytes of JSON, the limit is {bytes_max}", data.len()));
    }
    // Why: JSON may nest deeper than anybody can read it back.
    serde_json::from_slice::<serde_json::Value>(data.as_ref()).map_err(|error| format!("the event's data: {error}"))?;
    Ok(Event { id, name: name.to_owned(), data, ts, more: Payload::default() })
}

/// Checks a signal; the error says what is not allowed.
pub(crate) fn checked_signal(name: &str, data: Payload, bytes_max: usize) -> Result<Signal, String> {
    check_name("signal name", name).map_err(|invalid| invalid.to_string())?;
    if data.len() > bytes_max {
        return Err(format!("the signal's data has {} bytes of JSON, the limit is {bytes_max}", data.len()));
    }
    Ok(Signal { name: name.to_owned(), data })
}

/// An event to send: a name, data, and by choice an id by which it is known.
///
/// # Example
///
/// ```
/// use onward::NewEvent;
///
/// let event = NewEvent::new("approval/received", &serde_json::json!({ "requestId": 7 }))?.id("mail-123");
/// # Ok::<(), onward::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct NewEvent {
    name: String,
    data: Payload,
    id: Option<String>,
    ts: Option<Timestamp>,
}

impl NewEvent {
    /// An event of this name with this data.
    ///
    /// # Errors
    /// Data that cannot be made JSON.
    pub fn new(name: impl Into<String>, data: &impl Serialize) -> Result<Self, Error> {
        let data = serde_json::to_vec(data).map_err(|error| Error::invalid(format!("event data: {error}")))?;
        Ok(Self { name: name.into(), data: data.into(), id: None, ts: None })
    }

    /// The id by which the event is known: one that was accepted already does nothing. Default: a new one.
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// When it happened; to the millisecond. Default: when it is accepted.
    pub fn ts(mut self, ts: std::time::SystemTime) -> Self {
        self.ts = Some(Timestamp::EPOCH.after(ts.duration_since(std::time::UNIX_EPOCH).unwrap_or_default()));
        self
    }

    fn check(self, now: Timestamp, bytes_max: usize) -> Result<Event, String> {
        if self.id.as_ref().is_some_and(|id| id.starts_with(OWN_EVENT_ID_PREFIX)) {
            return Err(format!("event ids that begin with {OWN_EVENT_ID_PREFIX} are reserved"));
        }
        let id = self.id.unwrap_or_else(|| RunId::new(now, rand::random()).to_string());
        checked_event(id, &self.name, self.data, self.ts.unwrap_or(now), bytes_max)
    }
}

impl Onward {
    /// Accepts an event and gives its id. When this returns, the event is stored and every run that waited for it
    /// has been woken.
    ///
    /// **Cancel safety**: dropping the future does not take the event back.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), onward::Error> {
    /// # let onward = onward::Onward::open("memory:").await?;
    /// let id = onward.send_event("approval/received", &serde_json::json!({ "requestId": 7 })).await?;
    /// # assert!(!id.is_empty());
    /// # onward.shutdown().await }
    /// ```
    ///
    /// # Errors
    /// A name of 0 or more than 1,024 bytes, with control characters or a reserved prefix; data over
    /// [`event_bytes_max`](crate::Builder::event_bytes_max); an unavailable store.
    pub async fn send_event(&self, name: &str, data: &impl Serialize) -> Result<String, Error> {
        let ids = self.send_events(vec![NewEvent::new(name, data)?]).await?;
        ids.into_iter().next().ok_or_else(|| Error::invalid("no event was given"))
    }

    /// Accepts several events at once: all or none.
    pub async fn send_events(&self, events: Vec<NewEvent>) -> Result<Vec<String>, Error> {
        let now = self.0.clock.now();
        let limit = self.0.config.event_bytes_max;
        let events: Result<Vec<_>, _> = events.into_iter().map(|event| event.check(now, limit)).collect();
        let events = events.map_err(Error::invalid)?;
        let ids = events.iter().map(|event| event.id.clone()).collect();
        let woken = self.0.store.send_events(events, now).await?;
        self.0.scheduler.woken(&woken);
        Ok(ids)
    }

    /// Gives a signal to the run that waits for its name, and tells which it is; `None` where nobody waits (the
    /// signal is not kept).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), onward::Error> {
    /// # let onward = onward::Onward::open("memory:").await?;
    /// let waited = onward.send_signal("deploy-42", &true).await?;
    /// assert_eq!(waited, None, "nobody waits for it");
    /// # onward.shutdown().await }
    /// ```
    ///
    /// # Errors
    /// A name or data that is not allowed; an unavailable store.
    pub async fn send_signal(&self, name: &str, data: &impl Serialize) -> Result<Option<RunId>, Error> {
        let data = serde_json::to_vec(data).map_err(|error| Error::invalid(format!("signal data: {error}")))?;
        let signal = checked_signal(name, data.into(), self.0.config.event_bytes_max).map_err(Error::invalid)?;
        let woken = self.0.store.send_signal(signal, self.0.clock.now()).await?;
        if let Some(woken) = woken {
            self.0.scheduler.woken(&[woken]);
        }
        Ok(woken.map(|woken| woken.run_id))
    }
}

/// An event as the events route takes it.
#[derive(Deserialize)]
struct PostedEvent {
    name: String,
    #[serde(default)]
    data: Option<Box<serde_json::value::RawValue>>,
    #[serde(default)]
    id: Option<String>,
    /// Milliseconds since the Unix epoch.
    #[serde(default)]
    ts: Option<i64>,
}

#[derive(Serialize)]
struct Accepted {
    ids: Vec<String>,
}

impl Onward {
    /// Answers a request to the events route, for apps that route by hand; `Onward::events` is it as an axum route.
    ///
    /// `POST`, as `application/json`, a JSON object `{"name", "data", "id"?, "ts"?}` or an array of 1 to 1,000 of them, and get `{"ids"}` once
    /// they are stored.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), onward::Error> {
    /// # let onward = onward::Onward::open("memory:").await?;
    /// # use http_body_util::Full;
    /// let body = Full::new(bytes::Bytes::from(r#"{"name": "approval/received", "data": {"requestId": 7}}"#));
    /// let request = http::Request::post("/events").header("content-type", "application/json");
    /// let request = request.body(body).expect("it is a request");
    /// assert_eq!(onward.accept_events(request).await.status(), 200);
    /// # onward.shutdown().await }
    /// ```
    pub async fn accept_events<B>(&self, request: Request<B>) -> Response<Bytes>
    where
        B: Body<Data = Bytes> + Send,
        B::Error: Into<BoxError>,
    {
        accept(self, request).await
    }
}

async fn accept<B>(onward: &Onward, request: Request<B>) -> Response<Bytes>
where
    B: Body<Data = Bytes> + Send,
    B::Error: Into<BoxError>,
{
    if *request.method() != Method::POST {
        return method_not_allowed("POST");
    }
    if !is_json(request.headers()) {
        // A page of another origin can send anything else without asking first.
        return Problem::new(Code::ContentTypeUnsupported)
            .detail(Public::literal("send the events with Content-Type: application/json"))
            .into_response();
    }
    let limit = onward.0.config.event_bytes_max;
    let malformed = |text| Problem::new(Code::EventMalformed).detail(Public::literal(text)).into_response();
    let read = onward.0.bodies.read(request.into_body(), limit.saturating_add(64 * 1024), None).await;
    let (body, _share) = match read {
        Ok(read) => read.into_parts(),
        Err(refused) => return body_refused(refused, Code::EventTooLarge, limit),
    };
    // Why: an untagged enum cannot borrow raw JSON, so the shape is decided by the first byte.
    let many = body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
    let posted: Result<Vec<PostedEvent>, _> =
        if many { serde_json::from_slice(&body) } else { serde_json::from_slice(&body).map(|event| vec![event]) };
    let Ok(events) = posted else {
        return malformed("send a JSON object {\"name\", \"data\"} or an array of such");
    };
    if events.is_empty() || events.len() > EVENTS_MAX {
        return malformed("send 1 to 1000 events");
    }
    if events.iter().any(|event| event.data.as_ref().is_some_and(|data| data.get().len() > limit)) {
        return Problem::new(Code::EventTooLarge).limit(limit as u64).into_response();
    }
    let events = events.into_iter().map(PostedEvent::into_new).collect();
    match onward.send_events(events).await {
        Ok(ids) => json(StatusCode::OK, &Accepted { ids }),
        Err(error) if error.is_invalid() => {
            malformed("a name or id is too long, empty or reserved, or data nests too deep")
        }
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "events were not accepted");
            Problem::new(Code::StoreUnavailable).into_response()
        }
    }
}

/// Whether a body is said to be JSON.
fn is_json(headers: &http::HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json")
}

impl PostedEvent {
    fn into_new(self) -> NewEvent {
        let data = self.data.map_or_else(|| "null".to_owned(), |data| data.get().to_owned());
        let ts = self.ts.map(|millis| Timestamp::from_micros(millis.saturating_mul(1000)));
        NewEvent { name: self.name, data: data.into(), id: self.id, ts }
    }
}

/// The answer to a method that a route does not take.
pub(crate) fn method_not_allowed(allowed: &'static str) -> Response<Bytes> {
    let mut response = Problem::new(Code::MethodNotAllowed).into_response();
    response.headers_mut().insert(header::ALLOW, http::HeaderValue::from_static(allowed));
    response
}

pub(crate) fn json(status: StatusCode, body: &impl Serialize) -> Response<Bytes> {
    let bytes = serde_json::to_vec(body).expect("strings and numbers always serialise");
    let mut response = Response::new(bytes.into());
    *response.status_mut() = status;
    let json = http::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}
