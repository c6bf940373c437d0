//! What an application registers is read, and a function is called in the form that the SDK checks.

use proptest::prelude::*;
use serde_json::{Value, json, value::RawValue};

use super::{Call, InvalidRegistration, Registration, Trigger, Unsignable, call_body};
use crate::sdk::{Memos, memo};

/// What version 4.24.0 sends, without what is not read.
fn registration() -> Value {
    json!({
        "url": "http://127.0.0.1:3000/api/inngest", "deployType": "ping", "framework": "nodejs", "appName": "app",
        "functions": [
            {
                "id": "app-fn", "name": "The function", "concurrency": 1, "idempotency": "event.data.x",
                "triggers": [{"event": "app/a", "expression": "event.data.x > 1"}, {"cron": "TZ=UTC 0 * * * *"}],
                "steps": {"step": {"id": "step", "name": "step", "retries": {"attempts": 0},
                    "runtime": {"type": "http", "url": "http://127.0.0.1:3000/api/inngest?fnId=app-fn&stepId=step"}}}
            },
            {
                "id": "app-other", "triggers": [],
                "steps": {"step": {"id": "step", "name": "step", "runtime": {"type": "http", "url": "http://x"}}}
            }
        ],
        "sdk": "js:v4.24.0", "v": "0.1", "capabilities": {"trust_probe": "v1", "connect": "v1"}, "featureObservations": {}
    })
}

fn parse(value: &Value) -> Result<Registration, InvalidRegistration> {
    Registration::parse(value.to_string().as_bytes())
}

fn raw(json: &str) -> Box<RawValue> {
    RawValue::from_string(json.to_owned()).unwrap()
}

#[test]
fn functions_are_registered_with_what_they_need_to_be_called() {
    let read = parse(&registration()).unwrap();
    assert_eq!((read.app.as_str(), read.functions.len()), ("app", 2));
    let first = &read.functions[0];
    assert_eq!((first.id.as_str(), first.name.as_str(), first.retries), ("app-fn", "The function", 0));
    assert_eq!(first.url, "http://127.0.0.1:3000/api/inngest?fnId=app-fn&stepId=step");
    let event = Trigger { event: Some("app/a".into()), expression: Some("event.data.x > 1".into()), cron: None };
    let cron = Trigger { cron: Some("TZ=UTC 0 * * * *".into()), ..Trigger::default() };
    assert_eq!(first.triggers, [event, cron]);
    let second = &read.functions[1];
    assert_eq!((second.name.as_str(), second.retries, second.triggers.len()), ("app-other", 4, 0));
}

#[test]
fn retries_are_capped() {
    let mut body = registration();
    body["functions"][0]["steps"]["step"]["retries"]["attempts"] = json!(21);
    assert_eq!(parse(&body).unwrap().functions[0].retries, 20);
}

#[test]
fn what_is_answered_in_band_is_read_too() {
    let mut body = registration();
    body.as_object_mut().unwrap().remove("appName");
    body["app_id"] = json!("app");
    assert_eq!(parse(&body).unwrap(), parse(&registration()).unwrap());
}

#[test]
fn a_registration_is_stored_and_read_again() {
    let read = parse(&registration()).unwrap();
    let stored = serde_json::to_string(&read).unwrap();
    assert_eq!(serde_json::from_str::<Registration>(&stored).unwrap(), read);
}

#[test]
fn what_is_wrong_is_named() {
    assert_eq!(parse(&json!([])), Err(InvalidRegistration::NotAnObject));
    assert_eq!(parse(&json!({"functions": []})), Err(InvalidRegistration::Missing("appName")));
    assert_eq!(parse(&json!({"appName": "a"})), Err(InvalidRegistration::Missing("list of functions")));
    let many = vec![registration()["functions"][1].take(); 10_001];
    assert_eq!(parse(&json!({"appName": "a", "functions": many})), Err(InvalidRegistration::TooMany));
    for (path, value, wrong) in [
        ("/functions/1", json!(1), "object"),
        ("/functions/1/id", json!(""), "id"),
        ("/functions/1/steps", json!([]), "steps"),
        ("/functions/1/steps", json!({}), "URL"),
        ("/functions/1/steps/step/runtime/url", json!(""), "URL"),
        ("/functions/1/steps/step/runtime", json!({"type": "ws"}), "URL"),
        ("/functions/1/triggers", json!("secret"), "triggers"),
        ("/functions/1/triggers", json!([{"event": 7}]), "triggers"),
    ] {
        let mut body = registration();
        *body.pointer_mut(path).unwrap() = value;
        let error = parse(&body).unwrap_err();
        assert!(matches!(error, InvalidRegistration::Function { index: 1, .. }), "{path}: {error:?}");
        assert!(error.to_string().contains(wrong), "{path}: {error}");
    }
}

