//! What is there after the process ended and began anew.

use onward_core::{
    Fence, Store, StoreError, Timestamp,
    run::Status,
    store::{Checkpoint, ClaimRequest, Endpoints, Lease, Then},
};
use onward_sqlite::{Options, SqliteStore, rusqlite::Connection};

use crate::support::*;

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_restart() {
    let place = Place::new();
    let store = place.open();
    let node = join(&store).await;
    let first = start(&store, node, 1).await;
    store.checkpoint(appending(first, 0, "done")).await.unwrap();
    finish(&store, first, Status::Completed).await.unwrap();
    let second = start(&store, node, 2).await;
    store.checkpoint(appending(second, 0, "half")).await.unwrap();
    let before = (load(&store, 1).await.unwrap(), load(&store, 2).await.unwrap());
    store.close().await;

    let store = place.open();
    let after = (load(&store, 1).await.unwrap(), load(&store, 2).await.unwrap());
    assert_eq!((before.0.record, before.0.journal), (after.0.record, after.0.journal));
    assert_eq!((before.1.record, before.1.journal), (after.1.record, after.1.journal));
}

#[tokio::test]
async fn what_is_registered_stays_registered() {
    let place = Place::new();
    let store = place.open();
    for (name, value) in [("b", "1"), ("a", "2"), ("gone", "3"), ("b", "4")] {
        store.register(name.to_owned(), value.into()).await.unwrap();
    }
    store.unregister("gone".to_owned()).await.unwrap();
    store.close().await;

    let store = place.open();
    let expected = [("a".to_owned(), "2".into()), ("b".to_owned(), "4".into())];
    assert_eq!(store.registrations().await.unwrap(), expected);
    assert!(!store.register("a".to_owned(), "2".into()).await.unwrap());
}

#[tokio::test]
async fn a_run_that_was_running_is_due_at_once_for_the_next_node_and_no_other_run_is() {
    let place = Place::new();
    let store = place.open();
    let node = join(&store).await;
    start(&store, node, 1).await;
    let sleeping = start(&store, node, 2).await;
    let then = Then::Suspend { due_at: at(100) };
    store.checkpoint(Checkpoint { then, ..Checkpoint::new(sleeping, at(1)) }).await.unwrap();
    let ended = start(&store, node, 3).await;
    finish(&store, ended, Status::Completed).await.unwrap();
    store.close().await;

    let store = place.open();
    let next = join(&store).await;
    assert!(next > node);
    let claims = claim(&store, next, at(50)).await;
    let expected = Lease { run_id: run_id(1), fence: Fence(2), node: next };
    assert_eq!(claims.leases, [(expected, endpoint())]);
    assert_eq!(claims.next_due_at, Some(at(100)));
}

#[tokio::test]
async fn the_lease_of_the_process_before_is_void() {
    let place = Place::new();
    let store = place.open();
    let node = join(&store).await;
    let stale = start(&store, node, 1).await;
    store.close().await;

    let store = place.open();
    let next = join(&store).await;
    assert_ne!(next, node);
    let written = store.checkpoint(appending(stale, 0, "late")).await;
    assert!(matches!(written, Err(StoreError::LeaseLost)), "{written:?}");
    assert_eq!(entries(&store, 1).await, 0);
}

#[tokio::test]
async fn a_journal_goes_on_where_it_stopped() {
    let place = Place::new();
    let store = place.open();
    let node = join(&store).await;
    let lease = start(&store, node, 1).await;
    store.checkpoint(appending(lease, 0, "a")).await.unwrap();
    store.close().await;

    let store = place.open();
    let node = join(&store).await;
    let (lease, _) = claim(&store, node, at(5)).await.leases[0].clone();
    let gap = store.checkpoint(appending(lease, 2, "c")).await;
    assert!(matches!(gap, Err(StoreError::Corrupt(_))), "{gap:?}");
    store.checkpoint(appending(lease, 1, "b")).await.unwrap();
    assert_eq!(load(&store, 1).await.unwrap().journal, [entry(0, "a"), entry(1, "b")]);
}

#[tokio::test]
async fn a_run_that_only_a_fact_can_move_stays_asleep() {
    let place = Place::new();
    let store = place.open();
    let node = join(&store).await;
    let lease = start(&store, node, 1).await;
    let then = Then::Suspend { due_at: Timestamp::NEVER };
    store.checkpoint(Checkpoint { then, ..Checkpoint::new(lease, at(1)) }).await.unwrap();
    store.close().await;

    let store = place.open();
    let node = join(&store).await;
    let claims = claim(&store, node, at(1_000_000)).await;
    assert!(claims.leases.is_empty());
    assert_eq!(claims.next_due_at, None);
}

