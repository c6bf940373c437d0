//! Events that are sent.

use onward_client::{Client, NewEvent};
use serde_json::{Value, json};

use crate::support::Server;

#[tokio::test]
async fn an_event_is_posted_as_json_and_its_id_is_given() {
    let server = Server::start(|_, answer| answer.plain(200, &[], r#"{"ids":["e1"]}"#)).await;
    let client = Client::builder().default_header("authorization", "Bearer x").build().unwrap();
    let id = client.send_event(&server.at("/events"), "approval", &json!({ "ok": true }), Some("e1")).await.unwrap();
    assert_eq!(id, "e1");
    let call = &server.calls()[0];
    assert_eq!((call.method.as_str(), call.path.as_str()), ("POST", "/events"));
    assert_eq!(
        (call.header("content-type"), call.header("authorization")),
        (Some("application/json"), Some("Bearer x"))
    );
    let body: Value = serde_json::from_str(&call.body).unwrap();
    assert_eq!(body, json!({ "name": "approval", "data": { "ok": true }, "id": "e1" }));
}

#[tokio::test]
async fn several_events_are_one_request() {
    let server = Server::start(|_, answer| answer.plain(200, &[], r#"{"ids":["a","b"]}"#)).await;
    let events = [NewEvent::new("a", &1).unwrap().timestamp_ms(5), NewEvent::new("b", "x").unwrap()];
    assert_eq!(Client::new().send_events(&server.url, &events).await.unwrap(), ["a", "b"]);
    let body: Value = serde_json::from_str(&server.calls()[0].body).unwrap();
    assert_eq!(body, json!([{ "name": "a", "data": 1, "ts": 5 }, { "name": "b", "data": "x" }]));
    assert!(Client::new().send_events(&server.url, &events[..1]).await.unwrap_err().is_protocol());
}

#[tokio::test]
async fn an_event_that_is_refused_is_a_problem_and_is_not_sent_again() {
    let server = Server::start(|call, answer| async move {
        let status = call.path[1..].parse().unwrap();
        answer.plain(status, &[("content-type", "application/problem+json")], r#"{"title":"No"}"#).await;
    })
    .await;
    for (status, transient) in [(400, false), (413, false), (503, true)] {
        let error = Client::new().send_event(&server.at(&format!("/{status}")), "n", &0, None).await.unwrap_err();
        assert_eq!((error.problem().unwrap().status().as_u16(), error.is_transient()), (status, transient));
    }
    assert_eq!(server.calls().len(), 3);
}

#[tokio::test]
async fn an_answer_without_ids_is_a_protocol_error() {
    for body in ["", "{}", r#"{"ids":[]}"#, r#"{"ids":["a","b"]}"#] {
        let server = Server::start(move |_, answer| answer.plain(200, &[], body)).await;
        assert!(Client::new().send_event(&server.url, "n", &0, None).await.unwrap_err().is_protocol(), "{body}");
    }
}

#[test]
fn an_events_data_is_not_shown() {
    let event = NewEvent::new("n", "secret").unwrap().id("e1");
    assert!(!format!("{event:?}").contains("secret"));
}
