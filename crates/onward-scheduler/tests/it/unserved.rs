//! Runs that time out where no node goes on with them.

use std::sync::atomic::Ordering;

use onward_core::run::Status;

use crate::support::{Node, pass, quiet, secs};

#[tokio::test(start_paused = true)]
async fn one_that_cannot_be_ended_keeps_no_other_from_it() {
    let node = Node::new(quiet()).await;
    let runs =
        [node.timing_out(1, secs(5)).await, node.timing_out(2, secs(5)).await, node.timing_out(3, secs(500)).await];
    *node.store.refuses.lock() = Some(runs[0]);
    node.start();
    pass(secs(60)).await;
    assert_eq!(node.status(runs[1]).await, Status::Suspended, "whoever serves it has a minute");
    pass(secs(61)).await;
    let now = [node.status(runs[0]).await, node.status(runs[1]).await, node.status(runs[2]).await];
    assert_eq!(now, [Status::Suspended, Status::Failed, Status::Suspended]);
    *node.store.refuses.lock() = None;
    pass(secs(61)).await;
    assert_eq!(node.status(runs[0]).await, Status::Failed);
    assert_eq!(node.resumer.under_way.load(Ordering::SeqCst), 0);
}
