//! What steps do.

use std::time::Duration;

use axum::{Json, Router, extract::Query, routing::get};
use onward::{Onward, Step, StepError};
use onward_core::Clock;
use serde_json::{Value, json};

use crate::support::{App, Count, text};

#[derive(serde::Deserialize)]
struct Params {
    n: Option<u32>,
}

fn failing(count: &Count, times: u32) -> Result<u32, std::io::Error> {
    let attempt = count.hit();
    if attempt <= times { Err(std::io::Error::other("not yet")) } else { Ok(attempt) }
}

#[tokio::test]
async fn a_handler_without_steps_is_an_ordinary_handler_and_leaves_nothing() {
    let app = App::new(|onward| onward.route("/", get(async || "plain"))).await;
    let response = app.get("/").await;
    assert_eq!((response.status().as_u16(), text(&response)), (200, "plain"));
    assert!(app.onward.runs().list(onward::RunQuery::new()).await.unwrap().runs.is_empty());
}

#[tokio::test]
async fn steps_that_succeed_answer_directly_and_are_kept() {
    async fn handler(step: Step, Query(q): Query<Params>) -> Result<Json<Value>, StepError> {
        let n = q.n.unwrap_or(0);
        let double = step.run("double", async || Ok::<_, StepError>(n * 2)).await?;
        let text = step.run("text", async || Ok::<_, StepError>(format!("{double}"))).await?;
        Ok(Json(json!({ "double": double, "text": text })))
    }
    let app = App::new(|onward| onward.route("/", get(handler))).await;
    let response = app.get("/?n=21").await;
    assert_eq!(response.status(), 200);
    assert_eq!(serde_json::from_slice::<Value>(response.body()).unwrap(), json!({ "double": 42, "text": "42" }));
    app.settle().await;
    let runs = app.onward.runs().list(onward::RunQuery::new()).await.unwrap().runs;
    assert_eq!((runs.len(), runs[0].status, runs[0].endpoint.as_str()), (1, "completed", "GET /"));
}

#[tokio::test]
async fn a_failing_step_is_tried_again_and_the_client_is_sent_to_wait() {
    let count = Count::default();
    let counted = count.clone();
    let handler = async move |step: Step| {
        let n = step.run("flaky", async || failing(&counted, 2)).await?;
        Ok::<_, StepError>(format!("attempt {n}"))
    };
    let app = App::new(|onward| onward.route("/", get(handler))).await;
    let first = app.get("/").await;
    assert_eq!(first.status(), 302);
    let response = app.follow(first).await;
    assert_eq!((response.status().as_u16(), text(&response)), (200, "attempt 3"));
    assert_eq!(count.get(), 3);
}

#[tokio::test]
async fn when_the_attempts_have_run_out_the_handler_can_handle_the_error() {
    let count = Count::default();
    let counted = count.clone();
    let handler = async move |step: Step| match step.run("never", async || failing(&counted, 99)).retries(2).await {
        Ok(_) => "no".to_owned(),
        Err(error) => format!("{}: {}", error.step().unwrap_or(""), error.message()),
    };
    let app = App::new(|onward| onward.route("/", get(handler))).await;
    let response = app.outcome("/").await;
    assert_eq!((response.status().as_u16(), text(&response)), (200, "never: not yet"));
    assert_eq!(count.get(), 3);
}

#[tokio::test]
async fn an_error_that_nobody_handles_is_a_problem_without_what_is_inside() {
    async fn handler(step: Step) -> Result<String, StepError> {
        step.run("secret", async || Err::<String, _>(StepError::fail("password is hunter2"))).await
    }
    let app = App::new(|onward| onward.route("/", get(handler))).await;
    let response = app.outcome("/").await;
    assert_eq!(response.status(), 500);
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    assert!(!text(&response).contains("hunter2"), "{}", text(&response));
    app.settle().await;
    let runs = app.onward.runs().list(onward::RunQuery::new()).await.unwrap().runs;
    assert_eq!(runs[0].status, "failed");
}

