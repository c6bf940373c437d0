//! `events send`: where an event's data comes from, and what the engine gets.

use serde_json::{Value, json};

use crate::support::{Fake, Place};

const ACCEPTED: &str = r#"{"ids":["01EVENT"],"status":200}"#;

async fn sent(place: &Place, args: &[&str], input: &str) -> (String, Value) {
    let engine = Fake::new(200, ACCEPTED).await;
    let args = [&["events", "send", "approval/received", "--url", &engine.url], args].concat();
    let said = place.run_with_input(&args, input).await;
    assert_eq!((said.code, said.out.as_str()), (0, "sent approval/received as 01EVENT\n"), "{}", said.err);
    let asked = engine.asked();
    (asked.what, serde_json::from_str(&asked.body).unwrap())
}

#[tokio::test]
async fn data_comes_from_the_command_line_a_file_or_standard_input() {
    let place = Place::new().file("data.json", r#"{"from":"file"}"#).with("ONWARD_EVENT_KEY", "one,two");
    for (args, input, data) in [
        ([].as_slice(), "", json!({})),
        (&["--data", r#"{"from":"line"}"#], "", json!({ "from": "line" })),
        (&["--data", "@data.json"], "", json!({ "from": "file" })),
        (&["--data", "-"], r#"{"from":"input"}"#, json!({ "from": "input" })),
    ] {
        let (what, event) = sent(&place, args, input).await;
        assert_eq!(what, "POST /e/one");
        assert_eq!(event, json!({ "name": "approval/received", "data": data }));
    }
}

#[tokio::test]
async fn an_event_may_have_an_id_and_in_dev_no_key() {
    let (what, event) = sent(&Place::new(), &["--id", "mine"], "").await;
    assert_eq!(what, "POST /e/NO_EVENT_KEY_SET");
    assert_eq!(event["id"], "mine");
}

#[tokio::test]
async fn data_that_is_not_json_is_refused_before_it_is_sent() {
    let place = Place::new();
    for (data, words) in [("{", "--data is not JSON"), ("@missing", "--data cannot be read")] {
        let said = place.run(&["events", "send", "x", "--data", data, "--url", "http://127.0.0.1:1"]).await;
        assert_eq!(said.code, 2);
        assert!(said.err.contains(words), "{}", said.err);
    }
}

#[tokio::test]
async fn an_unknown_event_key_is_told_without_showing_it() {
    let engine = Fake::new(401, r#"{"error":"unknown key","status":401}"#).await;
    let place = Place::new().with("ONWARD_EVENT_KEY", "hidden");
    let said = place.run(&["events", "send", "x", "--url", &engine.url, "--json"]).await;
    assert_eq!((said.code, said.out.as_str()), (1, ""));
    assert!(said.err.contains("unknown key; give an event key of the engine"), "{}", said.err);
    drop(engine);
    let said = place.run(&["events", "send", "x", "--url", "http://127.0.0.1:1"]).await;
    assert!(said.code == 1 && !said.err.contains("hidden"), "{}", said.err);
}
