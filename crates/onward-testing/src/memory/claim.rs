//! Nodes come and go, and claim what is due.

use std::time::Duration;

use onward_core::{
    NodeId, RunId, StoreError, Timestamp,
    run::{CrashRecord, RunRecord, Status},
    store::{ClaimRequest, Claims, Lease},
};

use super::state::{Run, State};

impl State {
    /// Makes a node. Where one process owns the store, every other node is gone; else those whose lease has ended.
    pub(super) fn join(&mut self, now: Timestamp, lease: Duration) -> NodeId {
        let gone: Vec<NodeId> = self.nodes.keys().copied().filter(|node| self.is_gone(*node, now)).collect();
        for node in gone {
            self.crash(node, now);
        }
        self.nodes_joined += 1;
        let node = NodeId(self.nodes_joined);
        self.nodes.insert(node, now.after(lease));
        node
    }

    fn is_gone(&self, node: NodeId, now: Timestamp) -> bool {
        !self.is_shared || self.nodes.get(&node).is_none_or(|ends_at| *ends_at < now)
    }

    pub(super) fn heartbeat(&mut self, node: NodeId, now: Timestamp, lease: Duration) -> Result<(), StoreError> {
        self.check_node(node)?;
        self.nodes.insert(node, now.after(lease));
        if self.is_shared {
            let gone: Vec<NodeId> = self.nodes.keys().copied().filter(|node| self.is_gone(*node, now)).collect();
            for node in gone {
                self.crash(node, now);
            }
        }
        Ok(())
    }

    pub(super) fn leave(&mut self, node: NodeId, now: Timestamp) {
        self.nodes.remove(&node);
        for run in self.runs.values_mut().filter(|run| run.record.node == Some(node)) {
            run.suspend(now);
        }
    }

    /// Ends a node that has not left.
    fn crash(&mut self, node: NodeId, now: Timestamp) {
        for run in self.runs.values_mut().filter(|run| run.record.node == Some(node)) {
            run.crashes = Some(CrashRecord::after(run.crashes, run.next(), node, now));
        }
        self.leave(node, now);
    }

    pub(super) fn uncount_crashes(&mut self, node: NodeId) {
        let crashes = self.runs.values_mut().filter_map(|run| run.crashes.as_mut());
        crashes.filter(|crashes| crashes.node == node).for_each(CrashRecord::uncount);
    }

    pub(super) fn claim(&mut self, request: &ClaimRequest) -> Result<Claims, StoreError> {
        self.check_node(request.node)?;
        let nudged = self
            .runs
            .values()
            .filter(|run| run.record.node == Some(request.node) && !run.deliveries.is_empty())
            .map(|run| run.record.run_id)
            .collect();

        let is_ours = |run: &&Run| {
            let RunRecord { status, endpoint, version, pinned, .. } = &run.record;
            *status == Status::Suspended && request.endpoints.contains(endpoint, version.as_ref(), *pinned)
        };
        let mut due: Vec<(Timestamp, u64, RunId)> = self
            .runs
            .values()
            .filter(is_ours)
            .filter(|run| run.record.due_at <= request.now)
            .map(|run| (run.record.due_at, run.number, run.record.run_id))
            .collect();
        due.sort_unstable();
        due.truncate(request.limit);

        let mut leases = Vec::with_capacity(due.len());
        for (_, _, run_id) in due {
            let Some(run) = self.runs.get_mut(&run_id) else { continue };
            run.record.status = Status::Running;
            run.record.due_at = Timestamp::NEVER;
            run.record.fence = run.record.fence.next();
            run.record.node = Some(request.node);
            let lease = Lease { run_id, fence: run.record.fence, node: request.node };
            leases.push((lease, run.record.endpoint.clone()));
        }

        let next_due_at = self.runs.values().filter(is_ours).map(|run| run.record.due_at).min();
        Ok(Claims { leases, nudged, next_due_at: next_due_at.filter(|at| *at != Timestamp::NEVER) })
    }
}
