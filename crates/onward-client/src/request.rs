//! What a client is asked to call, and what of it goes along when a stream is resumed.

use std::fmt;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use reqwest::Url;

use crate::{Error, client::Config};

/// What a client can be asked to call: a URL by GET, or an [`http::Request`].
///
/// # Example
///
/// ```no_run
/// # use onward_client::Client;
/// # fn call(client: &Client) -> Result<(), http::Error> {
/// let by_get = client.stream_frames("https://app.example/api/report");
/// let request = http::Request::put("https://app.example/api/report").header("idempotency-key", "\"r1\"").body("body")?;
/// let by_put = client.stream_frames(request);
/// # Ok(()) }
/// ```
#[diagnostic::on_unimplemented(message = "`{Self}` is no request", note = "give a URL, or an `http::Request` of bytes")]
pub trait IntoRequest: sealed::Sealed {}

impl<T: sealed::Sealed> IntoRequest for T {}

/// A request whose URL has been checked.
#[derive(Clone)]
pub struct Call {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

pub(crate) mod sealed {
    use super::{Call, Error};

    /// Keeps the list of requests closed.
    pub trait Sealed {
        #[doc(hidden)]
        fn into_call(self) -> Result<Call, Error>;
    }
}

impl sealed::Sealed for &str {
    fn into_call(self) -> Result<Call, Error> {
        Ok(Call::get(parse(self)?))
    }
}

impl sealed::Sealed for String {
    fn into_call(self) -> Result<Call, Error> {
        self.as_str().into_call()
    }
}

impl sealed::Sealed for &String {
    fn into_call(self) -> Result<Call, Error> {
        self.as_str().into_call()
    }
}

impl sealed::Sealed for Uri {
    fn into_call(self) -> Result<Call, Error> {
        self.to_string().as_str().into_call()
    }
}

impl<B: Into<Bytes>> sealed::Sealed for http::Request<B> {
    fn into_call(self) -> Result<Call, Error> {
        let (parts, body) = self.into_parts();
        let url = parse(&parts.uri.to_string())?;
        Ok(Call { method: parts.method, url, headers: parts.headers, body: body.into() })
    }
}

/// Reads an absolute URL.
pub(crate) fn parse(url: &str) -> Result<Url, Error> {
    let parsed: Url = url.parse().map_err(|error| Error::invalid(format!("URL: {error}")))?;
    match parsed.scheme() {
        "http" | "https" => Ok(parsed),
        scheme => Err(Error::invalid(format!("URL: its scheme is {scheme}"))),
    }
}

impl Call {
    /// A request without a body.
    pub(crate) fn plain(method: Method, url: Url) -> Self {
        Self { method, ..Self::get(url) }
    }

    pub(crate) fn get(url: Url) -> Self {
        Self { method: Method::GET, url, headers: HeaderMap::new(), body: Bytes::new() }
    }

    pub(crate) fn post(url: Url, media: &'static str, body: Bytes) -> Self {
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(media))]);
        Self { method: Method::POST, url, headers, body }
    }

    /// With the client's own headers, where the request has not its own.
    pub(crate) fn with_defaults(mut self, defaults: &HeaderMap) -> Self {
        for name in defaults.keys() {
            if !self.headers.contains_key(name) {
                self.headers.extend(defaults.get_all(name).iter().map(|value| (name.clone(), value.clone())));
            }
        }
        self
    }

    /// Makes the request. What it gives is the head of the answer.
    pub(crate) async fn send(self, config: &Config) -> Result<reqwest::Response, Error> {
        let mut request = config.http()?.request(self.method, self.url).headers(self.headers);
        if !self.body.is_empty() {
            request = request.body(self.body);
        }
        request.send().await.map_err(Error::transport)
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = redacted(&self.url);
        f.debug_struct("Call").field("method", &self.method).field("url", &url).finish_non_exhaustive()
    }
}

