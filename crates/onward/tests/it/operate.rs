//! Runs from Rust: list, look at, cancel, retry, delete; retention.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::SeqCst},
};

use axum::{
    Router,
    body::Body,
    routing::{get, post},
};
use http::{Request, StatusCode};
use onward::{Onward, Options, RunQuery, RunStatus, Step, StepError};
use onward_core::{Clock, Store, store::Control};
use onward_testing::{ManualClock, MemoryStore};

use crate::support::{App, Count, location, run_id, text};

async fn nap(step: Step) -> Result<&'static str, StepError> {
    step.run("before", async || Ok::<_, StepError>(1)).await?;
    step.sleep("nap", "2h").await?;
    Ok("rested")
}

#[tokio::test]
async fn runs_are_listed_by_page_and_filter_and_shown_with_their_steps() {
    let app =
        App::new(|onward| Router::new().merge(onward.route("/", get(nap))).merge(onward.route("/other", get(nap))))
            .await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        app.clock.advance(std::time::Duration::from_millis(10));
        ids.push(run_id(&app.get("/").await));
    }
    app.get("/other").await;
    let query = || RunQuery::new().endpoint("GET /").limit(3);
    let page = app.onward.runs().list(query()).await.unwrap();
    let next = page.next.unwrap();
    let rest = app.onward.runs().list(query().before(next)).await.unwrap();
    let listed: Vec<_> = page.runs.iter().chain(&rest.runs).map(|run| run.run_id.clone()).collect();
    assert_eq!(listed, ids.iter().rev().map(ToString::to_string).collect::<Vec<_>>());
    assert!(app.onward.runs().list(query().status(RunStatus::Failed)).await.unwrap().runs.is_empty());
    let detail = app.onward.runs().get(ids[0]).await.unwrap().unwrap();
    let steps: Vec<_> = detail.steps.iter().map(|step| (step.id.as_str(), step.kind, step.status)).collect();
    assert_eq!(steps, [("before", "run", "succeeded"), ("nap", "sleep", "waiting")]);
}

