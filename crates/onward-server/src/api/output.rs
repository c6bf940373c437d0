//! Where redirected clients wait for a run's outcome.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use onward_core::{
    RunId, StoreError,
    run::{Outcome, Status},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Engine, json, query::Query, refusal::Refusal, refused, run_id, share};
use crate::{
    options::OutputForm,
    record::{Answer, error_of},
    shared::Shared,
};

/// What a client says in the query.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    token: String,
    /// `original` for the handler's own response, `compatible` for what the SDK reports.
    response: Option<String>,
}

/// `GET /v1/http/runs/{run}/output?token=`: the outcome, as soon as there is one.
pub(super) async fn output(
    State(shared): Engine,
    Path(run): Path<String>,
    Query(asked): Query<Asked>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let run_id = run_id(&run).map_err(Refusal::shared)?;
    if !shared.opens(run_id, &asked.token) {
        return Err(Refusal::new(StatusCode::UNAUTHORIZED, "the token is not this run's, or has expired").shared());
    }
    let form = form(&shared, &asked, &headers)?;
    let mut response = match outcome(&shared, run_id).await.map_err(Refusal::shared)? {
        Some(outcome) => respond(&outcome, form),
        None => again(&uri),
    };
    no_page(response.headers_mut());
    // The handler's own word counts, where the client asked for its headers.
    response.headers_mut().entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    share(response.headers_mut());
    Ok(response)
}

/// In which form a client gets the outcome. The SDK's proxy says on a GET what type its body is, and nobody else does.
fn form(shared: &Shared, asked: &Asked, headers: &HeaderMap) -> Result<OutputForm, Refusal> {
    match asked.response.as_deref() {
        Some("original") => Ok(OutputForm::Original),
        Some("compatible") => Ok(OutputForm::Compatible),
        Some(_) => Err(Refusal::malformed("response is `original` or `compatible`").shared()),
        None if headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/json") => {
            Ok(OutputForm::Compatible)
        }
        None => Ok(shared.options.output),
    }
}

/// How long a store is left alone that cannot be read now.
const REST: std::time::Duration = std::time::Duration::from_secs(1);

/// The outcome; `None` where there was none for as long as a connection is held.
async fn outcome(shared: &Arc<Shared>, run_id: RunId) -> Result<Option<Arc<Outcome>>, Refusal> {
    // Why before the store is asked: what happens after that is told.
    let mut watch = shared.hub.watch(run_id);
    let until = tokio::time::Instant::now() + shared.options.hold;
    loop {
        let read = match shared.store.run(run_id).await {
            // Why not refused: who waits for a run can do nothing better than to wait for its store, too.
            Err(StoreError::Unavailable(_)) => false,
            read => {
                let record = read.map_err(|error| refused(&error))?;
                let gone = || Refusal::new(StatusCode::GONE, "the run is no longer kept");
                if let Some(outcome) = record.ok_or_else(gone)?.outcome {
                    return Ok(Some(Arc::new(outcome)));
                }
                true
            }
        };
        tokio::select! {
            outcome = watch.outcome() => return Ok(Some(outcome)),
            () = tokio::time::sleep(REST), if !read => {}
            () = tokio::time::sleep_until(until) => return Ok(None),
            () = shared.closing.cancelled() => return Ok(None),
        }
    }
}

/// Asks the client to come again: fetch and curl do.
fn again(uri: &Uri) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
    let location = uri.path_and_query().and_then(|path| HeaderValue::from_str(path.as_str()).ok());
    if let Some(location) = location {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

fn respond(outcome: &Outcome, form: OutputForm) -> Response {
    match outcome.status {
        Status::Completed => match Answer::decode(outcome) {
            Ok(answer) => completed(answer, form),
            Err(unreadable) => {
                tracing::error!(error = &unreadable as &dyn std::error::Error, "an outcome cannot be read");
                Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "the outcome cannot be read").into_response()
            }
        },
        status => {
            let code =
                if status == Status::Cancelled { StatusCode::CONFLICT } else { StatusCode::INTERNAL_SERVER_ERROR };
            let mut response = json(&json!({ "error": public(outcome) }));
            *response.status_mut() = code;
            response
        }
    }
}

