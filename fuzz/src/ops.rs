//! Ops: what must be true of every one, and how one is written.

use onward_protocol::sdk::{AiRequest, FetchRequest, InvokePayload, Op, OpKind, Until};
use serde_json::{Map, Value, json, value::RawValue};

/// What holds of ops whatever they were read from.
pub fn assert_sound(ops: &[Op], max: usize) {
    assert!(ops.len() <= max);
    for op in ops {
        assert!(!op.id.is_empty());
        match &op.kind {
            OpKind::Ran { data } | OpKind::Complete { data } => assert_json(data),
            OpKind::Failed { error, .. } => {
                assert_json(error);
                assert!(error.get().starts_with('{'));
            }
            OpKind::Sleep { until } => assert_due(*until),
            OpKind::WaitForEvent { name, timeout, expression } => {
                assert!(!name.is_empty() && expression.as_deref() != Some(""));
                assert_due(*timeout);
            }
            OpKind::WaitForSignal { signal, timeout, .. } => {
                assert!(!signal.is_empty());
                timeout.iter().copied().for_each(assert_due);
            }
            OpKind::Invoke { function_id, payload, timeout } => {
                assert!(!function_id.is_empty());
                assert_json(&payload.data);
                timeout.iter().copied().for_each(assert_due);
            }
            OpKind::Fetch { request } => assert!(!request.url.is_empty() && !request.method.is_empty()),
            OpKind::Ai { request } => {
                assert!(!request.url.is_empty());
                assert_json(&request.body);
            }
            OpKind::Wrong { error } => assert!(!error.to_string().is_empty()),
            OpKind::Planned | OpKind::Again | OpKind::Nothing | OpKind::Deferred => {}
        }
    }
}

/// Whether two lists of ops say the same.
pub fn same(left: &[Op], right: &[Op]) -> bool {
    let text = |ops: &[Op]| ops.iter().map(|op| format!("{op:?}{}", hidden(op))).collect::<Vec<_>>();
    text(left) == text(right)
}

/// An op as the SDK would write it; `None` for one that asks for what cannot be, which is not kept.
pub fn written(op: &Op) -> Option<String> {
    let mut opts = Map::new();
    let mut set = |name: &str, value: Option<Value>| drop(value.map(|value| opts.insert(name.to_owned(), value)));
    let mut raw = Vec::<(&str, &RawValue)>::new();
    let mut name = None;
    let kind = match &op.kind {
        OpKind::Ran { data } => {
            raw.push(("data", data));
            "StepRun"
        }
        OpKind::Complete { data } => {
            raw.push(("data", data));
            "RunComplete"
        }
        OpKind::Failed { error, retryable } => {
            raw.push(("error", error));
            if *retryable { "StepError" } else { "StepFailed" }
        }
        OpKind::Planned => "StepPlanned",
        OpKind::Sleep { until } => {
            name = Some(time(*until));
            "Sleep"
        }
        OpKind::WaitForEvent { name: event, timeout, expression } => {
            name = Some(event.clone());
            set("timeout", Some(time(*timeout).into()));
            set("if", expression.clone().map(Value::from));
            "WaitForEvent"
        }
        OpKind::WaitForSignal { signal, timeout, replace } => {
            set("signal", Some(signal.clone().into()));
            set("timeout", timeout.map(|timeout| time(timeout).into()));
            set("conflict", replace.then(|| "replace".into()));
            "WaitForSignal"
        }
        OpKind::Invoke { function_id, payload, timeout } => {
            set("function_id", Some(function_id.clone().into()));
            set("timeout", timeout.map(|timeout| time(timeout).into()));
            return Some(object(op, "InvokeFunction", None, &opts, &[("payload", &invoked(payload))], &[]));
        }
        OpKind::Fetch { request } => {
            fetched(request, &mut set);
            "Gateway"
        }
        OpKind::Ai { request } => {
            asked(request, &mut set);
            return Some(object(op, "AIGateway", None, &opts, &[("body", request.body.get())], &[]));
        }
        OpKind::Wrong { .. } => return None,
        OpKind::Again => "DiscoveryRequest",
        OpKind::Nothing => "None",
        OpKind::Deferred => "DeferAdd",
    };
    let raw: Vec<_> = raw.into_iter().map(|(name, value)| (name, value.get())).collect();
    Some(object(op, kind, name, &opts, &[], &raw))
}

/// The text of the whole op. What users wrote goes in as it is.
fn object(
    op: &Op,
    kind: &str,
    name: Option<String>,
    opts: &Map<String, Value>,
    raw_opts: &[(&str, &str)],
    raw: &[(&str, &str)],
) -> String {
    let mut opts: Vec<_> = opts.iter().map(|(name, value)| format!("{}:{value}", json!(name))).collect();
    opts.extend(raw_opts.iter().map(|(name, value)| format!("\"{name}\":{value}")));
    if op.is_race {
        opts.push(r#""parallelMode":"race""#.to_owned());
    }
    let key = op.key.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
    let userland = json!({ "id": op.id, "index": op.index });
    let mut members = vec![
        format!(r#""op":"{kind}","id":"{key}","userland":{userland}"#),
        format!(r#""opts":{{{}}}"#, opts.join(",")),
    ];
    members.extend(name.map(|name| format!(r#""name":{}"#, json!(name))));
    members.extend(raw.iter().map(|(name, value)| format!("\"{name}\":{value}")));
    format!("{{{}}}", members.join(","))
}

fn fetched(request: &FetchRequest, set: &mut impl FnMut(&str, Option<Value>)) {
    set("url", Some(request.url.clone().into()));
    set("method", Some(request.method.clone().into()));
    set("headers", Some(json!(request.headers)));
    set("body", request.body.clone().map(Value::from));
}

fn asked(request: &AiRequest, set: &mut impl FnMut(&str, Option<Value>)) {
    set("url", Some(request.url.clone().into()));
    set("headers", Some(json!(request.headers)));
    set("auth_key", request.auth_key.clone().map(Value::from));
    set("format", request.format.clone().map(Value::from));
}

fn invoked(payload: &InvokePayload) -> String {
    let mut members = vec![format!(r#""data":{}"#, payload.data)];
    members.extend(payload.v.as_ref().map(|v| format!(r#""v":{}"#, json!(v))));
    members.extend(payload.meta.as_ref().map(|meta| format!(r#""meta":{meta}"#)));
    format!("{{{}}}", members.join(","))
}

/// What `Debug` does not show.
fn hidden(op: &Op) -> String {
    match &op.kind {
        OpKind::Fetch { request } => serde_json::to_string(request).expect("a request serialises"),
        OpKind::Ai { request } => serde_json::to_string(request).expect("a request serialises"),
        _ => String::new(),
    }
}

fn time(until: Until) -> String {
    match until {
        Until::For(duration) => format!("{}ns", duration.as_nanos()),
        Until::At(ms) => jiff::Timestamp::from_millisecond(ms).expect("it was read from an instant").to_string(),
    }
}

fn assert_due(until: Until) {
    for now in [i64::MIN, 0, 1_900_000_000_000, i64::MAX] {
        assert!(until.due_ms(now).is_ok_and(|due| due >= now) || matches!(until, Until::At(_)));
    }
}

fn assert_json(value: &RawValue) {
    assert!(serde_json::from_str::<&RawValue>(value.get()).is_ok());
}
