//! Retention never holds up the writers: a run with a large journal goes little by little.

use onward_core::{Seq, Store, run::Status, store::Checkpoint};

use crate::support::*;

#[tokio::test]
async fn a_run_with_a_large_journal_is_gone_at_once_and_its_rows_go_little_by_little() {
    const ENTRIES: u32 = 9_000;
    let place = Place::new();
    let store = place.open();
    let node = join(&store).await;
    let large = start(&store, node, 1).await;
    let all = (0..ENTRIES).map(|seq| entry(seq, "x")).collect();
    store.checkpoint(Checkpoint { entries: all, ..Checkpoint::new(large, at(2)) }).await.unwrap();
    finish(&store, large, Status::Completed).await.unwrap();
    let small = start(&store, node, 2).await;
    store.checkpoint(appending(small, 0, "stays")).await.unwrap();

    // As any tool sees it, beside the store.
    let beside = rusqlite::Connection::open(place.path()).unwrap();
    let rows = || beside.query_row("SELECT count(*) FROM onward_entries", [], |row| row.get::<_, u32>(0)).unwrap();
    let before = rows();
    let swept = store.sweep(at(10_000), at(0), 500).await.unwrap();
    assert_eq!((swept.runs, swept.more), (1, true));
    assert!(load(&store, 1).await.is_none(), "nobody sees half of it");
    let after = rows();
    assert!(after < before && after > ENTRIES / 4, "{before} rows, then {after}");

    // What remains survives a restart, and its key goes to no other run.
    store.close().await;
    let store = place.open();
    let node = join(&store).await;
    let next = start(&store, node, 3).await;
    store.checkpoint(appending(next, 0, "new")).await.unwrap();
    let mut sweeps = 0;
    while store.sweep(at(10_000), at(0), 500).await.unwrap().more {
        sweeps += 1;
        assert!(sweeps < 10);
    }
    assert_eq!(rows(), 4, "two requests and two entries are left");
    assert_eq!(load(&store, 3).await.unwrap().journal, [entry(0, "new")]);
    assert_eq!(load(&store, 2).await.unwrap().journal[0].seq, Seq(0));
}
