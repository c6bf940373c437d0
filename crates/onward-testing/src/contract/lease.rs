//! One writer a run: who holds its newest lease.

use std::time::Duration;

use onward_core::{
    Fence, NodeId, Store, StoreError,
    run::Status,
    store::{Checkpoint, ClaimRequest, Endpoints, Lease},
};

use super::fixture::{
    LEASE, appending, at, claim, claimed, endpoint, finish, first_lease, is_lease_lost, load, new_run, node, run_id,
    start, starting, succeeded, suspend, write,
};

async fn assert_refused<S: Store + ?Sized>(store: &S, lease: Lease) {
    let before = store.load(lease.run_id).await.expect("the store can be read").expect("the run is there");
    let seq = u32::try_from(before.journal.len()).expect("the contract's journals are short");
    let refused = store.checkpoint(appending(lease, vec![succeeded(seq, "stale", "")])).await;
    assert!(is_lease_lost(&refused), "{refused:?}");
    let after = store.load(lease.run_id).await.expect("the store can be read").expect("the run is there");
    assert_eq!((before.record, before.journal), (after.record, after.journal));
}

/// Neither an older number nor one that was never given.
pub async fn a_stale_fence_cannot_write<S: Store + ?Sized>(store: &S) {
    let node = node(store).await;
    let lease = start(store, node, 1).await;
    suspend(store, lease, at(1), at(1)).await;
    let (fresh, _) = claim(store, node, at(1)).await.leases[0];
    assert_refused(store, lease).await;
    assert_refused(store, Lease { fence: fresh.fence.next(), ..fresh }).await;
    write(store, appending(fresh, vec![succeeded(0, "a", "1")])).await;
}

/// The number alone is not enough.
pub async fn another_node_cannot_write<S: Store + ?Sized>(store: &S) {
    let node = node(store).await;
    let lease = start(store, node, 1).await;
    assert_refused(store, Lease { node: NodeId(node.0 + 1000), ..lease }).await;
    let stranger = store.checkpoint(starting(NodeId(node.0 + 1000), new_run(2))).await;
    assert!(is_lease_lost(&stranger), "{stranger:?}");
}

/// One outcome a run.
pub async fn a_finished_run_refuses_writes<S: Store + ?Sized>(store: &S) {
    let node = node(store).await;
    for (number, status) in (1..).zip([Status::Completed, Status::Failed, Status::Cancelled]) {
        let lease = start(store, node, number).await;
        finish(store, lease, at(1), status).await;
        assert_refused(store, lease).await;
        assert_eq!(load(store, number).await.record.status, status);
    }
}

/// Who let go of a run claims it before writing again.
pub async fn a_suspended_run_refuses_writes<S: Store + ?Sized>(store: &S) {
    let node = node(store).await;
    let lease = start(store, node, 1).await;
    suspend(store, lease, at(1), at(100)).await;
    assert_refused(store, lease).await;
}

/// It is told apart from a lost lease.
pub async fn a_run_that_was_never_made_refuses_writes<S: Store + ?Sized>(store: &S) {
    let node = node(store).await;
    let refused = store.checkpoint(Checkpoint::new(first_lease(node, 1), at(0))).await;
    assert!(matches!(refused, Err(StoreError::RunNotFound)), "{refused:?}");
}

/// Fences grow by one a claim.
pub async fn a_claim_gives_the_next_fence_and_voids_the_last<S: Store + ?Sized>(store: &S) {
    let node = node(store).await;
    let mut lease = start(store, node, 1).await;
    for fence in 2..6 {
        suspend(store, lease, at(1), at(1)).await;
        let (claimed, of) = claim(store, node, at(1)).await.leases[0].clone();
        assert_eq!((claimed.fence, of), (Fence(fence), endpoint()));
        assert_refused(store, lease).await;
        let record = load(store, 1).await.record;
        assert_eq!((record.status, record.fence, record.node), (Status::Running, Fence(fence), Some(node)));
        lease = claimed;
    }
}

/// They are due at once.
pub async fn a_node_that_leaves_hands_its_runs_over<S: Store + ?Sized>(store: &S) {
    let first = node(store).await;
    let lease = start(store, first, 1).await;
    store.leave(first, at(5)).await.expect("a node may leave");

    let record = load(store, 1).await.record;
    assert_eq!((record.status, record.node, record.due_at), (Status::Suspended, None, at(5)));
    assert_refused(store, lease).await;
    let second = store.join(at(5), LEASE).await.expect("a node joins");
    let claims = claim(store, second, at(5)).await;
    assert_eq!(claims.leases[0].0, Lease { run_id: run_id(1), fence: Fence(2), node: second });
}

/// A process that died said nothing.
pub async fn a_node_that_joins_takes_over_from_one_whose_lease_ended<S: Store + ?Sized>(store: &S) {
    let first = node(store).await;
    let running = start(store, first, 1).await;
    let sleeping = start(store, first, 2).await;
    suspend(store, sleeping, at(1), at(1000)).await;
    let ended = start(store, first, 3).await;
    finish(store, ended, at(1), Status::Completed).await;

    let later = at(0).after(LEASE).after(Duration::from_secs(1));
    let second = store.join(later, LEASE).await.expect("a node joins");
    assert_eq!(claimed(&claim(store, second, later).await), [run_id(1)]);
    assert_refused(store, running).await;
    assert_eq!(load(store, 2).await.record.due_at, at(1000));
}

/// Its time is over, whatever it still believes.
pub async fn a_node_that_left_is_refused<S: Store + ?Sized>(store: &S) {
    let node = node(store).await;
    store.heartbeat(node, at(1), LEASE).await.expect("a node that is here lives on");
    store.leave(node, at(2)).await.expect("a node may leave");
    let beat = store.heartbeat(node, at(3), LEASE).await;
    assert!(is_lease_lost(&beat), "{beat:?}");
    let request = ClaimRequest { node, now: at(3), limit: 1, endpoints: Endpoints::Only(vec![endpoint().into()]) };
    let claims = store.claim(request).await;
    assert!(is_lease_lost(&claims), "{claims:?}");
    let started = store.checkpoint(starting(node, new_run(1))).await;
    assert!(is_lease_lost(&started), "{started:?}");
    store.leave(node, at(4)).await.expect("leaving twice does nothing");
}

/// Or a dead one's writes would be taken for a live one's.
pub async fn nodes_never_share_an_id<S: Store + ?Sized>(store: &S) {
    let mut nodes = Vec::new();
    for secs in 0..5 {
        let node = store.join(at(secs * 100), LEASE).await.expect("a node joins");
        assert!(!nodes.contains(&node));
        nodes.push(node);
        if secs % 2 == 0 {
            store.leave(node, at(secs * 100 + 1)).await.expect("a node may leave");
        }
    }
}
