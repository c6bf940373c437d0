//! Streams over several connections: cuts, the move to the waiting URL, refusals and waits.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use onward_client::{Client, Frame};
use serde_json::json;
use tokio::time::Instant;

use crate::support::{Answer, Call, HELLO, Recorder, Server, fast, fast_client, hello, ids, succeeded, wire};

/// Serves `/hello`, cut after so many frames, and the rest of the stream anywhere else.
async fn cut_after(count: usize) -> Server {
    Server::start(move |call, answer| cut_or_rest(call, answer, count)).await
}

async fn cut_or_rest(call: Call, answer: Answer, count: usize) {
    let (script, mut answer) = (hello("/wait?token=secret"), answer.begin().await);
    if call.path == "/hello" {
        answer.send(script.first(count)).await;
        answer.send("id: 9\nevent: inngest.stream\nda").await;
    } else {
        answer.send(script.after(call.last_event_id())).await;
        answer.end().await;
    }
}

#[tokio::test]
async fn a_cut_connection_is_resumed_at_the_relative_waiting_url_after_the_last_frame() {
    let server = cut_after(3).await;
    let recorder = Recorder::default();
    let attempts = Mutex::new(Vec::new());
    let request = http::Request::post(server.at("/hello")).header("idempotency-key", "k").body("x").unwrap();
    let fetch = fast_client().fetch_with_stream(request);
    let fetch = fetch.on_reconnecting(|attempt, _| attempts.lock().unwrap().push(attempt));
    let response = recorder.record(fetch).await.unwrap();
    assert_eq!(response.body(), "Hello");
    assert_eq!(recorder.lines(), HELLO);
    assert_eq!(*attempts.lock().unwrap(), [1]);
    let calls = server.calls();
    let second = &calls[1];
    assert_eq!((second.method.as_str(), second.path.as_str(), second.body.as_str()), ("GET", "/wait?token=secret", ""));
    assert_eq!((second.header("accept"), second.last_event_id()), (Some("text/event-stream"), Some("3")));
    assert_eq!((second.header("idempotency-key"), calls.len()), (None, 2));
}

#[tokio::test]
async fn frames_come_once_and_in_order_wherever_the_stream_is_cut() {
    for count in 2..7 {
        let server = cut_after(count).await;
        let (ids, error) = ids(fast_client().stream_frames(server.at("/hello"))).await;
        assert!(error.is_none(), "{error:?}");
        assert_eq!(ids, ["1", "2", "3", "4", "5", "6", "7"]);
    }
}

#[tokio::test]
async fn metadata_and_redirect_that_are_repeated_are_skipped_with_their_ids() {
    let server = Server::start(|call, answer| async move {
        let (script, mut answer) = (hello("/wait"), answer.begin().await);
        match call.last_event_id() {
            None => answer.send(script.first(5)).await,
            Some("5") => answer.send(script.first(2)).await,
            after => panic!("resumed after {after:?}"),
        }
        if call.turn == 2 {
            answer.send(script.after(Some("5"))).await;
        }
    })
    .await;
    let mut frames = fast_client().stream_frames(server.at("/hello"));
    let mut seen = Vec::new();
    while let Some(received) = frames.next().await.transpose().unwrap() {
        if let Frame::RedirectInfo { url, .. } = &received.frame {
            assert_eq!(*url, server.at("/wait"));
        }
        seen.push(received.id.unwrap());
    }
    assert_eq!(seen, ["1", "2", "3", "4", "5", "6", "7"]);
}

#[tokio::test]
async fn a_waiting_url_in_a_resumed_stream_is_resolved_against_that_one_and_the_newest_counts() {
    let server = Server::start(|call, answer| async move {
        let (script, mut answer) = (hello("waits/1"), answer.begin().await);
        match call.path.as_str() {
            "/a/hello" => answer.send(script.first(2)).await,
            "/a/waits/1" => {
                answer.send(wire(Some("2.5"), "redirect_info", &json!({ "runId": "run1", "url": "2" }))).await;
            }
            _ => answer.send(script.after(Some("2"))).await,
        }
    })
    .await;
    let recorder = Recorder::default();
    recorder.record(fast_client().fetch_with_stream(server.at("/a/hello"))).await.unwrap();
    assert_eq!(recorder.lines(), HELLO);
    assert_eq!(server.paths(), ["/a/hello", "/a/waits/1", "/a/waits/2"]);
}

