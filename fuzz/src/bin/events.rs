//! Events: a seed for their ids on the first lines, then, after an empty line, the body.
#![no_main]

use std::collections::BTreeSet;

use onward_core::{Timestamp, event::Event};
use onward_fuzz::{MAX, as_text, parts};
use onward_protocol::sdk::{
    EventLimits, InvalidEvents, NewEvent,
    event::{RESERVED, event_ids, parse_events},
};
use serde_json::json;

const LIMITS: EventLimits = EventLimits { count: MAX, event_bytes: 2_000, name_bytes: 64 };

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some(text) = as_text(data) else { return };
    let [seed, body] = parts(text);
    assert_ids(seed);
    let Ok(events) = parse_events(body.as_bytes(), LIMITS) else { return };
    assert!(events.len() <= MAX);
    events.iter().for_each(assert_event);

    if body.trim_start().starts_with('{') {
        let list = parse_events(format!("[{body}]").as_bytes(), LIMITS).unwrap();
        assert_eq!(shown(&list), shown(&events), "a list of one is that one");
    }
    if let Some(fewer) = events.len().checked_sub(1) {
        let error = parse_events(body.as_bytes(), EventLimits { count: fewer, ..LIMITS }).unwrap_err();
        assert_eq!(error, InvalidEvents::TooMany { max: fewer });
    }
    let written: Vec<_> = events.iter().map(written).collect();
    let roomy = EventLimits { event_bytes: 100_000, ..LIMITS };
    let again = parse_events(format!("[{}]", written.join(",")).as_bytes(), roomy).unwrap();
    assert_eq!(shown(&again), shown(&events), "{written:?}");
});

fn assert_event(event: &NewEvent) {
    assert!(!event.name.trim().is_empty() && event.name.len() <= LIMITS.name_bytes);
    assert!(!event.name.starts_with(RESERVED) && event.id.as_deref() != Some(""));
    assert!(event.data.get().starts_with('{') && event.data.get().len() <= LIMITS.event_bytes);
    assert!(event.ts.is_none_or(|ts| ts > 0));
    assert!(event.more.keys().all(|key| ["user", "v", "meta"].contains(&key.as_str())));
    // What is accepted reaches who waits for it: data that they cannot read would be lost in silence.
    let kept = Event {
        id: "id".to_owned(),
        name: event.name.clone(),
        data: event.data.get().to_owned().into(),
        ts: Timestamp::from_micros(event.ts.unwrap_or(0).saturating_mul(1_000)),
        more: json!(event.more).to_string().into(),
    };
    let seen = kept.to_json();
    assert!(seen["data"].is_object(), "{} is lost", event.data);
    assert!(event.more.iter().all(|(key, value)| seen[key] == *value), "{} is lost", json!(event.more));
    let again: serde_json::Value = serde_json::from_str(&seen.to_string()).unwrap();
    assert_eq!(again, seen, "it is the same once it was stored");
}

fn written(event: &NewEvent) -> String {
    let mut members = event.more.clone();
    members.insert("name".to_owned(), event.name.clone().into());
    members.insert("id".to_owned(), json!(event.id));
    members.insert("ts".to_owned(), json!(event.ts));
    let members: Vec<_> = members.iter().map(|(key, value)| format!("{}:{value}", json!(key))).collect();
    format!(r#"{{"data":{},{}}}"#, event.data, members.join(","))
}

fn shown(events: &[NewEvent]) -> String {
    format!("{events:?}")
}

fn assert_ids(seed: &str) {
    let ids = event_ids(Some(seed), 5, 7, 8);
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), 5, "{ids:?}");
    for id in &ids {
        assert!(id.len() == 26 && id.starts_with(|first: char| ('0'..='7').contains(&first)), "{id}");
    }
    assert_eq!(ids[..2], event_ids(Some(seed), 2, 7, 8), "the first do not depend on how many there are");
    // A seed alone says what the ids are; what is none says nothing at all.
    assert!(ids == event_ids(Some(seed), 5, 9, 10) || ids == event_ids(None, 5, 7, 8));
}
