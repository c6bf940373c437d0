//! A node of a shared store looks for others that are gone, and gives itself up when it cannot renew its lease.

use std::sync::{Arc, atomic::Ordering};

use onward_scheduler::{Attached, Config};

use crate::support::{Node, Told, millis, pass, quiet, run, secs};

fn attached(node: &Node) -> (Arc<Told>, onward_scheduler::AttachGuard) {
    let told = Arc::new(Told::default());
    let guard = node.hub.attach(run(9), Arc::clone(&told) as Arc<dyn Attached>);
    (told, guard)
}

#[tokio::test(start_paused = true)]
async fn in_a_shared_store_it_renews_and_then_claims_often_enough_to_find_who_died() {
    let node = Node::shared(quiet()).await;
    node.start();
    pass(millis(10)).await;
    let (claims, beats) = (node.store.claims(), node.store.heartbeats.lock().len());
    pass(secs(10)).await;
    assert_eq!(node.store.heartbeats.lock().len() - beats, 20);
    assert_eq!(node.store.claims() - claims, 20, "what another node's death made due is claimed at once");
    let short = Node::shared(Config { lease: millis(300), ..quiet() }).await;
    short.start();
    pass(secs(1)).await;
    assert!((9..=10).contains(&short.store.heartbeats.lock().len()), "a third of a lease that is short");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_cut_off_gives_itself_up_as_its_lease_ends_and_not_before() {
    for hangs in [false, true] {
        let node = Node::shared(quiet()).await;
        let (told, _guard) = attached(&node);
        node.start();
        let first = node.scheduler.node().unwrap();
        pass(millis(20_250)).await;
        // The last renewal was at 20,000 ms.
        node.store.heartbeats_hang.store(hangs, Ordering::SeqCst);
        node.store.set_down(true);
        pass(millis(9_740)).await;
        assert_eq!((told.cancels(), node.scheduler.node()), (0, Some(first)));
        assert!(node.scheduler.is_ready());
        pass(millis(20)).await;
        assert_eq!((told.cancels(), node.scheduler.node()), (1, None));
        assert!(!node.scheduler.is_ready());
        pass(secs(120)).await;
        assert_eq!(told.cancels(), 1, "once");
        node.store.heartbeats_hang.store(false, Ordering::SeqCst);
        node.store.set_down(false);
        pass(secs(1)).await;
        let second = node.scheduler.node().unwrap();
        assert!(second != first && node.scheduler.is_ready());
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_of_one_process_is_waited_for_however_long_it_takes() {
    let node = Node::new(quiet()).await;
    let (told, _guard) = attached(&node);
    node.start();
    let first = node.scheduler.node();
    node.store.set_down(true);
    pass(secs(60)).await;
    assert_eq!((told.cancels(), node.scheduler.node()), (0, first), "nobody else can have its runs");
    assert!(!node.scheduler.is_ready(), "but it says that it cannot begin any");
    node.store.set_down(false);
    pass(secs(4)).await;
    assert_eq!(node.scheduler.node(), first);
    assert!(node.scheduler.is_ready());
}

#[tokio::test(start_paused = true)]
async fn runs_that_a_lost_node_was_given_are_not_resumed() {
    let node = Node::shared(quiet()).await;
    node.start();
    node.scheduler.leave().await.unwrap();
    let (told, _guard) = attached(&node);
    node.scheduler.leave().await.unwrap();
    assert_eq!(told.cancels(), 1, "what is under way as a node leaves stops before its runs are others'");
}

#[tokio::test(start_paused = true)]
async fn a_node_whose_checkpoints_cannot_be_written_is_not_ready_though_its_lease_is_good() {
    let node = Node::shared(Config { lease: secs(10), heartbeat_max: millis(500), ..quiet() }).await;
    node.start();
    pass(secs(60)).await;
    assert!(node.scheduler.is_ready());
    node.store.checkpoints_fail.store(true, Ordering::SeqCst);
    pass(secs(1)).await;
    assert!(!node.scheduler.is_ready() && node.scheduler.holds_lease(node.scheduler.node().unwrap()));
    node.store.checkpoints_fail.store(false, Ordering::SeqCst);
    pass(secs(1)).await;
    assert!(node.scheduler.is_ready());
}