#[tokio::test]
async fn the_stream_of_an_engine_without_ids_goes_on_at_once_at_the_redirect_url() {
    let server = Server::start(|call, answer| async move {
        let mut answer = answer.begin().await;
        let metadata = wire(None, "metadata", &json!({ "runId": "r" }));
        answer.send(&metadata).await;
        if call.path == "/direct" {
            answer.send(wire(None, "stream", &json!({ "data": 1, "hashedStepId": "a" }))).await;
            answer.send(wire(None, "redirect_info", &json!({ "runId": "r", "url": "/sse?token=t" }))).await;
            answer.end().await;
        } else {
            answer.send(wire(None, "rollback", &json!({ "hashedStepId": "b" }))).await;
            answer.send(wire(None, "response", &succeeded("ok"))).await;
        }
    })
    .await;
    let recorder = Recorder::default();
    // The planned move is no attempt to resume.
    let client = Client::builder().resume_attempts(0).build().unwrap();
    let response = recorder.record(client.fetch_with_stream(server.at("/direct"))).await.unwrap();
    assert_eq!(response.body(), "ok");
    assert_eq!(recorder.lines(), ["metadata r", "data 1 a", "rollback b", "done"]);
    assert_eq!(server.calls()[1].last_event_id(), None);
}

#[tokio::test]
async fn a_server_that_cannot_answer_now_is_asked_again_also_after_it_was_gone() {
    let server = Server::start(|call, answer| async move {
        match call.turn {
            1 => answer.plain(503, &[], "").await,
            2 => answer.plain(429, &[("retry-after", "0")], "").await,
            3 => drop(answer),
            4 => answer.plain(202, &[], "{}").await,
            5 => {
                let mut answer = answer.begin().await;
                answer.send(":\n\n").await;
                answer.end().await;
            }
            _ => cut_or_rest(call, answer, 2).await,
        }
    })
    .await;
    let recorder = Recorder::default();
    let attempts = Mutex::new(Vec::new());
    let fetch = fast_client().fetch_with_stream(server.at("/hello"));
    let fetch = fetch.on_reconnecting(|attempt, _| attempts.lock().unwrap().push(attempt));
    recorder.record(fetch).await.unwrap();
    assert_eq!(recorder.lines(), HELLO);
    assert_eq!(*attempts.lock().unwrap(), [1, 2, 3, 4, 5, 6]);
}

#[tokio::test]
async fn retry_after_and_the_streams_own_retry_are_waited_for() {
    let server = Server::start(|call, answer| async move {
        if call.turn == 1 {
            return answer.plain(503, &[("retry-after", "1")], "").await;
        }
        let (script, mut answer) = (hello("/wait"), answer.begin().await);
        if call.turn == 0 {
            answer.send(script.first(2) + "retry: 150\nid: 2\ndata: other\n\n").await;
        } else {
            answer.send(script.after(call.last_event_id())).await;
        }
    })
    .await;
    let delays = Mutex::new(Vec::new());
    let began = Instant::now();
    let fetch = fast_client().fetch_with_stream(server.at("/hello"));
    fetch.on_reconnecting(|_, delay| delays.lock().unwrap().push(delay.as_millis())).await.unwrap();
    assert_eq!(*delays.lock().unwrap(), [150, 1000]);
    assert!(began.elapsed() >= Duration::from_millis(1150));
}

