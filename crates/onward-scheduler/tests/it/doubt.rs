//! Runs that were leased in an answer that was lost.

use std::sync::Arc;

use onward_core::{
    Fence,
    run::Status,
    store::{Lease, Woken},
};
use onward_scheduler::{Attached, Hung};

use crate::support::{Node, pass, quiet, run, secs};

struct Execution;

impl Attached for Execution {
    fn nudge(&self) {}
    fn cancel(&self) {}

    fn hung(&self) -> Option<Hung> {
        None
    }
}

#[tokio::test(start_paused = true)]
async fn what_nobody_here_knows_of_is_given_back_after_an_error_and_what_is_executed_stays() {
    let node = Node::shared(quiet()).await;
    node.start();
    let lease = |draw| Lease { run_id: run(draw), fence: Fence::FIRST, node: node.scheduler.node().unwrap() };
    let (lost, executed) = (lease(1), lease(2));
    node.held(lost).await;
    node.held(executed).await;
    let attached = node.hub.attach(executed.run_id, Arc::new(Execution));
    pass(secs(60)).await;
    assert_eq!(node.status(lost.run_id).await, Status::Running, "without an error nobody looks");

    node.store.set_down(true);
    node.scheduler.woken(&[Woken { run_id: run(3), node: None }]);
    pass(secs(2)).await;
    node.store.set_down(false);
    pass(secs(8)).await;
    assert_eq!(node.resumed_at_ms(), [], "it might be on its way to somebody");
    pass(secs(6)).await;
    let resumed: Vec<_> = node.resumed_at_ms().into_iter().map(|(run_id, _)| run_id).collect();
    assert_eq!(resumed, [lost.run_id]);
    assert_eq!(node.status(executed.run_id).await, Status::Running);
    drop(attached);
}
