//! What goes wrong around a run: clients that leave, stores that fail, handlers that panic beside their waits.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    routing::{get, post},
};
use http::Request;
use onward::{NewEvent, Onward, Step, StepError};
use onward_core::Store;
use onward_testing::{Call, Fault, FaultyStore, ManualClock, MemoryStore};
use tower::ServiceExt;

use crate::support::{App, Count, location, run_id, text};

/// An app on a file, so that its store answers a moment later.
async fn on_sqlite(dir: &std::path::Path, clock: &ManualClock, routes: impl FnOnce(&Onward) -> Router) -> App {
    let url = format!("sqlite:{}", dir.join("onward.db").display());
    let onward = Onward::builder().clock(Arc::new(clock.clone())).open(&url).await.unwrap();
    let router = routes(&onward).route("/wait", onward.proxy()).with_state(());
    onward.start().await.unwrap();
    App { onward, clock: clock.clone(), router }
}

#[tokio::test]
async fn a_client_that_leaves_while_its_run_is_being_stored_does_not_strand_it() {
    let dir = tempfile::tempdir().unwrap();
    let count = Count::default();
    let counted = count.clone();
    let handler =
        async move |step: Step| step.run("once", async || Ok::<_, StepError>(counted.hit().to_string())).await;
    let app = on_sqlite(dir.path(), &ManualClock::new(), |onward| onward.route("/", post(handler))).await;
    let request = || Request::post("/").header("idempotency-key", "k").body(Body::empty()).unwrap();
    let mut left = Box::pin(app.router.clone().oneshot(request()));
    assert!(futures_util::poll!(&mut left).is_pending(), "the run is being stored");
    drop(left);
    let response = app.send(request()).await;
    let response = tokio::time::timeout(Duration::from_secs(20), app.follow(response)).await.expect("the run ends");
    assert_eq!((response.status().as_u16(), text(&response), count.get()), (200, "1", 1));
    app.onward.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_run_whose_first_write_was_in_doubt_when_its_client_left_goes_on() {
    let count = Count::default();
    let counted = count.clone();
    let handler =
        async move |step: Step| step.run("once", async || Ok::<_, StepError>(counted.hit().to_string())).await;
    let checkpoints = |call: Call| call == Call::Checkpoint;
    let faulty = FaultyStore::counting(Arc::new(MemoryStore::new()), checkpoints).with_fault(1, Fault::FailAfter);
    let (clock, builder) = (ManualClock::new(), Onward::builder());
    let app = App::on(Arc::new(faulty), clock, builder, |onward| onward.route("/", post(handler))).await;
    let request = || Request::post("/").header("idempotency-key", "k").body(Body::empty()).unwrap();
    let mut left = Box::pin(app.router.clone().oneshot(request()));
    assert!(futures_util::poll!(&mut left).is_pending(), "the run is being stored");
    drop(left);
    app.settle().await;
    let runs = app.onward.runs().list(onward::RunQuery::new()).await.unwrap().runs;
    assert_eq!((runs.len(), runs[0].status, count.get()), (1, "completed", 1));
    let response = app.send(request()).await;
    assert_eq!((response.status().as_u16(), text(&response), count.get()), (200, "1", 1));
}

#[tokio::test]
async fn an_event_that_came_in_time_counts_however_late_the_run_sees_it() {
    let dir = tempfile::tempdir().unwrap();
    let handler = async |step: Step| {
        let came = step.wait_for_event::<u32>("wait", "go").timeout("1h").await?;
        Ok::<_, StepError>(format!("{:?}", came.map(|event| event.data)))
    };
    let clock = ManualClock::new();
    let app = on_sqlite(dir.path(), &clock, |onward| onward.route("/", get(handler))).await;
    let (first, nothing) = (app.get("/").await, app.get("/").await);
    app.onward.shutdown().await.unwrap();
    // The process is gone; its successor accepts the event in time and gets to the runs when their time is over.
    let app = on_sqlite(dir.path(), &clock, |onward| onward.route("/other", get(handler))).await;
    app.onward.send_event("go", &7).await.unwrap();
    app.onward.shutdown().await.unwrap();
    clock.advance(Duration::from_secs(2 * 3600));
    let app = on_sqlite(dir.path(), &clock, |onward| onward.route("/", get(handler))).await;
    assert_eq!(text(&app.follow(first).await), "Some(7)");
    assert_eq!(text(&app.follow(nothing).await), "Some(7)");
    let late = app.get("/").await;
    clock.advance(Duration::from_secs(2 * 3600));
    assert_eq!(text(&app.follow(late).await), "None");
    app.onward.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_handler_that_panics_beside_a_wait_still_gets_what_it_waits_for() {
    let count = Count::default();
    let counted = count.clone();
    let handler = async move |step: Step| {
        let waits = step.wait_for_event::<u32>("wait", "go");
        let panics = async {
            step.run("before", async || Ok::<_, StepError>(())).await?;
            tokio::task::yield_now().await;
            assert!(counted.hit() > 1, "the first time it panics");
            Ok::<_, StepError>(())
        };
        let (event, other) = tokio::join!(waits, panics);
        other?;
        Ok::<_, StepError>(format!("{:?}", event?.map(|event| event.data)))
    };
    let app = App::new(|onward| onward.route("/", get(handler))).await;
    let first = app.get("/").await;
    app.advance(Duration::from_secs(60)).await;
    app.onward.send_event("go", &7).await.unwrap();
    assert_eq!(text(&app.follow(first).await), "Some(7)");
    assert_eq!(count.get(), 2);
}

#[tokio::test]
async fn a_run_that_timed_out_while_it_waited_waits_again_when_it_is_retried() {
    let handler = async |step: Step| {
        let came = step.wait_for_event::<u32>("wait", "go").await?;
        Ok::<_, StepError>(format!("{:?}", came.map(|event| event.data)))
    };
    let app = App::new(|onward| onward.endpoint().timeout("1h").route("/", get(handler))).await;
    let first = app.get("/").await;
    let (run_id, wait) = (run_id(&first), location(&first));
    assert_eq!(app.follow(first).await.status(), 504);
    app.onward.runs().retry(run_id).await.unwrap();
    app.settle().await;
    app.onward.send_event("go", &7).await.unwrap();
    app.settle().await;
    assert_eq!(text(&app.get(&wait).await), "Some(7)");
}

#[tokio::test]
async fn a_retry_starts_with_the_step_whose_error_failed_the_run_and_leaves_handled_failures_alone() {
    let (a, b) = (Count::default(), Count::default());
    let (count_a, count_b) = (a.clone(), b.clone());
    let handler = async move |step: Step| {
        let fails = |count: &Count| match count.hit() {
            1 => Err(StepError::fail("no")),
            n => Ok(n),
        };
        let (a, b) = tokio::join!(step.run("a", async || fails(&count_a)), async {
            tokio::task::yield_now().await;
            step.run("b", async || fails(&count_b)).await
        });
        Ok::<_, StepError>(format!("{} {}", a?, b.is_err()))
    };
    let app = App::new(|onward| onward.endpoint().timeout("1h").route("/", get(handler))).await;
    assert_eq!(app.get("/").await.status(), 500);
    let page = app.onward.runs().list(onward::RunQuery::new()).await.unwrap();
    let run_id = page.runs[0].run_id.parse().unwrap();
    app.onward.runs().retry(run_id).await.unwrap();
    app.settle().await;
    let run = app.onward.runs().get(run_id).await.unwrap().unwrap();
    assert_eq!((run.summary.status, text(&run.response.unwrap())), ("completed", "2 true"));
    assert_eq!((a.get(), b.get()), (2, 1), "b's failure was handled");
}

#[tokio::test]
async fn a_checkpoint_that_is_not_written_is_a_503_and_its_run_goes_on_from_what_was_written() {
    let (store, clock) = (Arc::new(MemoryStore::new()), ManualClock::new());
    let count = Count::default();
    let counted = count.clone();
    let handler = async move |step: Step| {
        let one = step.run("one", async || Ok::<_, StepError>(1)).await?;
        let two = step.run("two", async || Ok::<_, StepError>(counted.hit())).await?;
        Ok::<_, StepError>(format!("{one} {two}"))
    };
    let checkpoints = |call: Call| call == Call::Checkpoint;
    let faulty = FaultyStore::counting(store.clone(), checkpoints).with_fault(2, Fault::Fail);
    let app = App::on(Arc::new(faulty), clock, Onward::builder(), |onward| onward.route("/", get(handler))).await;
    let response = app.get("/").await;
    assert_eq!((response.status().as_u16(), response.headers()["retry-after"].as_bytes()), (503, &b"1"[..]));
    assert!(text(&response).contains("store-unavailable"), "{}", text(&response));
    app.advance(Duration::from_secs(10)).await;
    let page = app.onward.runs().list(onward::RunQuery::new()).await.unwrap();
    let run = app.onward.runs().get(page.runs[0].run_id.parse().unwrap()).await.unwrap().unwrap();
    assert_eq!((run.summary.status, text(&run.response.unwrap())), ("completed", "1 2"));
    assert_eq!(count.get(), 2, "the output that was not written was not used");
}

#[tokio::test]
async fn a_run_that_cannot_be_stored_is_not_acknowledged() {
    for header in [("idempotency-key", "k"), ("prefer", "respond-async")] {
        let faulty = FaultyStore::counting(Arc::new(MemoryStore::new()), |call| call == Call::Checkpoint);
        let faulty = faulty.with_fault(1, Fault::Fail);
        let count = Count::default();
        let counted = count.clone();
        let handler = async move |_: Step| counted.hit().to_string();
        let app =
            App::on(Arc::new(faulty), ManualClock::new(), Onward::builder(), |onward| onward.route("/", post(handler)))
                .await;
        let request = Request::post("/").header(header.0, header.1).body(Body::empty()).unwrap();
        let response = app.send(request).await;
        assert_eq!((response.status().as_u16(), count.get()), (503, 0), "{header:?}");
    }
}

#[tokio::test]
async fn an_event_that_is_not_stored_is_not_acknowledged() {
    let faulty = FaultyStore::counting(Arc::new(MemoryStore::new()), |call| call == Call::SendEvents);
    let faulty = faulty.with_fault(1, Fault::Fail);
    let app = App::on(Arc::new(faulty), ManualClock::new(), Onward::builder(), |_| Router::new()).await;
    let event = || {
        Request::post("/events")
            .header("content-type", "application/json")
            .body(Body::from(r#"{"name": "go", "id": "e"}"#))
            .unwrap()
    };
    assert_eq!(app.send(event()).await.status(), 503);
    assert_eq!(app.send(event()).await.status(), 200);
}

#[tokio::test]
async fn a_handler_without_steps_that_panics_or_takes_too_long_leaves_nothing_in_memory() {
    let panics = async |_: Step| -> &'static str { panic!("a panic of the test") };
    let hangs = async |_: Step| std::future::pending::<&'static str>().await;
    let app = App::new(|onward| {
        let no_retries = onward.endpoint().retries(0).route("/panics", get(panics));
        no_retries.merge(onward.endpoint().timeout("1m").route("/hangs", get(hangs)))
    })
    .await;
    assert_eq!(app.get("/panics").await.status(), 500);
    assert_eq!(app.while_time_goes_on(app.get("/hangs")).await.status(), 504);
    app.settle().await;
    assert_eq!(app.onward.load().executing, 0);
}

#[tokio::test]
async fn a_run_whose_write_the_store_never_takes_fails_and_is_not_executed_again() {
    // The second is that of the step's output.
    let store = FaultyStore::counting(Arc::new(MemoryStore::new()), |call| call == Call::Checkpoint);
    let store = store.with_fault(2, Fault::Reject);
    let (clock, executed) = (ManualClock::new(), Count::default());
    let counted = executed.clone();
    let handler = async move |step: Step| {
        counted.hit();
        step.run("writes", async || Ok::<_, StepError>(1)).await?;
        Ok::<_, StepError>("done")
    };
    let routes = |onward: &Onward| onward.route("/", post(handler));
    let app = App::on(Arc::new(store), clock, Onward::builder(), routes).await;
    let request = Request::post("/").header("idempotency-key", "k").body(Body::empty()).unwrap();
    let response = app.send(request).await;
    let response = app.follow(response).await;
    assert_eq!(response.status(), 500);
    assert!(!text(&response).contains("never written"), "{}", text(&response));
    app.advance(Duration::from_secs(3600)).await;
    let runs = app.onward.runs().list(onward::RunQuery::new()).await.unwrap().runs;
    assert_eq!((executed.get(), runs[0].status), (1, "failed"));
    let shown = app.onward.runs().get(runs[0].run_id.parse().unwrap()).await.unwrap().unwrap();
    let error = shown.error.unwrap();
    assert!(error.to_string().contains("the store cannot keep what the run wrote"), "{error}");
}

#[tokio::test]
async fn a_response_that_never_ends_is_bounded_by_the_runs_timeout_and_cancelled_with_it() {
    let handler = async |step: Step| {
        step.run("one", async || Ok::<_, StepError>(())).await?;
        Ok::<_, StepError>(Body::from_stream(futures_util::stream::pending::<Result<bytes::Bytes, std::io::Error>>()))
    };
    let app = App::new(|onward| {
        let timed = onward.endpoint().timeout("1h").route("/timed", get(handler));
        timed.merge(onward.route("/cancelled", get(handler)))
    })
    .await;
    assert_eq!(app.while_time_goes_on(app.get("/timed")).await.status(), 504);
    let mut client = Box::pin(app.get("/cancelled"));
    assert!(futures_util::poll!(&mut client).is_pending());
    app.settle().await;
    let query = onward::RunQuery::new().endpoint("GET /cancelled");
    let run_id = app.onward.runs().list(query).await.unwrap().runs[0].run_id.parse().unwrap();
    app.onward.runs().cancel(run_id).await.unwrap();
    assert_eq!(client.await.status(), 409);
    app.settle().await;
    assert_eq!(app.onward.load().executing, 0);
}

#[tokio::test]
async fn a_step_in_the_body_of_a_response_is_a_clear_error() {
    let handler = async |step: Step| {
        let body = async move {
            let error = step.run("late", async || Ok::<_, StepError>(1)).await.unwrap_err();
            Ok::<_, std::io::Error>(bytes::Bytes::from(error.message().to_owned()))
        };
        Body::from_stream(futures_util::stream::once(Box::pin(body)))
    };
    let app = App::new(|onward| onward.route("/", get(handler))).await;
    assert!(text(&app.get("/").await).contains("the handler has returned"));
    assert!(app.onward.runs().list(onward::RunQuery::new()).await.unwrap().runs.is_empty());
}

#[tokio::test]
async fn a_run_that_was_ended_while_it_was_being_claimed_is_not_executed() {
    let (store, clock) = (Arc::new(MemoryStore::new()), ManualClock::new());
    let count = Count::default();
    let counted = count.clone();
    let handler = async move |step: Step| {
        counted.hit();
        step.sleep("nap", "2h").await?;
        step.run("after", async || Ok::<_, StepError>(counted.hit())).await.map(|n| n.to_string())
    };
    let builder = || Onward::builder().parked_max(0);
    let app = App::on(store.clone(), clock.clone(), builder(), |onward| onward.route("/", get(handler))).await;
    let first = app.get("/").await;
    app.settle().await;
    app.onward.runs().cancel(run_id(&first)).await.unwrap();
    app.advance(Duration::from_secs(3 * 3600)).await;
    assert_eq!((app.follow(first).await.status().as_u16(), count.get()), (409, 1));
}

#[tokio::test]
async fn an_event_that_others_send_cannot_take_the_place_of_a_runs_own() {
    let app = App::new(|_| Router::new()).await;
    let taken = NewEvent::new("go", &1).unwrap().id("onward/01ARZ3NDEKTSV4RRFFQ69G5FAV-x");
    assert!(app.onward.send_events(vec![taken]).await.unwrap_err().is_invalid());
    let deep = format!(r#"{{"name": "go", "data": {}1{}}}"#, "[".repeat(200), "]".repeat(200));
    for body in [r#"{"name": "go", "id": "onward/x"}"#.to_owned(), deep] {
        let response = app
            .send(Request::post("/events").header("content-type", "application/json").body(Body::from(body)).unwrap())
            .await;
        assert_eq!(response.status(), 400);
        assert!(text(&response).contains("event-malformed"));
    }
}

#[tokio::test]
async fn what_fails_before_it_begins_fails_in_a_replay_too() {
    let (store, clock) = (Arc::new(MemoryStore::new()), ManualClock::new());
    let handler = async |step: Step| {
        let request = Request::get("/later").body(bytes::Bytes::new()).unwrap();
        let missing = step.invoke("call", "GET /later", request).await.is_err();
        step.sleep("nap", "1h").await?;
        Ok::<_, StepError>(missing.to_string())
    };
    let app = App::on(store.clone(), clock.clone(), Onward::builder(), |onward| onward.route("/", get(handler))).await;
    let first = app.get("/").await;
    app.onward.shutdown().await.unwrap();
    // The next release has the endpoint.
    let app = App::on(store.clone(), clock, Onward::builder(), |onward| {
        onward.route("/", get(handler)).merge(onward.route("/later", get(async |_: Step| "x")))
    })
    .await;
    assert_eq!(text(&app.follow(first).await), "true");
    assert_eq!(
        store.runs(onward_core::store::RunFilter { limit: 9, ..Default::default() }).await.unwrap().runs.len(),
        1
    );
}
