//! Whether this node can begin runs: its lease is good, and so are the ways that its checkpoints take.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;

use super::Scheduler;

/// Whether checkpoints could be written of late.
#[derive(Debug, Default)]
pub(super) struct Writes(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    has_failed: bool,
    /// When it was last begun to be tried with success.
    worked_at: Duration,
}

impl Writes {
    pub(super) fn worked(&self, begun: Duration) {
        *self.0.lock() = State { has_failed: false, worked_at: begun };
    }

    /// Whether it is new that they cannot be.
    fn failed(&self) -> bool {
        !std::mem::replace(&mut self.0.lock().has_failed, true)
    }

    /// Whether they could be at a time at most so long ago, and could not be at none since.
    fn work(&self, now: Duration, within: Duration) -> bool {
        let state = self.0.lock();
        !state.has_failed && now.saturating_sub(state.worked_at) < within
    }
}

impl Scheduler {
    /// Whether runs can be begun: this process is a node of its store, the store has answered it within the length of a
    /// lease, and a checkpoint could be written within that time.
    pub fn is_ready(&self) -> bool {
        let can_write = || !self.is_shared || self.writes.work(self.upkeep_now(), self.config.lease);
        self.node().is_some() && !self.lease_left().is_zero() && can_write()
    }

    /// Sees with each heartbeat whether a checkpoint could be written, until the node has left.
    pub(super) async fn tries_writes(self: Arc<Self>) {
        let mut beat = self.beat.subscribe();
        let see = async {
            while beat.changed().await.is_ok() {
                self.try_write().await;
            }
        };
        tokio::select! {
            biased;
            () = self.left.cancelled() => {}
            () = see => {}
        }
    }

    async fn try_write(&self) {
        let Some(node) = self.node() else { return };
        let begun = self.upkeep_now();
        match self.store.can_checkpoint(node, self.config.lease / 3).await {
            Ok(()) => self.writes.worked(begun),
            Err(error) if self.writes.failed() => tracing::error!(
                error = &error as &dyn std::error::Error,
                "no checkpoint can be written: this node is not ready, and says so until one can be"
            ),
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Writes;

    #[test]
    fn it_is_not_ready_as_soon_as_a_write_failed_and_where_none_has_answered_for_long() {
        let (writes, ms, within) = (Writes::default(), Duration::from_millis, Duration::from_secs(1));
        writes.worked(ms(100));
        assert!(writes.work(ms(1_099), within) && !writes.work(ms(1_100), within));
        assert!(writes.failed() && !writes.failed(), "it is told once");
        assert!(!writes.work(ms(101), within));
        writes.worked(ms(2_000));
        assert!(writes.work(ms(2_001), within) && writes.failed());
    }
}
