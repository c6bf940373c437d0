//! The checkpoints of the SDK are read; what is none is refused without a word of what users wrote.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Checkpoint, HttpRequestEvent, InvalidCheckpoint, InvalidOp, parse_checkpoint, parse_steps};

const RUN: &str = "01M851YY222ANQDPYZT1BS03D8";

fn request() -> Value {
    json!({
        "run_id": RUN,
        "event": {"name": "inngest/http.request", "data": {
            "domain": "http://127.0.0.1:3000", "method": "GET", "path": "/ok", "query_params": "q=1&r=two",
            "content_type": "", "ip": "9.9.9.9", "body": "", "fn": ""
        }},
        "steps": [{"op": "StepRun", "id": "86f7e437faa5a7fce15d1ddcb9eaeaea377667b8", "data": {"x": 1}}],
        "ts": 1_795_466_164_302_i64,
        "request_version": 2,
        "retries": 3
    })
}

fn read(value: &Value) -> Result<Checkpoint, InvalidCheckpoint> {
    parse_checkpoint(value.to_string().as_bytes(), 10, false)
}

fn with(key: &str, value: Value) -> Result<Checkpoint, InvalidCheckpoint> {
    let mut request = request();
    request[key] = value;
    read(&request)
}

#[test]
fn the_first_checkpoint_makes_the_run_known() {
    let checkpoint = read(&request()).unwrap();
    assert_eq!(ulid::Ulid::from_bytes(checkpoint.run_id).to_string(), RUN);
    assert_eq!((checkpoint.request_version, checkpoint.retries, checkpoint.ops.len()), (2, Some(3), 1));
    let event = checkpoint.event.unwrap();
    assert_eq!((event.domain.as_str(), event.query_params.as_str()), ("http://127.0.0.1:3000", "q=1&r=two"));
    assert_eq!((event.ip.as_str(), event.function.as_str()), ("9.9.9.9", ""));
}

#[test]
fn retries_are_told_from_none_and_capped() {
    for (retries, read) in [
        (json!(0), Some(0)),
        (json!(20), Some(20)),
        (json!(21), Some(20)),
        (json!(u64::MAX), Some(20)),
        (json!(null), None),
    ] {
        assert_eq!(with("retries", retries.clone()).unwrap().retries, read, "{retries}");
    }
    assert!(with("retries", json!(-1)).is_err() && with("retries", json!("3")).is_err());
}

#[test]
fn what_may_be_absent_may_be() {
    let checkpoint = read(&json!({"run_id": RUN, "event": {"data": {"method": null, "extra": 1}}})).unwrap();
    assert_eq!((checkpoint.request_version, checkpoint.retries, checkpoint.ops.len()), (2, None, 0));
    assert_eq!(checkpoint.event, Some(HttpRequestEvent::default()));
}

#[test]
fn what_must_be_there_is_named() {
    for (key, value, named) in [
        ("run_id", json!(null), "run_id"),
        ("run_id", json!("secret"), "run_id"),
        ("run_id", json!("81M851YY222ANQDPYZT1BS03D8"), "run_id"),
        ("event", json!(null), "event"),
        ("event", json!({"data": "secret"}), "event"),
        ("event", json!({"data": {"path": 7}}), "event"),
        ("request_version", json!("secret"), "request_version"),
        ("retries", json!("secret"), "retries"),
    ] {
        let error = with(key, value.clone()).unwrap_err().to_string();
        assert!(error.contains(named) && !error.contains("secret"), "{key} {value}: {error}");
    }
    assert_eq!(with("steps", json!("secret")).unwrap_err(), InvalidCheckpoint::Op(InvalidOp::NotOps));
    assert_eq!(read(&json!([RUN])).unwrap_err(), InvalidCheckpoint::NotAnObject);
    assert_eq!(parse_checkpoint(b"{", 10, false).unwrap_err(), InvalidCheckpoint::NotAnObject);
}

