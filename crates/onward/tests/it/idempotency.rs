//! P4: the same key is the same run and has one response.

use axum::{body::Body, routing::post};
use http::Request;
use onward::{Step, StepError};

use crate::support::{App, Count, run_id, text};

fn keyed(key: &str, body: &str) -> Request<Body> {
    Request::post("/").header("idempotency-key", key).body(Body::from(body.to_owned())).unwrap()
}

async fn app(count: &Count) -> App {
    let counted = count.clone();
    let handler = async move |step: Step, body: String| {
        let n = step.run("charge", async || Ok::<_, StepError>(counted.hit())).await?;
        if body == "slow" {
            step.sleep("nap", "2h").await?;
        }
        Ok::<_, StepError>(format!("{body} {n}"))
    };
    App::new(|onward| onward.route("/", post(handler))).await
}

#[tokio::test]
async fn a_duplicate_gets_the_one_response_and_runs_nothing() {
    let count = Count::default();
    let app = app(&count).await;
    for _ in 0..3 {
        assert_eq!(text(&app.send(keyed("k1", "a")).await), "a 1");
    }
    assert_eq!(text(&app.send(keyed("\"k2\"", "a")).await), "a 2");
    assert_eq!(count.get(), 2);
}

#[tokio::test]
async fn the_same_key_with_another_request_is_422_and_a_bad_key_400() {
    let count = Count::default();
    let app = app(&count).await;
    app.send(keyed("k", "a")).await;
    let reused = app.send(keyed("k", "b")).await;
    assert_eq!(
        (reused.status().as_u16(), reused.headers()["content-type"].to_str().unwrap()),
        (422, "application/problem+json")
    );
    assert_eq!(app.send(keyed("a b", "a")).await.status(), 400);
    assert_eq!(app.send(keyed(&"k".repeat(256), "a")).await.status(), 400);
    assert_eq!(count.get(), 1);
}

#[tokio::test]
async fn duplicates_that_come_while_the_run_goes_on_join_it() {
    let count = Count::default();
    let app = app(&count).await;
    let many = futures_util::future::join_all((0..10).map(|_| app.send(keyed("k", "a")))).await;
    assert!(many.iter().all(|response| text(response) == "a 1"), "{many:?}");
    let first = app.send(keyed("s", "slow")).await;
    let second = app.while_time_goes_on(app.send(keyed("s", "slow"))).await;
    if second.status().is_redirection() {
        assert_eq!(run_id(&first), run_id(&second));
        assert_eq!(text(&app.follow(second).await), "slow 2");
    } else {
        assert_eq!(text(&second), "slow 2");
    }
    assert_eq!(text(&app.follow(first).await), "slow 2");
    assert_eq!(count.get(), 2);
}
