//! Steps that write to the user's own tables together with their checkpoint.

use onward_core::{Store, StoreError, run::Status, store::Checkpoint};
use onward_sqlite::{
    SqliteStore, TransactError,
    rusqlite::{self, Connection},
};

use crate::support::*;

async fn with_table() -> (Place, SqliteStore) {
    let place = Place::new();
    let store = place.open();
    let create = "CREATE TABLE stock (item TEXT PRIMARY KEY, left INTEGER NOT NULL CHECK (left >= 0)); \
                  INSERT INTO stock VALUES ('book', 2)";
    store.with_connection(move |conn| conn.execute_batch(create)).await.expect("a table can be made");
    (place, store)
}

async fn left(store: &SqliteStore) -> i64 {
    let select = "SELECT left FROM stock WHERE item = 'book'";
    store.with_connection(move |conn| conn.query_row(select, [], |row| row.get(0))).await.expect("it can be read")
}

fn take(conn: &Connection) -> rusqlite::Result<usize> {
    conn.execute("UPDATE stock SET left = left - 1 WHERE item = 'book'", [])
}

#[tokio::test]
async fn the_users_rows_and_the_checkpoint_are_committed_together() {
    let (place, store) = with_table().await;
    let node = join(&store).await;
    let lease = start(&store, node, 1).await;
    let (_, changed) = store
        .transact(lease, move |conn| take(conn).map(|changed| (appending(lease, 0, "taken"), changed)))
        .await
        .unwrap();
    assert_eq!(changed, 1);
    store.close().await;

    let store = place.open();
    assert_eq!(left(&store).await, 1);
    assert_eq!(load(&store, 1).await.unwrap().journal, [entry(0, "taken")]);
}

#[tokio::test]
async fn an_error_of_the_user_undoes_both() {
    let (_place, store) = with_table().await;
    let node = join(&store).await;
    let lease = start(&store, node, 1).await;
    let done = store
        .transact(lease, move |conn| {
            take(conn).unwrap();
            Err::<(_, ()), _>("no")
        })
        .await;
    assert!(matches!(done, Err(TransactError::Work("no"))), "{done:?}");
    assert_eq!(left(&store).await, 2);
    assert_eq!(entries(&store, 1).await, 0);
}

#[tokio::test]
async fn a_panic_of_the_user_undoes_both_and_the_store_goes_on() {
    let (_place, store) = with_table().await;
    let node = join(&store).await;
    let lease = start(&store, node, 1).await;
    let done = store
        .transact(lease, move |conn| -> Result<(_, ()), ()> {
            take(conn).unwrap();
            panic!("out of {}", "books");
        })
        .await;
    assert!(matches!(&done, Err(TransactError::Panicked(text)) if text == "out of books"), "{done:?}");
    assert_eq!(left(&store).await, 2);
    store.checkpoint(appending(lease, 0, "x")).await.unwrap();
}

#[tokio::test]
async fn a_checkpoint_that_is_refused_undoes_the_users_rows() {
    let (_place, store) = with_table().await;
    let node = join(&store).await;
    let lease = start(&store, node, 1).await;
    let gap = store.transact(lease, move |conn| take(conn).map(|_| (appending(lease, 5, "gap"), ()))).await;
    assert!(matches!(gap, Err(TransactError::Store(StoreError::Corrupt(_)))), "{gap:?}");
    let other = start(&store, node, 2).await;
    let foreign = store.transact(lease, move |conn| take(conn).map(|_| (appending(other, 0, "x"), ()))).await;
    assert!(matches!(foreign, Err(TransactError::Store(StoreError::Corrupt(_)))), "{foreign:?}");
    assert_eq!(left(&store).await, 2);
    assert_eq!(entries(&store, 2).await, 0);
    store.checkpoint(appending(lease, 0, "x")).await.unwrap();
}

#[tokio::test]
async fn the_users_code_is_not_run_without_the_lease() {
    let (_place, store) = with_table().await;
    let node = join(&store).await;
    let lease = start(&store, node, 1).await;
    finish(&store, lease, Status::Completed).await.unwrap();
    let done = store.transact(lease, move |conn| take(conn).map(|_| (appending(lease, 0, "x"), ()))).await;
    assert!(matches!(done, Err(TransactError::Store(StoreError::LeaseLost))), "{done:?}");
    assert_eq!(left(&store).await, 2);
}

