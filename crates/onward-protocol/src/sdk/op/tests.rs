//! Every op that the SDK was seen to send is read, whatever else it carries; nothing that is none passes for one.

use std::time::Duration;

use proptest::prelude::*;
use serde_json::json;

use super::{COMPLETE, InvalidOp, InvalidTime, Op, OpKind, Until, parse_ops};

const A: &str = "86f7e437faa5a7fce15d1ddcb9eaeaea377667b8";

fn one(op: &serde_json::Value) -> Op {
    let mut ops = parse_ops(json!([op]).to_string().as_bytes(), 10).unwrap();
    assert_eq!(ops.len(), 1);
    ops.remove(0)
}

fn refused(op: &serde_json::Value) -> InvalidOp {
    parse_ops(op.to_string().as_bytes(), 10).unwrap_err()
}

/// What is wrong with a step that is to fail.
fn wrong(op: &serde_json::Value) -> InvalidOp {
    match one(op).kind {
        OpKind::Wrong { error } => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_step_that_ran_in_the_sync_phase_carries_internals_that_are_passed_over() {
    let json = br#" [ {
        "id": "86f7e437faa5a7fce15d1ddcb9eaeaea377667b8", "op": "StepRun", "name": "a", "displayName": "The first",
        "data": {"x": 1.0, "y" : "\u00e9"}, "userland": {"id": "a"}, "opts": {}, "mode": "sync", "rawArgs": ["a", {"deep": [[[]]]}],
        "hashedId": "86f7", "promise": {}, "fulfilled": true, "hasStepState": false, "handled": true, "middleware": {},
        "memoizationDeferred": {"promise": {}}, "transformedResultPromise": null,
        "timing": {"a": 1795466164302000128, "b": 1.8e18}, "metadata": [{"kind": "k", "scope": "s", "op": "set", "values": {}}]
    } ] "#;
    let op = parse_ops(json, 10).unwrap().remove(0);
    assert_eq!((op.key[0], op.key[19]), (0x86, 0xb8));
    assert_eq!((op.id.as_str(), op.index, op.is_race), ("a", 0, false));
    let OpKind::Ran { data } = op.kind else { panic!("{op:?}") };
    assert_eq!(data.get(), r#"{"x": 1.0, "y" : "\u00e9"}"#, "passed on as it came");
}

#[test]
fn a_step_is_called_what_its_author_called_it() {
    let id = |op: serde_json::Value| one(&op).id;
    assert_eq!(id(json!({"op": "StepPlanned", "id": A, "userland": {"id": "a"}, "displayName": "A"})), "a");
    assert_eq!(id(json!({"op": "StepPlanned", "id": A, "displayName": "A"})), "A");
    assert_eq!(id(json!({"op": "StepPlanned", "id": A, "displayName": null, "userland": {"id": ""}})), A);
    assert_eq!(id(json!({"op": "StepPlanned", "id": A, "userland": [1]})), A);
}

#[test]
fn a_repeated_step_says_which_use_it_is() {
    assert_eq!(one(&json!({"op": "StepPlanned", "id": A, "userland": {"id": "a", "index": 2}})).index, 2);
    assert_eq!(one(&json!({"op": "StepPlanned", "id": A, "userland": {"id": "a", "index": -1}})).index, 0);
}

#[test]
fn a_race_is_said_to_be_one() {
    assert!(one(&json!({"op": "StepPlanned", "id": A, "opts": {"parallelMode": "race", "input": [1]}})).is_race);
    assert!(!one(&json!({"op": "StepPlanned", "id": A, "opts": {"parallelMode": null}})).is_race);
}

#[test]
fn a_step_without_a_result_has_null() {
    for op in [json!({"op": "StepRun", "id": A}), json!({"op": "Step", "id": A, "data": null})] {
        assert!(matches!(one(&op).kind, OpKind::Ran { data } if data.get() == "null"));
    }
}

#[test]
fn errors_are_kept_as_they_are_and_made_up_where_there_is_none() {
    let failed = |op: serde_json::Value| match one(&op).kind {
        OpKind::Failed { error, retryable } => (error.get().to_owned(), retryable),
        other => panic!("{other:?}"),
    };
    let given = json!({"name": "Error", "message": "no", "stack": "at", "__serialized": true, "cause": {"x": 1}});
    let (error, retryable) = failed(json!({"op": "StepError", "id": A, "error": given}));
    assert_eq!((error, retryable), (given.to_string(), true));
    assert_eq!(failed(json!({"op": "StepError", "id": A, "error": {}})), ("{}".to_owned(), true));
    let unknown = r#"{"name":"Error","message":"Unknown error"}"#.to_owned();
    assert_eq!(failed(json!({"op": "StepFailed", "id": A})), (unknown.clone(), false));
    assert_eq!(failed(json!({"op": "StepFailed", "id": A, "error": "thrown"})), (unknown, false));
}

#[test]
fn sleeps_say_how_long() {
    let until = |op: serde_json::Value| match one(&op).kind {
        OpKind::Sleep { until } => until,
        other => panic!("{other:?}"),
    };
    assert_eq!(until(json!({"op": "Sleep", "id": A, "name": "1h30m"})), Until::For(Duration::from_secs(5_400)));
    assert_eq!(until(json!({"op": "Sleep", "id": A, "name": "1970-01-01T00:00:01.5Z"})), Until::At(1_500));
    assert_eq!(until(json!({"op": "Sleep", "id": A, "name": ""})), Until::NOW);
    assert_eq!(until(json!({"op": "Sleep", "id": A})), Until::NOW);
}

#[test]
fn a_sleep_that_is_none_is_the_steps_error_rather_than_skipped() {
    let wrong = |name: serde_json::Value| wrong(&json!({"op": "Sleep", "id": A, "name": name}));
    let time = |source| InvalidOp::Time { op: "Sleep", field: "name", source };
    assert_eq!(wrong(json!("tomorrow, secretly")), time(InvalidTime::Malformed));
    assert_eq!(wrong(json!(5)), time(InvalidTime::Malformed));
    assert_eq!(wrong(json!("400d")), time(InvalidTime::TooFar));
    assert!(!wrong(json!("tomorrow, secretly")).to_string().contains("secret"));
}

#[test]
fn waits_for_an_event_say_which() {
    let op =
        json!({"op": "WaitForEvent", "id": A, "name": "app/a", "opts": {"timeout": "1d", "if": "async.data.x == 1"}});
    let OpKind::WaitForEvent { name, timeout, expression } = one(&op).kind else { panic!() };
    assert_eq!((name.as_str(), timeout), ("app/a", Until::For(Duration::from_secs(86_400))));
    assert_eq!(expression.as_deref(), Some("async.data.x == 1"));
    let op = json!({"op": "WaitForEvent", "id": A, "name": "app/a", "opts": {"timeout": "", "if": ""}});
    let OpKind::WaitForEvent { timeout, expression, .. } = one(&op).kind else { panic!() };
    assert_eq!((timeout, expression), (Until::NOW, None));
    let nameless = json!({"op": "WaitForEvent", "id": A, "opts": {"timeout": "1d"}});
    assert_eq!(wrong(&nameless), InvalidOp::Missing { op: "WaitForEvent", field: "name" });
}

#[test]
fn waits_for_a_signal_say_which_and_what_of_a_conflict() {
    let wait = |op: serde_json::Value| match one(&op).kind {
        OpKind::WaitForSignal { signal, timeout, replace } => (signal, timeout, replace),
        other => panic!("{other:?}"),
    };
    let opts = json!({"signal": "s", "timeout": "5s", "conflict": "replace"});
    let for_five = Some(Until::For(Duration::from_secs(5)));
    assert_eq!(wait(json!({"op": "WaitForSignal", "id": A, "name": "n", "opts": opts})), ("s".into(), for_five, true));
    let opts = json!({"timeout": "", "conflict": "fail"});
    assert_eq!(wait(json!({"op": "WaitForSignal", "id": A, "name": "n", "opts": opts})), ("n".into(), None, false));
}

#[test]
fn invocations_say_what_with_what() {
    let opts =
        json!({"function_id": "app-fn", "payload": {"data": {"x": 1}, "v": "2", "meta": {"s": {}}}, "timeout": "5s"});
    let OpKind::Invoke { function_id, payload, timeout } =
        one(&json!({"op": "InvokeFunction", "id": A, "opts": opts})).kind
    else {
        panic!()
    };
    assert_eq!((function_id.as_str(), timeout), ("app-fn", Some(Until::For(Duration::from_secs(5)))));
    assert_eq!((payload.data.get(), payload.v.as_deref()), (r#"{"x":1}"#, Some("2")));
    assert_eq!(payload.meta.unwrap().get(), r#"{"s":{}}"#);

    let opts = json!({"function_id": "app-fn", "payload": {}});
    let OpKind::Invoke { payload, timeout, .. } = one(&json!({"op": "InvokeFunction", "id": A, "opts": opts})).kind
    else {
        panic!()
    };
    assert_eq!((payload.data.get(), payload.v, timeout), ("{}", None, None));
    let nameless = json!({"op": "InvokeFunction", "id": A, "opts": {}});
    assert_eq!(wrong(&nameless), InvalidOp::Missing { op: "InvokeFunction", field: "function_id" });
}

#[test]
fn fetches_say_what_to_request() {
    let fetch = |opts: serde_json::Value| match one(&json!({"op": "Gateway", "id": A, "opts": opts})).kind {
        OpKind::Fetch { request } => request,
        other => panic!("{other:?}"),
    };
    let headers = json!({"accept": "a/b", "x-n": 1, "x-none": null});
    let request = fetch(json!({"url": "http://x/y?k=hidden", "method": "PUT", "headers": headers, "body": "text"}));
    assert_eq!((request.method.as_str(), request.body.as_deref()), ("PUT", Some("text")));
    assert_eq!(request.headers.iter().map(|(k, v)| format!("{k}:{v}")).collect::<Vec<_>>(), ["accept:a/b", "x-n:1"]);
    let stored = serde_json::to_string(&request).unwrap();
    assert_eq!(serde_json::from_str::<super::FetchRequest>(&stored).unwrap(), request);
    assert!(!format!("{request:?}").contains("hidden") && !format!("{request:?}").contains("a/b"));

    let request = fetch(json!({"url": "http://x", "body": {"a": 1}}));
    assert_eq!((request.method.as_str(), request.body.as_deref()), ("GET", Some(r#"{"a":1}"#)));
    assert_eq!(fetch(json!({"url": "http://x", "headers": [], "body": null})).body, None);
    assert_eq!(wrong(&json!({"op": "Gateway", "id": A})), InvalidOp::Missing { op: "Gateway", field: "url" });
}

#[test]
fn calls_to_a_model_hide_their_key() {
    let opts = json!({"type": "step.ai.infer", "url": "https://ai/v1?key=hidden", "headers": {"x-api-key": "hidden"},
        "auth_key": "hidden", "format": "openai-chat", "body": {"model": "m"}});
    let OpKind::Ai { request } = one(&json!({"op": "AIGateway", "id": A, "opts": opts})).kind else { panic!() };
    assert_eq!((request.auth_key.as_deref(), request.format.as_deref()), (Some("hidden"), Some("openai-chat")));
    assert_eq!(request.body.get(), r#"{"model":"m"}"#);
    assert!(!format!("{request:?}").contains("hidden"), "{request:?}");
    let stored: super::AiRequest = serde_json::from_str(&serde_json::to_string(&request).unwrap()).unwrap();
    assert_eq!((stored.url, stored.body.get()), (request.url, request.body.get()));
}

#[test]
fn the_end_of_a_run_may_come_alone() {
    let json = br#"{"id":"0737c22d3bfae812339732d14d8c7dbd6dc4e09c","op":"RunComplete","data":{"status":200}}"#;
    let op = parse_ops(json, 1).unwrap().remove(0);
    assert_eq!(op.key, COMPLETE);
    assert!(matches!(op.kind, OpKind::Complete { data } if data.get() == r#"{"status":200}"#));
    let go = one(&json!({"op": "SyncRunComplete", "data": {"data": {"status": 200}}}));
    assert_eq!(go.key, COMPLETE);
    assert!(matches!(go.kind, OpKind::Complete { data } if data.get() == r#"{"status":200}"#));
}

#[test]
fn what_is_about_no_step_needs_no_id() {
    assert!(matches!(one(&json!({"op": "None"})), Op { kind: OpKind::Nothing, key: [0, ..], .. }));
    assert!(matches!(one(&json!({"op": "DiscoveryRequest", "id": ""})).kind, OpKind::Again));
    for op in ["DeferAdd", "DeferAbort"] {
        assert!(matches!(one(&json!({"op": op, "id": A, "opts": {"fn_slug": "f"}})).kind, OpKind::Deferred));
    }
    assert_eq!(refused(&json!({"op": "StepRun"})), InvalidOp::Id { op: "StepRun".into() });
}

#[test]
fn ids_are_forty_hexadecimal_digits() {
    for id in ["", "86f7", "86f7e437faa5a7fce15d1ddcb9eaeaea377667bg", &A[1..], &format!("{A}0"), &"é".repeat(20)] {
        for op in ["StepRun", "Sleep"] {
            assert_eq!(refused(&json!({"op": op, "id": id})), InvalidOp::Id { op: op.into() }, "{id}");
        }
    }
    assert_eq!(refused(&json!({"op": "None", "id": "x"})), InvalidOp::Id { op: "None".into() });
    assert_eq!(refused(&json!({"op": "StepRun", "id": 1})), InvalidOp::Id { op: "StepRun".into() });
    assert_eq!(one(&json!({"op": "StepRun", "id": A.to_uppercase()})).key[0], 0x86);
}

#[test]
fn an_unknown_op_is_named() {
    let error = refused(&json!({"op": "StepTeleport", "id": A}));
    assert_eq!(error.to_string(), "the op \"StepTeleport\" is not known");
    assert!(refused(&json!({"op": "x".repeat(1_000), "id": A})).to_string().len() < 100);
    assert_eq!(refused(&json!({"id": A})), InvalidOp::Unknown { op: String::new() });
}

#[test]
fn what_is_no_list_of_ops_is_refused() {
    for (json, error) in [
        ("", InvalidOp::NotJson),
        ("[", InvalidOp::NotJson),
        ("[] x", InvalidOp::NotJson),
        ("null", InvalidOp::NotOps),
        ("\"StepRun\"", InvalidOp::NotOps),
        ("[[\"StepRun\"]]", InvalidOp::NotOps),
        ("[null]", InvalidOp::NotOps),
        ("{\"op\":1}", InvalidOp::NotOps),
    ] {
        assert_eq!(parse_ops(json.as_bytes(), 10).unwrap_err(), error, "{json}");
    }
    assert_eq!(parse_ops(b"[\xff]", 10).unwrap_err(), InvalidOp::NotJson);
    assert!(parse_ops(b" [ ] ", 10).unwrap().is_empty());
}

#[test]
fn more_ops_than_there_may_be_are_refused() {
    let ops = |count: usize| json!(vec![json!({"op": "StepPlanned", "id": A}); count]).to_string();
    assert_eq!(parse_ops(ops(10).as_bytes(), 10).unwrap().len(), 10);
    assert_eq!(parse_ops(ops(11).as_bytes(), 10).unwrap_err(), InvalidOp::TooMany { max: 10 });
    assert_eq!(parse_ops(ops(500).as_bytes(), 10).unwrap_err(), InvalidOp::TooMany { max: 10 });
}

#[test]
fn depth_does_not_end_the_stack() {
    let deep = format!(r#"[{{"op":"StepRun","id":"{A}","data":{}{}}}]"#, "[".repeat(200_000), "]".repeat(200_000));
    let op = parse_ops(deep.as_bytes(), 10).unwrap().remove(0);
    assert!(matches!(op.kind, OpKind::Ran { data } if data.get().len() == 400_000));
    let deep =
        format!(r#"{{"op":"Gateway","id":"{A}","opts":{}{}}}"#, "{\"url\":".repeat(200_000), "}".repeat(200_000));
    assert!(parse_ops(deep.as_bytes(), 10).is_err());
}

/// JSON that is near to an op, in every field.
fn nearly() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        Just(json!(A)),
        Just(json!("1h")),
        any::<f64>().prop_map(|number| json!(number)),
        any::<u64>().prop_map(|number| json!(number)),
        ".{0,8}".prop_map(|text| json!(text)),
    ];
    let field = "id|name|opts|data|error|userland|timeout|if|payload|url|headers|body|signal|function_id|index|v|meta";
    let value = leaf.prop_recursive(3, 24, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|list| json!(list)),
            prop::collection::btree_map(field, inner, 0..6).prop_map(|map| json!(map)),
        ]
    });
    let op = "StepRun|StepError|StepFailed|StepPlanned|Sleep|WaitForEvent|WaitForSignal|InvokeFunction|Gateway|AIGateway|RunComplete|SyncRunComplete|None|DeferAdd|Other";
    (op, prop::collection::btree_map(field, value, 0..8)).prop_map(|(op, mut fields)| {
        fields.insert("op".to_owned(), json!(op));
        json!(fields)
    })
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>, text in r#"[\[\]{}",:opid\\0-9a-f ]{0,60}"#) {
        let _ = parse_ops(&bytes, 3);
        let _ = parse_ops(text.as_bytes(), 3);
    }

    #[test]
    fn no_json_makes_it_panic(ops in prop::collection::vec(nearly(), 0..4)) {
        if let Ok(read) = parse_ops(json!(ops).to_string().as_bytes(), 3) {
            prop_assert_eq!(read.len(), ops.len());
        }
    }

    #[test]
    fn any_result_is_passed_on_as_it_came(text in ".{0,40}", number: f64) {
        let data = json!({"text": text, "number": number, "list": [null, true]}).to_string();
        let json = format!(r#"[{{"op":"StepRun","id":"{A}","data":{data}}}]"#);
        let op = parse_ops(json.as_bytes(), 1).unwrap().remove(0);
        let OpKind::Ran { data: read } = op.kind else { return Err(TestCaseError::fail("not a result")) };
        prop_assert_eq!(read.get(), data);
    }
}