#[tokio::test]
async fn who_waits_for_a_cancelled_run_is_told_so() {
    let app = App::new(|onward| onward.route("/", get(nap))).await;
    let first = app.get("/").await;
    let (id, location) = (run_id(&first), location(&first));
    let (response, ()) = tokio::join!(app.get(&location), async {
        app.settle().await;
        app.onward.runs().cancel(id).await.unwrap();
    });
    assert_eq!(response.status(), 409);
    assert!(text(&response).contains("run-cancelled"));
    assert_eq!(app.get(&location).await.status(), 409);
    assert!(app.onward.runs().cancel(id).await.unwrap_err().is_wrong_status());
    app.onward.runs().delete(id).await.unwrap();
    assert_eq!(app.get(&location).await.status(), 410);
    assert!(app.onward.runs().delete(id).await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn a_run_that_is_cancelled_while_its_client_is_connected_answers_409() {
    let begun = Arc::new(tokio::sync::Notify::new());
    let notify = begun.clone();
    let handler = async move |step: Step| {
        step.run("first", async || Ok::<_, StepError>(())).await?;
        step.run("stuck", async || {
            notify.notify_one();
            std::future::pending::<Result<(), StepError>>().await
        })
        .await
        .map(|()| "never")
    };
    let app = App::new(|onward| onward.route("/", get(handler))).await;
    let (response, ()) = tokio::join!(app.get("/"), async {
        begun.notified().await;
        let runs = app.onward.runs().list(RunQuery::new()).await.unwrap().runs;
        app.onward.runs().cancel(runs[0].run_id.parse().unwrap()).await.unwrap();
    });
    assert_eq!(response.status(), 409);
}

#[tokio::test]
async fn a_failed_run_goes_on_from_the_step_that_failed_it() {
    let (before, broken) = (Count::default(), Count::default());
    let (b, f) = (before.clone(), broken.clone());
    let handler = async move |step: Step| {
        step.run("before", async || Ok::<_, StepError>(b.hit())).await?;
        let n = step
            .run("broken", async || match f.hit() {
                n @ 1..=2 => Err(StepError::fail(format!("down {n}"))),
                n => Ok(n),
            })
            .await?;
        Ok::<_, StepError>(format!("mended {n}"))
    };
    let app = App::new(|onward| onward.route("/", get(handler))).await;
    assert_eq!(app.outcome("/").await.status(), 500);
    app.settle().await;
    let id = app.onward.runs().list(RunQuery::new()).await.unwrap().runs[0].run_id.parse().unwrap();
    for expected in ["failed", "completed"] {
        app.onward.runs().retry(id).await.unwrap();
        app.settle().await;
        let run = app.onward.runs().get(id).await.unwrap().unwrap();
        assert_eq!(run.summary.status, expected);
    }
    assert_eq!((before.get(), broken.get()), (1, 3));
    assert!(app.onward.runs().retry(id).await.unwrap_err().is_wrong_status());
    let run = app.onward.runs().get(id).await.unwrap().unwrap();
    assert_eq!(&run.response.unwrap().body()[..], b"mended 3");
}

/// The usual error type of an axum app, which answers every error with a 500 of its own.
struct AppError(onward::BoxError);

impl<E: Into<onward::BoxError>> From<E> for AppError {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl axum::response::IntoResponse for AppError {
    fn into_response(self) -> axum::response::Response {
        drop(self.0);
        (StatusCode::INTERNAL_SERVER_ERROR, "{\"error\":\"internal\"}").into_response()
    }
}

#[tokio::test]
async fn a_500_of_the_handler_fails_its_run_with_that_response_and_retry_goes_on_from_the_step() {
    let down = Arc::new(AtomicBool::new(true));
    let (charged, is_down) = (Count::default(), Arc::clone(&down));
    let counts = charged.clone();
    let handler = async move |step: Step| -> Result<String, AppError> {
        step.run("charge", async || Ok::<_, StepError>(counts.hit())).await?;
        let ship = async || if is_down.load(SeqCst) { Err(StepError::fail("down")) } else { Ok(7) };
        Ok(step.run("ship", ship).await?.to_string())
    };
    let app = App::new(|onward| onward.route("/", get(handler))).await;
    let request = || Request::get("/").header("idempotency-key", "k").body(Body::empty()).unwrap();
    let failed = app.send(request()).await;
    assert_eq!((failed.status().as_u16(), text(&failed)), (500, "{\"error\":\"internal\"}"));
    let run = app.onward.runs().list(RunQuery::new().status(RunStatus::Failed)).await.unwrap().runs.remove(0);
    let id = run.run_id.parse().unwrap();
    let detail = app.onward.runs().get(id).await.unwrap().unwrap();
    assert!(detail.error.unwrap().message().contains("status 500"));
    assert_eq!(text(&detail.response.unwrap()), "{\"error\":\"internal\"}");

    down.store(false, SeqCst);
    app.onward.runs().retry(id).await.unwrap();
    let again = app.send(request()).await;
    let last = app.follow(again).await;
    assert_eq!((last.status().as_u16(), text(&last), charged.get()), (200, "7", 1));
}

#[tokio::test]
async fn an_endpoint_says_which_responses_fail_its_runs() {
    let handler = async |step: Step, status: String| {
        step.run("s", async || Ok::<_, StepError>(())).await.unwrap();
        StatusCode::from_bytes(status.as_bytes()).unwrap()
    };
    let options = Options::default().failed_when(|response| response.status() == StatusCode::CONFLICT);
    let app = App::new(|onward| onward.endpoint().options(options).route("/", post(handler))).await;
    for status in ["503", "409"] {
        let response = app.send(Request::post("/").body(Body::from(status)).unwrap()).await;
        assert_eq!(response.status().as_str(), status);
        app.clock.advance(std::time::Duration::from_millis(10));
    }
    let runs = app.onward.runs().list(RunQuery::new()).await.unwrap().runs;
    assert_eq!(runs.iter().map(|run| run.status).collect::<Vec<_>>(), ["failed", "completed"]);
}

#[tokio::test]
async fn an_app_that_is_paused_resumes_no_run_and_shows_them() {
    let (store, clock) = (Arc::new(MemoryStore::new()), ManualClock::new());
    let routes = |onward: &Onward| onward.route("/", get(nap));
    let app = App::on(Arc::<MemoryStore>::clone(&store), clock.clone(), Onward::builder().parked_max(0), routes).await;
    let id = run_id(&app.get("/").await);
    app.onward.shutdown().await.unwrap();
    let paused = App::on(Arc::<MemoryStore>::clone(&store), clock.clone(), Onward::builder().paused(), routes).await;
    paused.advance(std::time::Duration::from_secs(3 * 3600)).await;
    assert_eq!(paused.onward.runs().get(id).await.unwrap().unwrap().summary.status, "suspended");
    paused.onward.shutdown().await.unwrap();
    let again = App::on(store, clock, Onward::builder(), routes).await;
    again.advance(std::time::Duration::from_secs(1)).await;
    assert_eq!(again.onward.runs().get(id).await.unwrap().unwrap().summary.status, "completed");
}

#[tokio::test]
async fn a_step_may_have_the_id_of_what_happens_to_the_handler() {
    let calls = Count::default();
    let counts = calls.clone();
    let handler = async move |step: Step| {
        let first = counts.hit() == 1;
        let done = step.run("complete", async || Ok::<_, StepError>("done".to_owned())).await?;
        assert!(!first, "the handler fails outside of its steps");
        Ok::<_, StepError>(done)
    };
    let app = App::new(|onward| onward.route("/", get(handler))).await;
    let first = app.get("/").await;
    let id = run_id(&first);
    assert_eq!(text(&app.follow(first).await), "done");
    let steps = app.onward.runs().get(id).await.unwrap().unwrap().steps;
    let steps: Vec<_> = steps.iter().map(|step| (step.id.as_str(), step.kind, step.status)).collect();
    assert_eq!(steps, [("complete", "run", "succeeded"), ("complete", "handler", "retrying")]);
}

#[tokio::test]
async fn a_run_that_was_cancelled_without_its_app_answers_as_one_that_was_cancelled_with_it() {
    let encrypting = || Onward::builder().encryption_key(1, [1; 32]).require_encryption();
    for builder in [Onward::builder as fn() -> onward::Builder, encrypting] {
        let store = MemoryStore::new();
        let handler = async |step: Step| {
            step.sleep("nap", "1h").await?;
            Ok::<_, StepError>("done")
        };
        let parent = async |step: Step| {
            let child = step.invoke("child", "GET /", Request::get("/").body(bytes::Bytes::new()).unwrap()).await;
            Ok::<_, StepError>(child.unwrap_err().to_string())
        };
        let routes = |onward: &Onward| onward.route("/", get(handler)).merge(onward.route("/parent", get(parent)));
        let app = App::on(Arc::new(store.clone()), ManualClock::new(), builder().parked_max(0), routes).await;
        let (mine, theirs) = (app.get("/").await, app.get("/").await);
        app.onward.runs().cancel(run_id(&mine)).await.unwrap();
        app.clock.advance(std::time::Duration::from_millis(10)); // so that the child is the newest
        let parent = app.get("/parent").await;
        let child = app.onward.runs().list(RunQuery::new().endpoint("GET /").limit(1)).await.unwrap().runs.remove(0);
        for run in [run_id(&theirs), child.run_id.parse().unwrap()] {
            let cancel = Control::Cancel(onward_host::operate::cancelled());
            store.control(run, cancel, app.clock.now()).await.unwrap();
        }
        let (mine, theirs) = (app.get(&location(&mine)).await, app.get(&location(&theirs)).await);
        assert_eq!((mine.status(), theirs.status()), (StatusCode::CONFLICT, StatusCode::CONFLICT));
        assert!(text(&theirs).contains("run-cancelled"), "{}", text(&theirs));
        let parent = app.while_time_goes_on(app.get(&location(&parent))).await;
        assert!(text(&parent).contains("cancel"), "{}", text(&parent));
    }
}
