//! Crashes are counted where a node died that held the run, and nowhere else.

use onward_core::{
    NodeId, Store, Timestamp,
    run::Status,
    store::{Control, Lease},
};

use super::fixture::{LEASE, appending, at, claim, finish, load, node, start, succeeded, suspend, write};

/// A time after the leases of the life with that number: each life begins there.
fn life(number: u32) -> Timestamp {
    at(0).after(LEASE * 2 * number)
}

/// The node dies, and another finds its runs.
async fn crash<S: Store + ?Sized>(store: &S, number: u32) -> (NodeId, Lease) {
    let node = store.join(life(number), LEASE).await.expect("a node joins");
    (node, claim(store, node, life(number)).await.leases[0].0)
}

async fn crashes<S: Store + ?Sized>(store: &S) -> u32 {
    load(store, 1).await.crashes.count
}

/// The first crash at a place of the journal may have come after progress, unless the journal is empty.
pub async fn a_run_whose_node_died_has_crashed<S: Store + ?Sized>(store: &S) {
    let first = node(store).await;
    start(store, first, 1).await;
    assert_eq!(crashes(store).await, 0);
    for number in 1..=3 {
        let (_, lease) = crash(store, number).await;
        let crashes = load(store, 1).await.crashes;
        assert_eq!((crashes.count, crashes.last_at), (number, life(number)));
        assert_eq!(load(store, 1).await.record.fence, lease.fence);
    }
}

/// Only executions in a row count that came no further.
pub async fn a_run_that_got_further_has_not_crashed_again<S: Store + ?Sized>(store: &S) {
    let first = node(store).await;
    let lease = start(store, first, 1).await;
    write(store, appending(lease, vec![succeeded(0, "a", "1")])).await;
    crash(store, 1).await;
    assert_eq!(crashes(store).await, 0);
    let (_, lease) = crash(store, 2).await;
    assert_eq!(crashes(store).await, 1);
    write(store, appending(lease, vec![succeeded(1, "b", "2")])).await;
    assert_eq!(crashes(store).await, 0);
    crash(store, 3).await;
    assert_eq!(crashes(store).await, 0);
    let (_, lease) = crash(store, 4).await;
    assert_eq!(crashes(store).await, 1);
    suspend(store, lease, life(4), life(5)).await;
    assert_eq!(crashes(store).await, 1);
}

/// An orderly end is none.
pub async fn a_node_that_left_has_crashed_nothing<S: Store + ?Sized>(store: &S) {
    let first = node(store).await;
    start(store, first, 1).await;
    store.leave(first, at(1)).await.expect("a node may leave");
    let (second, _) = crash(store, 1).await;
    assert_eq!(crashes(store).await, 0);
    store.leave(second, life(1)).await.expect("a node may leave");
    let (third, _) = crash(store, 2).await;
    store.uncount_crashes(third).await.expect("it has none");
    assert_eq!(crashes(store).await, 0);
}

/// It says so itself, once or again.
pub async fn a_node_that_lives_takes_its_crashes_back<S: Store + ?Sized>(store: &S) {
    let first = node(store).await;
    start(store, first, 1).await;
    let (second, _) = crash(store, 1).await;
    crash(store, 2).await;
    assert_eq!(crashes(store).await, 2);
    for _ in 0..2 {
        store.uncount_crashes(second).await.expect("the node lives");
        assert_eq!(crashes(store).await, 1, "the other crash stays");
    }
    store.uncount_crashes(first).await.expect("the node lives");
    // A store of one process need not know of more than the last: the others are dead.
    assert!(crashes(store).await <= 1);
}

/// The operator says that it is worth another try.
pub async fn a_retry_forgets_crashes<S: Store + ?Sized>(store: &S) {
    let first = node(store).await;
    start(store, first, 1).await;
    let (_, lease) = crash(store, 1).await;
    finish(store, lease, life(1), Status::Failed).await;
    assert_eq!(crashes(store).await, 1);
    let retry = Control::Retry { step: None, timeout_at: None };
    store.control(lease.run_id, retry, life(1)).await.expect("a failed run can be retried");
    assert_eq!(crashes(store).await, 0);
}
