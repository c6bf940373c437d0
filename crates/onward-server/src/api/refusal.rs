//! Why a request was refused, in the shape that the SDK reads: `{"error","status"}`.

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use serde_json::json;

/// A refusal: nothing of the request was done.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    text: String,
    is_shared: bool,
}

impl Refusal {
    /// A refusal with a text that says what to do.
    pub(super) fn new(status: StatusCode, text: &str) -> Self {
        Self { status, text: text.to_owned(), is_shared: false }
    }

    /// The request is not what it should be.
    pub(super) fn malformed(text: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, text)
    }

    /// Nothing can be written now.
    pub(super) fn unavailable() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "the store cannot do it now: try again")
    }

    /// One that pages of every origin may read.
    pub(super) const fn shared(mut self) -> Self {
        self.is_shared = true;
        self
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let title = self.status.canonical_reason().unwrap_or("Refused");
        let body = json!({ "title": title, "status": self.status.as_u16(), "error": self.text });
        let mut response = Response::new(Body::from(body.to_string()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if self.is_shared {
            super::share(headers);
        }
        response
    }
}
