//! P1 and P2 on SQLite: what was acknowledged survives the process, and no committed step runs again.

use std::{path::Path, sync::Arc, time::Duration};

use axum::{Router, routing::get};
use http::Request;
use onward::{Onward, Step, StepError};
use onward_testing::ManualClock;

use crate::support::{App, Count, location, text};

async fn open(path: &Path, clock: &ManualClock, count: &Count) -> App {
    let counted = count.clone();
    let handler = async move |step: Step| {
        let n = step.run("charge", async || Ok::<_, StepError>(counted.hit())).await?;
        step.sleep("nap", "2h").await?;
        let m = step.run("ship", async || Ok::<_, StepError>(counted.hit())).await?;
        Ok::<_, StepError>(format!("{n} {m}"))
    };
    let url = format!("sqlite:{}", path.display());
    let onward = Onward::builder().clock(Arc::new(clock.clone())).open(&url).await.unwrap();
    let router = Router::new().merge(onward.route("/", get(handler))).route("/wait", onward.proxy()).with_state(());
    onward.start().await.unwrap();
    App { onward, clock: clock.clone(), router }
}

#[tokio::test]
async fn a_run_goes_on_in_the_next_process_and_its_client_gets_its_response() {
    let dir = tempfile::tempdir().unwrap();
    let (path, clock, count) = (dir.path().join("onward.db"), ManualClock::new(), Count::default());
    let app = open(&path, &clock, &count).await;
    let first = app.get("/").await;
    let second = Onward::open(&format!("sqlite:{}", path.display())).await;
    assert!(second.unwrap_err().is_transient(), "one process owns the file");
    app.onward.shutdown().await.unwrap();
    drop(app);
    clock.advance(Duration::from_secs(3 * 3600));
    let app = open(&path, &clock, &count).await;
    assert_eq!(text(&app.get(&location(&first)).await), "1 2");
    assert_eq!(count.get(), 2);
    app.onward.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_store_that_no_retry_opens_is_a_configuration_error() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    for url in [format!("sqlite:{}", dir.path().display()), format!("sqlite:{}/below", file.display())] {
        let error = Onward::open(&url).await.unwrap_err();
        assert!(error.is_config() && !error.is_transient(), "{url}: {error:?}");
    }
}

#[tokio::test]
async fn a_transaction_commits_with_its_step_once_and_rolls_back_with_its_failure() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", dir.path().join("onward.db").display());
    let clock = ManualClock::new();
    let onward = Onward::builder().clock(Arc::new(clock.clone())).open(&url).await.unwrap();
    let sqlite = onward.sqlite().unwrap().clone();
    sqlite
        .with_connection(|db| db.execute_batch("CREATE TABLE stock (n INTEGER); INSERT INTO stock VALUES (10)"))
        .await
        .unwrap();
    let tries = Count::default();
    let counted = tries.clone();
    let handler = async move |step: Step| {
        let counted = counted.clone();
        let (left, other) = tokio::join!(
            step.transaction("reserve", move |db| {
                let left: i64 = db.query_row("UPDATE stock SET n = n - 1 RETURNING n", [], |row| row.get(0))?;
                if counted.hit() == 1 { Err(onward::rusqlite::Error::QueryReturnedNoRows) } else { Ok(left) }
            }),
            step.run("beside", async || Ok::<_, StepError>(1)),
        );
        let denied = step.transaction("deny", |db| db.execute_batch("COMMIT")).retries(0).await;
        let own = step.transaction("own", |db| db.execute_batch("DELETE FROM onward_runs")).retries(0).await;
        step.sleep("nap", "2h").await?;
        Ok::<_, StepError>(format!("{} {} {} {}", left?, other?, denied.is_err(), own.is_err()))
    };
    let router = Router::new().merge(onward.route("/", get(handler))).route("/wait", onward.proxy()).with_state(());
    onward.start().await.unwrap();
    let app = App { onward, clock, router };
    assert_eq!(text(&app.outcome("/").await), "9 1 true true");
    let left: i64 =
        sqlite.with_connection(|db| db.query_row("SELECT n FROM stock", [], |row| row.get(0))).await.unwrap();
    assert_eq!((left, tries.get()), (9, 2));
    app.onward.shutdown().await.unwrap();
}

#[tokio::test]
async fn parked_handlers_go_on_in_place_and_past_their_bounds_are_replayed() {
    for (parked_max, calls) in [(10, 1), (0, 2)] {
        let count = Count::default();
        let counted = count.clone();
        let handler = async move |step: Step| {
            counted.hit();
            step.sleep("nap", "30s").await?;
            Ok::<_, StepError>("done")
        };
        let builder = Onward::builder().parked_max(parked_max);
        let app = App::with(builder, |onward| onward.route("/", get(handler))).await;
        let first = app.get("/").await;
        app.settle().await;
        assert_eq!(app.onward.load().parked, usize::from(parked_max > 0));
        assert_eq!(text(&app.follow(first).await), "done");
        assert_eq!(count.get(), calls);
        app.settle().await;
        assert_eq!((app.onward.load().parked, app.onward.load().executing), (0, 0));
    }
}

#[tokio::test]
async fn a_tower_service_without_axum_is_durable_too() {
    use http_body_util::{BodyExt, Full};
    use tower::ServiceExt;
    let onward = Onward::open("memory:").await.unwrap();
    let service = tower::service_fn(async |request: Request<Full<bytes::Bytes>>| {
        let step = request.extensions().get::<Step>().cloned().unwrap();
        let n = step.run("one", async || Ok::<_, StepError>(41)).await.unwrap() + 1;
        Ok::<_, std::convert::Infallible>(http::Response::new(Full::new(bytes::Bytes::from(n.to_string()))))
    });
    let durable = onward.endpoint().id("answer").service::<_, Full<bytes::Bytes>>(service);
    onward.start().await.unwrap();
    let request = Request::new(Full::new(bytes::Bytes::new()));
    let response = durable.oneshot(request).await.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "42");
    onward.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_long_replay_lets_others_have_their_turn() {
    let handler = async |step: Step| {
        for number in 0..5_000 {
            step.run("step", async || Ok::<_, StepError>(number)).await?;
        }
        step.sleep("nap", "1h").await?;
        Ok::<_, StepError>("done")
    };
    let app = App::with(Onward::builder().parked_max(0), |onward| onward.route("/", get(handler))).await;
    let first = app.get("/").await;
    app.settle().await; // it is suspended
    app.clock.advance(Duration::from_secs(3600));
    let (turns, mut others) = (Count::default(), tokio::task::JoinSet::new());
    let counts = turns.clone();
    others.spawn(async move {
        loop {
            tokio::task::yield_now().await;
            counts.hit();
        }
    });
    let last = app.follow(first).await;
    assert_eq!(text(&last), "done");
    assert!(turns.get() >= 5_000 / 256 - 1, "others had {} turns", turns.get());
}
