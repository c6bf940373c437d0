//! Runs that cannot go on here are given back, through an outage as well.

use std::sync::atomic::Ordering;

use onward_core::{Fence, NodeId, RunId, run::Status, store::Lease};

use crate::support::{Node, millis, pass, quiet, run, secs};

async fn held(node: &Node, count: u128) -> Vec<Lease> {
    let mut leases = Vec::new();
    for draw in 0..count {
        let lease = Lease { run_id: run(draw), fence: Fence::FIRST, node: node.scheduler.node().unwrap() };
        node.held(lease).await;
        leases.push(lease);
    }
    leases
}

async fn suspended(node: &Node, leases: &[Lease]) -> usize {
    let mut suspended = 0;
    for lease in leases {
        suspended += usize::from(node.status(lease.run_id).await == Status::Suspended);
    }
    suspended
}

#[tokio::test(start_paused = true)]
async fn thousands_are_given_back_after_an_outage_of_minutes_in_which_the_store_is_asked_seldom() {
    let node = Node::new(quiet()).await;
    let leases = held(&node, 2_000).await;
    node.store.set_down(true);
    let before = node.store.checkpoints.load(Ordering::SeqCst);
    for lease in &leases {
        node.scheduler.release(*lease, secs(0));
    }
    assert_eq!(node.tasks.len(), 1, "one task for all");
    pass(secs(180)).await;
    let tries = node.store.checkpoints.load(Ordering::SeqCst) - before;
    assert!((30..=60).contains(&tries), "{tries} tries in three minutes");
    node.store.set_down(false);
    pass(secs(5)).await;
    assert_eq!(suspended(&node, &leases).await, 2_000);
    assert_eq!(node.tasks.len(), 0);
    let more = held(&node, 2_001).await[2_000];
    node.scheduler.release(more, secs(0));
    pass(millis(1)).await;
    assert_eq!(suspended(&node, &[more]).await, 1);
}

#[tokio::test(start_paused = true)]
async fn what_a_node_held_that_was_given_up_is_not_its_own_to_give_back() {
    let node = Node::new(quiet()).await;
    let before = node.store.checkpoints.load(Ordering::SeqCst);
    let lease = Lease { run_id: RunId::from_bytes([7; 16]), fence: Fence::FIRST, node: NodeId(99) };
    node.scheduler.release(lease, secs(0));
    pass(secs(1)).await;
    assert_eq!(node.store.checkpoints.load(Ordering::SeqCst), before);
    assert_eq!(node.tasks.len(), 0);
}
