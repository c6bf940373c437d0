//! A run's own request, as waits compare events with it.

use serde_json::{Map, Value, json};

use crate::record::RequestRecord;

/// The request as `event` in an expression: `{"name", "data"}` with the keys of the SDK protocol, and beside them
/// the parsed JSON body (`data.json`), form (`data.form`), query (`data.query`), path parameters (`data.params`) and
/// their fields.
///
/// A field that several have counts from the body, then the form, the query and the path; the protocol's own keys are
/// never covered.
pub(super) fn view(request: &RequestRecord) -> Value {
    let query_text = request.original_uri.query().unwrap_or("");
    let query = url_pairs(query_text);
    let params = path_params(request.matched_path.as_deref(), request.original_uri.path());
    let header = |name| request.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
    let content_type = header("content-type");
    let body = String::from_utf8_lossy(&request.body);
    let is_form = content_type.starts_with("application/x-www-form-urlencoded");
    let form = if is_form { url_pairs(&body) } else { Map::new() };
    let json: Value = serde_json::from_slice(&request.body).unwrap_or(Value::Null);
    let mut data = params.clone();
    data.extend(query.clone());
    data.extend(form.clone());
    if let Value::Object(fields) = &json {
        data.extend(fields.clone());
    }
    let own = json!({
        "method": request.method.as_str(),
        "path": request.original_uri.path(),
        "query_params": query_text,
        "content_type": content_type,
        "body": body,
        "query": query,
        "params": params,
        "form": form,
        "json": json,
    });
    if let Value::Object(own) = own {
        data.extend(own);
    }
    json!({ "name": "inngest/http.request", "data": data })
}

/// What a path has in the places of its route's parameters: `{name}`, or `{*name}` for all that is left.
fn path_params(template: Option<&str>, path: &str) -> Map<String, Value> {
    let mut params = Map::new();
    let mut rest = path.strip_prefix('/').unwrap_or(path);
    for part in template.unwrap_or("").trim_start_matches('/').split('/') {
        let name = part.strip_prefix('{').and_then(|name| name.strip_suffix('}'));
        let (value, after) = match name.and_then(|name| name.strip_prefix('*')) {
            Some(_) => (rest, ""),
            None => rest.split_once('/').unwrap_or((rest, "")),
        };
        rest = after;
        if let Some(name) = name {
            let value = percent_encoding::percent_decode_str(value).decode_utf8_lossy();
            params.insert(name.trim_start_matches('*').to_owned(), Value::String(value.into_owned()));
        }
    }
    params
}

/// The pairs of a query, the first of each name.
fn url_pairs(query: &str) -> Map<String, Value> {
    let mut pairs = Map::new();
    for (name, value) in onward_protocol::location::query_pairs(query) {
        pairs.entry(name).or_insert(Value::String(value));
    }
    pairs
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::path_params;

    #[test]
    fn a_path_has_the_parameters_of_its_route() {
        let params = |template, path| serde_json::Value::Object(path_params(Some(template), path));
        assert_eq!(params("/a/{id}/b/{name}", "/a/7/b/x%20y"), json!({ "id": "7", "name": "x y" }));
        assert_eq!(params("/files/{*path}", "/files/a/b"), json!({ "path": "a/b" }));
        assert_eq!(params("/plain", "/plain"), json!({}));
        assert!(path_params(None, "/a").is_empty());
    }
}
