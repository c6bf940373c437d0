//! Steps that write to the user's own tables together with their checkpoint.

use std::time::Duration;

use onward_core::{Store, StoreError};
use onward_postgres::{SqlError, TransactError, Transaction};

use crate::support::*;

async fn with_table() -> TestStore {
    let store = TestStore::open().await;
    store.database.query(
        "CREATE TABLE stock (item TEXT PRIMARY KEY, n INT8 NOT NULL CHECK (n >= 0)); INSERT INTO stock VALUES ('book', 5)",
    );
    store
}

fn left(store: &TestStore) -> i64 {
    store.database.query("SELECT n FROM stock").trim().parse().expect("it is a number")
}

async fn take(tx: Transaction) -> Result<i64, SqlError> {
    let row = tx.query_one("UPDATE stock SET n = n - 1 WHERE item = $1 RETURNING n", &[&"book"]).await?;
    Ok(row.try_get(0)?)
}

#[tokio::test]
async fn the_users_rows_and_the_checkpoint_are_committed_together() {
    let store = with_table().await;
    let node = join(&store).await;
    let lease = start(&store, node, 1).await;
    // What was submitted before comes before, and what is submitted later waits.
    let before = store.checkpoint(appending(lease, 0, "before"));
    let taken = store.transact(lease, move |tx| async move {
        let n = take(tx).await?;
        Ok::<_, SqlError>((appending(lease, 1, "taken"), n))
    });
    let after = store.checkpoint(appending(lease, 2, "after"));
    assert_eq!(taken.await.unwrap().1, 4);
    before.await.unwrap();
    after.await.unwrap();
    assert_eq!((left(&store), entries(&store, 1).await), (4, 3));
}

#[tokio::test]
async fn an_error_or_a_panic_of_the_user_undoes_both() {
    let store = with_table().await;
    let node = join(&store).await;
    let lease = start(&store, node, 1).await;
    let failed = store.transact(lease, move |tx| async move {
        take(tx).await.unwrap();
        Err::<(_, ()), _>("no")
    });
    assert!(matches!(failed.await, Err(TransactError::Work("no"))));
    let panicked = store.transact(lease, move |tx| async move {
        take(tx).await.unwrap();
        assert!(lease.fence.0 == 77, "it is not");
        Ok::<_, SqlError>((appending(lease, 0, "x"), ()))
    });
    assert!(matches!(panicked.await, Err(TransactError::Panicked(text)) if text.contains("it is not")));
    assert_eq!((left(&store), entries(&store, 1).await), (5, 0));
    // The run goes on.
    store.checkpoint(appending(lease, 0, "after")).await.unwrap();
}

#[tokio::test]
async fn who_lost_the_run_meanwhile_commits_nothing() {
    let store = with_table().await;
    let node = join(&store).await;
    let held = start(&store, node, 1).await;
    let other = store.another().await;
    let done = store.transact(held, move |tx| async move {
        let n = take(tx).await?;
        // While the user's code runs, another node takes over.
        let late = at(0).after(LEASE).after(Duration::from_secs(1));
        let other_node = other.join(late, LEASE).await.unwrap();
        assert_eq!(claim(&other, other_node, late, 1).await.leases.len(), 1);
        Ok::<_, SqlError>((appending(held, 0, "taken"), n))
    });
    assert!(matches!(done.await, Err(TransactError::Store(StoreError::LeaseLost))));
    assert_eq!((left(&store), entries(&store, 1).await), (5, 0));
}

#[tokio::test]
async fn who_ends_the_transaction_by_hand_has_nothing_recorded() {
    let store = with_table().await;
    let node = join(&store).await;
    let lease = start(&store, node, 1).await;
    for sql in ["COMMIT", "ROLLBACK", "COMMIT; BEGIN"] {
        let done = store.transact(lease, move |tx| async move {
            tx.batch_execute(sql).await?;
            Ok::<_, SqlError>((appending(lease, 0, "x"), ()))
        });
        assert!(matches!(done.await, Err(TransactError::Store(StoreError::Unavailable(_)))), "{sql}");
    }
    assert_eq!(entries(&store, 1).await, 0);
}

/// However many transactions of users take however long: the node renews its lease, and its runs go on.
#[tokio::test]
async fn slow_transactions_do_not_keep_the_node_from_its_lease() {
    let store = with_table().await;
    let node = join(&store).await;
    let go = std::sync::Arc::new(tokio::sync::Notify::new());
    let mut slow = Vec::new();
    for number in 1..=6 {
        let (lease, go) = (start(&store, node, number).await, std::sync::Arc::clone(&go));
        slow.push(store.transact(lease, move |tx| async move {
            tx.query("SELECT 1", &[]).await?;
            go.notified().await;
            go.notify_one();
            Ok::<_, SqlError>((appending(lease, 0, "x"), ()))
        }));
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    store.heartbeat(node, at(1), LEASE).await.unwrap();
    assert_eq!(status(&store, 1).await, onward_core::run::Status::Running);
    go.notify_one();
    for slow in slow {
        slow.await.unwrap();
    }
}

#[tokio::test]
async fn a_transaction_that_is_kept_is_over() {
    let store = with_table().await;
    let node = join(&store).await;
    let lease = start(&store, node, 1).await;
    let (_, kept) = store
        .transact(lease, move |tx| async move {
            take(tx.clone()).await?;
            Ok::<_, SqlError>((appending(lease, 0, "x"), tx))
        })
        .await
        .unwrap();
    assert!(matches!(take(kept).await, Err(SqlError::Store(_))));
    assert_eq!(left(&store), 4);
}
