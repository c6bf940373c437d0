//! Every case of `conformance/`, and what the client does around them, against the server in this process.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use onward::Onward;
use onward_client::{Client, Frame, RunFilter, Start};
use serde::Deserialize;
use serde_json::Value;
use sha1::{Digest, Sha1};
use tokio::sync::oneshot;

#[derive(Deserialize)]
struct Case {
    name: String,
    path: String,
    frames: Vec<Expected>,
    response: ExpectedResponse,
}

#[derive(Deserialize)]
struct Expected {
    r#type: String,
    step: Option<String>,
    #[serde(default)]
    data: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExpectedResponse {
    status: String,
    status_code: u16,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    body: Option<String>,
    body_base64: Option<String>,
    #[serde(default)]
    set_cookie: Vec<String>,
}

fn hashed(step: Option<&str>) -> Option<String> {
    let hash = Sha1::digest(step?.as_bytes());
    Some(
        hash.iter()
            .flat_map(|byte| [byte >> 4, byte & 15])
            .map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)]))
            .collect(),
    )
}

/// Serves the endpoints while something is done, and gives its URL.
async fn served<T>(with: impl AsyncFnOnce(&str) -> T) -> T {
    let onward = Onward::open("memory:").await.unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let app = conformance_server::app(&onward);
    let (stop, stopped) = oneshot::channel::<()>();
    let serve = onward.serve_until(listener, app, async { drop(stopped.await) });
    let (served, done) = tokio::join!(serve, async {
        let done = with(&url).await;
        drop(stop);
        done
    });
    served.unwrap();
    done
}

#[tokio::test]
async fn the_client_sees_what_the_cases_say() {
    let cases: Vec<Case> = serde_json::from_str(include_str!("../../../streaming.json")).unwrap();
    served(async |url| {
        for case in &cases {
            run(url, case).await;
        }
    })
    .await;
}

async fn run(url: &str, case: &Case) {
    let (mut frames, client) = (Vec::new(), Client::new());
    let mut stream = client.stream_frames(format!("{url}{}", case.path));
    let mut ending = None;
    while let Some(received) = stream.next().await {
        let received = received.unwrap_or_else(|error| panic!("{}: {error}", case.name));
        match received.frame {
            Frame::Metadata { .. } | Frame::RedirectInfo { .. } => assert!(frames.is_empty(), "{}", case.name),
            Frame::Chunk { data, step } => {
                frames.push(("stream".to_owned(), step, serde_json::from_str(data.get()).unwrap()));
            }
            Frame::Commit { step } => frames.push(("commit".to_owned(), step, Value::Null)),
            Frame::Rollback { step } => frames.push(("rollback".to_owned(), step, Value::Null)),
            Frame::Response { status, content } => ending = Some((status, content)),
        }
    }
    let expected: Vec<_> = case
        .frames
        .iter()
        .map(|frame| (frame.r#type.clone(), hashed(frame.step.as_deref()), frame.data.clone()))
        .collect();
    assert_eq!(frames, expected, "{}", case.name);
    let (status, content) = ending.unwrap();
    assert_eq!(format!("{status:?}").to_lowercase(), case.response.status, "{}", case.name);
    let response = content.into_response().unwrap();
    assert_eq!(response.status().as_u16(), case.response.status_code, "{}", case.name);
    let body = match &case.response.body_base64 {
        Some(body) => STANDARD.decode(body).unwrap(),
        None => case.response.body.clone().unwrap_or_default().into_bytes(),
    };
    assert_eq!(response.body(), &body, "{}", case.name);
    for (name, value) in &case.response.headers {
        assert_eq!(response.headers()[name.as_str()], value.as_str(), "{}", case.name);
    }
    let cookies: Vec<_> =
        response.headers().get_all("set-cookie").iter().map(|value| value.to_str().unwrap()).collect();
    assert_eq!(cookies, case.response.set_cookie, "{}", case.name);
}

#[tokio::test]
async fn a_run_is_started_waited_for_and_woken_by_an_event() {
    served(async |url| {
        let client = Client::new();
        let Start::Running(started) = client.start(format!("{url}/approval?id=7")).await.unwrap() else {
            panic!("it waits for an event")
        };
        let event = serde_json::json!({ "id": "7", "by": "Ada" });
        let events = format!("{url}/events");
        let sent = client.send_event(&events, "approval/received", &event, None);
        let (response, sent) = tokio::join!(client.wait(&started), async {
            // The event counts only once the run waits: its stream tells.
            let mut stream = client.attach(started.location(), None);
            while let Some(received) = stream.next().await {
                if matches!(received.unwrap().frame, Frame::Commit { .. }) {
                    break;
                }
            }
            drop(stream);
            for _ in 0..50 {
                tokio::task::yield_now().await;
            }
            sent.await
        });
        sent.unwrap();
        assert_eq!(response.unwrap().body(), "Ada");
    })
    .await;
}

#[tokio::test]
async fn an_operator_lists_looks_at_cancels_retries_and_deletes_runs() {
    served(async |url| {
        let client = Client::new();
        let runs = client.runs(&format!("{url}/runs"));
        let Start::Running(started) = client.start(format!("{url}/approval?id=8")).await.unwrap() else {
            panic!("it waits for an event")
        };
        let failed = client.fetch_with_stream(format!("{url}/failed")).await.unwrap();
        assert_eq!(failed.status(), 500);
        let all = runs.list(RunFilter::new()).await.unwrap();
        assert_eq!((all.runs.len(), all.next), (2, None));
        let page = runs.list(RunFilter::new().limit(1)).await.unwrap();
        let next = runs.list(RunFilter::new().before(&page.next.unwrap())).await.unwrap();
        assert_eq!(next.runs, all.runs[1..]);
        let failed = runs.list(RunFilter::new().status("failed").endpoint("GET /failed")).await.unwrap().runs;
        let run = runs.get(&failed[0].run_id).await.unwrap();
        assert_eq!(
            (run.run.status.as_str(), run.steps[0].id.as_str(), run.steps[0].status.as_str()),
            ("failed", "a", "failed")
        );
        assert!(run.run.finished_at >= Some(run.run.created_at));
        runs.retry(&failed[0].run_id).await.unwrap();
        let code = |error: onward_client::Error| error.problem().and_then(|problem| problem.code().map(str::to_owned));
        assert_eq!(code(runs.delete(started.run_id()).await.unwrap_err()).as_deref(), Some("run-wrong-status"));
        runs.cancel(started.run_id()).await.unwrap();
        assert_eq!(code(client.wait(&started).await.unwrap_err()).as_deref(), Some("run-cancelled"));
        runs.delete(started.run_id()).await.unwrap();
        assert_eq!(code(runs.get(started.run_id()).await.unwrap_err()).as_deref(), Some("run-not-found"));
        let wrong = runs.list(RunFilter::new().status("perhaps")).await.unwrap_err();
        assert_eq!(code(wrong).as_deref(), Some("request-malformed"));
    })
    .await;
}
