//! Groups: what is committed together, in which order, and what a failed commit leaves.

use std::{sync::mpsc, time::Duration};

use onward_core::{
    Payload, Store, StoreError,
    journal::{Change, Entry},
    run::Status,
    store::{Checkpoint, Control, RunFilter},
};
use onward_sqlite::{Durability, Options, SqliteStore, TransactError, rusqlite};

use crate::support::*;

/// Keeps the writer busy until the sender is used or dropped.
fn hold(store: &SqliteStore) -> mpsc::Sender<()> {
    let (release, held) = mpsc::channel();
    drop(store.with_connection(move |_| {
        let _released = held.recv();
        Ok::<_, ()>(())
    }));
    release
}

#[tokio::test]
async fn a_call_is_done_though_its_future_was_dropped_unpolled() {
    let place = Place::new();
    let store = place.open();
    let node = join(&store).await;
    drop(store.checkpoint(starting(lease(node, 1), 1)));
    drop(store.checkpoint(appending(lease(node, 1), 0, "dropped")));
    // Calls made in order commit in order, so this one is after both.
    store.checkpoint(appending(lease(node, 1), 1, "awaited")).await.unwrap();
    assert_eq!(load(&store, 1).await.unwrap().journal, [entry(0, "dropped"), entry(1, "awaited")]);
}

#[tokio::test]
async fn calls_commit_in_the_order_in_which_they_were_made_whatever_order_they_are_awaited_in() {
    let place = Place::new();
    let store = place.open();
    let node = join(&store).await;
    let lease = start(&store, node, 1).await;
    let calls: Vec<_> = (0..500).map(|seq| store.checkpoint(appending(lease, seq, "x"))).collect();
    for call in calls.into_iter().rev() {
        call.await.unwrap();
    }
    assert_eq!(entries(&store, 1).await, 500);
}

#[tokio::test]
async fn a_refused_call_does_not_harm_the_others_of_its_group() {
    let place = Place::new();
    let store = place.open();
    let node = join(&store).await;
    let held = hold(&store);
    let good = store.checkpoint(starting(lease(node, 1), 1));
    let again = store.checkpoint(starting(lease(node, 1), 1));
    let unknown = store.checkpoint(appending(lease(node, 2), 0, "x"));
    let gap = store.checkpoint(appending(lease(node, 1), 7, "x"));
    let after = store.checkpoint(appending(lease(node, 1), 0, "x"));
    drop(held);
    good.await.unwrap();
    assert!(matches!(again.await, Err(StoreError::LeaseLost)));
    assert!(matches!(unknown.await, Err(StoreError::RunNotFound)));
    assert!(matches!(gap.await, Err(StoreError::Corrupt(_))));
    after.await.unwrap();
    assert_eq!(entries(&store, 1).await, 1);
}

#[tokio::test]
async fn one_call_too_many_is_refused_at_once_and_the_others_are_done() {
    let place = Place::new();
    let store = place.open_with(Options::new().queue_len(4));
    let node = join(&store).await;
    let held = hold(&store);
    // The held call may still be in the queue.
    let mut calls: Vec<_> = (1..=6).map(|number| store.checkpoint(starting(lease(node, number), number))).collect();
    let refused = calls.pop().unwrap().await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    drop(held);
    let mut done = 0;
    for call in calls {
        done += usize::from(call.await.is_ok());
    }
    let stored = store.runs(RunFilter { limit: 10, ..RunFilter::default() }).await.unwrap().runs.len();
    assert_eq!(done, stored);
    assert!((3..=5).contains(&done), "{done}");
}

fn large(seq: u32) -> Entry {
    let output = Payload::from(vec![7; 200_000]);
    let change = Change::Succeeded { attempt: onward_core::Attempt::FIRST, output };
    Entry { change, ..entry(seq, "") }
}

