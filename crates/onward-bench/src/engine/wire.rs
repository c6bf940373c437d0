//! What the SDK sends and answers, by hand: of the sizes that it has, and with what it lets slip of its own state.

use onward_core::{RunId, Timestamp, step::StepId};
use serde_json::{Value, json};

use crate::server::micros;

/// About 150 bytes, as in the measured workload.
fn output() -> Value {
    json!({ "id": 4_200_042, "status": "accepted", "note": "x".repeat(100) })
}

/// A step's id as the wire has it.
fn hash(id: &str) -> String {
    StepId::try_new(id, 0).expect("it is an id").key().to_string()
}

/// A new run's id, as the SDK makes them.
pub(super) fn run_id() -> String {
    let now = Timestamp::from_micros(i64::try_from(micros()).unwrap_or(0));
    RunId::new(now, rand::random()).to_string()
}

/// A step that ran in its client's own request.
pub(super) fn ran_at_first(id: &str) -> String {
    let hash = hash(id);
    let at = micros() * 1_000;
    json!({
        "id": hash, "mode": "sync", "op": "StepRun", "name": id, "displayName": id, "userland": { "id": id }, "opts": {},
        "rawArgs": [id, null], "hashedId": hash, "promise": {}, "fulfilled": true, "hasStepState": true, "handled": true,
        "middleware": { "stepInfo": { "hashedId": hash, "memoized": false, "options": { "id": id, "name": id },
            "stepType": "run" } },
        "memoizationDeferred": { "promise": {} }, "transformedResultPromise": {}, "data": output(),
        "timing": { "a": at, "b": 0 },
    })
    .to_string()
}

/// A step that ran in a re-entry.
pub(super) fn ran(id: &str) -> String {
    let op = json!({ "id": hash(id), "op": "StepRun", "name": id, "displayName": id, "userland": { "id": id }, "opts": {},
        "data": output(), "timing": { "a": micros() * 1_000, "b": 0 } });
    op.to_string()
}

/// A sleep, so long.
pub(super) fn sleep(id: &str, duration: &str) -> String {
    let op = json!({ "id": hash(id), "op": "Sleep", "name": duration, "displayName": id, "userland": { "id": id },
        "opts": {} });
    op.to_string()
}

/// A wait of an hour for an event of which an expression holds.
pub(super) fn wait_for_event(id: &str, event: &str, expression: &str) -> String {
    let op = json!({ "id": hash(id), "op": "WaitForEvent", "name": event, "displayName": id, "userland": { "id": id },
        "opts": { "timeout": "1h", "if": expression } });
    op.to_string()
}

/// The end of a run.
pub(super) fn complete(body: &Value) -> String {
    let data = json!({ "headers": { "content-type": "application/json" }, "status": 200, "body": body.to_string(),
        "version": 2 });
    json!({ "op": "RunComplete", "id": hash("complete"), "data": data }).to_string()
}

/// What is streamed beside the end of a run.
pub(super) fn streamed_end(run_id: &str) -> String {
    let response = json!({ "status": "succeeded", "response": { "body": "{}", "statusCode": 200,
        "headers": { "content-type": "application/json" } } });
    format!(
        "event: inngest.metadata\ndata: {{\"runId\":\"{run_id}\"}}\n\nevent: inngest.response\ndata: {response}\n\n"
    )
}

/// The first checkpoint of a run whose endpoint is at this address.
pub(super) fn first(run_id: &str, endpoint: &str, path: &str, query: &str, ops: &str) -> String {
    let millis = micros() / 1_000;
    format!(
        r#"{{"run_id":"{run_id}","event":{{"name":"inngest/http.request","data":{{"content_type":"","domain":"http://{endpoint}","ip":"","method":"GET","path":"{path}","query_params":"{query}","body":"","fn":""}}}},"steps":[{ops}],"ts":{millis},"request_version":2,"retries":3}}"#
    )
}

/// A later checkpoint of a run.
pub(super) fn later(run_id: &str, ops: &str) -> String {
    let millis = micros() / 1_000;
    format!(r#"{{"fn_id":"f","app_id":"a","run_id":"{run_id}","steps":[{ops}],"ts":{millis}}}"#)
}

/// Where the outcome of a run is, by the answer to its first checkpoint.
pub(super) fn output_path(run_id: &str, answer: &str) -> String {
    let answer: Value = serde_json::from_str(answer).unwrap_or_default();
    let token = answer["data"]["token"].as_str().expect("a run has a token");
    format!("/v1/http/runs/{run_id}/output?token={token}")
}