#[tokio::test]
async fn fail_ends_a_step_at_once_and_a_panic_is_a_failed_attempt() {
    let (fails, panics) = (Count::default(), Count::default());
    let (f, p) = (fails.clone(), panics.clone());
    let handler = async move |step: Step| {
        let failed = step
            .run("fail", async || {
                f.hit();
                Err::<(), _>(StepError::fail("no"))
            })
            .await
            .unwrap_err();
        let n = step.run("panic", async || if p.hit() == 1 { panic!("boom") } else { Ok::<_, StepError>(7) }).await?;
        Ok::<_, StepError>(format!("{} {n}", failed.message()))
    };
    let app = App::new(|onward| onward.route("/", get(handler))).await;
    assert_eq!(text(&app.outcome("/").await), "no 7");
    assert_eq!((fails.get(), panics.get()), (1, 2));
}

#[tokio::test]
async fn retry_after_sets_the_delay() {
    let count = Count::default();
    let counted = count.clone();
    let handler = async move |step: Step| {
        step.run("limited", async || match counted.hit() {
            1 => Err(StepError::retry_after("slow down", Duration::from_secs(600))),
            _ => Ok(()),
        })
        .await?;
        Ok::<_, StepError>("done")
    };
    let app = App::new(|onward| onward.route("/", get(handler))).await;
    let first = app.get("/").await;
    app.advance(Duration::from_secs(599)).await;
    assert_eq!(count.get(), 1);
    app.advance(Duration::from_secs(2)).await;
    assert_eq!(count.get(), 2);
    assert_eq!(text(&app.follow(first).await), "done");
}

#[tokio::test]
async fn a_sleep_is_never_early_and_a_24_hour_one_takes_no_time_to_test() {
    async fn handler(step: Step) -> Result<&'static str, StepError> {
        step.sleep("day", "24h").await?;
        Ok("morning")
    }
    let app = App::new(|onward| onward.route("/", get(handler))).await;
    let start = app.clock.now();
    let first = app.get("/").await;
    let id = crate::support::run_id(&first);
    app.advance(Duration::from_secs(24 * 3600) - Duration::from_micros(1)).await;
    assert_eq!(app.onward.runs().get(id).await.unwrap().unwrap().summary.status, "suspended");
    assert_eq!(text(&app.follow(first).await), "morning");
    assert!(app.clock.now().since(start) >= Duration::from_secs(24 * 3600));
}

#[tokio::test]
async fn a_bad_duration_is_an_error_that_names_it() {
    async fn handler(step: Step) -> String {
        step.sleep("nap", "soon").await.unwrap_err().to_string()
    }
    let app = App::new(|onward| onward.route("/", get(handler))).await;
    let response = app.get("/").await;
    assert!(text(&response).contains("\"soon\"") && text(&response).contains("nap"), "{}", text(&response));
}

#[tokio::test]
async fn the_closure_can_know_its_attempt_and_a_key_that_stays() {
    let keys = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = keys.clone();
    let handler = async move |step: Step| {
        let seen = seen.clone();
        let n = step
            .run_with("charge", async |cx| {
                seen.lock().unwrap().push(cx.idempotency_key.clone());
                if cx.attempt < 3 { Err(std::io::Error::other("again")) } else { Ok(cx.attempt) }
            })
            .await?;
        Ok::<_, StepError>(n.to_string())
    };
    let app = App::new(|onward| onward.route("/", get(handler))).await;
    assert_eq!(text(&app.outcome("/").await), "3");
    let keys = keys.lock().unwrap();
    assert!(keys.len() == 3 && keys.iter().all(|key| *key == keys[0]), "{keys:?}");
}