#[tokio::test]
async fn only_who_claims_the_runs_of_all_endpoints_pays_for_their_index() {
    let place = Place::new();
    let indexes = || {
        let conn = Connection::open(place.path()).unwrap();
        let count = "SELECT count(*) FROM sqlite_schema WHERE type = 'index' AND name = 'onward_runs_due'";
        conn.query_row(count, [], |row| row.get::<_, i64>(0)).unwrap()
    };
    let store = place.open();
    let node = join(&store).await;
    let lease = start(&store, node, 1).await;
    let then = Then::Suspend { due_at: at(10) };
    store.checkpoint(Checkpoint { then, ..Checkpoint::new(lease, at(1)) }).await.unwrap();
    claim(&store, node, at(5)).await;
    store.close().await;
    assert_eq!(indexes(), 0);

    // Runs that were there before are found, too, and so they are when the index is there already.
    for (now, due) in [(5, 0), (10, 1)] {
        let store = place.open();
        let node = join(&store).await;
        let request = ClaimRequest { node, now: at(now), limit: 9, endpoints: Endpoints::All };
        assert_eq!(store.claim(request).await.unwrap().leases.len(), due);
        store.close().await;
        assert_eq!(indexes(), 1);
    }
}

#[tokio::test]
async fn dropping_the_last_handle_frees_the_file() {
    let place = Place::new();
    let store = place.open();
    let node = join(&store).await;
    let clone = store.clone();
    drop(store);
    start(&clone, node, 1).await;
    // Submitted, and nobody waits for it.
    drop(clone.checkpoint(appending(lease(node, 1), 0, "last")));
    drop(clone);

    let store = place.open();
    assert_eq!(entries(&store, 1).await, 1);
    let log = place.dir().join("onward.db-wal");
    assert!(log.exists(), "the open store has a log");
    store.close().await;
    assert!(!log.exists(), "a closed store is one file");
}

#[tokio::test]
async fn a_closed_store_refuses_calls() {
    let place = Place::new();
    let store = place.open();
    store.close().await;
    let joined = store.join(at(0), std::time::Duration::ZERO).await;
    assert!(matches!(joined, Err(StoreError::Unavailable(_))), "{joined:?}");
    let loaded = store.load(run_id(1)).await;
    assert!(matches!(loaded, Err(StoreError::Unavailable(_))), "{loaded:?}");
    store.close().await;
}

/// What `docs/OPERATING.md` says of backups.
#[tokio::test]
async fn a_copy_that_is_taken_while_the_app_writes_is_of_one_moment_and_goes_on() {
    let place = Place::new();
    let store = place.open();
    let node = join(&store).await;
    let lease = start(&store, node, 1).await;
    let copy = place.dir().join("copy.db");
    let mut written = 0;
    for round in 0..3 {
        for _ in 0..50 {
            store.checkpoint(appending(lease, written, "entry")).await.unwrap();
            written += 1;
        }
        if round == 1 {
            let reader = Connection::open(place.path()).unwrap();
            reader.execute("VACUUM INTO ?1", [copy.to_str().unwrap()]).unwrap();
        }
    }
    store.close().await;

    let restored = SqliteStore::open(&copy, Options::new()).unwrap();
    assert_eq!(load(&restored, 1).await.unwrap().journal.len(), 100);
    let node = join(&restored).await;
    let request = ClaimRequest { node, now: at(2), limit: 10, endpoints: Endpoints::All };
    let (lease, _) = restored.claim(request).await.unwrap().leases[0].clone();
    restored.checkpoint(appending(lease, 100, "goes on")).await.unwrap();
}

/// What `docs/OPERATING.md` says of space.
#[tokio::test]
async fn the_file_gives_back_what_retention_removed_when_it_is_vacuumed_while_the_app_is_stopped() {
    let place = Place::new();
    let store = place.open();
    let node = join(&store).await;
    for number in 0..100 {
        let lease = start(&store, node, number).await;
        store.checkpoint(appending(lease, 0, &"x".repeat(64 * 1024))).await.unwrap();
        if number > 0 {
            finish(&store, lease, Status::Completed).await.unwrap();
        }
    }
    while store.sweep(at(1_000_000), at(0), 1_000).await.unwrap().more {}
    store.close().await;
    let size = || std::fs::metadata(place.path()).unwrap().len();
    let before = size();
    Connection::open(place.path()).unwrap().execute_batch("VACUUM").unwrap();
    assert!(before > 6_000_000 && size() < 400_000, "of {before} bytes {} are left", size());

    let store = place.open();
    assert_eq!(load(&store, 0).await.unwrap().journal.len(), 1);
    assert_eq!(claim(&store, join(&store).await, at(2)).await.leases.len(), 1);
}
