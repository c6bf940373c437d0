//! Runs that take their process down with them: they are counted, rest, and fail; nobody else does.
//!
//! A process dies here by being left alone: the next life goes on from a copy of what was stored.

use std::{future::pending, sync::Arc, time::Duration};

use axum::{Router, routing::get};
use http::StatusCode;
use onward::{Onward, Options, RunId, Step, StepError};
use onward_testing::{ManualClock, MemoryStore};

use crate::support::{App, Count, Log, location, run_id, text};

/// What outlives a process.
#[derive(Clone, Default)]
struct World {
    charged: Count,
    /// How often the poisonous step has begun.
    begun: Count,
    /// How often it may begin until it is harmless.
    harmless_after: Option<u32>,
    /// How often the handler was called.
    called: Count,
    /// Whether the handler itself takes the process down, from the call with that number on.
    dies_at_call: Option<u32>,
}

impl World {
    fn routes(&self, onward: &Onward) -> Router {
        let poison = self.clone();
        let poison = async move |step: Step| {
            let call = poison.called.hit();
            step.run("charge", async || Ok::<_, StepError>(poison.charged.hit())).await?;
            step.sleep("nap", "10s").await?;
            if poison.dies_at_call.is_some_and(|at| call >= at) {
                pending::<()>().await;
            }
            let render = step.run("render", async || {
                let begun = poison.begun.hit();
                if poison.harmless_after.is_none_or(|after| begun <= after) {
                    pending::<()>().await;
                }
                Ok::<_, StepError>("rendered".to_owned())
            });
            render.await
        };
        let slow = async |step: Step| {
            step.sleep("nap", "10s").await?;
            step.run("think", async || {
                tokio::time::sleep(Duration::from_secs(3)).await;
                Ok::<_, StepError>("thought".to_owned())
            })
            .await
        };
        let waits = async |step: Step| {
            step.sleep("nap", "50s").await?; // parked meanwhile
            Ok::<_, StepError>("awake")
        };
        Router::new()
            .merge(onward.route("/poison", get(poison)))
            .merge(onward.route("/slow", get(slow)))
            .merge(onward.route("/waits", get(waits)))
    }

    /// Opens the app on what is stored.
    async fn begin(&self, store: &MemoryStore, clock: &ManualClock) -> App {
        let builder = Onward::builder().defaults(Options::default().timeout("24h"));
        App::on(Arc::new(store.clone()), clock.clone(), builder, |onward| self.routes(onward)).await
    }
}

/// The process dies; what it has stored is there.
fn die(app: App, store: &mut MemoryStore) {
    *store = store.snapshot();
    std::mem::forget(app);
}

async fn status(app: &App, id: RunId) -> &'static str {
    app.onward.runs().get(id).await.unwrap().unwrap().summary.status
}

async fn crashes(app: &App, id: RunId) -> u32 {
    app.onward.runs().get(id).await.unwrap().unwrap().crashes
}

