//! HTTP problems (RFC 9457), as a client reads them.

use bytes::Bytes;
use http::{Response, StatusCode, header};
use serde::Deserialize;

/// An HTTP answer that says why a request was refused.
///
/// # Example
///
/// ```no_run
/// # async fn wait(client: onward_client::Client, started: onward_client::Started) {
/// if let Err(error) = client.wait(&started).await
///     && let Some(problem) = error.problem()
///     && problem.code() == Some("run-gone")
/// {
///     println!("asked too late: {}", problem.title());
/// }
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    status: StatusCode,
    body: Body,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct Body {
    #[serde(rename = "type")]
    kind: Option<String>,
    title: Option<String>,
    detail: Option<String>,
    instance: Option<String>,
}

impl Problem {
    /// Reads an answer, whether or not it is `application/problem+json`.
    pub(crate) fn of(response: &Response<Bytes>) -> Self {
        let body = if is_problem(response) { serde_json::from_slice(response.body()).ok() } else { None };
        Self { status: response.status(), body: body.unwrap_or_default() }
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// What went wrong, as a URL: of its page, for problems of Onward. `about:blank` where the answer does not say.
    pub fn kind(&self) -> &str {
        self.body.kind.as_deref().unwrap_or("about:blank")
    }

    /// The last part of [`kind`](Self::kind), such as `token-invalid`; `None` where there is none.
    pub fn code(&self) -> Option<&str> {
        let kind = self.body.kind.as_deref().filter(|kind| *kind != "about:blank")?;
        let path = kind.split(['?', '#']).next()?.trim_end_matches('/');
        let name = path.rsplit(['/', ':']).next()?;
        let name = name.strip_suffix(".md").or_else(|| name.strip_suffix(".html")).unwrap_or(name);
        (!name.is_empty()).then_some(name)
    }

    /// What went wrong, in a few words: those of the status where the answer has none.
    pub fn title(&self) -> &str {
        self.body.title.as_deref().or_else(|| self.status.canonical_reason()).unwrap_or("refused")
    }

    /// What to do about it, where the answer says so.
    pub fn detail(&self) -> Option<&str> {
        self.body.detail.as_deref()
    }

    /// What it is about, such as `/runs/01ABC…`, where the answer says so.
    pub fn instance(&self) -> Option<&str> {
        self.body.instance.as_deref()
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.title(), self.status.as_u16())?;
        match self.detail() {
            Some(detail) => write!(f, ": {detail}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Problem {}

/// Whether an answer has the format of a problem.
pub(crate) fn is_problem(response: &Response<Bytes>) -> bool {
    crate::answer::has_type(response.headers().get(header::CONTENT_TYPE), "application/problem+json")
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::Response;

    use super::Problem;

    fn read(status: u16, media: &str, body: &'static str) -> Problem {
        let response = Response::builder().status(status).header("content-type", media);
        Problem::of(&response.body(Bytes::from(body)).unwrap())
    }

    #[test]
    fn a_problem_has_what_its_body_says() {
        let body =
            r#"{"type":"https://x.example/errors/run-gone.md","title":"No","detail":"because","instance":"/r/1"}"#;
        let problem = read(410, "Application/Problem+json; charset=utf-8", body);
        assert_eq!(
            (problem.code(), problem.instance(), problem.status().as_u16()),
            (Some("run-gone"), Some("/r/1"), 410)
        );
        assert_eq!(problem.to_string(), "No (410): because");
    }

    #[test]
    fn another_body_leaves_the_status() {
        for (media, body) in
            [("text/html", "<h1>"), ("application/problem+json", "[]"), ("application/problem+json", "{")]
        {
            let problem = read(404, media, body);
            assert_eq!((problem.code(), problem.kind(), problem.title()), (None, "about:blank", "Not Found"));
        }
    }

    #[test]
    fn a_code_is_the_last_part_of_the_type() {
        for (kind, code) in [("about:blank", None), ("urn:x:y", Some("y")), ("/e/a-b/?q#f", Some("a-b")), ("", None)] {
            let response = Response::builder().status(400).header("content-type", "application/problem+json");
            let body = Bytes::from(serde_json::json!({ "type": kind }).to_string());
            assert_eq!(Problem::of(&response.body(body).unwrap()).code(), code, "{kind}");
        }
    }
}
