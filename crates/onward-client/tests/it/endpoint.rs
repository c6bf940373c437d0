//! One connection: what an endpoint answers, and what becomes of it.

use onward_client::{Client, Frame, ResponseStatus};
use serde_json::json;
use tokio::sync::mpsc;

use crate::support::{HELLO, Recorder, Script, Server, fast_client, hello, ids, succeeded, wire};

#[tokio::test]
async fn a_stream_that_is_cut_into_single_bytes_is_read_whole() {
    let server = Server::start(|call, answer| async move {
        assert_eq!((call.method.as_str(), call.body.as_str()), ("POST", "why"));
        assert_eq!((call.header("accept"), call.header("x-mine")), (Some("text/event-stream"), Some("1")));
        let mut answer = answer.begin().await;
        for byte in hello("/wait").after(None).bytes() {
            answer.send([byte]).await;
        }
        answer.end().await;
    })
    .await;
    let recorder = Recorder::default();
    let client = Client::builder().default_header("x-mine", "1").build().unwrap();
    let request = http::Request::post(server.at("/hello")).body("why").unwrap();
    let response = recorder.record(client.fetch_with_stream(request)).await.unwrap();
    assert_eq!((response.status().as_u16(), &response.body()[..]), (200, &b"Hello"[..]));
    assert_eq!(response.headers()["content-type"], "text/plain");
    assert_eq!(recorder.lines(), HELLO);
}

#[tokio::test]
async fn a_plain_answer_is_given_as_it_is_whatever_its_status() {
    let server = Server::start(|call, answer| async move {
        let status = call.path[1..].parse().unwrap();
        answer.plain(status, &[("x-a", "1"), ("x-a", "2")], b"plain").await;
    })
    .await;
    for status in [200, 404, 503] {
        let recorder = Recorder::default();
        let response =
            recorder.record(Client::new().fetch_with_stream(server.at(&format!("/{status}")))).await.unwrap();
        assert_eq!((response.status().as_u16(), &response.body()[..]), (status, &b"plain"[..]));
        assert_eq!(response.headers().get_all("x-a").iter().count(), 2);
        assert_eq!(recorder.lines(), ["done"]);
    }
    let mut frames = Client::new().stream_frames(server.at("/503"));
    let received = frames.next().await.unwrap().unwrap();
    let Frame::Response { status, content } = received.frame else { panic!("{received:?}") };
    assert_eq!((status, content.status_code, content.body.as_str()), (ResponseStatus::Failed, 503, "plain"));
    assert!(frames.next().await.is_none());
}

#[tokio::test]
async fn a_redirect_of_the_endpoint_is_followed() {
    let server = Server::start(|call, answer| async move {
        match call.path.as_str() {
            "/hello" => answer.plain(303, &[("location", "/wait?token=t")], "").await,
            _ => answer.plain(200, &[], &call.method).await,
        }
    })
    .await;
    let request = http::Request::post(server.at("/hello")).body("x").unwrap();
    let response = Client::new().fetch_with_stream(request).await.unwrap();
    assert_eq!(response.body(), "GET");
    assert_eq!(server.calls()[1].header("referer"), None, "a URL may hold a token");
}

#[tokio::test]
async fn a_failed_run_gives_its_message_and_a_response_with_status_500() {
    let failed = json!({ "status": "failed", "response": { "body": "\"no card\"", "statusCode": 500, "headers": {} } });
    let script = Script::new(&[("metadata", json!({ "runId": "r" })), ("response", failed)]);
    let server = Server::start(move |_, answer| {
        let text = script.after(None);
        async move { answer.begin().await.send(text).await }
    })
    .await;
    let recorder = Recorder::default();
    let response = recorder.record(Client::new().fetch_with_stream(&server.url)).await.unwrap();
    assert_eq!((response.status().as_u16(), &response.body()[..]), (500, &b"\"no card\""[..]));
    assert_eq!(recorder.lines(), ["metadata r", "error no card", "done"]);
}

#[tokio::test]
async fn a_binary_body_and_repeated_headers_come_whole() {
    let content = json!({
        "body": "AJ+Slg==", "bodyEncoding": "base64", "statusCode": 201,
        "headers": { "set-cookie": "a=1", "x-one": "1" }, "headerPairs": [["set-cookie", "a=1"], ["set-cookie", "b=2"]],
    });
    let text = wire(None, "response", &json!({ "status": "succeeded", "response": content }));
    let server = Server::start(move |_, answer| {
        let text = text.clone();
        async move { answer.begin().await.send(text).await }
    })
    .await;
    let response = Client::new().fetch_with_stream(&server.url).await.unwrap();
    assert_eq!((response.status().as_u16(), &response.body()[..]), (201, &[0, 159, 146, 150][..]));
    let cookies: Vec<_> = response.headers().get_all("set-cookie").iter().collect();
    assert_eq!(cookies, ["a=1", "b=2"]);
    assert_eq!(response.headers()["x-one"], "1");
}

