//! Deliveries reach the executions that wait for them.

use std::sync::Arc;

use onward_core::{
    NodeId,
    store::{Claims, Woken},
};
use onward_scheduler::{Attached, Config};

use crate::support::{Node, Told, millis, pass, quiet, run, secs};

fn told(node: &Node, draw: u128) -> (Arc<Told>, onward_scheduler::AttachGuard) {
    let told = Arc::new(Told::default());
    let guard = node.hub.attach(run(draw), Arc::clone(&told) as Arc<dyn Attached>);
    (told, guard)
}

#[tokio::test(start_paused = true)]
async fn a_wake_of_this_node_nudges_its_execution_and_one_of_another_nobody() {
    let node = Node::new(quiet()).await;
    let (ours, _ours) = told(&node, 1);
    let (other, _other) = told(&node, 2);
    let own = node.scheduler.node();
    node.scheduler.woken(&[
        Woken { run_id: run(1), node: own },
        Woken { run_id: run(2), node: Some(NodeId(99)) },
        Woken { run_id: run(3), node: own },
    ]);
    assert_eq!((ours.nudges(), other.nudges()), (1, 0));
    assert_eq!((ours.cancels(), other.cancels()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_delivery_whose_notification_was_lost_is_found_by_the_poll() {
    let node = Node::new(Config::default()).await;
    let (ours, _guard) = told(&node, 1);
    node.start();
    pass(millis(10)).await;
    *node.store.claims_say.lock() = Some(Claims { nudged: vec![run(1), run(2)], ..Default::default() });
    pass(millis(4_900)).await;
    assert_eq!(ours.nudges(), 0);
    pass(millis(200)).await;
    assert_eq!(ours.nudges(), 1);
}

#[tokio::test(start_paused = true)]
async fn it_is_found_as_well_while_no_slot_is_free() {
    let node = Node::new(Config { resumes_max: 1, ..Config::default() }).await;
    node.resumer.gate.forget_permits(1_000_000);
    node.sleeping(1, secs(0)).await;
    node.sleeping(2, secs(0)).await;
    node.start();
    pass(millis(10)).await;
    let (ours, _guard) = told(&node, 1);
    *node.store.claims_say.lock() = Some(Claims { nudged: vec![run(1)], ..Default::default() });
    pass(secs(6)).await;
    assert_eq!(ours.nudges(), 1);
    assert_eq!(node.resumer.runs(), [run(1)], "and nothing was claimed for which there is no slot");
}
