//! What clients may prefer, and what is ignored.

use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use proptest::prelude::*;

use super::Preferences;

fn read(values: &[&str]) -> Preferences {
    let mut headers = HeaderMap::new();
    for value in values {
        headers.append("prefer", HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    Preferences::from_headers(&headers)
}

#[test]
fn preferences_are_read_as_rfc_7240_writes_them() {
    for (values, respond_async, wait) in [
        (&[][..], false, None),
        (&["respond-async"], true, None),
        (&["respond-async, wait=10"], true, Some(10)),
        (&["Respond-Async; x=1", "WAIT=5"], true, Some(5)),
        (&["wait = 5"], false, Some(5)),
        (&["wait=\"7\", wait=9"], false, Some(7)),
        (&["respond-async=\"\""], true, None),
        (&["wait=0"], false, Some(0)),
        (&["wait=99999999999999999999"], false, Some(3600)),
        (&["return=minimal, handling=lenient, respond-async"], true, None),
        (&["x=\"a\\\", wait=9\", wait=3"], false, Some(3)),
    ] {
        let read = read(values);
        assert_eq!((read.respond_async, read.wait), (respond_async, wait.map(Duration::from_secs)), "{values:?}");
    }
}

#[test]
fn what_is_malformed_or_unknown_is_ignored() {
    for value in [
        "wait=-1",
        "wait=1.5",
        "wait=soon",
        "wait",
        "wait=",
        "wait=\"7",
        "wait=+7",
        "respond-async=yes",
        "respond-asynchronously",
        "x=\"respond-async, wait=5\"",
        "x; respond-async",
        ",,;=",
        "käse",
    ] {
        assert_eq!(read(&[value]), Preferences::default(), "{value}");
    }
    let both = read(&["wait=soon", "wait=5"]);
    assert_eq!(both.wait, Some(Duration::from_secs(5)), "a malformed one is no preference");
}

#[test]
fn what_is_applied_reads_back_as_itself() {
    assert_eq!(Preferences::default().applied(), None);
    for text in ["respond-async", "wait=3", "respond-async, wait=3"] {
        assert_eq!(read(&[text]).applied().as_deref(), Some(text));
    }
}

proptest! {
    #[test]
    fn nothing_panics_and_no_wait_is_longer_than_an_hour(
        values in prop::collection::vec("[\t -~\u{80}-\u{ff}]{0,60}", 0..4),
    ) {
        let values: Vec<_> = values.iter().map(String::as_str).collect();
        prop_assert!(read(&values).wait.is_none_or(|wait| wait <= Duration::from_secs(3600)));
    }

    #[test]
    fn a_preference_is_found_among_others(before in "[a-z]{1,8}=\"[ -!#-\\[\\]-~]{0,20}\"", secs in 0_u64..3600) {
        prop_assume!(!before.starts_with("wait="));
        let text = format!("{before}, wait={secs}");
        prop_assert_eq!(read(&[&text]).wait, Some(Duration::from_secs(secs)));
    }
}