/// A full disk, as `max_page_count` makes one.
#[tokio::test]
async fn a_full_disk_refuses_the_group_whole_and_writing_goes_on_when_there_is_room() {
    let place = Place::new();
    let store = place.open_with(Options::new().pages_max(400));
    let node = join(&store).await;
    let old = start(&store, node, 1).await;
    for seq in 0..4 {
        let entries = vec![large(seq)];
        store.checkpoint(Checkpoint { entries, ..Checkpoint::new(old, at(2)) }).await.unwrap();
    }
    finish(&store, old, Status::Completed).await.unwrap();
    let lease = start(&store, node, 2).await;

    let held = hold(&store);
    let fits_alone = store.checkpoint(appending(lease, 0, "small"));
    let started = store.checkpoint(starting(self::lease(node, 3), 3));
    let entries = (1..9).map(large).collect();
    let too_large = store.checkpoint(Checkpoint { entries, ..Checkpoint::new(lease, at(2)) });
    drop(held);
    for outcome in [fits_alone.await, started.await, too_large.await] {
        assert!(matches!(outcome, Err(StoreError::Unavailable(_))), "{outcome:?}");
    }
    assert_eq!(self::entries(&store, 2).await, 0);
    assert!(load(&store, 3).await.is_none());

    store.control(run_id(1), Control::Delete, at(9)).await.unwrap();
    // What the writer knows was undone, too: the same places are free.
    store.checkpoint(appending(lease, 0, "small")).await.unwrap();
    start(&store, node, 3).await;
    let entries = (1..4).map(large).collect();
    store.checkpoint(Checkpoint { entries, ..Checkpoint::new(lease, at(2)) }).await.unwrap();
    assert_eq!(self::entries(&store, 2).await, 4);
}

#[tokio::test]
async fn a_full_disk_in_a_users_own_statement_refuses_the_group() {
    let place = Place::new();
    let store = place.open_with(Options::new().pages_max(200));
    let node = join(&store).await;
    store.with_connection(|conn| conn.execute_batch("CREATE TABLE theirs (x BLOB)")).await.unwrap();
    let lease = start(&store, node, 1).await;
    let work = move |conn: &rusqlite::Connection| {
        // Going on after the error must not commit what is left.
        let _full = conn.execute("INSERT INTO theirs VALUES (zeroblob(4000000))", []);
        Ok::<_, ()>((appending(lease, 0, "x"), ()))
    };
    match store.transact(lease, work).await {
        Ok(_) => assert_eq!(entries(&store, 1).await, 1),
        Err(TransactError::Store(StoreError::Unavailable(_))) => assert_eq!(entries(&store, 1).await, 0),
        Err(other) => panic!("{other:?}"),
    }
    let stored: i64 = store
        .with_connection(|conn| conn.query_row("SELECT count(*) FROM theirs", [], |row| row.get(0)))
        .await
        .unwrap();
    assert_eq!(stored, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_does_not_grow_without_bound_under_load_while_others_read() {
    let place = Place::new();
    let store = place.open_with(Options::new().durability(Durability::Normal).wal_pages(64));
    let node = join(&store).await;
    let mut leases = Vec::new();
    for number in 1..=16 {
        leases.push(start(&store, node, number).await);
    }
    let mut longest = 0;
    for seq in 0..150 {
        let calls: Vec<_> =
            leases.iter().map(|lease| store.checkpoint(appending(*lease, seq, "some output"))).collect();
        drop(store.load(run_id(1)));
        for call in calls {
            call.await.unwrap();
        }
        let log = std::fs::metadata(place.dir().join("onward.db-wal")).unwrap();
        longest = longest.max(log.len());
    }
    // Eight times its aim, what one group may add, and what a reader may hold up; 2,400 appends write some 20 MB of log.
    assert!(longest < 64 * 4_120 * 20, "{longest}");
    assert_eq!(entries(&store, 16).await, 150);
}

#[tokio::test]
async fn a_read_sees_every_write_that_was_acknowledged_before_it() {
    let place = Place::new();
    let store = place.open_with(Options::new().readers(4));
    let node = join(&store).await;
    let lease = start(&store, node, 1).await;
    for seq in 0..200 {
        store.checkpoint(appending(lease, seq, "x")).await.unwrap();
        let expected = usize::try_from(seq).unwrap() + 1;
        assert_eq!(entries(&store, 1).await, expected);
    }
}

#[tokio::test]
async fn relaxed_durability_keeps_what_was_written_when_the_store_closes() {
    for durability in [Durability::Normal, Durability::Off] {
        let place = Place::new();
        let store = place.open_with(Options::new().durability(durability));
        let node = join(&store).await;
        start(&store, node, 1).await;
        store.close().await;
        assert!(load(&place.open(), 1).await.is_some());
    }
    // The lease's length means nothing to a store that one process owns.
    let store = SqliteStore::in_memory().unwrap();
    let node = store.join(at(0), Duration::ZERO).await.unwrap();
    store.heartbeat(node, at(1_000), Duration::ZERO).await.unwrap();
}
