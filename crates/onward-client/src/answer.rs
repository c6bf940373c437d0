//! What a plain answer means: the run's response, "ask again", "not now", or "no".

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};

use crate::{
    Error,
    problem::{Problem, is_problem},
};

/// The header by which a server marks the response of a run, whatever its status.
const RUN_ID: &str = "onward-run-id";

/// What an answer without a stream means.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// It is the run's response.
    Final(Response<Bytes>),
    /// The run goes on: ask again, there if the answer says where, after this time if it says when.
    Again { location: Option<String>, after: Option<Duration> },
    /// The server cannot answer now.
    Unavailable { problem: Problem, after: Option<Duration> },
    /// It never will.
    Refused(Problem),
}

/// Whether an answer is marked as the response of a run.
pub(crate) fn is_marked(headers: &HeaderMap) -> bool {
    headers.contains_key(RUN_ID)
}

/// Judges an answer to who waits for a run's response.
///
/// Without the mark of a run's response, a problem of status 4xx is taken for a refusal, and a status that a server or
/// proxy gives when it cannot answer for "not now"; whatever else comes is the response.
pub(crate) fn judge(response: Response<Bytes>) -> Verdict {
    if is_marked(response.headers()) {
        return Verdict::Final(response);
    }
    let (status, headers) = (response.status(), response.headers());
    let after = retry_after(headers);
    let location = || headers.get(header::LOCATION).and_then(|location| location.to_str().ok()).map(str::to_owned);
    match status {
        StatusCode::TEMPORARY_REDIRECT => Verdict::Again { location: location(), after },
        StatusCode::ACCEPTED if after.is_some() => Verdict::Again { location: None, after },
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            Verdict::Unavailable { problem: Problem::of(&response), after }
        }
        // A run that took too long has a problem for its response.
        StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT if !is_problem(&response) => {
            Verdict::Unavailable { problem: Problem::of(&response), after }
        }
        _ if status.is_client_error() && is_problem(&response) => Verdict::Refused(Problem::of(&response)),
        _ => Verdict::Final(response),
    }
}

/// How long an answer asks to wait. A date is taken against the answer's own `Date`, so no clock of ours matters.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let after = text(header::RETRY_AFTER)?;
    if !after.is_empty() && after.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Duration::from_secs(after.parse().unwrap_or(u64::MAX)));
    }
    let until = httpdate::parse_http_date(after).ok()?;
    let now = httpdate::parse_http_date(text(header::DATE)?).ok()?;
    Some(until.duration_since(now).unwrap_or(Duration::ZERO))
}

/// Whether a `Content-Type` is of this media type.
pub(crate) fn has_type(value: Option<&HeaderValue>, media: &str) -> bool {
    let value = value.and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().is_some_and(|name| name.trim().eq_ignore_ascii_case(media))
}

/// Reads an answer to its end; the time holds for each part of it.
pub(crate) async fn read(
    mut response: reqwest::Response,
    idle: Option<Duration>,
    bytes_max: usize,
) -> Result<Response<Bytes>, Error> {
    let mut read = Response::new(Bytes::new());
    *read.status_mut() = response.status();
    *read.version_mut() = response.version();
    *read.headers_mut() = std::mem::take(response.headers_mut());
    let mut body = BytesMut::new();
    while let Some(chunk) = next_chunk(&mut response, idle).await? {
        if body.len() + chunk.len() > bytes_max {
            return Err(Error::protocol(format!("the answer has more than {bytes_max} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    *read.body_mut() = body.freeze();
    Ok(read)
}

/// The next part of an answer's body; `None` at its end.
pub(crate) async fn next_chunk(
    response: &mut reqwest::Response,
    idle: Option<Duration>,
) -> Result<Option<Bytes>, Error> {
    within(idle, async { response.chunk().await.map_err(Error::transport) }).await
}

/// Waits for work, but not past a time.
pub(crate) async fn within<T>(
    idle: Option<Duration>,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    match idle {
        Some(idle) => tokio::time::timeout(idle, work).await.unwrap_or_else(|_| Err(Error::silent(idle))),
        None => work.await,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderMap, HeaderName, Response};

    use super::{Verdict, has_type, judge, retry_after};

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    fn verdict(status: u16, pairs: &[(&'static str, &str)]) -> &'static str {
        let mut response = Response::builder().status(status).body(Bytes::from("{}")).unwrap();
        *response.headers_mut() = headers(pairs);
        match judge(response) {
            Verdict::Final(_) => "final",
            Verdict::Again { .. } => "again",
            Verdict::Unavailable { .. } => "unavailable",
            Verdict::Refused(_) => "refused",
        }
    }

    #[test]
    fn a_plain_answer_is_judged_by_status_mark_and_format() {
        let problem = ("content-type", "application/problem+json");
        for status in [200, 202, 204, 302, 404, 409, 500, 501] {
            assert_eq!(verdict(status, &[]), "final", "{status}");
        }
        assert_eq!(verdict(307, &[("location", "/wait")]), "again");
        assert_eq!(verdict(202, &[("retry-after", "1")]), "again");
        for status in [429, 502, 503, 504] {
            assert_eq!(verdict(status, &[]), "unavailable", "{status}");
            assert_eq!(verdict(status, &[("onward-run-id", "r")]), "final", "{status}");
        }
        for status in [401, 404, 409, 410] {
            assert_eq!(verdict(status, &[problem]), "refused", "{status}");
            assert_eq!(verdict(status, &[problem, ("onward-run-id", "r")]), "final", "{status}");
        }
        for (status, means) in [(500, "final"), (504, "final"), (503, "unavailable")] {
            assert_eq!(verdict(status, &[problem]), means, "{status}");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_against_the_answers_own() {
        let secs = |pairs: &[_]| retry_after(&headers(pairs)).map(|after| after.as_secs());
        assert_eq!(secs(&[]), None);
        assert_eq!(secs(&[("retry-after", " 7 ")]), Some(7));
        assert_eq!(secs(&[("retry-after", "99999999999999999999999")]), Some(u64::MAX));
        assert_eq!(secs(&[("retry-after", "-1")]), None);
        let date = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(secs(&[("retry-after", "Sun, 06 Nov 1994 08:50:07 GMT"), date]), Some(30));
        assert_eq!(secs(&[("retry-after", "Sun, 06 Nov 1994 08:00:00 GMT"), date]), Some(0));
        assert_eq!(secs(&[("retry-after", "Sun, 06 Nov 1994 08:50:07 GMT")]), None);
    }

    #[test]
    fn a_content_type_is_compared_without_case_and_parameters() {
        let is = |text: &str| has_type(Some(&text.parse().unwrap()), "text/event-stream");
        assert!(is("text/event-stream") && is(" Text/Event-Stream ; charset=utf-8"));
        assert!(!is("text/event-streams") && !is("text/plain") && !has_type(None, "text/event-stream"));
    }
}