#[tokio::test]
async fn the_users_sql_can_neither_end_the_transaction_nor_reach_the_stores_tables() {
    let (_place, store) = with_table().await;
    let node = join(&store).await;
    let lease = start(&store, node, 1).await;
    let forbidden = [
        "COMMIT",
        "ROLLBACK",
        "BEGIN",
        "SAVEPOINT mine",
        "RELEASE onward_call",
        "ROLLBACK TO onward_call",
        "DELETE FROM onward_runs",
        "SELECT * FROM onward_entries",
        "UPDATE Onward_Runs SET fence = 9",
        "DROP TABLE onward_settings",
        "CREATE TABLE onward_mine (x)",
        "CREATE TRIGGER t AFTER INSERT ON onward_runs BEGIN SELECT 1; END",
        "ALTER TABLE onward_runs ADD COLUMN x",
        "ATTACH ':memory:' AS other",
        "PRAGMA synchronous = OFF",
        "PRAGMA journal_mode = DELETE",
        "VACUUM",
    ];
    let (_, allowed) = store
        .transact(lease, move |conn| {
            take(conn)?;
            let allowed: Vec<_> = forbidden.into_iter().filter(|sql| conn.execute_batch(sql).is_ok()).collect();
            Ok::<_, rusqlite::Error>((appending(lease, 0, "x"), allowed))
        })
        .await
        .unwrap();
    assert_eq!(allowed, Vec::<&str>::new());
    assert_eq!(left(&store).await, 1);
    assert_eq!(entries(&store, 1).await, 1);
}

#[tokio::test]
async fn an_error_inside_a_group_leaves_its_neighbours_whole() {
    let (_place, store) = with_table().await;
    let node = join(&store).await;
    let leases = [start(&store, node, 1).await, start(&store, node, 2).await, start(&store, node, 3).await];
    let calls: Vec<_> = leases
        .into_iter()
        .map(|lease| {
            store.transact(lease, move |conn| {
                // The third finds nothing left: the check fails.
                conn.execute("UPDATE stock SET left = left - 1", [])?;
                Ok::<_, rusqlite::Error>((appending(lease, 0, "taken"), ()))
            })
        })
        .collect();
    let mut outcomes = Vec::new();
    for call in calls {
        outcomes.push(call.await.is_ok());
    }
    assert_eq!(outcomes, [true, true, false]);
    assert_eq!(left(&store).await, 0);
    let mut written = Vec::new();
    for number in 1..=3 {
        written.push(entries(&store, number).await);
    }
    assert_eq!(written, [1, 1, 0]);
}

#[tokio::test]
async fn a_handle_may_be_dropped_by_a_call_on_the_writers_thread() {
    let (place, store) = with_table().await;
    let inner = store.clone();
    let call = store.with_connection(move |conn| {
        drop(inner);
        take(conn)
    });
    drop(store);
    // The call may have been given the last handle: it is done all the same, and then the file is free.
    let _done = call.await;
    let reopened = loop {
        match SqliteStore::open(place.path(), onward_sqlite::Options::new()) {
            Ok(store) => break store,
            Err(_) => tokio::task::yield_now().await,
        }
    };
    assert_eq!(left(&reopened).await, 1);
}

#[tokio::test]
async fn the_users_sql_cannot_end_the_transaction_by_a_statement_that_the_store_has_prepared() {
    let (place, store) = with_table().await;
    let node = join(&store).await;
    let lease = start(&store, node, 1).await;
    let neighbour = start(&store, node, 2).await;
    let done = store
        .transact(lease, move |conn| -> Result<(Checkpoint, ()), &str> {
            take(conn).expect("there are books");
            // The statement is in the connection's cache, so the authorizer does not see it.
            let _ended = conn.prepare_cached("COMMIT").and_then(|mut commit| commit.execute([]));
            let _alone = take(conn);
            Err("no")
        })
        .await;
    assert!(done.is_err(), "{done:?}");
    store.checkpoint(appending(neighbour, 0, "x")).await.expect("the store goes on");
    store.close().await;

    let store = place.open();
    assert_eq!(left(&store).await, 2);
    assert_eq!((entries(&store, 1).await, entries(&store, 2).await), (0, 1));
}

#[tokio::test]
async fn what_the_user_writes_after_the_transaction_was_rolled_back_is_undone_too() {
    let (_place, store) = with_table().await;
    let node = join(&store).await;
    let lease = start(&store, node, 1).await;
    let done = store
        .transact(lease, move |conn| -> Result<(Checkpoint, ()), rusqlite::Error> {
            let _rolled_back = conn.execute("INSERT OR ROLLBACK INTO stock VALUES ('book', 9)", []);
            take(conn)?;
            Ok((appending(lease, 0, "taken"), ()))
        })
        .await;
    assert!(done.is_err(), "{done:?}");
    assert_eq!(left(&store).await, 2);
    assert_eq!(entries(&store, 1).await, 0);
    store.checkpoint(appending(lease, 0, "x")).await.expect("the store goes on");
}
