//! The claim loop: sleeps until something is due, leases it, and has it resumed.

use std::{future::pending, sync::Arc, time::Duration};

use onward_core::{
    EndpointId, StoreError, Timestamp,
    store::{ClaimRequest, Claims, Lease},
};

use super::{Resume, Scheduler, backoff::Backoff};
use crate::tasks::{Panicked, caught};

/// How long a run stands back whose resumption panicked.
const PANIC_PAUSE: Duration = Duration::from_secs(5);

/// How long the loop stands back from a store that says a run is due and does not give it.
const REFUSED_PAUSE: Duration = Duration::from_millis(100);

/// Why the loop looks again.
enum Wake {
    /// Somebody said that a run is due.
    Notified,
    /// The time has come at which one is.
    Due,
    /// Nothing was heard for the longest time that it believes that.
    Poll,
    /// The store was left alone for long enough.
    Retry,
}

/// What a claim has shown.
struct Seen {
    /// When the longest due of the runs that are left is due.
    next_due_at: Timestamp,
    /// When to look again, unless there is a hint; `None` for at once.
    again_at: Option<Timestamp>,
}

impl Scheduler {
    /// Claims until it is told to stop. What a claim under way leases then goes back as the node leaves.
    pub(super) async fn claims(self: Arc<Self>, resume: Arc<dyn Resume>) {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => {}
            () = self.claim_forever(&resume) => {}
        }
    }

    async fn claim_forever(self: &Arc<Self>, resume: &Arc<dyn Resume>) {
        let mut backoff = Backoff::default();
        // When the longest due run is due, as far as is known.
        let mut expected = Timestamp::NEVER;
        loop {
            let limit = self.free_slots().await;
            expected = expected.min(std::mem::replace(&mut *self.hint.lock(), Timestamp::NEVER));
            let wake = match self.claim(resume, limit, expected).await {
                Ok(Seen { next_due_at, again_at }) => {
                    backoff.reset();
                    expected = next_due_at;
                    match again_at {
                        Some(at) => self.wait(at).await,
                        None => Wake::Due,
                    }
                }
                Err(error) => {
                    self.meter.failed();
                    self.doubt();
                    tracing::warn!(error = &error as &dyn std::error::Error, "due runs could not be claimed");
                    self.sleep(backoff.pause()).await;
                    Wake::Retry
                }
            };
            match wake {
                Wake::Notified => tracing::trace!("claims, as it was notified"),
                Wake::Due => tracing::trace!("claims, as a run is due"),
                Wake::Poll => tracing::trace!("claims, as it heard nothing"),
                Wake::Retry => tracing::debug!("claims again"),
            }
        }
    }

    /// How many runs to claim. With no slot free it waits for one, but not longer than a nudge may be late: then zero.
    async fn free_slots(&self) -> usize {
        tokio::select! {
            biased;
            slot = self.slots.acquire() => drop(slot),
            () = self.sleep(self.config.poll_max) => {}
        }
        self.slots.available_permits().min(self.config.claim_batch)
    }

    /// Claims what is due, and has it resumed.
    async fn claim(
        self: &Arc<Self>,
        resume: &Arc<dyn Resume>,
        limit: usize,
        expected: Timestamp,
    ) -> Result<Seen, StoreError> {
        // Why no claim without a node: the heartbeat joins again, and notifies.
        let Some(node) = self.node() else {
            return Ok(Seen { next_due_at: expected, again_at: Some(Timestamp::NEVER) });
        };
        let now = self.clock.now();
        let request = ClaimRequest { node, now, limit, endpoints: resume.endpoints() };
        let Claims { leases, nudged, next_due_at } = match self.store.claim(request).await {
            Err(StoreError::LeaseLost) => {
                // Why not here: joining is the heartbeat's, which no step can block, and which notifies.
                self.refused.notify_one();
                return Ok(Seen { next_due_at: expected, again_at: Some(Timestamp::NEVER) });
            }
            answer => answer?,
        };
        if self.node() != Some(node) {
            // Why none is resumed: the lease ended meanwhile, and so did those. They are due again for whoever looks.
            return Ok(Seen { next_due_at: expected, again_at: None });
        }
        let handed_out = self.clock.now();
        if !leases.is_empty() && expected <= handed_out {
            self.meter.late(handed_out.since(expected));
        }
        self.meter.claimed(leases.len());
        let (full, none) = (leases.len() >= limit, leases.is_empty());
        for (lease, endpoint) in leases {
            self.resume(Arc::clone(resume), lease, endpoint);
        }
        for run_id in nudged {
            self.hub.nudge(run_id);
        }
        let next_due_at = next_due_at.unwrap_or(Timestamp::NEVER);
        let refused = none && next_due_at <= now;
        let again_at = if refused { now.after(REFUSED_PAUSE) } else { next_due_at };
        Ok(Seen { next_due_at, again_at: (!full).then_some(again_at) })
    }

    /// Has a run resumed in a slot. If that panics, the run is given back: else nobody would look at it again.
    fn resume(self: &Arc<Self>, resume: Arc<dyn Resume>, lease: Lease, endpoint: EndpointId) {
        let slot = Arc::clone(&self.slots).try_acquire_owned().ok();
        let this = Arc::clone(self);
        self.tasks.spawn("resume", async move {
            let resumed = caught(async { resume.resume(lease, endpoint).await }).await;
            drop(slot);
            if let Err(Panicked) = resumed {
                tracing::error!(run_id = %lease.run_id, "resuming a run panicked");
                this.release(lease, PANIC_PAUSE);
            }
        });
    }

    /// Waits until a time, an earlier one that is hinted at meanwhile, a notification, or the next poll.
    async fn wait(&self, until: Timestamp) -> Wake {
        let mut poll = std::pin::pin!(self.sleep(self.config.poll_max));
        loop {
            let until = until.min(*self.hint.lock());
            let due = async {
                match until {
                    Timestamp::NEVER => pending().await,
                    until => self.clock.sleep_until(until).await,
                }
            };
            tokio::select! {
                biased;
                () = self.due.notified() => return Wake::Notified,
                () = self.hinted.notified() => {}
                () = due => return Wake::Due,
                () = &mut poll => return Wake::Poll,
            }
        }
    }
}
