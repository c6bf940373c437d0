//! A database that is gone for a while, or slow: clear errors, nothing acknowledged is lost, and it comes back by itself.

use std::time::Duration;

use onward_core::{Store, StoreError};
use onward_postgres::{Options, PostgresStore};
use onward_testing::postgres::{PostgresOptions, PostgresServer};
use tokio::task::JoinSet;

use crate::support::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_a_crash_of_the_server() {
    let server = PostgresServer::start(&PostgresOptions::new());
    let options = Options::new().timeout(Duration::from_secs(2));
    let store = PostgresStore::open(&server.url(), options).await.unwrap();
    let node = join(&store).await;
    let writes = {
        let store = store.clone();
        async move {
            let (mut acknowledged, mut refused) = (Vec::new(), 0);
            for number in 0..20_000_u128 {
                match store.checkpoint(starting(node, number)).await {
                    Ok(_) => acknowledged.push(number),
                    Err(error) => {
                        assert!(is_unavailable(&Err::<(), _>(error)));
                        refused += 1;
                        if refused > 3 {
                            break;
                        }
                    }
                }
            }
            acknowledged
        }
    };
    let mut writer = JoinSet::new();
    writer.spawn(writes);
    tokio::time::sleep(Duration::from_millis(300)).await;
    server.stop_immediate();
    let acknowledged =
        tokio::time::timeout(Duration::from_secs(20), writer.join_next()).await.expect("it is told soon");
    let acknowledged: Vec<u128> = acknowledged.unwrap().unwrap();
    assert!(!acknowledged.is_empty());
    assert!(is_unavailable(&store.run(run_id(0)).await));
    server.start_again();
    again(async || store.run(run_id(0)).await).await;
    for number in &acknowledged {
        assert!(store.run(run_id(*number)).await.unwrap().is_some(), "run {number} was acknowledged");
    }
    // What this node held it holds still, and goes on with.
    let last = *acknowledged.last().unwrap();
    again(async || store.checkpoint(finishing(lease(node, last), "done")).await).await;
}

#[tokio::test]
async fn a_database_that_hangs_is_told_in_time() {
    let store = TestStore::open().await;
    let options = Options::new().connections(2).timeout(Duration::from_millis(500)).notifications(false);
    let hasty = PostgresStore::open(store.database.url(), options).await.unwrap();
    let node = join(&hasty).await;
    start(&hasty, node, 1).await;
    // Somebody locks the table for longer than the store waits.
    let url = store.database.url().to_owned();
    let lock = tokio::task::spawn_blocking(move || {
        std::process::Command::new("psql")
            .args([url.as_str(), "-qc", "BEGIN; LOCK TABLE onward_entries; SELECT pg_sleep(2); COMMIT"])
            .status()
    });
    let locked = "SELECT count(*) FROM pg_locks WHERE relation = 'onward_entries'::regclass AND granted \
                  AND mode = 'AccessExclusiveLock'";
    while store.database.query(locked).trim() != "1" {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let hung = hasty.checkpoint(appending(lease(node, 1), 0, "a")).await;
    assert!(is_unavailable(&hung), "{hung:?}");
    lock.await.unwrap().unwrap();
    // It may have been written or not; the run goes on from what is there.
    let written = u32::try_from(entries(&hasty, 1).await).unwrap();
    again(async || hasty.checkpoint(appending(lease(node, 1), written, "b")).await).await;
    assert_eq!(entries(&hasty, 1).await, usize::try_from(written + 1).unwrap());
}

/// An asynchronous replica that takes over does not have the newest commits. A node that lives on must not write behind
/// what is gone.
#[tokio::test]
async fn after_a_failover_that_lost_commits_no_journal_gets_a_gap() {
    let server = PostgresServer::start(&PostgresOptions::new());
    let options = Options::new().timeout(Duration::from_secs(2)).notifications(false);
    let store = PostgresStore::open(&server.url(), options).await.unwrap();
    let node = join(&store).await;
    let held = start(&store, node, 1).await;
    for seq in 0..3 {
        store.checkpoint(appending(held, seq, "x")).await.unwrap();
    }
    server.query("DELETE FROM onward_entries WHERE seq > 0");
    server.restart_immediate();
    // Another run's checkpoint is the first to meet the broken connection.
    again(async || store.checkpoint(starting(node, 2)).await).await;
    let next = again(async || match store.checkpoint(appending(held, 3, "x")).await {
        answer if is_unavailable(&answer) => Err("not yet"),
        answer => Ok(answer),
    });
    assert!(matches!(next.await, Err(StoreError::Corrupt(_))));
    assert_eq!(entries(&store, 1).await, 1);
}
