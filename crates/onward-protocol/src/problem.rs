//! Problems as HTTP tells them: RFC 9457, `application/problem+json`.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use serde::Serialize;

/// Where the pages about problems are; a problem's slug and `.md` follow.
const PAGES: &str = "https://github.com/onward-rs/onward/blob/main/docs/errors/";

/// Text that a caller may read.
///
/// Only a literal can become one, so what a database said never does.
///
/// # Example
///
/// ```
/// use onward_protocol::problem::Public;
///
/// let text = Public::literal("send a JSON object");
/// assert_eq!(text.as_str(), "send a JSON object");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Public(&'static str);

impl Public {
    /// Text from the program itself.
    pub const fn literal(text: &'static str) -> Self {
        Self(text)
    }

    /// The text.
    pub const fn as_str(self) -> &'static str {
        self.0
    }
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident $status:ident $slug:literal $title:literal,)+) => {
        /// What went wrong: a closed list, each with its page in `docs/errors`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Code {
            $($(#[$doc])* $name,)+
        }

        impl Code {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The status that a response with this problem has.
            pub const fn status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$status,)+ }
            }

            /// The name of its page.
            pub const fn slug(self) -> &'static str {
                match self { $(Self::$name => $slug,)+ }
            }

            /// What it is, in a few words.
            pub const fn title(self) -> Public {
                match self { $(Self::$name => Public($title),)+ }
            }
        }
    };
}

codes! {
    /// The request body is larger than the endpoint takes.
    BodyTooLarge PAYLOAD_TOO_LARGE "body-too-large" "The request body is too large",
    /// The request body could not be read.
    BodyUnreadable BAD_REQUEST "body-unreadable" "The request body could not be read",
    /// The bodies of all requests under way have the memory that they may have.
    TooManyBodies SERVICE_UNAVAILABLE "too-many-bodies" "Too many request bodies are under way",
    /// The `Idempotency-Key` header is not a key.
    KeyMalformed BAD_REQUEST "key-malformed" "The Idempotency-Key header is malformed",
    /// The key belongs to another request.
    KeyReused UNPROCESSABLE_ENTITY "key-reused" "The Idempotency-Key was used with another request",
    /// The waiting route was asked without a run id or token.
    RequestMalformed BAD_REQUEST "request-malformed" "The request is malformed",
    /// The run token is wrong, expired, or another run's.
    TokenInvalid UNAUTHORIZED "token-invalid" "The run token is not valid",
    /// `Last-Event-ID` names no frame of the run's stream.
    StreamPositionUnknown BAD_REQUEST "stream-position-unknown" "Last-Event-ID names no frame of the stream",
    /// The run was cancelled.
    RunCancelled CONFLICT "run-cancelled" "The run was cancelled",
    /// There is no such run.
    RunNotFound NOT_FOUND "run-not-found" "There is no such run",
    /// The run is in a status from which the operation makes no sense.
    RunWrongStatus CONFLICT "run-wrong-status" "The run's status does not allow that",
    /// The run is no longer kept.
    RunGone GONE "run-gone" "The run is no longer kept",
    /// The handler failed outside its steps.
    RunFailed INTERNAL_SERVER_ERROR "run-failed" "The request could not be completed",
    /// A step failed for good and the handler did not handle it.
    StepFailed INTERNAL_SERVER_ERROR "step-failed" "A step of the request failed",
    /// The handler used a step id for two kinds of operation.
    NonDeterminism INTERNAL_SERVER_ERROR "non-determinism" "The request's handler is not deterministic",
    /// The process that executed the run ended again and again.
    RunCrashed INTERNAL_SERVER_ERROR "run-crashed" "The request crashed its server again and again",
    /// The run took longer than its timeout.
    RunTimedOut GATEWAY_TIMEOUT "run-timed-out" "The request took too long",
    /// The handler's response is too large to keep.
    ResponseTooLarge INTERNAL_SERVER_ERROR "response-too-large" "The response is too large to keep",
    /// The store cannot write now.
    StoreUnavailable SERVICE_UNAVAILABLE "store-unavailable" "The request cannot be made durable now",
    /// The endpoint was built with an option outside its limits.
    EndpointMisconfigured INTERNAL_SERVER_ERROR "endpoint-misconfigured" "The endpoint is misconfigured",
    /// A handler that needs durability was called outside of it.
    NotDurable INTERNAL_SERVER_ERROR "not-durable" "The handler is not wrapped as a durable endpoint",
    /// The event is not one.
    EventMalformed BAD_REQUEST "event-malformed" "The event is malformed",
    /// The event is larger than is taken.
    EventTooLarge PAYLOAD_TOO_LARGE "event-too-large" "The event is too large",
    /// The body is not said to be JSON.
    ContentTypeUnsupported UNSUPPORTED_MEDIA_TYPE "content-type-unsupported" "The content type is not supported here",
    /// The route does not take the method.
    MethodNotAllowed METHOD_NOT_ALLOWED "method-not-allowed" "The method is not allowed here",
}

/// A problem to answer with.
///
/// # Example
///
/// ```
/// use onward_protocol::problem::{Code, Problem, Public};
///
/// let response = Problem::new(Code::BodyTooLarge).detail(Public::literal("send at most 1 MiB")).into_response();
/// assert_eq!(response.status(), 413);
/// assert_eq!(response.headers()["content-type"], "application/problem+json");
/// ```
#[derive(Clone, Debug)]
pub struct Problem {
    code: Code,
    detail: Option<Public>,
    instance: Option<String>,
    limit: Option<u64>,
}

#[derive(Serialize)]
struct Body<'a> {
    r#type: String,
    title: Public,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<Public>,
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<u64>,
}

impl Problem {
    /// The problem of this code.
    pub const fn new(code: Code) -> Self {
        Self { code, detail: None, instance: None, limit: None }
    }

    /// What to do about it.
    pub const fn detail(mut self, detail: Public) -> Self {
        self.detail = Some(detail);
        self
    }

    /// What it is about: the path of a run.
    pub fn instance(mut self, instance: String) -> Self {
        self.instance = Some(instance);
        self
    }

    /// The limit that was passed, as a number.
    pub const fn limit(mut self, limit: u64) -> Self {
        self.limit = Some(limit);
        self
    }

    /// The response: never cached, and with `Retry-After` where trying again may help.
    pub fn into_response(self) -> Response<Bytes> {
        let status = self.code.status();
        let body = Body {
            r#type: format!("{PAGES}{}.md", self.code.slug()),
            title: self.code.title(),
            status: status.as_u16(),
            detail: self.detail,
            instance: self.instance.as_deref(),
            limit: self.limit,
        };
        let bytes = serde_json::to_vec(&body).expect("strings and numbers always serialise");
        let mut response = Response::new(Bytes::from(bytes));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

#[cfg(test)]
mod tests;