#[test]
fn a_call_is_canonical_and_has_the_steps_in_the_order_in_which_they_ended() {
    let event = raw(r#"{"name":"app/child","id":"1","data":{"z":1.0,"a":"\u00e9"}, "ts":1,"user":{}}"#);
    let memos: Memos = [([0xbb; 20], memo::data(&raw("1.50"))), ([0xaa; 20], memo::null())].into_iter().collect();
    let call = Call { event: &event, memos: &memos, run_id: "01M8", attempt: 1, attempts_max: 5, force_plan: true };
    let (a, b) = ("aa".repeat(20), "bb".repeat(20));
    let event = r#"{"data":{"a":"é","z":1},"id":"1","name":"app/child","ts":1,"user":{}}"#;
    let expected = format!(
        r#"{{"ctx":{{"attempt":1,"disable_immediate_execution":true,"max_attempts":5,"run_id":"01M8","stack":{{"current":2,"stack":["{b}","{a}"]}},"use_api":false}},"event":{event},"events":[{event}],"steps":{{"{a}":null,"{b}":{{"data":1.5}}}},"use_api":false,"version":-1}}"#
    );
    assert_eq!(call_body(call), Ok(expected));
}

#[test]
fn what_cannot_be_signed_is_refused_and_does_not_end_the_stack() {
    let deep = raw(&("[".repeat(100_000) + &"]".repeat(100_000)));
    let (fine, none) = (raw("{}"), Memos::default());
    let memos: Memos = [([0; 20], memo::data(&deep))].into_iter().collect();
    for (event, memos) in [(&deep, &none), (&fine, &memos), (&raw("1e999"), &none)] {
        let call = Call { event, memos, run_id: "01M8", attempt: 0, attempts_max: 1, force_plan: false };
        assert_eq!(call_body(call), Err(Unsignable));
    }
}

#[test]
fn the_event_of_an_invocation_says_who_waits() {
    let event = |payload: &str| {
        let op = format!(
            r#"{{"op":"InvokeFunction","id":"{}","opts":{{"function_id":"f","payload":{payload}}}}}"#,
            "a".repeat(40)
        );
        let op = crate::sdk::parse_ops(op.as_bytes(), 1).unwrap().remove(0);
        let crate::sdk::OpKind::Invoke { payload, .. } = op.kind else { panic!() };
        payload.to_event_json("01A", 7, "f", "01M8.aa")
    };
    let inngest = json!({"fn_id": "f", "correlation_id": "01M8.aa"});
    let bare = json!({"name": "inngest/function.invoked", "id": "01A", "ts": 7, "data": {"_inngest": inngest}});
    assert_eq!(event("{}"), bare);
    assert_eq!(event(r#"{"data":[1]}"#), bare);
    let full = event(r#"{"data":{"x":1,"_inngest":"forged"},"v":"2","meta":{"s":1}}"#);
    assert_eq!((&full["data"]["x"], &full["data"]["_inngest"]), (&json!(1), &inngest));
    assert_eq!((&full["v"], &full["meta"]), (&json!("2"), &json!({"s": 1})));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>, text in r#"[\[\]{}",:appNamefunctios\\0-9 ]{0,60}"#) {
        let _ = Registration::parse(&bytes);
        let _ = Registration::parse(text.as_bytes());
    }

    #[test]
    fn a_canonical_call_says_what_it_was_given(text in ".{0,20}", number: f64) {
        let event = json!({"name": text, "data": {"n": number}});
        let raw = RawValue::from_string(event.to_string()).unwrap();
        let memos: Memos = [([7; 20], memo::data(&raw))].into_iter().collect();
        let call = Call { event: &raw, memos: &memos, run_id: &text, attempt: 0, attempts_max: 1, force_plan: false };
        let read: Value = serde_json::from_str(&call_body(call).unwrap()).unwrap();
        prop_assert_eq!(&read["event"]["name"], &json!(text));
        prop_assert_eq!(read["event"]["data"]["n"].as_f64(), Some(number));
        prop_assert_eq!(&read["steps"]["07".repeat(20)]["data"], &read["events"][0]);
    }
}
