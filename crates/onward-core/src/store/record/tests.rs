//! Records come back as they were written, and damage is told.

use crate::{
    event::{MatchValue, Matcher, matching::When},
    run::{Outcome, Status},
    waiter::Fact,
};
use serde_json::json;

use super::*;

#[test]
fn a_matcher_comes_back() {
    let matcher = Matcher {
        name: "approval/received".to_owned(),
        value: Some(MatchValue { path: "data.id".to_owned(), text: "42".to_owned() }),
        when: Some(When { expression: "event.x == async.x".to_owned(), event: json!({"x": [1.5, null, "é"]}) }),
    };
    assert_eq!(decode_matcher(&encode_matcher(&matcher)), Ok(matcher));
}

#[test]
fn facts_come_back() {
    let outcome = Outcome { status: Status::Failed, response: "r".into(), error: "e".into() };
    for fact in [Fact::Event("{}".into()), Fact::Signal("1".into()), Fact::SignalTaken, Fact::Outcome(outcome)] {
        assert_eq!(decode_fact(&encode_fact(&fact)), Ok(fact));
    }
}

#[test]
fn damage_and_newer_formats_are_told_apart() {
    let bytes = encode_fact(&Fact::Event("{}".into()));
    assert_eq!(decode_fact(&bytes[..2]), Err(InvalidRecord::Damaged));
    assert_eq!(decode_fact(&[]), Err(InvalidRecord::Damaged));
    assert_eq!(decode_fact(&[9, 0]), Err(InvalidRecord::Newer(9)));
}