#[tokio::test]
async fn frames_that_come_set_the_count_of_attempts_back() {
    let server = Server::start(|call, answer| async move {
        if call.path == "/hello" {
            return cut_or_rest(call, answer, 2).await;
        }
        let at: usize = call.last_event_id().unwrap().parse().unwrap();
        answer.begin().await.send(&hello("/wait").0[at]).await;
    })
    .await;
    let recorder = Recorder::default();
    let client = fast().resume_attempts(1).build().unwrap();
    recorder.record(client.fetch_with_stream(server.at("/hello"))).await.unwrap();
    assert_eq!(recorder.lines(), HELLO);
    assert_eq!(server.calls().len(), 6);
}

#[tokio::test]
async fn after_the_attempts_that_may_fail_the_run_is_lost_with_all_that_is_needed_to_go_on_later() {
    let up = Arc::new(AtomicBool::new(false));
    let is_up = Arc::clone(&up);
    let server = Server::start(move |call, answer| {
        let is_up = Arc::clone(&is_up);
        async move {
            if call.path == "/hello" || is_up.load(Ordering::SeqCst) {
                return cut_or_rest(call, answer, 3).await;
            }
            let problem = [("content-type", "application/problem+json")];
            answer.plain(503, &problem, r#"{"title":"The server is shutting down"}"#).await;
        }
    })
    .await;
    let recorder = Recorder::default();
    let client = fast().resume_attempts(3).build().unwrap();
    let error = recorder.record(client.fetch_with_stream(server.at("/hello"))).await.unwrap_err();
    assert!(error.is_lost() && error.is_transient());
    let lost = error.lost().unwrap();
    let (url, after) = (lost.waiting_url().unwrap(), lost.last_event_id());
    assert_eq!((lost.run_id(), url, after), (Some("run1"), server.at("/wait?token=secret").as_str(), Some("3")));
    assert!(!format!("{error:?} {error}").contains("secret"));
    assert_eq!(server.calls().len(), 4);
    let lines = recorder.lines();
    assert_eq!(lines[..2], HELLO[..2]);
    assert!(lines[2].ends_with("3 attempts to resume it failed: The server is shutting down (503)"), "{lines:?}");
    assert_eq!(lines[3..], ["done"]);

    up.store(true, Ordering::SeqCst);
    assert_eq!(ids(client.attach(url, after)).await.0, ["4", "5", "6", "7"]);
    let recorder = Recorder::default();
    recorder.record(client.fetch_with_stream(url).attach(None)).await.unwrap();
    assert_eq!(recorder.lines(), HELLO);
}

#[tokio::test]
async fn a_stream_that_ends_before_it_said_where_it_goes_on_is_lost() {
    let server = Server::start(|call, answer| async move {
        let mut answer = answer.begin().await;
        answer.send(hello("/wait").first(1)).await;
        if call.path == "/end" {
            answer.end().await;
        }
    })
    .await;
    for path in ["/cut", "/end"] {
        let (ids, error) = ids(fast_client().stream_frames(server.at(path))).await;
        assert_eq!(ids, ["1"]);
        let lost = error.unwrap();
        assert_eq!(lost.lost().unwrap().waiting_url(), None);
    }
    assert_eq!(server.calls().len(), 2);
}

#[tokio::test]
async fn a_waiting_url_that_refuses_ends_it_with_the_problem() {
    for (status, slug) in [(400, "stream-position-unknown"), (401, "token-invalid"), (410, "run-gone")] {
        let server = Server::start(move |call, answer| async move {
            if call.path == "/hello" {
                return cut_or_rest(call, answer, 2).await;
            }
            let body = json!({ "type": format!("https://x.example/{slug}.md"), "title": "No", "detail": "because" });
            answer.plain(status, &[("content-type", "application/problem+json")], body.to_string()).await;
        })
        .await;
        let recorder = Recorder::default();
        let error = recorder.record(fast_client().fetch_with_stream(server.at("/hello"))).await.unwrap_err();
        let problem = error.problem().unwrap();
        assert_eq!(
            (problem.code(), problem.status().as_u16(), problem.detail()),
            (Some(slug), status, Some("because"))
        );
        assert!(!error.is_transient() && !error.is_lost());
        assert_eq!(recorder.lines(), [HELLO[0], &format!("error No ({status}): because"), "done"]);
        assert_eq!(server.calls().len(), 2);
    }
}

#[tokio::test]
async fn a_waiting_url_that_answers_with_some_other_page_or_nothing_is_a_protocol_error() {
    for (status, body) in [(200, "<h1>Sign in</h1>"), (204, "")] {
        let server = Server::start(move |call, answer| async move {
            match call.path.as_str() {
                "/hello" => cut_or_rest(call, answer, 2).await,
                _ => answer.plain(status, &[("content-type", "text/html")], body).await,
            }
        })
        .await;
        let error = fast_client().fetch_with_stream(server.at("/hello")).await.unwrap_err();
        assert!(error.is_protocol() && error.to_string().contains(&status.to_string()), "{error}");
    }
}

#[tokio::test]
async fn a_plain_answer_with_the_runs_id_is_the_response_and_is_asked_for_again_if_it_is_cut() {
    let server = Server::start(|call, answer| async move {
        let marked = [("onward-run-id", "run1")];
        match call.turn {
            0 => cut_or_rest(call, answer, 2).await,
            1 => answer.cut_plain(409, &marked, "sold").await,
            _ => answer.plain(409, &marked, "sold out").await,
        }
    })
    .await;
    let response = fast_client().fetch_with_stream(server.at("/hello")).await.unwrap();
    assert_eq!((response.status().as_u16(), &response.body()[..]), (409, &b"sold out"[..]));
    assert_eq!(server.calls().len(), 3);
}

#[tokio::test]
async fn the_callers_headers_go_to_the_endpoints_own_origin_only() {
    let engine = Server::start(|call, answer| cut_or_rest(call, answer, 0)).await;
    let elsewhere = engine.at("/wait");
    let server = Server::start(move |call, answer| {
        let elsewhere = elsewhere.clone();
        async move {
            match call.path.as_str() {
                "/other" => answer.begin().await.send(hello(&elsewhere).first(2)).await,
                _ => cut_or_rest(call, answer, 2).await,
            }
        }
    })
    .await;
    let client = fast().default_header("authorization", "Bearer x").build().unwrap();
    for path in ["/hello", "/other"] {
        client.fetch_with_stream(server.at(path)).await.unwrap();
    }
    assert_eq!(server.calls()[1].header("authorization"), Some("Bearer x"));
    assert_eq!(engine.calls()[0].header("authorization"), None);
}

#[tokio::test]
async fn a_run_is_read_from_its_start_at_its_waiting_url_with_retries_from_the_first_request_on() {
    let server = Server::start(|call, answer| async move {
        match call.turn {
            0 | 1 => answer.plain(502, &[], "").await,
            2 => answer.begin().await.send(hello("/wait").first(4)).await,
            _ => cut_or_rest(call, answer, 0).await,
        }
    })
    .await;
    assert_eq!(ids(fast_client().attach(&server.at("/wait"), None)).await.0, ["1", "2", "3", "4", "5", "6", "7"]);
    assert!(server.calls().iter().all(|call| call.method == "GET"));
}

#[tokio::test]
async fn the_head_of_a_stream_that_is_attached_to_does_not_lead_back() {
    let server = Server::start(|call, answer| async move {
        let (script, mut answer) = (hello("/wait"), answer.begin().await);
        answer.send(script.first(2)).await;
        if call.turn > 0 {
            answer.send(script.after(call.last_event_id())).await;
        }
    })
    .await;
    let (ids, error) = ids(fast_client().attach(&server.at("/wait"), Some("4"))).await;
    assert!(error.is_none());
    // What is received with the head's frames is resumed after like what came before.
    assert_eq!(ids, ["4", "4", "5", "6", "7"]);
    assert_eq!(server.calls()[1].last_event_id(), Some("4"));
}
