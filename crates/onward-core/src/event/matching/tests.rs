//! Which events end a wait.

use proptest::prelude::*;
use serde_json::json;

use super::{MatchValue, Matcher, When, lookup};

fn event(data: &serde_json::Value) -> serde_json::Value {
    json!({ "id": "1", "name": "approval/received", "data": data, "ts": 0 })
}

fn matcher(value: Option<(&str, &str)>, when: Option<&str>) -> Matcher {
    let own = json!({ "data": { "amount": 10, "query": { "id": "7" } } });
    Matcher {
        name: "approval/received".to_owned(),
        value: value.map(|(path, text)| MatchValue { path: path.to_owned(), text: text.to_owned() }),
        when: when.map(|expression| When::try_new(expression, own).unwrap()),
    }
}

#[test]
fn the_name_must_be_equal() {
    assert!(matcher(None, None).matches(&event(&json!({}))));
    assert!(!matcher(None, None).matches(&json!({ "name": "other" })));
}

#[test]
fn a_field_is_compared_by_its_text() {
    let seven = matcher(Some(("data.id", "7")), None);
    assert!(seven.matches(&event(&json!({ "id": 7 }))));
    assert!(seven.matches(&event(&json!({ "id": "7" }))));
    for other in [json!({ "id": 8 }), json!({}), json!({ "id": null }), json!({ "id": [7] })] {
        assert!(!seven.matches(&event(&other)));
    }
}

#[test]
fn an_expression_sees_the_request_and_the_event() {
    let when = |expression| matcher(None, Some(expression));
    assert!(when("async.data.amount >= event.data.amount").matches(&event(&json!({ "amount": 10 }))));
    assert!(!when("async.data.amount >= event.data.amount").matches(&event(&json!({ "amount": 9 }))));
    assert!(when("async.data.id == event.data.query.id").matches(&event(&json!({ "id": "7" }))));
}

#[test]
fn an_expression_that_fails_or_is_no_boolean_does_not_match() {
    for expression in ["async.data.missing > 3", "1 + 1", "'yes'", "async.data.amount / 0 == 1"] {
        assert!(!matcher(None, Some(expression)).matches(&event(&json!({ "amount": 10 }))), "{expression}");
    }
}

#[test]
fn a_bad_expression_is_an_error_that_names_it() {
    let error = When::try_new("async.data.(", json!(null)).unwrap_err();
    assert!(error.to_string().contains("async.data.("), "{error}");
    assert!(When::try_new("a".repeat(5000), json!(null)).is_err());
}

#[test]
fn paths_reach_into_objects_and_arrays() {
    let value = json!({ "data": { "items": [{ "id": 1 }] } });
    assert_eq!(lookup(&value, "data.items.0.id"), Some(&json!(1)));
    assert_eq!(lookup(&value, "data.items.x"), None);
}

proptest! {
    #[test]
    fn checking_an_expression_never_panics(text in "[a-z0-9.()=<>!&|'\" \\[\\]{}+*/%?:-]{0,40}") {
        let _ = When::try_new(text, json!({}));
    }
}
