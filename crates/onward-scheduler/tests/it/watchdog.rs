//! Executions that wait for nothing that can come.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use onward_core::{Fence, run::Status, store::Lease};
use onward_scheduler::{Attached, Hung};

use crate::support::{Node, pass, quiet, run, secs};

struct Execution {
    lease: Lease,
    polls: AtomicU64,
    is_cancelled: AtomicBool,
}

impl Attached for Execution {
    fn nudge(&self) {}

    fn cancel(&self) {
        self.is_cancelled.store(true, Ordering::SeqCst);
    }

    fn hung(&self) -> Option<Hung> {
        let polls = self.polls.load(Ordering::SeqCst);
        let is_cancelled = self.is_cancelled.load(Ordering::SeqCst);
        (!is_cancelled).then_some(Hung { lease: self.lease, polls, waits_for: "nothing" })
    }
}

#[tokio::test(start_paused = true)]
async fn the_run_of_an_execution_that_hangs_is_given_back_and_executed_anew() {
    let node = Node::new(quiet()).await;
    node.start();
    let lease = Lease { run_id: run(1), fence: Fence::FIRST, node: node.scheduler.node().unwrap() };
    node.held(lease).await;
    let execution = Arc::new(Execution { lease, polls: AtomicU64::new(1), is_cancelled: AtomicBool::new(false) });
    let attached = node.hub.attach(lease.run_id, Arc::clone(&execution) as Arc<dyn Attached>);
    for polls in 2..6 {
        pass(secs(5)).await;
        execution.polls.store(polls, Ordering::SeqCst);
    }
    assert_eq!((node.scheduler.stats().hung, node.resumed_at_ms()), (0, vec![]), "an execution that is polled moves");
    assert_eq!(node.status(lease.run_id).await, Status::Running);

    pass(secs(11)).await;
    assert_eq!(node.scheduler.stats().hung, 1);
    assert!(execution.is_cancelled.load(Ordering::SeqCst));
    let resumed: Vec<_> = node.resumed_at_ms().into_iter().map(|(run_id, _)| run_id).collect();
    assert_eq!(resumed, [lease.run_id], "the run goes on from its journal");
    drop(attached);
}