#[tokio::test]
async fn a_step_that_takes_too_long_has_failed() {
    let handler = async |step: Step| {
        let error = step
            .run("slow", async || {
                std::future::pending::<()>().await;
                Ok::<_, StepError>(())
            })
            .timeout("20ms")
            .retries(0)
            .await
            .unwrap_err();
        error.is_timeout().to_string()
    };
    let app = App::new(|onward| onward.route("/", get(handler))).await;
    assert_eq!(text(&app.outcome("/").await), "true");
}

#[tokio::test]
async fn an_output_that_is_too_large_or_does_not_survive_json_is_the_steps_error() {
    let handler = async |step: Step| {
        let large = step.run("large", async || Ok::<_, StepError>("x".repeat(100))).await.unwrap_err();
        let nan = step.run("nan", async || Ok::<_, StepError>(f64::NAN)).await.unwrap_err();
        // It would be read back as `None`.
        let hidden = step.run("hidden", async || Ok::<_, StepError>([Some(f64::INFINITY)])).await.unwrap_err();
        format!("{} {} {}", large.is_too_large(), nan.message().contains("JSON"), hidden.message().contains("infinite"))
    };
    let options = onward::Options::default().output_bytes_max(50);
    let app = App::with(Onward::builder().defaults(options), |onward| onward.route("/", get(handler))).await;
    assert_eq!(text(&app.outcome("/").await), "true true true");
}

#[tokio::test]
async fn errors_of_anyhow_and_eyre_and_texts_are_a_steps_errors() {
    use anyhow::Context as _;
    let attempts = Count::default();
    let counts = attempts.clone();
    let handler = async move |step: Step| {
        let broken = || std::io::Error::other("broken");
        let said = [
            step.run("anyhow", async || Err::<(), _>(anyhow::Error::from(broken()).context("charge"))).retries(0).await,
            step.run("eyre", async || Err::<(), _>(eyre::Report::from(broken()).wrap_err("ship"))).retries(0).await,
            step.run("text", async || Err::<(), _>("no more lamps")).retries(0).await,
            step.run("boxed", async || Err::<(), onward::BoxError>(broken().into())).retries(0).await,
            step.run("final", async || {
                counts.hit();
                Err::<(), StepError>(StepError::fail("never")).context("asked")
            })
            .await,
        ];
        said.map(|said| said.unwrap_err().message().to_owned()).join(", ")
    };
    let app = App::new(|onward| onward.route("/", get(handler))).await;
    let outcome = app.get("/").await;
    assert_eq!(text(&outcome), "charge: broken, ship: broken, no more lamps, broken, asked: never");
    assert_eq!(attempts.get(), 1, "what the step's error says is heard through the context");
}

#[tokio::test]
async fn the_outputs_of_a_run_have_a_limit_together_whatever_brings_them_and_a_replay_agrees() {
    let handler = async |step: Step| {
        let run = async |id: &'static str, bytes: usize| {
            let output = step.run(id, async || Ok::<_, StepError>("x".repeat(bytes))).await;
            output.map_or_else(|error| error.message().to_owned(), |output| output.len().to_string())
        };
        let first = [run("a", 398).await, run("b", 798).await];
        let event = step.wait_for_event::<String>("event", "large").since_start().timeout("1h").await.unwrap_err();
        let last = run("c", 58).await;
        format!("{first:?} {} {last}", event.is_too_large())
    };
    let options = onward::Options::default().state_bytes_max(1000);
    let app = App::with(Onward::builder().defaults(options), |onward| onward.route("/", get(handler))).await;
    let suspended = app.get("/").await;
    app.onward.send_event("large", &"x".repeat(500)).await.unwrap();
    let refused = "the outputs of the run's steps would have 1200 bytes, the limit is 1000 (state_bytes_max)";
    let outcome = app.follow(suspended).await;
    assert_eq!(text(&outcome), format!("{:?} true 58", ["398", refused]));
}

