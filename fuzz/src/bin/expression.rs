//! Expressions: one on the first lines, then, after empty lines, the run's own request and the event that came.
#![no_main]

use onward_core::event::{
    MatchValue, Matcher,
    matching::{EXPRESSION_BYTES_MAX, When, lookup, text_of},
};
use onward_fuzz::{SmallStack, as_text, in_time, parts};
use serde_json::{Value, json};

thread_local! {
    static CHECKS: SmallStack = SmallStack::start(check);
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| CHECKS.with(|checks| checks.run(data)));

fn check(data: &[u8]) {
    let Some(text) = as_text(data) else { return };
    let [expression, event, came] = parts(text);
    let (event, came) = (facts(event), facts(came));
    assert_match_value(expression, &came);
    let Ok(when) = in_time("compiling", || When::try_new(expression, event.clone())) else { return };
    assert!(expression.len() <= EXPRESSION_BYTES_MAX);
    let held = in_time("evaluating", || when.holds(&came));

    let name = came.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
    let matcher = Matcher { name, value: None, when: Some(when.clone()) };
    // In which order maps are walked is free, and so can be what loops over them give.
    if !may_loop(expression) {
        assert_eq!(matcher.matches(&came), held && came.get("name").is_some_and(Value::is_string));
        let whole = When { event, ..when.clone() };
        assert_eq!(whole.holds(&came), held, "what it names of the request is kept");
        assert_eq!(holds(&format!("(\n{expression}\n) == true"), &when, &came).unwrap_or(held), held);
        if held {
            assert_ne!(holds(&format!("!(\n{expression}\n)"), &when, &came), Some(true), "it and its contrary hold");
            assert_ne!(holds(&format!("(\n{expression}\n) && true"), &when, &came), Some(false));
            assert_ne!(holds(&format!("(\n{expression}\n) ? true : false"), &when, &came), Some(false));
        }
    }
}

/// Whether another expression holds; `None` for one that is too long or too deep.
fn holds(expression: &str, like: &When, came: &Value) -> Option<bool> {
    When::try_new(expression, like.event.clone()).ok().map(|when| when.holds(came))
}

fn may_loop(expression: &str) -> bool {
    ["all", "exists", "map", "filter"].iter().any(|name| expression.contains(name))
}

/// A path finds the same as its first step and the rest, and its text matches itself.
fn assert_match_value(path: &str, came: &Value) {
    let found = lookup(came, path);
    if let Some((first, rest)) = path.split_once('.') {
        assert_eq!(found, lookup(came, first).and_then(|inner| lookup(inner, rest)));
    }
    let Some(text) = found.and_then(text_of) else { return };
    let name = came.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
    let matcher = Matcher { name, value: Some(MatchValue { path: path.to_owned(), text }), when: None };
    assert_eq!(matcher.matches(came), came.get("name").is_some_and(Value::is_string));
}

/// What is said, or else a bit of everything.
fn facts(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| {
        json!({
            "id": "e1", "name": "paid", "ts": 5, "user": { "role": "admin" },
            "data": {
                "userId": "u1", "amount": 10, "half": 0.5, "large": u64::MAX, "empty": "", "yes": true, "none": null,
                "ids": [1, 2.0, "x", {}], "object": { "a": { "b": [null] } }, "time": "2030-01-02T03:04:05Z",
            },
        })
    })
}
