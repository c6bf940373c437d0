//! Replies: the status on the first line, then headers, an empty line and the body.
#![no_main]

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName, HeaderValue};
use onward_fuzz::{MAX, as_text, assert_sound, parts, same};
use onward_protocol::sdk::{Reply, Until, op::OpKind, time::RETRY_AFTER};
use serde_json::{json, value::RawValue};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some(text) = as_text(data) else { return };
    let [head, body] = parts(text);
    let mut lines = head.lines();
    let Some(status) = lines.next().and_then(|line| line.parse::<u16>().ok()) else { return };
    let mut headers = HeaderMap::new();
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value)) {
            headers.insert(name, value);
        }
    }
    let reply = Reply::read(status, &headers, body.as_bytes(), MAX);
    assert_sound_reply(&reply);
    let of_the_sdk = headers.contains_key("x-inngest-sdk") && status != 401;
    assert!(status == 201 || of_the_sdk || matches!(reply, Reply::NotTheSdk { .. }));

    // In an envelope it says the same. There, headers are text.
    let pairs: Option<BTreeMap<_, _>> =
        headers.iter().map(|(name, value)| Some((name.as_str(), value.to_str().ok()?))).collect();
    if let (Some(pairs), true) = (pairs, status != 201) {
        let envelope = json!({ "status": status, "headers": pairs, "body": body }).to_string();
        let inner = Reply::read(201, &HeaderMap::new(), envelope.as_bytes(), MAX);
        assert!(alike(&reply, &inner), "{reply:?}\nis in an envelope\n{inner:?}");
    }
});

fn assert_sound_reply(reply: &Reply) {
    match reply {
        Reply::Ops { ops, retry_after } => {
            assert_sound(ops, MAX);
            assert_delay(*retry_after);
        }
        Reply::Result { data } => assert!(serde_json::from_str::<&RawValue>(data.get()).is_ok()),
        Reply::Failed { error } => assert_error(error),
        Reply::Error { error, retry_after } => {
            assert_error(error);
            assert_delay(*retry_after);
        }
        Reply::Invalid { error } => assert!(error.to_string().len() < 600),
        Reply::NotTheSdk { why } => assert!(!why.is_empty()),
    }
}

fn assert_error(error: &RawValue) {
    assert!(error.get().starts_with('{') && serde_json::from_str::<&RawValue>(error.get()).is_ok());
}

fn assert_delay(delay: Option<Until>) {
    let (least, most) = RETRY_AFTER;
    match delay {
        Some(Until::For(delay)) => assert!((least..=most).contains(&delay)),
        Some(at) => assert!((least..=most).contains(&at.retry_delay(0))),
        None => {}
    }
}

fn alike(left: &Reply, right: &Reply) -> bool {
    match (left, right) {
        (Reply::Ops { ops, retry_after }, Reply::Ops { ops: others, retry_after: other }) => {
            retry_after == other && same(ops, others) && ops.iter().all(|op| !matches!(op.kind, OpKind::Wrong { .. }))
                || format!("{left:?}") == format!("{right:?}")
        }
        _ => format!("{left:?}") == format!("{right:?}"),
    }
}