/// What may be told of an error: its name and message, not where in the code it was thrown.
pub(super) fn public(outcome: &Outcome) -> Value {
    let error: Value = serde_json::from_slice(error_of(outcome).as_ref()).unwrap_or_default();
    let text = |name: &str| error.get(name).and_then(Value::as_str).map(str::to_owned);
    json!({
        "name": text("name").unwrap_or_else(|| "Error".to_owned()),
        "message": text("message").unwrap_or_else(|| "the run failed".to_owned()),
    })
}

/// What an endpoint's SDK reports of its handler's response.
#[derive(Debug, Deserialize)]
struct Reported {
    status: u16,
    #[serde(default)]
    headers: std::collections::BTreeMap<String, String>,
    #[serde(default)]
    body: Option<String>,
}

fn completed(answer: Answer, form: OutputForm) -> Response {
    if form == OutputForm::Original
        && let Some(response) = answer.response.and_then(onward_protocol::sse::Content::into_response)
    {
        let (parts, body) = response.into_parts();
        return harmless(Response::from_parts(parts, Body::from(body)));
    }
    let Ok(reported) = serde_json::from_str::<Reported>(answer.data.get()) else {
        return super::json_bytes(answer.data.get().as_bytes().to_vec());
    };
    let mut response = Response::new(Body::from(reported.body.unwrap_or_else(|| "null".to_owned())));
    *response.status_mut() = StatusCode::from_u16(reported.status).unwrap_or(StatusCode::OK);
    for (name, value) in reported.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(&value)) {
            response.headers_mut().insert(name, value);
        }
    }
    response.headers_mut().entry(header::CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
    harmless(response)
}

/// Headers that say something of bytes that are no longer these, or to a browser of the whole origin, which is the engine's
/// and not the endpoint's.
const DROPPED: [&str; 6] =
    ["content-length", "content-encoding", "set-cookie", "strict-transport-security", "clear-site-data", "alt-svc"];

/// Makes an endpoint's response one that the engine can give on its own origin: without headers that are not for it, with
/// a status and a body that a response may have, and so that no browser runs what is in it.
fn harmless(mut response: Response) -> Response {
    let headers = response.headers_mut();
    onward_host::hop::strip(headers);
    for name in DROPPED {
        headers.remove(name);
    }
    no_page(headers);
    let status = response.status();
    if status.is_informational() {
        // An informational status announces a response, and this is the response.
        *response.status_mut() = StatusCode::OK;
    }
    if matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED) {
        *response.body_mut() = Body::empty();
    }
    response
}

/// No browser runs what is in it.
fn no_page(headers: &mut HeaderMap) {
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let policy = HeaderValue::from_static("sandbox; default-src 'none'");
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::{Body, HeaderValue, Response, harmless};

    fn response(status: u16, headers: &[(&'static str, &'static str)], body: &'static str) -> Response {
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = status.try_into().unwrap();
        for (name, value) in headers {
            response.headers_mut().append(*name, HeaderValue::from_static(value));
        }
        response
    }

    #[test]
    fn an_endpoint_says_nothing_for_the_engines_origin_and_no_browser_runs_it() {
        let made = harmless(response(
            200,
            &[
                ("content-type", "text/html"),
                ("connection", "close, x-hop"),
                ("x-hop", "1"),
                ("transfer-encoding", "chunked"),
                ("set-cookie", "a=1"),
                ("set-cookie", "b=2"),
                ("strict-transport-security", "max-age=1"),
                ("clear-site-data", "*"),
                ("content-security-policy", "default-src *"),
                ("x-own", "kept"),
            ],
            "<script>",
        ));
        let headers: Vec<_> =
            made.headers().iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        assert_eq!(
            headers,
            [
                ("content-type", "text/html"),
                ("content-security-policy", "sandbox; default-src 'none'"),
                ("x-own", "kept"),
                ("x-content-type-options", "nosniff"),
            ]
        );
    }

    #[tokio::test]
    async fn a_status_and_a_body_are_what_a_response_may_have() {
        for (status, is, body) in
            [(101, 200, "body"), (204, 204, ""), (304, 304, ""), (205, 205, ""), (418, 418, "body")]
        {
            let made = harmless(response(status, &[], "body"));
            assert_eq!(made.status(), is);
            assert_eq!(made.into_body().collect().await.unwrap().to_bytes(), body, "{status}");
        }
    }
}
