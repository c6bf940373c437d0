//! Runs whose record cannot be read: they are seen, rest, can be ended, and go on when the record can be read.

use std::{sync::Arc, time::Duration};

use axum::routing::get;
use onward::{Builder, Onward, RunQuery, RunStatus, RunSummary, Step, StepError};
use onward_testing::{Call, FaultyStore, ManualClock, MemoryStore};

use crate::support::{App, Log, location, run_id, text};

const HOUR: Duration = Duration::from_secs(3600);

async fn nap(step: Step) -> Result<&'static str, StepError> {
    step.run("before", async || Ok::<_, StepError>(1)).await?;
    step.sleep("nap", "1h").await?;
    Ok("rested")
}

/// An app with an encryption key of its own, and a key for tokens that all have.
fn sealed_with(key: u8) -> Builder {
    let builder = Onward::builder().token_key(1, [7; 32]).forget_kept_token_key();
    builder.encryption_key(u32::from(key), [key; 32]).parked_max(0)
}

async fn on(store: &FaultyStore, clock: &ManualClock, builder: Builder) -> App {
    let store = Arc::new(store.clone());
    App::on(store, clock.clone(), builder, |onward| onward.endpoint().timeout("30h").route("/", get(nap))).await
}

async fn listed(app: &App) -> Vec<RunSummary> {
    app.onward.runs().list(RunQuery::new()).await.unwrap().runs
}

#[tokio::test]
async fn a_run_that_cannot_be_read_is_seen_rests_and_goes_on_when_it_can_be_read() {
    let (store, clock) = (FaultyStore::new(Arc::new(MemoryStore::new())), ManualClock::new());
    let right = on(&store, &clock, sealed_with(1)).await;
    let first = right.get("/").await;
    right.onward.shutdown().await.unwrap();

    let log = Log::default();
    let listens = log.listen();
    let wrong = on(&store, &clock, sealed_with(2)).await;
    wrong.advance(10 * HOUR).await;
    let [run] = &listed(&wrong).await[..] else { panic!("one run is listed") };
    assert!(run.unreadable.as_ref().unwrap().contains("an encryption key that was not given"), "{run:?}");
    assert_eq!((run.status, wrong.onward.load().unreadable), ("suspended", 1));
    let detail = wrong.onward.runs().get(run_id(&first)).await.unwrap().unwrap();
    assert_eq!((&detail.summary, detail.steps.len()), (run, 0));
    let told = log.text().lines().filter(|line| line.contains("run unreadable")).count();
    let loads = store.calls().iter().filter(|call| **call == Call::Load).count();
    assert_eq!(told, 1, "{}", log.text());
    // Nine hours, at five minutes each, and the shorter rests before; and this test has looked, too.
    assert!((100..130).contains(&loads), "{loads}");
    drop(listens);
    wrong.onward.shutdown().await.unwrap();

    let right = on(&store, &clock, sealed_with(1)).await;
    assert_eq!(text(&right.follow(first).await), "rested");
    assert_eq!((listed(&right).await[0].unreadable.as_ref(), right.onward.load().unreadable), (None, 0));
}

#[tokio::test]
async fn a_run_that_cannot_be_read_is_cancelled_deleted_and_ended_by_its_timeout() {
    let (store, clock) = (FaultyStore::new(Arc::new(MemoryStore::new())), ManualClock::new());
    let right = on(&store, &clock, sealed_with(1)).await;
    let (cancelled, timed_out) = (right.get("/").await, right.get("/").await);
    right.onward.shutdown().await.unwrap();

    let wrong = on(&store, &clock, sealed_with(2)).await;
    wrong.advance(2 * HOUR).await;
    let id = run_id(&cancelled);
    wrong.onward.runs().cancel(id).await.unwrap();
    assert_eq!(wrong.get(&location(&cancelled)).await.status(), 409, "its client is told");
    assert!(wrong.onward.runs().get(id).await.unwrap().unwrap().summary.unreadable.is_some());
    wrong.onward.runs().delete(id).await.unwrap();
    assert!(wrong.onward.runs().get(id).await.unwrap().is_none());

    wrong.advance(40 * HOUR).await;
    let failed = wrong.onward.runs().list(RunQuery::new().status(RunStatus::Failed)).await.unwrap().runs;
    assert_eq!(failed.iter().map(|run| run.run_id.clone()).collect::<Vec<_>>(), [run_id(&timed_out).to_string()]);
    assert_eq!(wrong.get(&location(&timed_out)).await.status(), 504);
    let loads = store.calls().iter().filter(|call| **call == Call::Load).count();
    wrong.advance(40 * HOUR).await;
    assert_eq!(store.calls().iter().filter(|call| **call == Call::Load).count(), loads, "nobody tries any more");
}

/// A journal that a newer release wrote, and one that is damaged, in a file.
#[tokio::test]
async fn a_journal_of_a_newer_release_or_a_damaged_one_hides_no_other_run() {
    for (data, why) in [("X'63'", "format 99"), ("X'01ff'", "damaged")] {
        let (dir, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
        let file = dir.path().join("onward.db");
        let open = async || {
            let builder = Onward::builder().clock(Arc::new(clock.clone())).parked_max(0);
            let onward = builder.open(&format!("sqlite:{}", file.display())).await.unwrap();
            App::opened(onward, clock.clone(), |onward| onward.route("/", get(nap))).await
        };
        let app = open().await;
        let (broken, whole) = (app.get("/").await, app.get("/").await);
        let broken = run_id(&broken);
        let damage = format!(
            "UPDATE onward_entries SET data = {data} WHERE place = \
             (SELECT (key << 20) + 1 FROM onward_runs WHERE run_id = X'{:032X}')",
            u128::from_be_bytes(broken.to_bytes())
        );
        app.onward.shutdown().await.unwrap();
        assert_eq!(onward::rusqlite::Connection::open(&file).unwrap().execute(&damage, []).unwrap(), 1);
        let app = open().await;
        assert_eq!(text(&app.follow(whole).await), "rested");
        let detail = app.onward.runs().get(broken).await.unwrap().unwrap();
        assert!(detail.summary.unreadable.as_ref().unwrap().contains(why), "{detail:?}");
        assert_eq!(listed(&app).await.len(), 2);
        let shown = app.onward.answer_runs(&http::Method::GET, &format!("/{broken}"), &"/".parse().unwrap()).await;
        assert!(String::from_utf8_lossy(shown.body()).contains("\"unreadable\":\""), "{shown:?}");
        app.onward.runs().cancel(broken).await.unwrap();
        app.onward.runs().delete(broken).await.unwrap();
        assert_eq!(listed(&app).await.len(), 1);
        app.onward.shutdown().await.unwrap();
    }
}