/// The caller of a run: the endpoint it called, and the headers that may go along to the run's waiting URL.
#[derive(Clone)]
pub(crate) struct Caller {
    url: Url,
    headers: HeaderMap,
}

impl Caller {
    /// Who makes this call.
    pub(crate) fn of(call: &Call) -> Self {
        let headers = call.headers.iter().filter(|(name, _)| !is_once(name));
        let headers = headers.map(|(name, value)| (name.clone(), value.clone())).collect();
        Self { url: call.url.clone(), headers }
    }

    /// A request to the waiting URL. Only the endpoint's own origin gets the caller's headers.
    pub(crate) fn ask(&self, url: &Url) -> Call {
        let mut call = Call::get(url.clone());
        if url.origin() == self.url.origin() {
            call.headers = self.headers.clone();
        }
        call.headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        call
    }
}

/// Headers that are about one request's body or connection, or about asking once.
fn is_once(name: &HeaderName) -> bool {
    const ONCE: [&str; 9] = [
        "accept",
        "connection",
        "expect",
        "idempotency-key",
        "last-event-id",
        "prefer",
        "range",
        "te",
        "transfer-encoding",
    ];
    let name = name.as_str();
    ONCE.contains(&name) || name.starts_with("content-") || name.starts_with("if-")
}

/// A URL without what may be secret: its query, user and password.
pub(crate) fn redacted(url: &Url) -> String {
    let query = if url.query().is_some() { "?…" } else { "" };
    format!("{}{}{query}", url.origin().ascii_serialization(), url.path())
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, Uri};

    use super::{Call, Caller, redacted, sealed::Sealed};

    fn post() -> Call {
        let request =
            http::Request::post("http://h:1/call").header("authorization", "a").header("idempotency-key", "k");
        let request = request.header("content-type", "text/plain").header("if-match", "x").header("prefer", "wait=1");
        request.body("x").unwrap().into_call().unwrap()
    }

    #[test]
    fn urls_and_requests_are_calls_and_others_are_refused() {
        assert_eq!("http://h/é?a=1".into_call().unwrap().url.as_str(), "http://h/%C3%A9?a=1");
        assert_eq!(Uri::from_static("http://h/a").into_call().unwrap().method, "GET");
        assert_eq!((post().method.as_str(), &post().body[..]), ("POST", &b"x"[..]));
        for wrong in ["/path", "", "ftp://h/", "http://"] {
            assert!(wrong.into_call().unwrap_err().is_invalid(), "{wrong}");
        }
    }

    #[test]
    fn only_the_endpoints_own_origin_gets_the_callers_headers() {
        let caller = Caller::of(&post());
        let names = |url: &str| {
            let mut names: Vec<_> =
                caller.ask(&url.parse().unwrap()).headers.keys().map(|name| name.as_str().to_owned()).collect();
            names.sort();
            names
        };
        assert_eq!(names("http://h:1/wait"), ["authorization", "cache-control"]);
        assert_eq!(names("http://h:2/wait"), ["cache-control"]);
        assert_eq!(names("https://h:1/wait"), ["cache-control"]);
    }

    #[test]
    fn a_request_has_the_clients_headers_where_it_has_not_its_own() {
        let mut defaults = HeaderMap::new();
        defaults.append("authorization", "default".parse().unwrap());
        defaults.append("x-two", "1".parse().unwrap());
        defaults.append("x-two", "2".parse().unwrap());
        let call = post().with_defaults(&defaults);
        assert_eq!(call.headers["authorization"], "a");
        assert_eq!(call.headers.get_all("x-two").iter().count(), 2);
    }

    #[test]
    fn what_may_be_secret_of_a_url_is_not_shown() {
        let url = "https://user:pass@h:1/wait?runId=r&token=secret#f".parse().unwrap();
        assert_eq!(redacted(&url), "https://h:1/wait?…");
        assert!(!format!("{:?}", Call::get(url)).contains("secret"));
    }
}
