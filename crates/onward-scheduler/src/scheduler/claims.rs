//! The claim loop: sleeps until something is due, leases it, and has it resumed.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use onward_core::{
    StoreError, Timestamp,
    store::{ClaimRequest, Claims},
};

use super::{Resume, Scheduler};

/// The first pause after a claim that failed; it doubles up to [`FAILURE_PAUSE_MAX`].
const FAILURE_PAUSE: Duration = Duration::from_millis(100);
const FAILURE_PAUSE_MAX: Duration = Duration::from_secs(5);

/// Why the loop looks again.
enum Wake {
    /// Something may be due.
    Due,
    /// The app shuts down.
    Shutdown,
}

impl Scheduler {
    pub(super) async fn claims(self: Arc<Self>, resume: Arc<dyn Resume>) {
        let mut pause = FAILURE_PAUSE;
        loop {
            let free = self.slots.available_permits().min(self.config.claim_batch);
            // Why: with no slot free there is nothing to claim for; the loop waits for one.
            let claimed = if free == 0 { self.wait_for_slot().await } else { self.claim(&resume, free).await };
            let wake = match claimed {
                Ok(Some(again_at)) => {
                    pause = FAILURE_PAUSE;
                    self.wait(again_at).await
                }
                Ok(None) => Wake::Due,
                Err(error) => {
                    self.failures.fetch_add(1, Ordering::Relaxed);
                    tracing::warn!(error = &error as &dyn std::error::Error, "due runs could not be claimed");
                    let go_on = self.pause(pause).await;
                    pause = (pause * 2).min(FAILURE_PAUSE_MAX);
                    if go_on { Wake::Due } else { Wake::Shutdown }
                }
            };
            if matches!(wake, Wake::Shutdown) || self.tasks.shutdown_token().is_cancelled() {
                return;
            }
        }
    }

    /// Claims what is due, and has it resumed. When to look again; `None` for at once.
    async fn claim(&self, resume: &Arc<dyn Resume>, limit: usize) -> Result<Option<Timestamp>, StoreError> {
        let now = self.clock.now();
        let Some(node) = self.node() else { return Ok(Some(Timestamp::NEVER)) };
        *self.hint.lock() = Timestamp::NEVER;
        let request = ClaimRequest { node, now, limit, endpoints: resume.endpoints() };
        let Claims { leases, nudged, next_due_at } = self.store.claim(request).await?;
        let full = leases.len() >= limit;
        for (lease, endpoint) in leases {
            self.claimed.fetch_add(1, Ordering::Relaxed);
            let slot = Arc::clone(&self.slots).try_acquire_owned().ok();
            let resumed = resume.resume(lease, endpoint);
            self.tasks.spawn("resume", async move {
                resumed.await;
                drop(slot);
            });
        }
        for run_id in nudged {
            self.hub.nudge(run_id);
        }
        Ok((!full).then(|| next_due_at.unwrap_or(Timestamp::NEVER)))
    }

    async fn wait_for_slot(&self) -> Result<Option<Timestamp>, StoreError> {
        tokio::select! {
            permit = self.slots.acquire() => drop(permit),
            () = self.tasks.shutdown_token().cancelled() => {}
        }
        Ok(None)
    }

    /// Waits until a time, an earlier one that is hinted at meanwhile, or a notification.
    ///
    /// The time is the durable clock's. That no notification is lost is looked after in the process's own time.
    async fn wait(&self, until: Timestamp) -> Wake {
        let poll = tokio::time::sleep(self.config.poll_max);
        let mut poll = std::pin::pin!(poll);
        loop {
            let until = until.min(*self.hint.lock());
            let due = async {
                match until {
                    Timestamp::NEVER => std::future::pending().await,
                    until => self.clock.sleep_until(until).await,
                }
            };
            tokio::select! {
                biased;
                () = self.tasks.shutdown_token().cancelled() => return Wake::Shutdown,
                () = self.due.notified() => return Wake::Due,
                () = self.hinted.notified() => {}
                () = due => return Wake::Due,
                () = &mut poll => return Wake::Due,
            }
        }
    }
}
