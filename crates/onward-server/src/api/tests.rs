//! The pages and hosts that may call each route.

use std::sync::Arc;

use axum::{Router, body::Body};
use http::{Method, Request, StatusCode};
use onward_testing::MemoryStore;
use tower::ServiceExt;

use super::{Pages, is_near, routes};
use crate::{Engine, Options, options::Mode};

#[test]
fn a_name_that_a_page_elsewhere_can_have_is_not_near() {
    let allowed = ["engine".to_owned(), "onward.internal".to_owned()];
    for near in [
        "localhost:8288",
        "127.0.0.1:8288",
        "[::1]:8288",
        "a.localhost",
        "host.docker.internal:1",
        "Engine:8288",
        "onward.internal",
    ] {
        assert!(is_near(near, &allowed), "{near}");
    }
    for far in [
        "evil.example:8288",
        "127.0.0.1.evil.example",
        "localhost.evil.example:80",
        "printer.local",
        "metadata.google.internal",
        "other",
        "",
    ] {
        assert!(!is_near(far, &allowed), "{far}");
    }
}

async fn engine(options: Options) -> Router {
    let mut options = options;
    options.listen.set_port(0);
    super::router(Engine::open_on(options, Arc::new(MemoryStore::new())).await.unwrap().shared())
}

async fn ask(engine: &Router, method: &Method, path: &str, headers: &[(&str, &str)]) -> StatusCode {
    let path = path.replace("{run}", "01KDVDNA2EJ0VAKZRXQR4BPH6Y");
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    engine.clone().oneshot(request.body(Body::from("{}")).unwrap()).await.unwrap().status()
}

/// Paths that look like a route of another kind, as a page might try.
fn paths(route: &'static str) -> Vec<String> {
    match route {
        "/e/{key}" => ["key", "output", "sse", "health"].map(|key| format!("/e/{key}")).to_vec(),
        route => vec![route.to_owned()],
    }
}

#[tokio::test]
async fn pages_of_strangers_call_only_what_is_said_to_be_for_them() {
    let host = ("host", "localhost:8288");
    for has_event_key in [false, true] {
        let event_keys = if has_event_key { vec!["key".to_owned()] } else { Vec::new() };
        let engine = engine(Options { event_keys, ..Options::new(Mode::Dev) }).await;
        for (route, pages, _) in routes() {
            let is_open = pages == Pages::Any || (pages == Pages::WithEventKey && has_event_key);
            let methods = [Method::GET, Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS];
            for (path, method) in paths(route).iter().flat_map(|path| methods.iter().map(move |method| (path, method)))
            {
                for origin in ["https://evil.example", "null", "http://localhost.evil.example", "file://", ""] {
                    for content in ["text/plain", "application/json"] {
                        let headers = [host, ("origin", origin), ("content-type", content)];
                        let status = ask(&engine, method, path, &headers).await;
                        let is_refused = status == StatusCode::FORBIDDEN || status == StatusCode::METHOD_NOT_ALLOWED;
                        assert!(is_open || is_refused, "{method} {path} from {origin:?} as {content}: {status}");
                        assert!(!is_open || status != StatusCode::FORBIDDEN, "{method} {path} from {origin:?}");
                    }
                }
                for headers in [vec![host], vec![host, ("origin", "http://localhost:3000")]] {
                    let status = ask(&engine, method, path, &headers).await;
                    assert_ne!(status, StatusCode::FORBIDDEN, "{method} {path} with {headers:?}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_request_names_its_host_once() {
    let engine = engine(Options::new(Mode::Dev)).await;
    let health = async |headers: &[(&str, &str)]| ask(&engine, &Method::GET, "/health", headers).await;
    assert_eq!(health(&[("host", "localhost")]).await, StatusCode::OK);
    assert_eq!(health(&[]).await, StatusCode::BAD_REQUEST);
    assert_eq!(health(&[("host", "localhost"), ("host", "evil.example")]).await, StatusCode::BAD_REQUEST);
    assert_eq!(health(&[("host", "evil.example")]).await, StatusCode::MISDIRECTED_REQUEST);
    let by_authority = Request::get("http://127.0.0.1:8288/health").body(Body::empty()).unwrap();
    assert_eq!(engine.clone().oneshot(by_authority).await.unwrap().status(), StatusCode::OK, "as HTTP/2 says it");
}

/// A route that is open says so here.
#[tokio::test]
async fn with_keys_every_route_needs_one_but_those_that_have_a_token_or_tell_nothing() {
    let options = Options {
        signing_keys: vec!["signkey-test-abababab".to_owned()],
        event_keys: vec!["event".to_owned()],
        origins: crate::options::Origins { any: true, ..Default::default() },
        ..Options::new(Mode::Start)
    };
    let engine = engine(options).await;
    let open = ["/health", "/metrics"];
    for (route, _, _) in routes() {
        for method in [Method::GET, Method::POST, Method::DELETE] {
            let status = ask(&engine, &method, route, &[("host", "engine.example")]).await;
            let is_taken = status != StatusCode::METHOD_NOT_ALLOWED;
            let expected = if open.contains(&route) { StatusCode::OK } else { StatusCode::UNAUTHORIZED };
            assert!(!is_taken || status == expected, "{method} {route}: {status}");
        }
    }
}
