//! The same key is the same run.

use onward_core::{
    RunId, Store, StoreError,
    run::{NewRun, Status},
    store::Control,
};

use super::fixture::{at, finish, idempotency_key, new_run, node, run_id, start_run, starting};

fn with_key(number: u64, digest: u8, fingerprint: u8) -> NewRun {
    NewRun { key: Some(idempotency_key(digest, fingerprint)), ..new_run(number) }
}

async fn assert_taken<S: Store + ?Sized>(store: &S, node: onward_core::NodeId, new: NewRun, by: RunId, same: bool) {
    let made = new.run_id;
    match store.checkpoint(starting(node, new)).await {
        Err(StoreError::KeyTaken { run_id, same_request }) => assert_eq!((run_id, same_request), (by, same)),
        other => panic!("the key is taken, but: {other:?}"),
    }
    assert!(store.run(made).await.expect("the store can be read").is_none());
}

/// A duplicate joins.
pub async fn the_same_request_is_told_which_run_has_its_key<S: Store + ?Sized>(store: &S) {
    let node = node(store).await;
    start_run(store, node, with_key(1, 7, 1)).await;
    assert_taken(store, node, with_key(2, 7, 1), run_id(1), true).await;
}

/// A key used for something else is refused.
pub async fn another_request_with_the_key_is_told_so<S: Store + ?Sized>(store: &S) {
    let node = node(store).await;
    start_run(store, node, with_key(1, 7, 1)).await;
    assert_taken(store, node, with_key(2, 7, 2), run_id(1), false).await;
}

/// A late duplicate gets the outcome there is.
pub async fn a_key_is_kept_after_its_run_ended<S: Store + ?Sized>(store: &S) {
    let node = node(store).await;
    let lease = start_run(store, node, with_key(1, 7, 1)).await;
    finish(store, lease, at(1), Status::Completed).await;
    assert_taken(store, node, with_key(2, 7, 1), run_id(1), true).await;
}

/// Keys live as long as the run.
pub async fn a_key_is_free_when_its_run_is_deleted<S: Store + ?Sized>(store: &S) {
    let node = node(store).await;
    let lease = start_run(store, node, with_key(1, 7, 1)).await;
    finish(store, lease, at(1), Status::Completed).await;
    store.control(run_id(1), Control::Delete, at(2)).await.expect("an ended run is deleted");
    let lease = start_run(store, node, with_key(2, 7, 2)).await;
    finish(store, lease, at(3), Status::Completed).await;
    let swept = store.sweep(at(1_000_000), at(0), 10).await.expect("a sweep works");
    assert_eq!(swept.runs, 1);
    start_run(store, node, with_key(3, 7, 3)).await;
}

/// Nor do runs without a key.
pub async fn different_keys_do_not_meet<S: Store + ?Sized>(store: &S) {
    let node = node(store).await;
    start_run(store, node, with_key(1, 7, 1)).await;
    start_run(store, node, with_key(2, 8, 1)).await;
    start_run(store, node, new_run(3)).await;
    start_run(store, node, new_run(4)).await;
}
