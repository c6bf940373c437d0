//! Finds executions that hang, and gives their runs back.
//!
//! An execution that waits for nothing that can come is a bug of this project. The run behind it has been promised to a
//! client, so the node finds the execution by itself, says what it waits for, and has the run executed anew.

use std::{sync::Arc, time::Duration};

use super::Scheduler;
use crate::Hung;

impl Scheduler {
    /// Looks for executions that hang, until the node has left.
    pub(super) async fn watch_executions(self: Arc<Self>) {
        tokio::select! {
            biased;
            () = self.left.cancelled() => {}
            () = self.watch_forever() => {}
        }
    }

    async fn watch_forever(self: &Arc<Self>) {
        let mut before = Vec::new();
        loop {
            self.sleep(self.config.hung_after).await;
            let now = self.hub.hung();
            for hung in still_hung(&before, &now) {
                self.end_hung(hung);
            }
            before = now;
        }
    }

    /// Ends an execution that hangs, and gives its run back, to be executed anew from its journal.
    fn end_hung(self: &Arc<Self>, hung: &Hung) {
        let run_id = hung.lease.run_id;
        self.meter.hung();
        tracing::error!(%run_id, waits_for = hung.waits_for, "execution hung: the run is given back (please report this)");
        self.hub.cancel(run_id);
        self.release(hung.lease, Duration::ZERO);
    }
}

/// The executions that hung at two looks in a row and were not polled between them.
fn still_hung<'a>(before: &'a [Hung], now: &'a [Hung]) -> impl Iterator<Item = &'a Hung> {
    let same = |a: &Hung, b: &Hung| (a.lease, a.polls) == (b.lease, b.polls);
    now.iter().filter(move |now| before.iter().any(|before| same(before, now)))
}

#[cfg(test)]
mod tests {
    use onward_core::{Fence, NodeId, RunId, Timestamp, store::Lease};

    use super::{Hung, still_hung};

    fn hung(run: u128, polls: u64) -> Hung {
        let lease = Lease { run_id: RunId::new(Timestamp::EPOCH, run), fence: Fence::FIRST, node: NodeId(1) };
        Hung { lease, polls, waits_for: "nothing" }
    }

    #[test]
    fn an_execution_that_was_polled_between_two_looks_does_not_hang() {
        let found = |before: &[Hung], now: &[Hung]| still_hung(before, now).copied().collect::<Vec<_>>();
        assert_eq!(found(&[], &[hung(1, 3)]), [], "it may be about to be polled");
        assert_eq!(found(&[hung(1, 3), hung(2, 5)], &[hung(1, 3), hung(2, 6)]), [hung(1, 3)]);
        assert_eq!(found(&[hung(1, 3)], &[]), []);
    }
}
