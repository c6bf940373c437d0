//! Each problem has its page, and says no more than it should.

use std::{collections::BTreeSet, path::Path};

use http::{HeaderValue, StatusCode};

use super::{Code, PAGES, Problem, Public};

#[test]
fn every_code_has_its_page_and_every_page_its_code() {
    let pages = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/errors");
    let mut missing: BTreeSet<String> = std::fs::read_dir(&pages)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "README.md")
        .collect();
    for code in Code::ALL {
        let name = format!("{}.md", code.slug());
        let page = std::fs::read_to_string(pages.join(&name)).unwrap_or_default();
        assert!(page.starts_with("# ") && page.contains("**What to do.**"), "{name} does not say what to do");
        missing.remove(&name);
    }
    assert_eq!(missing, BTreeSet::new(), "pages without a code");
}

#[test]
fn slugs_are_unique_and_statuses_are_errors() {
    let slugs: BTreeSet<_> = Code::ALL.iter().map(|code| code.slug()).collect();
    assert_eq!(slugs.len(), Code::ALL.len());
    for code in Code::ALL {
        assert!(code.status().is_client_error() || code.status().is_server_error(), "{code:?}");
        assert!(code.slug().bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'), "{code:?}");
    }
}

#[test]
fn the_body_is_what_rfc_9457_asks_and_nothing_else() {
    let problem = Problem::new(Code::BodyTooLarge)
        .detail(Public::literal("send less"))
        .instance("/runs/1".to_owned())
        .limit(1024);
    let response = problem.into_response();
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    let body: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
    let expected = serde_json::json!({
        "type": format!("{PAGES}body-too-large.md"),
        "title": "The request body is too large",
        "status": 413,
        "detail": "send less",
        "instance": "/runs/1",
        "limit": 1024,
    });
    assert_eq!(body, expected);

    let bare = Problem::new(Code::RunFailed).into_response();
    let body: serde_json::Value = serde_json::from_slice(bare.body()).unwrap();
    let members: Vec<_> = body.as_object().unwrap().keys().cloned().collect();
    assert_eq!(members, ["status", "title", "type"]);
}

#[test]
fn only_a_problem_that_passes_says_when_to_come_back_and_none_is_cached() {
    for code in Code::ALL {
        let response = Problem::new(*code).into_response();
        let passes = code.status() == StatusCode::SERVICE_UNAVAILABLE;
        assert_eq!(response.headers().get("retry-after").map(HeaderValue::as_bytes), passes.then_some(&b"1"[..]));
        assert_eq!(response.headers()["cache-control"], "no-store");
        assert_eq!(response.status(), code.status());
    }
}