#[tokio::test(start_paused = true)]
async fn a_run_that_takes_its_process_down_fails_and_can_be_retried() {
    let world = World { harmless_after: Some(6), ..World::default() };
    let (mut store, clock, log) = (MemoryStore::new(), ManualClock::new(), Log::default());
    let _listening = log.listen();
    let mut app = world.begin(&store, &clock).await;
    let first = app.get("/poison").await;
    let id = run_id(&first);
    app.advance(Duration::from_secs(10)).await;
    assert_eq!(world.begun.get(), 1);
    // The first crash came after progress; then the run rests longer and longer.
    for (life, rest) in (1..).zip([0, 1, 2, 4, 8]) {
        die(app, &mut store);
        app = world.begin(&store, &clock).await;
        if rest > 0 {
            app.advance(Duration::from_millis(rest * 1000 - 1)).await;
            assert_eq!(world.begun.get(), life, "it rests for {rest} s");
        }
        app.advance(Duration::from_millis(300)).await;
        assert_eq!((world.begun.get(), crashes(&app, id).await), (life + 1, life - 1));
    }
    die(app, &mut store);
    app = world.begin(&store, &clock).await;
    app.advance(Duration::from_secs(1)).await;
    let detail = app.onward.runs().get(id).await.unwrap().unwrap();
    let error = detail.error.unwrap();
    assert_eq!((detail.summary.status, detail.crashes, error.is_crash()), ("failed", 5, true));
    assert!(error.message().contains("5 times in a row") && error.message().contains("\"render\""), "{error}");
    assert_eq!((world.begun.get(), app.onward.load().crashed), (6, 1), "it has not begun again");
    let answer = app.get(&location(&first)).await;
    assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert!(text(&answer).contains("/errors/run-crashed"), "{}", text(&answer));
    assert!(log.text().contains("run crashed") && log.text().contains("run rests"));

    app.onward.runs().retry(id).await.unwrap();
    assert_eq!(text(&app.follow(first).await), "rendered");
    assert_eq!((world.charged.get(), world.begun.get()), (1, 7));
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_crashes_outside_of_its_steps_fails_unasked() {
    let world = World { dies_at_call: Some(1), ..World::default() };
    let (mut store, clock) = (MemoryStore::new(), ManualClock::new());
    let mut app = world.begin(&store, &clock).await;
    let id = run_id(&app.get("/poison").await);
    app.advance(Duration::from_secs(10)).await;
    for _ in 0..6 {
        die(app, &mut store);
        app = world.begin(&store, &clock).await;
        app.advance(Duration::from_secs(10)).await;
    }
    assert_eq!(crashes(&app, id).await, 5);
    // It was asked for its steps, and has not come back: as a process that dies there.
    let called = world.called.get();
    die(app, &mut store);
    app = world.begin(&store, &clock).await;
    app.advance(Duration::from_secs(1)).await;
    let detail = app.onward.runs().get(id).await.unwrap().unwrap();
    assert_eq!((detail.summary.status, world.called.get()), ("failed", called));
    assert!(detail.error.unwrap().message().contains("outside of its steps"));
}

#[tokio::test(start_paused = true)]
async fn a_run_that_was_only_beside_one_that_crashes_does_not_fail() {
    let world = World::default();
    let (mut store, clock) = (MemoryStore::new(), ManualClock::new());
    let mut app = world.begin(&store, &clock).await;
    let (poison, slow) = (run_id(&app.get("/poison").await), run_id(&app.get("/slow").await));
    let mut begun = 0;
    for _ in 0..2_000 {
        app.advance(Duration::from_millis(100)).await;
        tokio::time::advance(Duration::from_millis(100)).await;
        app.settle().await;
        if world.begun.get() > begun {
            begun = world.begun.get();
            die(app, &mut store);
            app = world.begin(&store, &clock).await;
        }
    }
    assert_eq!((status(&app, poison).await, status(&app, slow).await), ("failed", "completed"));
}

#[tokio::test(start_paused = true)]
async fn runs_that_only_wait_do_not_crash_with_their_process() {
    let world = World::default();
    let (mut store, clock) = (MemoryStore::new(), ManualClock::new());
    let mut app = world.begin(&store, &clock).await;
    let first = app.get("/waits").await;
    for _ in 0..15 {
        app.advance(Duration::from_secs(3)).await;
        die(app, &mut store);
        app = world.begin(&store, &clock).await;
    }
    assert_eq!(text(&app.follow(first).await), "awake");
}

#[tokio::test(start_paused = true)]
async fn an_orderly_shutdown_is_no_crash() {
    let world = World::default();
    let (store, clock) = (MemoryStore::new(), ManualClock::new());
    let app = world.begin(&store, &clock).await;
    let id = run_id(&app.get("/poison").await);
    app.advance(Duration::from_secs(10)).await;
    assert!(app.onward.shutdown().await.is_err(), "a step was cut off");
    for life in 2..10 {
        let app = world.begin(&store, &clock).await;
        app.advance(Duration::from_secs(1)).await;
        assert_eq!((world.begun.get(), crashes(&app, id).await), (life, 0));
        assert!(app.onward.shutdown().await.is_err(), "a step was cut off");
    }
}
