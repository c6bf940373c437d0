//! The node's lease is kept, whatever the app's runtime does; and a node knows whether it can write.

use std::{
    sync::{Arc, Barrier},
    time::Duration,
};

use onward_core::{
    Payload, Store, StoreError,
    run::{Outcome, Status},
    store::Control,
};
use onward_postgres::{Options, PostgresStore};
use onward_testing::postgres::TestDatabase;
use tokio::task::JoinSet;

use crate::support::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lease_is_renewed_while_every_thread_of_the_runtime_is_blocked() {
    let store = TestStore::open().await;
    let node = join(&store).await;
    let (blocked, over) = (Arc::new(Barrier::new(3)), Arc::new(Barrier::new(3)));
    // A thread beside the runtime, as the scheduler has one.
    let beside = std::thread::spawn({
        let (handle, blocked, over) = (store.store.clone(), Arc::clone(&blocked), Arc::clone(&over));
        move || {
            blocked.wait();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let beats = runtime.block_on(async {
                let beats = async {
                    for second in 1..4 {
                        handle.heartbeat(node, at(second), LEASE).await?;
                    }
                    Ok::<_, StoreError>(())
                };
                tokio::time::timeout(Duration::from_secs(20), beats).await
            });
            over.wait();
            beats
        }
    });
    let mut workers = JoinSet::new();
    for _ in 0..2 {
        let (blocked, over) = (Arc::clone(&blocked), Arc::clone(&over));
        workers.spawn(async move {
            blocked.wait();
            over.wait();
        });
    }
    workers.join_all().await;
    let beats = beside.join().unwrap();
    beats.expect("the store renews leases by itself").unwrap();
    let sql = "SELECT max(lease_until) FROM onward_nodes WHERE part = 0";
    assert_eq!(store.database.query(sql).trim(), at(3).after(LEASE).as_micros().to_string());
}

#[tokio::test]
async fn it_is_told_whether_checkpoints_can_be_written_and_heartbeats_do_not_answer_for_them() {
    let database = TestDatabase::create();
    let options = Options::new().connections(2).timeout(Duration::from_millis(300)).notifications(false);
    let store = PostgresStore::open(database.url(), options).await.unwrap();
    let node = join(&store).await;
    let (always, hour) = (Duration::ZERO, Duration::from_secs(3600));
    store.can_checkpoint(node, always).await.unwrap();
    // A sender is held up, and so is each checkpoint that it takes.
    let lock = Session::begin(&database, "SELECT 1 FROM onward_nodes WHERE part = 4 FOR UPDATE");
    assert!(is_unavailable(&store.can_checkpoint(node, always).await));
    store.heartbeat(node, at(1), LEASE).await.unwrap();
    assert!(is_unavailable(&store.can_checkpoint(node, hour).await), "it is tried until it works");
    drop(lock);
    again(async || store.can_checkpoint(node, hour).await).await;

    // What is known is not tried again: a group's failure stands until one is written.
    let held = start(&store, node, 1).await;
    let lock = Session::begin(&database, "LOCK TABLE onward_entries");
    assert!(is_unavailable(&store.checkpoint(appending(held, 0, "a")).await));
    assert!(is_unavailable(&store.can_checkpoint(node, hour).await));
    drop(lock);
    assert!(is_unavailable(&store.can_checkpoint(node, hour).await));
    again(async || store.can_checkpoint(node, always).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_heartbeat_does_not_wait_for_housekeeping_that_hangs() {
    let store = TestStore::open().await;
    let (lease, quickly) = (Duration::from_secs(3), Duration::from_secs(2));
    let node = store.join(at(0), lease).await.unwrap();
    start(&store, node, 1).await;
    // The node that holds the run forgets it with its housekeeping.
    let cancelled = Outcome { status: Status::Cancelled, response: Payload::default(), error: Payload::default() };
    store.another().await.control(run_id(1), Control::Cancel(cancelled), at(0)).await.unwrap();

    let lock = Session::begin(&store.database, "LOCK TABLE onward_leases");
    for second in 1..4 {
        let beat = tokio::time::timeout(quickly, store.heartbeat(node, at(second), lease)).await;
        beat.expect("a heartbeat answers while its housekeeping hangs").unwrap();
        let sql = format!("SELECT lease_until FROM onward_nodes WHERE id = {} AND part = 0", node.0);
        assert_eq!(store.database.query(&sql).trim(), at(second).after(lease).as_micros().to_string());
    }
    assert!(format!("{:?}", store.store).contains("held: 1,"), "the housekeeping hangs");
    drop(lock);
    let forgotten = async || {
        let known = format!("{:?}", store.store);
        if known.contains("held: 0,") { Ok(()) } else { Err(known) }
    };
    again(forgotten).await;
}
