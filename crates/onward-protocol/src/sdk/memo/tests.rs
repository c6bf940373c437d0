//! Memos are in the order in which they were added, one key each, and what users wrote is in them as it was.

use proptest::prelude::*;
use serde_json::{Value, json, value::RawValue};

use super::{Memos, data, error, failed, fetched, function_unknown, invoke_timed_out, null, signal};

fn raw(json: &str) -> Box<RawValue> {
    RawValue::from_string(json.to_owned()).unwrap()
}

#[test]
fn keys_keep_the_order_in_which_steps_ended() {
    let memos: Memos =
        [([0xbb; 20], null()), ([0xaa; 20], data(&raw("1"))), ([0xcc; 20], null())].into_iter().collect();
    let json = memos.to_json();
    let at = |byte: &str| json.find(&byte.repeat(20)).unwrap();
    assert!(at("bb") < at("aa") && at("aa") < at("cc"), "{json}");
    assert_eq!(memos.keys().collect::<Vec<_>>(), ["bb".repeat(20), "aa".repeat(20), "cc".repeat(20)]);
    assert_eq!(Memos::default().to_json(), "{}");
}

#[test]
fn values_are_not_written_anew() {
    let value = raw(r#"{"b": 1.0, "a" :"\u00e9", "b":1e2}"#);
    assert_eq!(data(&value).get(), r#"{"data":{"b": 1.0, "a" :"\u00e9", "b":1e2}}"#);
    let mut memos = Memos::default();
    memos.push([0; 20], data(&value));
    assert!(memos.to_json().contains(value.get()));
}

#[test]
fn every_memo_has_one_key_because_a_second_turns_an_error_into_a_success() {
    let headers = [("a".to_owned(), "b".to_owned())].into();
    for (memo, key) in [
        (data(&raw("null")), "data"),
        (error(&raw("{}")), "error"),
        (failed("AIGatewayError", "\"quoted\""), "error"),
        (signal("s\"", &raw("{}")), "data"),
        (invoke_timed_out(), "error"),
        (function_unknown("app-\"fn"), "error"),
        (fetched("http://x", 500, &headers, "\"body\""), "data"),
    ] {
        let memo: Value = serde_json::from_str(memo.get()).unwrap();
        assert_eq!(memo.as_object().unwrap().keys().collect::<Vec<_>>(), [key]);
    }
}

#[test]
fn errors_of_the_engine_say_what_the_sdk_looks_for() {
    let read = |memo: Box<RawValue>| serde_json::from_str::<Value>(memo.get()).unwrap();
    assert_eq!(read(invoke_timed_out())["error"]["name"], "InngestInvokeTimeoutError");
    assert_eq!(read(function_unknown("app-fn"))["error"]["message"], "could not find function with ID: app-fn");
}

proptest! {
    #[test]
    fn any_text_is_read_again(text in ".{0,40}", keys: Vec<[u8; 20]>) {
        let value = RawValue::from_string(json!(text).to_string()).unwrap();
        let memos: Memos = keys.iter().map(|key| (*key, signal(&text, &value))).collect();
        let read: Value = serde_json::from_str(&memos.to_json()).unwrap();
        for key in memos.keys() {
            prop_assert_eq!(&read[key]["data"], &json!({"signal": text, "data": text}));
        }
    }
}
