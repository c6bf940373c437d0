//! Cross-origin rules of the waiting route.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};

/// Which other origins may read the waiting route from a browser.
///
/// # Example
///
/// ```
/// use onward::Cors;
///
/// let cors = Cors::origins(["https://app.example.com"]).credentials(true);
/// let none = Cors::off();
/// # let _ = (cors, none);
/// ```
#[derive(Clone, Debug)]
pub struct Cors {
    origins: Origins,
    credentials: bool,
}

#[derive(Clone, Debug)]
enum Origins {
    None,
    Any,
    These(Vec<HeaderValue>),
}

impl Default for Cors {
    /// Every origin, without credentials: who has a run's token may read its response from anywhere.
    fn default() -> Self {
        Self { origins: Origins::Any, credentials: false }
    }
}

impl Cors {
    /// No headers: browsers let only the same origin read.
    pub const fn off() -> Self {
        Self { origins: Origins::None, credentials: false }
    }

    /// These origins only, each as in the `Origin` header: `https://app.example.com`. One that no header can hold
    /// matches none.
    pub fn origins<'a>(origins: impl IntoIterator<Item = &'a str>) -> Self {
        let origins = origins.into_iter().filter_map(|origin| HeaderValue::from_str(origin).ok()).collect();
        Self { origins: Origins::These(origins), credentials: false }
    }

    /// Whether browsers may send cookies along. It holds for named origins only.
    pub const fn credentials(mut self, allowed: bool) -> Self {
        self.credentials = allowed;
        self
    }

    /// Adds the headers that let the asking origin read a response.
    pub(crate) fn apply(&self, asking: &HeaderMap, headers: &mut HeaderMap) {
        let allowed = match &self.origins {
            Origins::None => return,
            Origins::Any => HeaderValue::from_static("*"),
            Origins::These(origins) => {
                headers.append(header::VARY, HeaderValue::from_static("origin"));
                let Some(origin) = asking.get(header::ORIGIN).filter(|origin| origins.contains(origin)) else { return };
                if self.credentials {
                    let yes = HeaderValue::from_static("true");
                    headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, yes);
                }
                origin.clone()
            }
        };
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        // Why: a `*` stands for itself where credentials are sent along.
        let exposed = if self.credentials { exposed(headers) } else { HeaderValue::from_static("*") };
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    }

    /// The answer to a preflight request.
    pub(crate) fn preflight(&self, methods: &'static str, asking: &HeaderMap) -> Response<Bytes> {
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        self.apply(asking, headers);
        if headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN) {
            headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(methods));
            let asked = asking.get(header::ACCESS_CONTROL_REQUEST_HEADERS).cloned();
            let asked = asked.unwrap_or(HeaderValue::from_static("*"));
            headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, asked);
            headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
        }
        response
    }
}

/// The names of all headers of a response.
fn exposed(headers: &HeaderMap) -> HeaderValue {
    let names: Vec<_> = headers.keys().map(header::HeaderName::as_str).collect();
    HeaderValue::from_str(&names.join(", ")).unwrap_or(HeaderValue::from_static("*"))
}
