//! P9: what users wrote never leaks, and tokens open one run.

use axum::{Router, body::Body, routing::get};
use http::Request;
use onward::{Cors, Onward, Step, StepError};
use onward_testing::{ManualClock, MemoryStore};
use std::{sync::Arc, time::Duration};

use crate::support::{App, location, run_id, text};

async fn nap(step: Step) -> Result<&'static str, StepError> {
    step.run("card", async || Ok::<_, StepError>("4242424242424242".to_owned())).await?;
    step.sleep("nap", "2h").await?;
    Ok("response 31337")
}

#[tokio::test]
async fn a_token_opens_its_run_alone_and_nobody_learns_whether_a_run_exists() {
    let app = App::new(|onward| onward.route("/", get(nap))).await;
    let (one, two) = (app.get("/").await, app.get("/").await);
    let token = |response| location(response).split_once("token=").unwrap().1.to_owned();
    let mut answers = Vec::new();
    for uri in [
        format!("/wait?runId={}&token={}", run_id(&one), token(&two)),
        format!("/wait?runId={}&token=x", run_id(&one)),
        format!("/wait?runId=01ARZ3NDEKTSV4RRFFQ69G5FAV&token={}", token(&one)),
        format!("/wait?runId=nonsense&token={}", token(&one)),
    ] {
        let answer = app.get(&uri).await;
        answers.push((answer.status().as_u16(), text(&answer).to_owned()));
    }
    assert!(answers.iter().all(|answer| *answer == answers[0] && answer.0 == 401), "{answers:?}");
    assert_eq!(app.get("/wait").await.status(), 400);
    app.clock.advance(Duration::from_secs(8 * 24 * 3600));
    assert_eq!(app.get(&location(&one)).await.status(), 401);
}

#[tokio::test]
async fn tokens_survive_the_rotation_of_their_key_until_it_is_removed() {
    let (store, clock) = (Arc::new(MemoryStore::new()), ManualClock::new());
    let open = |builder| App::on(store.clone(), clock.clone(), builder, |onward: &Onward| onward.route("/", get(nap)));
    let old = open(Onward::builder().token_key(1, [1; 32])).await;
    let location = location(&old.get("/").await);
    let both = open(Onward::builder().token_key(2, [2; 32]).token_key(1, [1; 32])).await;
    assert_eq!(text(&both.while_time_goes_on(both.get(&location)).await), "response 31337");
    let new = open(Onward::builder().token_key(2, [2; 32])).await;
    assert_eq!(new.get(&location).await.status(), 401);
}

#[tokio::test]
async fn what_is_encrypted_is_not_in_the_store_and_survives_rotation() {
    let (store, clock) = (Arc::new(MemoryStore::new()), ManualClock::new());
    let open = |builder| App::on(store.clone(), clock.clone(), builder, |onward: &Onward| onward.route("/", get(nap)));
    let app = open(Onward::builder().encryption_key(1, [1; 32])).await;
    let first = app.get("/?secret=query31337").await;
    let rotated = open(Onward::builder().encryption_key(2, [2; 32]).encryption_key(1, [1; 32])).await;
    assert_eq!(text(&rotated.follow(first).await), "response 31337");
    let mut seen = 0;
    for loaded in store.all() {
        let outcome = loaded.record.outcome.as_ref().unwrap();
        let mut stored = vec![loaded.record.request.clone(), outcome.response.clone()];
        stored.extend(loaded.journal.iter().filter_map(|entry| match &entry.change {
            onward_core::journal::Change::Succeeded { output, .. } => Some(output.clone()),
            _ => None,
        }));
        for payload in stored {
            let text = String::from_utf8_lossy(payload.as_ref()).into_owned();
            assert!(!text.contains("31337") && !text.contains("4242"), "{text}");
            seen += 1;
        }
    }
    assert!(seen >= 3);
}

#[tokio::test]
async fn debug_shows_no_payload_token_or_key() {
    let builder = Onward::builder().token_key(1, [77; 32]).encryption_key(1, [78; 32]);
    let shown = format!("{builder:?}");
    assert!(!shown.contains("77, 77") && !shown.contains("78, 78"), "{shown}");
    let app = App::new(|onward| onward.route("/", get(nap))).await;
    let first = app.get("/?secret=31337").await;
    let detail = app.onward.runs().get(run_id(&first)).await.unwrap().unwrap();
    let shown = format!("{:?} {detail:?}", app.onward);
    assert!(!shown.contains("31337") && !shown.contains("4242"), "{shown}");
}

#[tokio::test]
async fn cross_origin_rules_of_the_waiting_route_are_the_apps() {
    let app = App::new(|onward| {
        Router::new()
            .merge(onward.route("/", get(nap)))
            .route("/strict", onward.proxy_with(Cors::origins(["https://a.example"]).credentials(true)))
            .route("/off", onward.proxy_with(Cors::off()))
    })
    .await;
    let preflight = |uri: &str, origin: &str| {
        let request = Request::options(uri).header("origin", origin).header("access-control-request-method", "GET");
        app.send(request.body(Body::empty()).unwrap())
    };
    let open = preflight("/wait", "https://x.example").await;
    assert_eq!((open.status().as_u16(), open.headers()["access-control-allow-origin"].to_str().unwrap()), (204, "*"));
    let allowed = preflight("/strict", "https://a.example").await;
    assert_eq!(allowed.headers()["access-control-allow-origin"], "https://a.example");
    assert_eq!(allowed.headers()["access-control-allow-credentials"], "true");
    for (uri, origin) in [("/strict", "https://b.example"), ("/off", "https://a.example")] {
        assert!(!preflight(uri, origin).await.headers().contains_key("access-control-allow-origin"));
    }
    assert_eq!(app.send(Request::post("/wait").body(Body::empty()).unwrap()).await.status(), 405);
}

#[tokio::test]
async fn a_step_argument_on_a_route_that_is_not_durable_is_a_clear_error() {
    let app = App::new(|_| Router::new().route("/bare", get(async |_: Step| "x"))).await;
    let response = app.get("/bare").await;
    assert_eq!(response.status(), 500);
    assert!(text(&response).contains("not-durable"));
}
