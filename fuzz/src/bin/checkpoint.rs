//! Checkpoints: what is read is what another reader of JSON finds there, and survives being written.
#![no_main]

use onward_fuzz::{MAX, assert_sound, same};
use onward_protocol::sdk::{
    HttpRequestEvent, InvalidCheckpoint, InvalidOp, checkpoint::RETRIES_MAX, parse_checkpoint, parse_ops, parse_steps,
};
use serde_json::{Value, json, value::RawValue};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let read = parse_checkpoint(data, MAX, false);
    let steps = parse_steps(data, MAX);
    // Only the request's body can be in base64, so nothing else depends on that.
    let decoded = parse_checkpoint(data, MAX, true);
    assert_eq!(read.as_ref().err(), decoded.as_ref().err());
    let (checkpoint, decoded) = match (read, decoded) {
        (Ok(checkpoint), Ok(decoded)) => (checkpoint, decoded),
        (Err(InvalidCheckpoint::Op(error)), _) => return assert_eq!(steps.unwrap_err(), InvalidCheckpoint::Op(error)),
        _ => return,
    };

    assert_sound(&checkpoint.ops, MAX);
    assert!(same(&checkpoint.ops, &steps.unwrap()) && same(&checkpoint.ops, &decoded.ops));
    assert!(checkpoint.retries.is_none_or(|retries| retries <= RETRIES_MAX));
    if let Some(fewer) = checkpoint.ops.len().checked_sub(1) {
        let error = parse_checkpoint(data, fewer, false).unwrap_err();
        assert_eq!(error, InvalidCheckpoint::Op(InvalidOp::TooMany { max: fewer }));
    }
    let event = checkpoint.event.expect("it is always given");
    let other = HttpRequestEvent { body: event.body.clone(), ..decoded.event.expect("it is always given") };
    assert_eq!(event, other);
    assert_event(&event);

    let run_id = format!("{:026}", ulid(checkpoint.run_id));
    if let Ok(value) = serde_json::from_slice::<Value>(data) {
        assert!(value["run_id"].as_str().is_some_and(|text| text.eq_ignore_ascii_case(&run_id)));
        assert_eq!(value["event"]["data"]["path"].as_str().unwrap_or_default(), event.path);
        assert_eq!(value["request_version"].as_i64().unwrap_or(2), i64::from(checkpoint.request_version));
        assert_eq!(value["retries"].as_u64().map(|retries| retries.min(20)), checkpoint.retries.map(u64::from));
    }

    let ops = serde_json::from_slice::<std::collections::BTreeMap<String, &RawValue>>(data);
    let steps = ops.ok().and_then(|members| members.get("steps").copied()).unwrap_or(RawValue::NULL);
    let steps = if steps.get() == "null" { "[]" } else { steps.get() };
    assert!(same(&parse_ops(steps.as_bytes(), MAX).unwrap(), &checkpoint.ops));
    let again = format!(
        r#"{{"steps":{steps},"run_id":"{run_id}","event":{},"request_version":{},"retries":{}}}"#,
        json!({ "data": event }),
        checkpoint.request_version,
        json!(checkpoint.retries),
    );
    let again = parse_checkpoint(again.as_bytes(), MAX, false).unwrap();
    assert_eq!((again.run_id, again.event.as_ref()), (checkpoint.run_id, Some(&event)));
    assert_eq!((again.request_version, again.retries), (checkpoint.request_version, checkpoint.retries));
    assert!(same(&again.ops, &checkpoint.ops));
});

/// The members of the event as the SDK reads it are all there as expressions see it, and win.
fn assert_event(event: &HttpRequestEvent) {
    let sent = event.to_event_json("id", 7);
    let seen = event.to_match_json("id", 7);
    for name in ["id", "name", "ts", "user"] {
        assert_eq!(sent[name], seen[name]);
    }
    for (name, value) in sent["data"].as_object().expect("it is an object") {
        assert_eq!(&seen["data"][name], value, "{name}");
    }
    let back: HttpRequestEvent = serde_json::from_value(sent["data"].clone()).unwrap();
    assert_eq!(&back, event);
}

/// A ULID as everybody writes it.
fn ulid(bytes: [u8; 16]) -> String {
    let number = u128::from_be_bytes(bytes);
    let digit = |place: u32| b"0123456789ABCDEFGHJKMNPQRSTVWXYZ"[(number >> (5 * place) & 31) as usize];
    (0..26).rev().map(|place| char::from(digit(place))).collect()
}
