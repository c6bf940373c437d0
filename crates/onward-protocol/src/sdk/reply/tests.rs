//! Every reply of the SDK is read for what it means; what something else answers never ends a run.

use std::time::Duration;

use http::{HeaderMap, HeaderName};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{InvalidOp, Reply, Until};
use crate::sdk::OpKind;

const A: &str = "86f7e437faa5a7fce15d1ddcb9eaeaea377667b8";
const SDK: (&str, &str) = ("x-inngest-sdk", "inngest-js:v4.24.0");
const FINAL: (&str, &str) = ("x-inngest-no-retry", "true");
const AGAIN: (&str, &str) = ("x-inngest-no-retry", "false");

fn read(status: u16, headers: &[(&'static str, &str)], body: &str) -> Reply {
    let headers = headers.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()));
    Reply::read(status, &headers.collect::<HeaderMap>(), body.as_bytes(), 10)
}

fn step(op: &str) -> String {
    json!([{"op": op, "id": A}]).to_string()
}

#[test]
fn ops_come_with_206() {
    let Reply::Ops { ops, retry_after } = read(206, &[SDK], &step("StepRun")) else { panic!() };
    assert_eq!((ops.len(), retry_after), (1, None));
    let Reply::Ops { ops, .. } = read(206, &[SDK], r#"{"op":"RunComplete","data":{"status":200}}"#) else { panic!() };
    assert!(matches!(ops[0].kind, OpKind::Complete { .. }));
    assert!(matches!(read(206, &[SDK], "[]"), Reply::Ops { ops, .. } if ops.is_empty()));
}

#[test]
fn a_failed_step_is_no_failed_run() {
    let reply = read(206, &[SDK, FINAL], &step("StepFailed"));
    assert!(matches!(&reply, Reply::Ops { ops, .. } if matches!(ops[0].kind, OpKind::Failed { retryable: false, .. })));
}

#[test]
fn ops_that_are_not_known_are_named() {
    let Reply::Invalid { error } = read(206, &[SDK], &step("StepTeleport")) else { panic!() };
    assert_eq!(error, InvalidOp::Unknown { op: "StepTeleport".into() });
    assert!(matches!(read(206, &[SDK], "<html>"), Reply::Invalid { error: InvalidOp::NotJson }));
    let many = format!("[{}]", [r#"{"op":"None"}"#; 11].join(","));
    assert!(matches!(read(206, &[SDK], &many), Reply::Invalid { error: InvalidOp::TooMany { .. } }));
}

#[test]
fn the_result_of_a_function_comes_with_200() {
    for (body, data) in [("{\"a\": 1}", "{\"a\": 1}"), ("null", "null"), ("", "null"), ("\"x\"", "\"x\"")] {
        assert!(matches!(read(200, &[SDK], body), Reply::Result { data: read } if read.get() == data), "{body}");
    }
    assert!(matches!(read(200, &[SDK], "<html>"), Reply::NotTheSdk { .. }));
}

#[test]
fn errors_are_final_where_the_sdk_says_so() {
    let error = r#"{"name":"NonRetriableError","message":"no","__serialized":true}"#;
    for status in [400, 500] {
        assert!(matches!(read(status, &[SDK, FINAL], error), Reply::Failed { error: read } if read.get() == error));
    }
    for headers in [&[SDK, AGAIN][..], &[SDK]] {
        for status in [400, 404, 500, 599] {
            let reply = read(status, headers, error);
            assert!(
                matches!(reply, Reply::Error { error: read, retry_after: None } if read.get() == error),
                "{status}"
            );
        }
    }
    for body in ["", "Internal Server Error", "\"text\"", "[1]"] {
        let Reply::Error { error, .. } = read(500, &[SDK], body) else { panic!("{body}") };
        assert_eq!(error.get(), r#"{"name":"Error","message":"Unknown error"}"#, "{body}");
    }
}

#[test]
fn the_delay_before_a_retry_is_in_seconds_or_an_instant() {
    let after = |value: &str| {
        let error = match read(500, &[SDK, AGAIN, ("retry-after", value)], "{}") {
            Reply::Error { retry_after, .. } => retry_after,
            other => panic!("{other:?}"),
        };
        let Reply::Ops { retry_after, .. } = read(206, &[SDK, ("retry-after", value)], &step("StepError")) else {
            panic!()
        };
        assert_eq!(error, retry_after);
        error
    };
    let seconds = |seconds| Some(Until::For(Duration::from_secs(seconds)));
    assert_eq!(after("120"), seconds(120));
    assert_eq!(after(" 2 "), seconds(2));
    assert_eq!(after("0"), seconds(1));
    assert_eq!(after("86401"), seconds(86_400));
    assert_eq!(after("99999999999999999999999"), seconds(86_400));
    assert_eq!(after("2030-01-01T00:00:00.000Z"), Some(Until::At(1_893_456_000_000)));
    for none in ["", "soon", "-1", "1.5", "1h", "Wed, 21 Oct 2015 07:28:00 GMT"] {
        assert_eq!(after(none), None, "{none}");
    }
}

#[test]
fn what_something_else_answers_never_ends_a_run() {
    for status in [100, 200, 204, 206, 302, 400, 404, 500, 502, 503] {
        for body in ["", "ok", "{}", r#"{"op":"RunComplete","data":1}"#] {
            assert!(matches!(read(status, &[FINAL], body), Reply::NotTheSdk { .. }), "{status} {body}");
        }
    }
    for status in [100, 202, 204, 302, 304] {
        assert!(matches!(read(status, &[SDK], "{}"), Reply::NotTheSdk { .. }), "{status}");
    }
}

#[test]
fn a_refused_signature_is_said_to_be_one() {
    let refused = [("x-inngest-sdk-handled", "true")];
    let why = |reply| if let Reply::NotTheSdk { why } = reply { why } else { panic!("{reply:?}") };
    assert!(why(read(401, &refused, r#"{"message":"Unauthorized"}"#)).contains("signature"));
    assert!(!why(read(401, &[], "")).contains("signature"));
    assert!(matches!(read(401, &[SDK, FINAL], "{}"), Reply::NotTheSdk { .. }));
}

#[test]
fn a_reply_inside_a_stream_is_that_reply() {
    let envelope = |status: u16, headers: Value, body: &str| {
        format!("   {}", json!({"status": status, "headers": headers, "body": body, "version": 2}))
    };
    let inner = json!({"x-inngest-sdk": "inngest-js:v4.24.0", "Retry-After": "7", "bad name": "x", "number": 1});
    let reply = read(201, &[SDK], &envelope(206, inner.clone(), &step("StepError")));
    assert!(matches!(reply, Reply::Ops { ops, retry_after: Some(_) } if ops.len() == 1));
    assert!(matches!(read(201, &[SDK], &envelope(500, inner.clone(), "{}")), Reply::Error { .. }));
    assert!(matches!(read(201, &[SDK], &envelope(206, json!({}), &step("StepRun"))), Reply::NotTheSdk { .. }));
    assert!(matches!(read(201, &[SDK], &envelope(201, inner, "{}")), Reply::NotTheSdk { .. }), "no stream in a stream");
    for body in ["", "   ", "created", "{}", r#"{"status":99999}"#] {
        assert!(matches!(read(201, &[SDK], body), Reply::NotTheSdk { .. }), "{body}");
    }
}

proptest! {
    #[test]
    fn nothing_makes_it_panic(status: u16, body: Vec<u8>, text in r#"[\[\]{}",:opstaus\\0-9 ]{0,60}"#, after in "[ -~]{0,30}") {
        let mut headers = HeaderMap::new();
        headers.insert("x-inngest-sdk", "x".parse().unwrap());
        headers.insert("retry-after", after.parse().unwrap());
        for status in [status, 200, 201, 206, 400, 500] {
            let _ = Reply::read(status, &headers, &body, 3);
            let _ = Reply::read(status, &headers, text.as_bytes(), 3);
        }
    }

    #[test]
    fn only_the_sdk_can_end_a_run(status: u16, body in ".{0,30}") {
        let reply = Reply::read(status, &HeaderMap::new(), body.as_bytes(), 3);
        let refused = matches!(reply, Reply::NotTheSdk { .. });
        prop_assert!(refused);
    }
}
