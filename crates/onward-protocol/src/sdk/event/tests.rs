//! Events are taken whole or not at all, and the ids of events that are sent again are the same.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{EventLimits, InvalidEvents, NewEvent, event_ids, parse_events};

fn read(value: &Value) -> Result<Vec<NewEvent>, InvalidEvents> {
    parse_events(value.to_string().as_bytes(), EventLimits::default())
}

#[test]
fn events_come_as_a_list_or_alone() {
    let event = json!({"name": "app/a", "data": {"q": 1}, "ts": 1_795_466_247_032_i64, "id": "once",
        "user": {"id": 1}, "v": "2", "meta": {"sessions": {}}, "other": 1});
    for body in [json!([event, {"name": "b"}]), event.clone()] {
        let events = read(&body).unwrap();
        let first = &events[0];
        assert_eq!((first.name.as_str(), first.id.as_deref()), ("app/a", Some("once")));
        assert_eq!((first.data.get(), first.ts), (r#"{"q":1}"#, Some(1_795_466_247_032)));
        assert_eq!(json!(first.more), json!({"user": {"id": 1}, "v": "2", "meta": {"sessions": {}}}));
    }
    assert!(read(&json!([])).unwrap().is_empty());
}

#[test]
fn all_but_the_name_may_be_absent() {
    for event in [
        json!({"name": "b"}),
        json!({"name": "b", "data": null, "ts": null, "id": null, "user": null, "v": null, "meta": null}),
        json!({"name": "b", "ts": 0, "id": ""}),
    ] {
        let event = read(&event).unwrap().remove(0);
        assert_eq!((event.id, event.ts, event.data.get(), event.more.len()), (None, None, "{}", 0));
    }
}

#[test]
fn what_no_receiver_could_read_is_refused() {
    let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    for member in ["data", "user", "meta"] {
        let body = |value: &str| format!(r#"[{{"name":"a"}},{{"name":"b","{member}":{{"x":{value}}}}}]"#);
        let read = |value: &str| parse_events(body(value).as_bytes(), EventLimits::default());
        for lost in ["1e999", "-1e999", &deep(200)] {
            let error = read(lost).unwrap_err();
            assert!(matches!(error, InvalidEvents::Event { index: 1, .. }), "{member}: {error}");
        }
        for kept in ["1e300", "123456789012345678901234567890", &deep(100)] {
            assert_eq!(read(kept).unwrap().len(), 2, "{member}: {kept}");
        }
    }
}

#[test]
fn one_wrong_event_refuses_all_and_is_named() {
    for (event, wrong) in [
        (json!({}), "name"),
        (json!({"name": 1}), "name"),
        (json!({"name": ""}), "name"),
        (json!({"name": "  "}), "name"),
        (json!({"name": "inngest/function.invoked"}), "inngest/"),
        (json!({"name": "n".repeat(1_025)}), "long"),
        (json!({"name": "a\nb"}), "control"),
        (json!({"name": "b", "id": "i".repeat(1_025)}), "long"),
        (json!({"name": "b", "id": "secret\u{0}"}), "control"),
        (json!({"name": "b", "data": "secret"}), "data"),
        (json!({"name": "b", "data": ["secret"]}), "data"),
        (json!({"name": "b", "id": 7}), "id"),
        (json!({"name": "b", "ts": "secret"}), "ts"),
        (json!({"name": "b", "ts": 1.5}), "ts"),
        (json!({"name": "b", "ts": 315_532_799_999_i64}), "1980"),
        (json!({"name": "b", "ts": 4_133_980_800_000_i64}), "2100"),
        (json!({"name": "b", "user": "secret"}), "user"),
        (json!({"name": "b", "v": 2}), "v"),
        (json!({"name": "b", "meta": []}), "meta"),
    ] {
        let error = read(&json!([{"name": "a"}, event])).unwrap_err();
        assert!(matches!(error, InvalidEvents::Event { index: 1, .. }), "{event}: {error:?}");
        let told = error.to_string();
        assert!(told.starts_with("event 1: ") && told.contains(wrong) && !told.contains("secret"), "{told}");
    }
    assert!(read(&json!({"name": "b", "ts": 315_532_800_000_i64})).is_ok());
    assert!(read(&json!({"name": "not/inngest/b"})).is_ok());
    assert!(read(&json!({"name": "n".repeat(1_024), "id": "i".repeat(1_024)})).is_ok());
}

#[test]
fn what_is_no_list_of_events_is_refused() {
    for body in [json!(null), json!("a"), json!([[]]), json!([{"name": "a"}, 1])] {
        assert_eq!(read(&body).unwrap_err(), InvalidEvents::NotEvents, "{body}");
    }
    assert_eq!(parse_events(b"[{]", EventLimits::default()).unwrap_err(), InvalidEvents::NotJson);
}

#[test]
fn limits_hold_to_the_byte() {
    let limits = EventLimits { count: 2, event_bytes: 14, name_bytes: 10 };
    let read = |json: &str| parse_events(json.as_bytes(), limits).map(|events| events.len());
    assert_eq!(read(r#"[{"name":"abc"}, {"name":"abc"}]"#), Ok(2));
    assert_eq!(read(r#"[{"name":"abc"}, {"name":"abcd"}]"#), Err(InvalidEvents::TooLarge { index: 1, max: 14 }));
    assert_eq!(read(r#"[{},{},{}]"#), Err(InvalidEvents::TooMany { max: 2 }));
}

#[test]
fn depth_does_not_end_the_stack() {
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    let event = |key: &str| {
        parse_events(format!(r#"{{"name":"b","{key}":{{"x":{deep}}}}}"#).as_bytes(), EventLimits::default())
    };
    assert!(event("data").is_err() && event("meta").is_err());
}

#[test]
fn ids_count_up_from_the_seed() {
    // Worked out by hand: 10 bytes 00 01 … 09, of which the last four, 06070809, are counted up.
    let ids = event_ids(Some("1795466247032,AAECAwQFBgcICQ=="), 2, 0, 0);
    let parts = |id: &str| ulid::Ulid::from_string(id).map(|id| (id.timestamp_ms(), id.random())).unwrap();
    assert_eq!(parts(&ids[0]), (1_795_466_247_032, 0x0001_0203_0405_0607_080a));
    assert_eq!(parts(&ids[1]), (1_795_466_247_032, 0x0001_0203_0405_0607_080b));
    let wrapped = event_ids(Some("1,AAAAAAAA/////w=="), 1, 0, 0);
    assert_eq!(parts(&wrapped[0]), (1, 0), "within the four bytes");
}

#[test]
fn a_seed_that_is_none_counts_as_absent() {
    let absent = event_ids(None, 3, 5, 9);
    for seed in [
        "",
        ",",
        "1",
        "x,AAECAwQFBgcICQ==",
        "1,AAEC",
        "1,%%%",
        "-1,AAECAwQFBgcICQ==",
        "999999999999999999,AAECAwQFBgcICQ==",
    ] {
        assert_eq!(event_ids(Some(seed), 3, 5, 9), absent, "{seed}");
    }
}

proptest! {
    #[test]
    fn ids_differ_within_a_batch_and_are_ulids(seed in proptest::option::of("[0-9]{1,15},[A-Za-z0-9/+]{13}[AQgw]=="), now: i64, draw: u128) {
        let ids = event_ids(seed.as_deref(), 50, now, draw);
        prop_assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), 50);
        prop_assert!(ids.iter().all(|id| ulid::Ulid::from_string(id).is_ok()));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>, text in r#"[\[\]{}",:namets\\0-9/ ]{0,60}"#, seed in ".{0,30}") {
        let _ = parse_events(&bytes, EventLimits::default());
        let _ = parse_events(text.as_bytes(), EventLimits::default());
        let _ = event_ids(Some(&seed), 1, 0, 0);
    }

    #[test]
    fn no_member_makes_it_panic(key in "id|name|data|ts|user|v|meta", number: f64, text in ".{0,20}") {
        for value in [json!(number), json!(text), json!([text]), json!({"x": number})] {
            let mut event = json!({"name": "a"});
            event[&key] = value;
            let _ = read(&event);
        }
    }
}
