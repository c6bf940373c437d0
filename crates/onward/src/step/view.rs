//! A run's own request, as waits compare events with it.

use serde_json::{Map, Value, json};

use crate::record::RequestRecord;

/// The request as `event` in an expression: `{"name", "data"}` with the keys of the SDK protocol, and beside them
/// the parsed query (`data.query`), JSON body (`data.json`) and their fields.
///
/// A field that several have counts from the body, then from the query; the protocol's own keys are never covered.
pub(super) fn view(request: &RequestRecord) -> Value {
    let query_text = request.original_uri.query().unwrap_or("");
    let query: Map<String, Value> = url_pairs(query_text);
    let json: Value = serde_json::from_slice(&request.body).unwrap_or(Value::Null);
    let header = |name| request.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
    let mut data = query.clone();
    if let Value::Object(fields) = &json {
        data.extend(fields.clone());
    }
    let own = json!({
        "method": request.method.as_str(),
        "path": request.original_uri.path(),
        "query_params": query_text,
        "content_type": header("content-type"),
        "body": String::from_utf8_lossy(&request.body),
        "query": query,
        "json": json,
    });
    if let Value::Object(own) = own {
        data.extend(own);
    }
    json!({ "name": "inngest/http.request", "data": data })
}

/// The pairs of a query, the first of each name.
fn url_pairs(query: &str) -> Map<String, Value> {
    let mut pairs = Map::new();
    for (name, value) in onward_protocol::location::query_pairs(query) {
        pairs.entry(name).or_insert(Value::String(value));
    }
    pairs
}
