//! Runs that are started and waited for.

use std::sync::Arc;

use onward_client::{Client, Start, Started};
use serde_json::json;

use crate::support::{Answer, Server, fast, fast_client};

const LOCATION: &str = "/wait?runId=run1&token=secret";

async fn accept(answer: Answer) {
    let headers = [("content-type", "application/json"), ("location", LOCATION)];
    answer.plain(202, &headers, json!({ "runId": "run1", "token": "secret" }).to_string()).await;
}

/// Serves a start at `/call`, and whoever waits by the turn of the request.
async fn serve<F: Future<Output = ()> + Send + 'static>(
    turn: impl Fn(usize, Answer) -> F + Send + Sync + 'static,
) -> Server {
    let turn = Arc::new(turn);
    Server::start(move |call, answer| {
        let turn = Arc::clone(&turn);
        async move { if call.path == "/call" { accept(answer).await } else { turn(call.turn, answer).await } }
    })
    .await
}

async fn started(client: &Client, server: &Server) -> Started {
    let request = http::Request::post(server.at("/call")).header("authorization", "Bearer x").body("in").unwrap();
    match client.start(request).await.unwrap() {
        Start::Running(started) => started,
        ended @ Start::Ended(_) => panic!("{ended:?}"),
    }
}

#[tokio::test]
async fn a_run_is_started_and_keeps_its_token() {
    let server = serve(|_, answer| answer.plain(200, &[], "out")).await;
    let started = started(&Client::new(), &server).await;
    assert_eq!((started.run_id(), started.token(), started.location()), ("run1", "secret", &*server.at(LOCATION)));
    assert!(!format!("{started:?} {:?}", Start::Running(started.clone())).contains("secret"));
    let call = &server.calls()[0];
    assert_eq!(
        (call.method.as_str(), call.body.as_str(), call.header("prefer")),
        ("POST", "in", Some("respond-async"))
    );
}

#[tokio::test]
async fn an_endpoint_that_has_the_response_already_gives_it() {
    let server = Server::start(|_, answer| answer.plain(409, &[], "sold out")).await;
    let start = Client::new().start(&server.url).await.unwrap();
    let Start::Ended(response) = start else { panic!("{start:?}") };
    assert_eq!((response.status().as_u16(), &response.body()[..]), (409, &b"sold out"[..]));
}

#[tokio::test]
async fn a_start_that_is_refused_is_a_problem() {
    for (status, transient) in [(422, false), (503, true)] {
        let server = Server::start(move |_, answer| async move {
            let body = json!({ "type": "https://x.example/key-reused.md", "title": "Used" });
            answer.plain(status, &[("content-type", "application/problem+json")], body.to_string()).await;
        })
        .await;
        let error = fast_client().start(&server.url).await.unwrap_err();
        assert_eq!((error.problem().unwrap().code(), error.is_transient()), (Some("key-reused"), transient));
        assert_eq!(server.calls().len(), 1);
    }
}

#[tokio::test]
async fn a_start_without_a_place_to_wait_is_a_protocol_error() {
    let server = Server::start(|_, answer| async move {
        answer.plain(202, &[], json!({ "runId": "run1", "token": "t" }).to_string()).await;
    })
    .await;
    assert!(Client::new().start(&server.url).await.unwrap_err().is_protocol());
}

#[tokio::test]
async fn a_wait_goes_round_as_often_as_it_is_sent() {
    let server = serve(|turn, answer| async move {
        match turn {
            // More than an HTTP client follows by itself.
            ..16 => answer.plain(307, &[("location", LOCATION), ("retry-after", "0")], "").await,
            16 => answer.plain(202, &[("retry-after", "0")], "").await,
            _ => answer.plain(201, &[], "out").await,
        }
    })
    .await;
    let client = fast_client();
    let response = client.wait(&started(&client, &server).await).await.unwrap();
    assert_eq!((response.status().as_u16(), &response.body()[..]), (201, &b"out"[..]));
    let calls = server.calls();
    assert_eq!(calls.len(), 18);
    assert!(calls[1..].iter().all(|call| call.method == "GET" && call.path == LOCATION));
    assert_eq!((calls[1].header("authorization"), calls[1].header("prefer")), (Some("Bearer x"), None));
}

#[tokio::test]
async fn a_client_that_follows_no_redirects_goes_round_all_the_same() {
    let server = serve(|turn, answer| async move {
        match turn {
            0..3 => answer.plain(307, &[("location", LOCATION), ("retry-after", "0")], "").await,
            _ => answer.plain(200, &[], "out").await,
        }
    })
    .await;
    // Who makes an HTTP client by hand chooses its TLS, too. Another test may have done so.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let client = fast().http_client(http).build().unwrap();
    assert_eq!(client.wait_at(&server.at(LOCATION)).await.unwrap().body(), "out");
}

#[tokio::test]
async fn a_wait_survives_cuts_and_servers_that_cannot_answer() {
    let server = serve(|turn, answer| async move {
        match turn {
            0 => drop(answer),
            1 => answer.plain(503, &[("retry-after", "0")], "").await,
            2 => answer.cut_plain(200, &[], "o").await,
            3 => answer.plain(502, &[], "").await,
            _ => answer.plain(500, &[("content-type", "application/problem+json")], "{}").await,
        }
    })
    .await;
    let client = fast_client();
    let response = client.wait_at(&server.at(LOCATION)).await.unwrap();
    assert_eq!(response.status(), 500, "a failed run's response is a response");
    assert_eq!(server.calls().len(), 5);
}

#[tokio::test]
async fn a_wait_that_is_refused_is_a_problem_and_another_response_of_that_status_is_none() {
    let problem = [("content-type", "application/problem+json")];
    for status in [401, 410] {
        let server = serve(move |_, answer| answer_with(answer, status, problem)).await;
        let error = fast_client().wait_at(&server.at(LOCATION)).await.unwrap_err();
        assert_eq!(error.problem().unwrap().status(), status);
        assert_eq!(server.calls().len(), 1);
    }
    let server = serve(|_, answer| answer_with(answer, 410, [("content-type", "text/plain")])).await;
    assert_eq!(fast_client().wait_at(&server.at(LOCATION)).await.unwrap().status(), 410);
}

async fn answer_with(answer: Answer, status: u16, headers: [(&'static str, &'static str); 1]) {
    answer.plain(status, &headers, "{}").await;
}

#[tokio::test]
async fn a_wait_that_cannot_reach_the_server_is_lost_in_the_end() {
    let server = serve(|_, answer| async move { drop(answer) }).await;
    let client = fast().resume_attempts(2).build().unwrap();
    let error = client.wait(&started(&client, &server).await).await.unwrap_err();
    let lost = error.lost().unwrap();
    assert_eq!((lost.run_id(), lost.waiting_url()), (Some("run1"), Some(&*server.at(LOCATION))));
    assert_eq!(server.calls().len(), 4);
    assert!(!format!("{error:?}").contains("secret"));
}
