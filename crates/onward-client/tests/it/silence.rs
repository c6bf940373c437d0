//! Connections that say nothing: lost where the server would say something, kept where it would not.

use std::{future::pending, time::Duration};

use serde_json::json;

use crate::support::{HELLO, Recorder, Server, fast, hello, succeeded, wire};

const IDLE: Duration = Duration::from_millis(60);

#[tokio::test]
async fn a_silent_connection_of_a_server_with_ids_is_given_up_and_resumed() {
    let server = Server::start(|call, answer| async move {
        let mut answer = answer.begin().await;
        if call.path == "/hello" {
            answer.send(hello("/wait").first(4)).await;
            pending::<()>().await;
        }
        answer.send(hello("/wait").after(call.last_event_id())).await;
    })
    .await;
    let recorder = Recorder::default();
    let client = fast().idle_timeout(IDLE).build().unwrap();
    recorder.record(client.fetch_with_stream(server.at("/hello"))).await.unwrap();
    assert_eq!(recorder.lines(), HELLO);
    assert_eq!(server.calls()[1].last_event_id(), Some("4"));
}

#[tokio::test]
async fn a_waiting_url_that_does_not_answer_is_given_up_too() {
    let server = Server::start(|call, answer| async move {
        if call.path == "/hello" {
            return answer.begin().await.send(hello("/wait").first(3)).await;
        }
        pending::<()>().await;
    })
    .await;
    let client = fast().idle_timeout(IDLE).resume_attempts(2).build().unwrap();
    let error = client.fetch_with_stream(server.at("/hello")).await.unwrap_err();
    assert!(error.is_lost());
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!((source.as_str(), server.calls().len()), ("nothing came for 60 ms", 3));
}

#[tokio::test]
async fn heartbeats_alone_keep_a_connection_and_their_end_loses_it() {
    let server = Server::start(|call, answer| async move {
        if call.turn == 1 {
            pending::<()>().await;
        }
        let mut answer = answer.begin().await;
        if call.path == "/hello" {
            answer.send(wire(None, "redirect_info", &json!({ "runId": "r", "url": "/wait" }))).await;
            for _ in 0..8 {
                answer.send(":\n\n").await;
                tokio::time::sleep(IDLE / 4).await;
            }
            pending::<()>().await;
        }
        answer.send(wire(None, "response", &succeeded("ok"))).await;
    })
    .await;
    let client = fast().idle_timeout(IDLE).build().unwrap();
    let fetch = client.fetch_with_stream(server.at("/hello")).into_future();
    let response = tokio::time::timeout(IDLE * 100, fetch).await.unwrap().unwrap();
    assert_eq!((&response.body()[..], server.calls().len()), (&b"ok"[..], 3));
}

#[tokio::test]
async fn a_server_without_ids_and_heartbeats_may_be_silent() {
    let server = Server::start(|_, answer| async move {
        let mut answer = answer.begin().await;
        answer.send(wire(None, "metadata", &json!({ "runId": "r" }))).await;
        tokio::time::sleep(IDLE * 3).await;
        answer.send(wire(None, "response", &succeeded("ok"))).await;
    })
    .await;
    let client = fast().idle_timeout(IDLE).build().unwrap();
    assert_eq!(client.fetch_with_stream(&server.url).await.unwrap().body(), "ok");
    assert_eq!(server.calls().len(), 1);
}

#[tokio::test]
async fn without_an_idle_timeout_silence_is_waited_out() {
    let server = Server::start(|_, answer| async move {
        let mut answer = answer.begin().await;
        answer.send(hello("/wait").first(6)).await;
        tokio::time::sleep(IDLE).await;
        answer.send(hello("/wait").after(Some("6"))).await;
    })
    .await;
    let client = fast().idle_timeout(None).build().unwrap();
    assert_eq!(client.fetch_with_stream(&server.url).await.unwrap().body(), "Hello");
    assert_eq!(server.calls().len(), 1);
}