#[tokio::test]
async fn one_id_for_two_kinds_is_reported_with_both_named() {
    let handler = async |step: Step| {
        step.run("both", async || Ok::<_, StepError>(())).await.unwrap();
        let error = step.sleep("both", "1s").await.unwrap_err();
        format!("{} {}", error.is_non_determinism(), error.message())
    };
    let app = App::new(|onward| onward.route("/", get(handler))).await;
    let response = app.get("/").await;
    assert!(
        text(&response).starts_with("true") && text(&response).contains("sleep") && text(&response).contains("run")
    );
}

#[tokio::test]
async fn a_handler_that_panics_outside_steps_is_retried_and_then_the_run_fails() {
    let count = Count::default();
    let (counted, steps) = (count.clone(), Count::default());
    let ran = steps.clone();
    let handler = async move |step: Step| -> Result<&'static str, StepError> {
        step.run("once", async || Ok::<_, StepError>(steps.hit())).await?;
        assert!(counted.hit() > 2, "boom");
        Ok("third time")
    };
    let never = async |_: Step| -> &'static str { panic!("always") };
    let app = App::new(|onward| {
        Router::new().merge(onward.route("/", get(handler))).merge(onward.route("/never", get(never)))
    })
    .await;
    assert_eq!(text(&app.outcome("/").await), "third time");
    assert_eq!((count.get(), ran.get()), (3, 1));
    let response = app.outcome("/never").await;
    assert_eq!(response.status(), 500);
    assert!(!text(&response).contains("always"));
}

#[tokio::test]
async fn a_run_that_takes_too_long_as_a_whole_fails_with_504() {
    let handler = async |step: Step| {
        step.sleep("long", "2h").await?;
        Ok::<_, StepError>("late")
    };
    let app = App::new(|onward| onward.endpoint().timeout("1h").route("/", get(handler))).await;
    let start = app.clock.now();
    let response = app.outcome("/").await;
    assert_eq!(response.status(), 504);
    assert!(app.clock.now().since(start) < Duration::from_secs(3700));
}

#[tokio::test]
async fn an_endpoint_invokes_another_and_gets_its_response() {
    let child = async |step: Step, axum::extract::Path(id): axum::extract::Path<u32>, body: String| {
        step.sleep("work", "1h").await?;
        Ok::<_, StepError>((http::StatusCode::CREATED, format!("{id}:{body}")))
    };
    let parent = async |step: Step| {
        let request = http::Request::post("/child/7").body(bytes::Bytes::from("hi")).unwrap();
        let response = step.invoke("call", "POST /child/{id}", request).await?;
        let unknown = step.invoke("none", "POST /none", http::Request::new(bytes::Bytes::new())).await.unwrap_err();
        let text = String::from_utf8_lossy(response.body()).into_owned();
        Ok::<_, StepError>(format!("{} {text} {}", response.status(), unknown.message().contains("POST /none")))
    };
    let app = App::new(|onward| {
        Router::new()
            .merge(onward.route("/parent", get(parent)))
            .merge(onward.route("/child/{id}", axum::routing::post(child)))
    })
    .await;
    assert_eq!(text(&app.outcome("/parent").await), "201 Created 7:hi true");
}

