//! Runs that were leased to this node in an answer that was lost: nobody here knows of them, so they are looked for and
//! given back.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use onward_core::{Fence, RunId, StoreError};
use parking_lot::Mutex;

use super::Scheduler;

/// How many looks in a row must find nothing until there is no doubt: what was sent may arrive late.
const LOOKS: u32 = 2;

/// Whether the store may have leased something to this node without its knowing.
#[derive(Debug, Default)]
pub(super) struct Doubt(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// How many looks are left.
    looks: u32,
    /// When the last one was.
    looked_at: Option<Duration>,
    /// What nobody here knew of then. It may have been on its way to somebody.
    unknown: BTreeSet<(RunId, Fence)>,
}

impl Scheduler {
    /// A call that leases runs to this node got no answer, or none in time.
    pub(super) fn doubt(&self) {
        if self.is_shared {
            let mut state = self.doubt.0.lock();
            if state.looks == 0 {
                *state = State::default();
            }
            state.looks = LOOKS;
        }
    }

    /// Looks with each heartbeat, until the node has left. Not in it: no lease is late for this.
    pub(super) async fn looks_for_unknown(self: Arc<Self>) {
        let mut beat = self.beat.subscribe();
        let look = async {
            while beat.changed().await.is_ok() {
                if let Err(error) = self.look_for_unknown().await {
                    tracing::debug!(error = &error as &dyn std::error::Error, "what this node holds was not seen");
                }
            }
        };
        tokio::select! {
            biased;
            () = self.left.cancelled() => {}
            () = look => {}
        }
    }

    /// Looks, where there is doubt, what this node holds. What nobody here knows of twice, a lease apart (longer than any
    /// call takes), is given back.
    async fn look_for_unknown(self: &Arc<Self>) -> Result<(), StoreError> {
        let Some(node) = self.node() else { return Ok(()) };
        let now = self.upkeep_now();
        {
            let mut state = self.doubt.0.lock();
            let is_early = state.looked_at.is_some_and(|at| now.saturating_sub(at) < self.config.lease);
            if state.looks == 0 || is_early {
                return Ok(());
            }
            state.looked_at = Some(now);
        }
        let held = self.store.held(node).await?;
        let unknown: Vec<_> = held.into_iter().filter(|lease| !self.hub.attached(lease.run_id)).collect();
        let before = {
            let mut state = self.doubt.0.lock();
            if unknown.is_empty() {
                state.looks -= 1;
            }
            let now = unknown.iter().map(|lease| (lease.run_id, lease.fence)).collect();
            std::mem::replace(&mut state.unknown, now)
        };
        for lease in unknown {
            if before.contains(&(lease.run_id, lease.fence)) {
                tracing::warn!(run_id = %lease.run_id, "a run that was leased in an answer that was lost is given back");
                self.release(lease, Duration::ZERO);
            }
        }
        Ok(())
    }
}
