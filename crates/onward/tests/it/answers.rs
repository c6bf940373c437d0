//! What a client is told while its run goes on without it.

use std::time::Duration;

use axum::{
    Router,
    body::Body,
    routing::{get, post},
};
use http::Request;
use onward::{AsyncResponse, Onward, Options, Step, StepError};
use serde_json::Value;

use crate::support::{App, location, text};

async fn nap(step: Step) -> Result<&'static str, StepError> {
    step.sleep("nap", "2h").await?;
    Ok("rested")
}

fn get_with(uri: &str, prefer: &str) -> Request<Body> {
    Request::get(uri).header("prefer", prefer).body(Body::empty()).unwrap()
}

#[tokio::test]
async fn a_token_answer_has_the_run_its_token_and_where_to_wait() {
    let app = App::new(|onward| onward.endpoint().async_response(AsyncResponse::Token).route("/", get(nap))).await;
    let response = app.get("/").await;
    assert_eq!(response.status(), 202);
    let body: Value = serde_json::from_slice(response.body()).unwrap();
    let expected = format!("/wait?runId={}&token={}", body["runId"].as_str().unwrap(), body["token"].as_str().unwrap());
    assert_eq!(location(&response), expected);
    assert_eq!(text(&app.while_time_goes_on(app.get(&expected)).await), "rested");
}

#[tokio::test]
async fn redirects_go_where_the_endpoint_says() {
    let app = App::new(|onward| {
        let make = async |run_id: String, token: String| format!("https://other/{run_id}?t={token}");
        let custom = onward.endpoint().options(Options::default().redirect_with(make)).route("/a", get(nap));
        Router::new().merge(custom).merge(onward.endpoint().redirect_to("/later?x=1").route("/b", post(nap)))
    })
    .await;
    assert!(location(&app.get("/a").await).starts_with("https://other/0"));
    let response = app.send(Request::post("/b").body(Body::empty()).unwrap()).await;
    assert_eq!(response.status(), 303);
    assert!(location(&response).starts_with("/later?x=1&runId="));
}

#[tokio::test]
async fn respond_async_gets_202_at_once_and_the_handler_runs_all_the_same() {
    let app = App::new(|onward| {
        onward.route(
            "/",
            get(async |step: Step| step.run("one", async || Ok::<_, StepError>(1)).await.map(|n| n.to_string())),
        )
    })
    .await;
    let response = app.send(get_with("/", "respond-async")).await;
    assert_eq!(response.status(), 202);
    assert_eq!(response.headers()["preference-applied"], "respond-async");
    assert_eq!(text(&app.get(&location(&response)).await), "1");
    let waited = app.send(get_with("/", "respond-async, wait=5")).await;
    assert_eq!((waited.status().as_u16(), text(&waited)), (200, "1"));
}

#[tokio::test(start_paused = true)]
async fn a_held_client_gets_the_response_if_it_comes_in_time_and_is_redirected_if_not() {
    let app = App::new(|onward| onward.endpoint().hold("5s").route("/", get(nap))).await;
    let held = app.get("/").await;
    assert_eq!(held.status(), 302);
    let preferred = app.send(get_with("/", "wait=1")).await;
    assert_eq!(preferred.status(), 302);
    let (response, ()) = tokio::join!(app.get("/"), async {
        app.settle().await;
        app.advance(Duration::from_secs(7200)).await;
    });
    assert_eq!((response.status().as_u16(), text(&response)), (200, "rested"));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_waits_for_long_is_sent_round_again() {
    let app = App::new(|onward| onward.route("/", get(nap))).await;
    let location = location(&app.get("/").await);
    let again = app.get(&location).await;
    assert_eq!((again.status().as_u16(), crate::support::location(&again)), (307, location.clone()));
    let later = app.send(get_with(&location, "wait=1")).await;
    assert_eq!((later.status().as_u16(), later.headers()["retry-after"].to_str().unwrap()), (202, "1"));
}

#[tokio::test]
async fn a_client_that_goes_away_does_not_end_its_run() {
    let (begun, done) =
        (std::sync::Arc::new(tokio::sync::Notify::new()), std::sync::Arc::new(tokio::sync::Notify::new()));
    let (b, d) = (begun.clone(), done.clone());
    let handler = async move |step: Step| {
        step.run("first", async || Ok::<_, StepError>(())).await?;
        step.run("long", async || {
            b.notify_one();
            tokio::task::yield_now().await;
            Ok::<_, StepError>(())
        })
        .await?;
        d.notify_one();
        Ok::<_, StepError>("done")
    };
    let app = App::new(|onward| onward.route("/", get(handler))).await;
    {
        let mut request = std::pin::pin!(app.get("/"));
        tokio::select! {
            biased;
            _ = &mut request => panic!("the client was to leave before the response"),
            () = begun.notified() => {}
        }
    }
    done.notified().await;
    app.settle().await;
    let runs = app.onward.runs().list(onward::RunQuery::new()).await.unwrap().runs;
    assert_eq!(runs[0].status, "completed");
}

#[tokio::test]
async fn options_outside_their_limits_are_an_error_when_the_app_starts() {
    let open = || async { Onward::builder().open("memory:").await.unwrap() };
    let onward = open().await;
    let _: Router = onward.endpoint().retries(21).route("/", get(nap));
    let error = onward.start().await.unwrap_err();
    assert!(error.is_config() && error.to_string().contains("0 to 20"), "{error}");
    let onward = open().await;
    let _: Router = onward.route("/", get(nap)).merge(onward.route("/other", get(nap)));
    let _: Router = onward.endpoint().hold("soon").route("/x", get(nap));
    assert!(onward.start().await.unwrap_err().to_string().contains("\"soon\""));
    let onward = open().await;
    let _: Router = onward.route("/", get(nap));
    let _: Router = onward.route("/", get(nap));
    assert!(onward.start().await.unwrap_err().to_string().contains("GET /"));
    assert!(Onward::open("mysql://x").await.unwrap_err().is_config());
}

/// A response that was passed on from upstream may say `chunked`: kept so, it is one that nobody can read.
#[tokio::test]
async fn headers_of_the_hop_are_not_kept_and_the_length_is_the_bodys() {
    let handler = async |step: Step| {
        step.run("s", async || Ok::<_, StepError>(())).await.unwrap();
        step.sleep("nap", "1h").await.unwrap();
        let upstream = http::Response::builder()
            .header("transfer-encoding", "chunked")
            .header("connection", "keep-alive, x-hop")
            .header("keep-alive", "timeout=5")
            .header("x-hop", "1")
            .header("content-length", "3")
            .header("x-own", "1");
        upstream.body(Body::from("passed on")).unwrap()
    };
    let app = App::new(|onward| onward.route("/", get(handler))).await;
    let outcome = app.outcome("/").await;
    assert_eq!(text(&outcome), "passed on");
    let headers: Vec<_> = outcome.headers().iter().map(|(name, value)| (name.as_str(), value)).collect();
    assert!(headers.contains(&("x-own", &http::HeaderValue::from_static("1"))), "{headers:?}");
    assert!(headers.contains(&("content-length", &http::HeaderValue::from_static("9"))), "{headers:?}");
    for hop in ["transfer-encoding", "connection", "keep-alive", "x-hop"] {
        assert!(outcome.headers().get(hop).is_none(), "{hop}");
    }
}