#[tokio::test]
async fn an_id_of_ones_own_is_one_endpoint_whatever_the_method() {
    let child = async |step: Step, method: http::Method| {
        step.sleep("work", "1h").await?;
        Ok::<_, StepError>(method.to_string())
    };
    let parent = async |step: Step| {
        let request = |method: http::Method| {
            http::Request::builder().method(method).uri("/ship").body(bytes::Bytes::new()).unwrap()
        };
        let got = step.invoke("get", "ship", request(http::Method::GET)).await?;
        let put = step.invoke("put", "ship", request(http::Method::PUT)).await?;
        Ok::<_, StepError>(format!("{:?} {:?}", got.body(), put.body()))
    };
    let app = App::new(|onward| {
        let ship = onward.endpoint().id("ship").route("/ship", get(child).put(child));
        onward.route("/parent", get(parent)).merge(ship)
    })
    .await;
    assert_eq!(text(&app.outcome("/parent").await), r#"b"GET" b"PUT""#);
    let query = onward::RunQuery::new().endpoint("ship");
    assert_eq!(app.onward.runs().list(query).await.unwrap().runs.len(), 2);
}

#[tokio::test]
async fn the_same_id_in_a_loop_gets_an_index() {
    let handler = async |step: Step| {
        let mut sum = 0;
        for n in 0..3 {
            sum += step.run("item", async || Ok::<_, StepError>(n)).await?;
        }
        Ok::<_, StepError>(format!("{sum} {}", step.run_id()))
    };
    let app = App::new(|onward| onward.route("/", get(handler))).await;
    let response = app.get("/").await;
    app.settle().await;
    let id = text(&response).split(' ').nth(1).unwrap().parse().unwrap();
    let detail = app.onward.runs().get(id).await.unwrap().unwrap();
    let ids: Vec<_> = detail.steps.iter().map(|step| step.id.as_str()).collect();
    assert_eq!(ids, ["item", "item:1", "item:2"]);
}

#[tokio::test]
async fn sleep_until_ends_at_its_time_and_at_once_where_that_has_passed() {
    let at = |clock: &onward_testing::ManualClock, secs: u64| {
        let now = std::time::UNIX_EPOCH + Duration::from_micros(clock.now().as_micros().unsigned_abs());
        now + Duration::from_secs(secs)
    };
    let clock = onward_testing::ManualClock::new();
    let (past, future) = (at(&clock, 0) - Duration::from_secs(60), at(&clock, 3600));
    let handler = async move |step: Step| {
        step.sleep_until("past", past).await?;
        step.sleep_until("future", future).await?;
        let far = step.sleep_until("far", future + Duration::from_secs(101 * 366 * 86_400)).await;
        Ok::<_, StepError>(far.unwrap_err().message().contains("36600 days").to_string())
    };
    let store = std::sync::Arc::new(onward_testing::MemoryStore::new());
    let app = App::on(store, clock, Onward::builder(), |onward| onward.route("/", get(handler))).await;
    let start = app.clock.now();
    assert_eq!(text(&app.outcome("/").await), "true");
    assert_eq!(app.clock.now().since(start), Duration::from_secs(3600));
}

#[tokio::test]
async fn a_fetch_is_made_until_it_is_answered_and_its_response_is_kept() {
    let (calls, keys) = (Count::default(), std::sync::Arc::new(std::sync::Mutex::new(Vec::new())));
    let (counted, seen) = (calls.clone(), keys.clone());
    let service = axum::routing::post(async move |headers: http::HeaderMap, body: String| {
        seen.lock().unwrap().push(headers["idempotency-key"].to_str().unwrap().to_owned());
        match counted.hit() {
            1 => (http::StatusCode::SERVICE_UNAVAILABLE, String::new()),
            _ => (http::StatusCode::CREATED, format!("got {body}")),
        }
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    #[expect(clippy::disallowed_methods, reason = "it ends with the test")]
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/", service)).await });
    let handler = async move |step: Step| {
        let url = url.clone();
        let request = || http::Request::post(&url).body(bytes::Bytes::from("x")).map_err(StepError::fail);
        let kept = step.fetch("call", request()?).error_for_status().await?;
        step.sleep("nap", "2h").await?;
        let refused = step.fetch("gone", http::Request::get(format!("{url}none")).body(bytes::Bytes::new()).unwrap());
        let refused = refused.error_for_status().await.unwrap_err();
        let text = String::from_utf8_lossy(kept.body()).into_owned();
        Ok::<_, StepError>(format!("{} {text} {}", kept.status().as_u16(), refused.message().contains("404")))
    };
    let app = App::new(|onward| onward.route("/", get(handler))).await;
    assert_eq!(text(&app.outcome("/").await), "201 got x true");
    let keys = keys.lock().unwrap();
    assert!(
        calls.get() == 2 && keys[0] == keys[1],
        "a kept response is not fetched again; each attempt has the same key"
    );
}
