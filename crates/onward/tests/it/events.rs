//! P7: an accepted event is never missed, and wakes who waits for it once.

use axum::{
    Json, Router,
    body::Body,
    routing::{get, post},
};
use http::Request;
use onward::{NewEvent, Step, StepError};
use serde_json::{Value, json};

use crate::support::{App, text};

async fn approval(step: Step, Json(_): Json<Value>) -> Result<String, StepError> {
    let event =
        step.wait_for_event::<Value>("wait", "approval/received").matching("data.requestId").timeout("24h").await?;
    Ok(event.map_or("timeout".to_owned(), |event| event.data["by"].to_string()))
}

fn order(id: &str) -> Request<Body> {
    let body = json!({ "requestId": id }).to_string();
    Request::post("/").header("content-type", "application/json").body(Body::from(body)).unwrap()
}

#[tokio::test]
async fn an_event_ends_the_wait_whose_request_it_matches_and_no_other() {
    let app = App::new(|onward| onward.route("/", post(approval))).await;
    let (one, two) = (app.send(order("1")).await, app.send(order("2")).await);
    app.onward.send_event("approval/received", &json!({ "requestId": 2, "by": "ada" })).await.unwrap();
    app.onward.send_event("approval/other", &json!({ "requestId": 1, "by": "eve" })).await.unwrap();
    assert_eq!(text(&app.get(&crate::support::location(&two)).await), "\"ada\"");
    assert_eq!(text(&app.follow(one).await), "timeout");
}

#[tokio::test]
async fn an_event_that_came_before_the_wait_counts_where_it_looks_back() {
    async fn handler(step: Step) -> Result<String, StepError> {
        step.sleep("nap", "2h").await?;
        let mut got = Vec::new();
        for _ in 0..3 {
            let wait = step.wait_for_event::<u32>("wait", "tick").since_start().timeout("1h");
            got.push(wait.await?.map(|event| event.data));
        }
        Ok(format!("{got:?}"))
    }
    let app = App::new(|onward| onward.route("/", get(handler))).await;
    app.onward.send_event("tick", &0).await.unwrap();
    app.clock.advance(std::time::Duration::from_secs(1));
    let first = app.get("/").await;
    app.clock.advance(std::time::Duration::from_secs(1));
    app.onward.send_event("tick", &1).await.unwrap();
    app.onward.send_event("tick", &2).await.unwrap();
    assert_eq!(text(&app.follow(first).await), "[Some(1), Some(2), None]");
}

#[tokio::test]
async fn an_expression_sees_the_request_and_the_event() {
    async fn handler(step: Step) -> Result<String, StepError> {
        let wait = step
            .wait_for_event::<Value>("wait", "bid")
            .when("async.data.amount > 10 && async.data.item == event.data.item");
        Ok(wait.await?.map_or(String::new(), |event| event.data["amount"].to_string()))
    }
    let app = App::new(|onward| onward.route("/", get(handler))).await;
    let first = app.get("/?item=lamp").await;
    for (item, amount) in [("lamp", 5), ("rug", 50), ("lamp", 20), ("lamp", 30)] {
        app.onward.send_event("bid", &json!({ "item": item, "amount": amount })).await.unwrap();
    }
    assert_eq!(text(&app.follow(first).await), "20");
}

#[tokio::test]
async fn a_bad_expression_or_path_is_the_steps_error_and_names_it() {
    async fn handler(step: Step) -> String {
        let when = step.wait_for_event::<Value>("a", "x").when("async.(").await.unwrap_err();
        let path = step.wait_for_event::<Value>("b", "x").matching("data.nope").await.unwrap_err();
        format!("{} {}", when.message(), path.message())
    }
    let app = App::new(|onward| onward.route("/", get(handler))).await;
    let response = app.get("/").await;
    assert!(text(&response).contains("async.(") && text(&response).contains("data.nope"), "{}", text(&response));
}

#[tokio::test]
async fn an_event_id_that_is_known_does_nothing_and_a_run_sends_its_own_once() {
    let handler = async |step: Step| {
        let mut got = Vec::new();
        step.send_event("announce", "tick", &json!(1)).await?;
        for _ in 0..2 {
            let wait = step.wait_for_event::<u32>("wait", "tick").since_start().timeout("1h");
            got.push(wait.await?.map(|event| event.data));
        }
        Ok::<_, StepError>(format!("{got:?}"))
    };
    let app = App::new(|onward| onward.route("/", get(handler))).await;
    assert_eq!(text(&app.outcome("/").await), "[Some(1), None]");
    let twice = || NewEvent::new("once", &1).unwrap().id("e-1");
    let ids = app.onward.send_events(vec![twice(), twice()]).await.unwrap();
    assert_eq!(ids, ["e-1", "e-1"]);
}

#[tokio::test]
async fn signals_go_to_the_one_run_that_waits_for_their_name() {
    async fn handler(step: Step) -> String {
        match step.wait_for_signal::<Option<u32>>("wait", "deploy").timeout("1h").await {
            Ok(data) => format!("{data:?}"),
            Err(error) => error.message().to_owned(),
        }
    }
    let sender = async |step: Step| {
        step.send_signal("send", "deploy", &Some(7)).await?;
        Ok::<_, StepError>("sent")
    };
    let app = App::new(|onward| {
        Router::new().merge(onward.route("/", get(handler))).merge(onward.route("/send", get(sender)))
    })
    .await;
    assert!(app.onward.send_signal("deploy", &1).await.unwrap().is_none());
    let first = app.get("/").await;
    let taken = app.outcome("/?again").await;
    assert!(text(&taken).contains("another run"), "{}", text(&taken));
    app.get("/send").await;
    assert_eq!(text(&app.follow(first).await), "Some(Some(7))");
    let first = app.get("/").await;
    assert!(app.onward.send_signal("deploy", &Value::Null).await.unwrap().is_some());
    assert_eq!(text(&app.follow(first).await), "Some(None)");
    assert_eq!(text(&app.outcome("/").await), "None");
}

#[tokio::test]
async fn the_events_route_accepts_events_and_refuses_what_is_none() {
    let app = App::new(|onward| onward.route("/", post(approval))).await;
    let waiting = app.send(order("9")).await;
    let send = |body: &str| {
        app.send(
            Request::post("/events")
                .header("content-type", "application/json; charset=utf-8")
                .body(Body::from(body.to_owned()))
                .unwrap(),
        )
    };
    let ok = send(r#"[{"name":"approval/received","data":{"requestId":"9","by":"bo"},"id":"x"}]"#).await;
    assert_eq!((ok.status().as_u16(), text(&ok)), (200, r#"{"ids":["x"]}"#));
    assert_eq!(text(&app.follow(waiting).await), "\"bo\"");
    for bad in ["", "{}", "[]", "not json", r#"{"name":""}"#, r#"{"name":"inngest/x"}"#] {
        let refused = send(bad).await;
        assert_eq!(refused.status(), 400, "{bad}");
        assert_eq!(refused.headers()["content-type"], "application/problem+json");
    }
    let large = format!(r#"{{"name":"x","data":"{}"}}"#, "y".repeat(600 * 1024));
    assert_eq!(send(&large).await.status(), 413);
    assert_eq!(app.get("/events").await.status(), 405);
    for kind in ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", ""] {
        let event =
            Request::post("/events").header("content-type", kind).body(Body::from(r#"{"name": "go"}"#)).unwrap();
        assert_eq!(app.send(event).await.status(), 415, "{kind:?}: a page of another origin can send it unasked");
    }
}
