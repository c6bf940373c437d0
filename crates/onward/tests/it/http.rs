//! Requests reach the handler unchanged on every replay, and responses their client.

use axum::{
    Form, Json, Router,
    body::Body,
    extract::{Path, Query, State},
    routing::{any, get, post},
};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use onward::{Onward, Step, StepError};
use serde_json::{Value, json};

use crate::support::{App, text};

/// Says what the handler sees, after a replay.
async fn echo(
    step: Step,
    method: Method,
    uri: http::Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, StepError> {
    step.sleep("nap", "2h").await?;
    let names: Vec<_> = headers.keys().map(http::HeaderName::as_str).collect();
    Ok(Json(json!({ "method": method.as_str(), "uri": uri.to_string(), "headers": names, "body": body.to_vec() })))
}

#[tokio::test]
async fn method_query_headers_and_binary_body_survive_a_replay() {
    let app = App::new(|onward| onward.route("/echo", any(echo))).await;
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
        let request = Request::builder()
            .method(method)
            .uri("/echo?a=1&b=x%20y")
            .header("x-mine", "1")
            .header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
            .header("authorization", "Bearer secret")
            .header("cookie", "session=1")
            .header("proxy-authorization", "Basic secret")
            .body(Body::from(vec![0_u8, 255, 10]))
            .unwrap();
        let first = app.send(request).await;
        assert_eq!(first.status(), if method == "GET" { 302 } else { 303 });
        let seen: Value = serde_json::from_slice(app.follow(first).await.body()).unwrap();
        assert_eq!((&seen["method"], &seen["uri"]), (&json!(method), &json!("/echo?a=1&b=x%20y")));
        assert_eq!(seen["body"], json!([0, 255, 10]));
        assert_eq!(seen["headers"], json!(["x-mine", "traceparent"]));
    }
}

#[tokio::test]
async fn headers_are_kept_that_are_asked_for_and_dropped_that_are_not() {
    let app = App::new(|onward| {
        let options = onward::Options::default().keep_header("Authorization").drop_header("x-mine");
        onward.endpoint().options(options).route("/echo", get(echo))
    })
    .await;
    let request = Request::get("/echo").header("authorization", "B").header("x-mine", "1").body(Body::empty()).unwrap();
    let first = app.send(request).await;
    let seen: Value = serde_json::from_slice(app.follow(first).await.body()).unwrap();
    assert_eq!(seen["headers"], json!(["authorization"]));
}

#[tokio::test]
async fn extractors_state_nesting_and_carried_values_work_in_a_replay() {
    #[derive(Clone, serde::Serialize, serde::Deserialize)]
    struct User(String);
    #[derive(serde::Deserialize)]
    struct Params {
        q: String,
    }
    async fn handler(
        State(greeting): State<&'static str>,
        step: Step,
        Path((team, id)): Path<(String, u32)>,
        Query(params): Query<Params>,
        user: axum::Extension<User>,
        uri: http::Uri,
    ) -> Result<String, StepError> {
        step.sleep("nap", "2h").await?;
        Ok(format!("{greeting} {} {team} {id} {} {uri}", user.0.0, params.q))
    }
    let app = App::new(|onward| {
        let inner = onward.endpoint().carry::<User>("user").route("/items/{id}", get(handler));
        let inner: Router<()> = inner.with_state("hello");
        Router::new().nest("/{team}", inner).layer(axum::Extension(User("ada".to_owned())))
    })
    .await;
    let response = app.outcome("/red/items/7?q=z").await;
    assert_eq!(text(&response), "hello ada red 7 z /items/7?q=z");
}

#[tokio::test]
async fn forms_json_and_multipart_are_read_again() {
    async fn form(step: Step, Form(pairs): Form<Vec<(String, String)>>) -> Result<String, StepError> {
        step.sleep("nap", "2h").await?;
        Ok(format!("{pairs:?}"))
    }
    async fn parts(step: Step, mut parts: axum::extract::Multipart) -> Result<String, StepError> {
        step.sleep("nap", "2h").await?;
        let part = parts.next_field().await.unwrap().unwrap();
        Ok(format!("{}={}", part.name().unwrap().to_owned(), part.text().await.unwrap()))
    }
    let app = App::new(|onward| {
        Router::new().merge(onward.route("/form", post(form))).merge(onward.route("/parts", post(parts)))
    })
    .await;
    let form =
        Request::post("/form").header("content-type", "application/x-www-form-urlencoded").body(Body::from("a=1&b=2"));
    let first = app.send(form.unwrap()).await;
    assert_eq!(text(&app.follow(first).await), r#"[("a", "1"), ("b", "2")]"#);
    let body = "--X\r\ncontent-disposition: form-data; name=\"n\"\r\n\r\nv\r\n--X--\r\n";
    let request =
        Request::post("/parts").header("content-type", "multipart/form-data; boundary=X").body(Body::from(body));
    let first = app.send(request.unwrap()).await;
    assert_eq!(text(&app.follow(first).await), "n=v");
}

#[tokio::test]
async fn the_waiting_client_gets_exactly_the_handlers_response() {
    async fn handler(step: Step) -> Result<axum::response::Response, StepError> {
        step.sleep("nap", "2h").await?;
        let response = http::Response::builder()
            .status(StatusCode::IM_A_TEAPOT)
            .header("set-cookie", "a=1")
            .header("set-cookie", "b=2")
            .header("content-type", "image/png")
            .body(Body::from(vec![0_u8, 159, 146, 150]));
        Ok(response.unwrap())
    }
    let app = App::new(|onward| onward.route("/", get(handler))).await;
    let first = app.get("/").await;
    let location = crate::support::location(&first);
    let response = app.follow(first).await;
    for response in [response, app.get(&location).await] {
        assert_eq!(response.status(), 418);
        let cookies: Vec<_> = response.headers().get_all("set-cookie").iter().collect();
        assert_eq!(cookies, ["a=1", "b=2"]);
        assert_eq!(response.headers()["content-type"], "image/png");
        assert_eq!(&response.body()[..], [0, 159, 146, 150]);
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_before_the_handler_runs() {
    let count = crate::support::Count::default();
    let counted = count.clone();
    let handler = async move |_: Step, body: Bytes| {
        counted.hit();
        body.len().to_string()
    };
    let app = App::new(|onward| onward.route("/", post(handler))).await;
    let send = |bytes: usize| app.send(Request::post("/").body(Body::from(vec![0; bytes])).unwrap());
    assert_eq!(text(&send(1 << 20).await), "1048576");
    let refused = send((1 << 20) + 1).await;
    assert_eq!((refused.status().as_u16(), count.get()), (413, 1));
    assert_eq!(refused.headers()["content-type"], "application/problem+json");
}

#[tokio::test]
async fn a_response_over_the_limit_is_a_loud_failure() {
    async fn handler(step: Step) -> Result<String, StepError> {
        step.run("one", async || Ok::<_, StepError>(())).await?;
        Ok("x".repeat(2000))
    }
    let options = onward::Options::default().response_bytes_max(1000);
    let app = App::with(Onward::builder().defaults(options), |onward| onward.route("/", get(handler))).await;
    let response = app.get("/").await;
    assert_eq!(response.status(), 500);
    assert!(text(&response).contains("response-too-large"));
}

#[tokio::test]
async fn a_method_that_the_route_does_not_have_is_405_as_ever() {
    let app = App::new(|onward| onward.route("/", get(async || "x"))).await;
    assert_eq!(app.send(Request::post("/").body(Body::empty()).unwrap()).await.status(), 405);
    assert_eq!(app.send(Request::options("/").body(Body::empty()).unwrap()).await.status(), 405);
}