#[test]
fn the_body_is_text_or_base64_as_the_sdk_goes() {
    let mut request = request();
    request["event"]["data"]["body"] = json!("eyJhIjoxfQ==");
    let body = |base64| parse_checkpoint(request.to_string().as_bytes(), 10, base64).unwrap().event.unwrap().body;
    assert_eq!((body(false), body(true)), ("eyJhIjoxfQ==".to_owned(), r#"{"a":1}"#.to_owned()));
    request["event"]["data"]["body"] = json!("{\"a\":1}");
    let text = parse_checkpoint(request.to_string().as_bytes(), 10, true).unwrap().event.unwrap().body;
    assert_eq!(text, "{\"a\":1}", "what is no base64 is taken as it is");
}

#[test]
fn later_checkpoints_carry_ops_alone() {
    let steps =
        json!({"fn_id": "f", "app_id": "a", "run_id": RUN, "steps": [{"op": "RunComplete", "data": 1}], "ts": 1});
    assert_eq!(parse_steps(steps.to_string().as_bytes(), 10).unwrap().len(), 1);
    let bad = json!({"steps": [{"op": "Odd"}]}).to_string();
    assert!(matches!(parse_steps(bad.as_bytes(), 10), Err(InvalidCheckpoint::Op(InvalidOp::Unknown { .. }))));
    let many = json!({"steps": [{"op": "None"}, {"op": "None"}]}).to_string();
    assert_eq!(parse_steps(many.as_bytes(), 1).unwrap_err(), InvalidCheckpoint::Op(InvalidOp::TooMany { max: 1 }));
}

#[test]
fn the_event_has_the_keys_of_the_sdk_and_no_others() {
    let event = read(&request()).unwrap().event.unwrap().to_event_json("01A", 7);
    let mut expected = request()["event"].clone();
    expected["id"] = json!("01A");
    expected["ts"] = json!(7);
    expected["user"] = json!({});
    assert_eq!(event, expected);
}

fn matched(query: &str, body: &str) -> Value {
    let request =
        HttpRequestEvent { query_params: query.into(), body: body.into(), path: "/p".into(), ..Default::default() };
    request.to_match_json("01A", 7)["data"].take()
}

#[test]
fn expressions_see_the_query_and_the_body() {
    let data = matched("userId=7&tag=a&tag=b&x=1+2%26", r#"{"order":{"id":5},"userId":8}"#);
    assert_eq!(data["query"], json!({"userId": "7", "tag": ["a", "b"], "x": "1 2&"}));
    assert_eq!(data["json"], json!({"order": {"id": 5}, "userId": 8}));
    assert_eq!((&data["userId"], &data["order"]["id"]), (&json!(8), &json!(5)));
    assert_eq!((&data["tag"], &data["query_params"]), (&json!(["a", "b"]), &json!("userId=7&tag=a&tag=b&x=1+2%26")));
}

#[test]
fn nothing_that_a_client_sends_takes_the_place_of_what_the_sdk_says() {
    let data = matched("path=/forged&query=forged&json=forged", r#"{"path":"/forged","query":1,"fn":"forged"}"#);
    assert_eq!((&data["path"], &data["fn"]), (&json!("/p"), &json!("")));
    assert_eq!((&data["query"]["query"], &data["json"]["query"]), (&json!("forged"), &json!(1)));
}

#[test]
fn a_body_that_is_no_object_adds_no_members() {
    assert_eq!(matched("", "[1,2]")["json"], json!([1, 2]));
    let deep = "[".repeat(100_000);
    for body in ["", "not json", "{\"a\":", deep.as_str()] {
        let data = matched("", body);
        assert_eq!((data.get("json"), &data["query"], &data["body"]), (None, &json!({}), &json!(body)));
    }
}

#[test]
fn a_request_is_stored_and_read_again() {
    let event = read(&request()).unwrap().event.unwrap();
    let stored = serde_json::to_string(&event).unwrap();
    assert!(stored.contains(r#""fn":"""#));
    assert_eq!(serde_json::from_str::<HttpRequestEvent>(&stored).unwrap(), event);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>, text in r#"[\[\]{}",:runstep\\0-9 ]{0,60}"#, base64: bool) {
        let _ = (parse_checkpoint(&bytes, 3, base64), parse_steps(&bytes, 3));
        let _ = (parse_checkpoint(text.as_bytes(), 3, base64), parse_steps(text.as_bytes(), 3));
    }

    #[test]
    fn no_field_makes_it_panic(key in "run_id|event|steps|request_version|retries", number: f64, text in ".{0,30}", base64: bool) {
        for value in [json!(number), json!(text), json!({"data": {"body": text}}), json!([text])] {
            let mut request = request();
            request[&key] = value;
            let _ = parse_checkpoint(request.to_string().as_bytes(), 3, base64);
        }
    }

    #[test]
    fn no_request_makes_matching_panic(query in ".{0,40}", body in ".{0,40}") {
        let data = matched(&query, &body);
        prop_assert_eq!(&data["body"], &json!(body));
        prop_assert_eq!(&data["path"], &json!("/p"));
    }

    #[test]
    fn every_ulid_is_read(bits: u128) {
        let id = ulid::Ulid::from(bits);
        prop_assert_eq!(super::ulid(&id.to_string()), Some(id.to_bytes()));
    }
}