#[tokio::test]
async fn dropping_the_frames_closes_the_connection() {
    let (tell, mut closed) = mpsc::unbounded_channel();
    let server = Server::start(move |_, answer| {
        let tell = tell.clone();
        async move {
            let mut answer = answer.begin().await;
            answer.send(hello("/wait").first(2)).await;
            answer.closed().await;
            tell.send(()).unwrap();
        }
    })
    .await;
    let mut frames = Client::new().stream_frames(&server.url);
    assert!(matches!(frames.next().await.unwrap().unwrap().frame, Frame::Metadata { .. }));
    drop(frames);
    closed.recv().await.unwrap();
}

#[tokio::test]
async fn no_request_is_made_until_it_is_asked_for() {
    let server = Server::start(|_, answer| answer.plain(200, &[], "")).await;
    drop(Client::new().stream_frames(&server.url));
    drop(Client::new().fetch_with_stream(&server.url));
    assert_eq!(ids(Client::new().stream_frames(&server.url)).await.0, ["-"]);
    assert_eq!(server.calls().len(), 1);
}

#[tokio::test]
async fn an_endpoint_that_cannot_be_reached_is_a_transient_error() {
    let server = Server::start(|_, answer| async move { drop(answer) }).await;
    let recorder = Recorder::default();
    let error = recorder.record(fast_client().fetch_with_stream(server.at("/?token=secret"))).await.unwrap_err();
    assert!(error.is_transient() && !error.is_lost());
    assert!(!format!("{error:?} {error}").contains("secret"));
    let lines = recorder.lines();
    assert!(lines.len() == 2 && lines[0].starts_with("error the request got no answer") && lines[1] == "done");
    assert_eq!(server.calls().len(), 1, "what may have an effect is not repeated");
}

#[tokio::test]
async fn what_the_protocol_does_not_allow_is_an_error_and_no_reason_to_resume() {
    let head = hello("/wait").first(2);
    let content = json!({ "body": "x", "bodyEncoding": "rot13", "statusCode": 200, "headers": {} });
    let cases = [
        head.clone() + "id: 3\nevent: inngest.commit\ndata: nonsense\n\n",
        head.clone() + &wire(Some("3"), "response", &json!({ "status": "succeeded", "response": content })),
        wire(Some("1"), "redirect_info", &json!({ "runId": "r", "url": "" })),
        wire(Some("1"), "redirect_info", &json!({ "runId": "r", "url": "javascript:alert(1)" })),
        head.clone() + &wire(Some("3"), "stream", &json!({ "data": "x".repeat(2000) })),
        head + "data: " + &"x".repeat(2000),
    ];
    for text in cases {
        let sent = text.clone();
        let server = Server::start(move |_, answer| {
            let text = sent.clone();
            async move { answer.begin().await.send(text).await }
        })
        .await;
        let client = Client::builder().response_bytes_max(1000).build().unwrap();
        let (_, error) = ids(client.stream_frames(&server.url)).await;
        assert!(error.unwrap().is_protocol(), "{text}");
        assert_eq!(server.calls().len(), 1);
    }
}

#[tokio::test]
async fn other_events_and_comments_are_skipped() {
    let text = format!(
        ":\n\nevent: other\ndata: x\n\ndata: {{}}\n\n{}:\n\n{}",
        wire(None, "stream", &json!({ "data": null })),
        wire(None, "response", &succeeded("ok"))
    );
    let server = Server::start(move |_, answer| {
        let text = text.clone();
        async move { answer.begin().await.send(text).await }
    })
    .await;
    let recorder = Recorder::default();
    recorder.record(Client::new().fetch_with_stream(&server.url)).await.unwrap();
    assert_eq!(recorder.lines(), ["data null -", "done"]);
}

#[tokio::test]
async fn a_url_that_is_none_is_an_error_when_it_is_awaited() {
    let recorder = Recorder::default();
    let error = recorder.record(Client::new().fetch_with_stream("/relative")).await.unwrap_err();
    assert!(error.is_invalid());
    assert_eq!(recorder.lines(), [format!("error {error}"), "done".to_owned()]);
    let (none, error) = ids(Client::new().attach("ftp://x/", None)).await;
    assert!(none.is_empty() && error.unwrap().is_invalid());
}
