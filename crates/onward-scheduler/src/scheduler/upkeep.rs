//! The slow loops: the node's lease, and what is past its retention.

use std::{future::pending, sync::Arc, time::Duration};

use onward_core::{StoreError, Timestamp};
use tokio::time::Instant;

use super::{Scheduler, Upkeep, backoff::Backoff};

/// The shortest and the longest rest after a batch of the sweep; between them it is as long as the batch took.
const REST_MIN: Duration = Duration::from_millis(10);
const REST_MAX: Duration = Duration::from_secs(1);

/// How long to rest after a batch that took so long.
pub(super) fn rest(took: Duration) -> Duration {
    took.clamp(REST_MIN, REST_MAX)
}

impl Scheduler {
    /// Renews the node's lease until the node has left, so also while the app drains. It waits for nothing that needs the
    /// app's runtime.
    pub(super) async fn heartbeat(self: Arc<Self>) {
        tokio::select! {
            biased;
            () = self.left.cancelled() => {}
            // Why first: after the process was stopped for long, nothing else is done as the node that it was.
            () = self.fence_forever() => {}
            () = self.renew_forever() => {}
        }
    }

    /// Shows that the app's runtime goes on.
    pub(super) async fn pulse(self: Arc<Self>) {
        let every = self.config.blocked_max / 10;
        while !self.left.is_cancelled() {
            *self.pulse_at.lock() = self.upkeep_now();
            self.sleep(every).await;
        }
    }

    /// Whether all threads of the app's runtime have been blocked for so long that others are to have its runs.
    fn is_stuck(&self) -> bool {
        let is_told = self.is_shared && self.config.upkeep == Upkeep::ByMachine;
        is_told && self.upkeep_now().saturating_sub(*self.pulse_at.lock()) > self.config.blocked_max
    }

    async fn renew_forever(self: &Arc<Self>) {
        let third = self.config.lease / 3;
        let every = if self.is_shared { third.min(self.config.heartbeat_max) } else { third };
        let mut backoff = Backoff::default();
        let mut pause = every;
        loop {
            tokio::select! {
                () = self.sleep(pause) => {}
                () = self.refused.notified() => {}
            }
            pause = match self.renew().await {
                Ok(()) => {
                    backoff.reset();
                    if self.is_shared {
                        // Why: nodes may have been found that are gone, and hints from others may have been lost.
                        self.due.notify_one();
                    }
                    self.beat.send_replace(());
                    every
                }
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "the node's lease was not renewed");
                    backoff.pause().min(every)
                }
            };
        }
    }

    /// Renews the lease, or joins anew where it is lost. A store that does not answer is not waited for past the end
    /// of the lease.
    async fn renew(&self) -> Result<(), StoreError> {
        if self.is_stuck() {
            return Err(StoreError::Unavailable(
                "every thread of the app is blocked: its runs are left to others".into(),
            ));
        }
        let begun = self.upkeep_now();
        let answer = async {
            let Some(node) = self.node() else { return self.rejoin(None).await };
            match self.store.heartbeat(node, self.clock.now(), self.config.lease).await {
                Err(StoreError::LeaseLost) => self.rejoin(Some(node)).await,
                Ok(()) => {
                    self.renewed(node, begun);
                    Ok(())
                }
                Err(error) => Err(error),
            }
        };
        tokio::select! {
            answer = answer => answer,
            () = self.sleep(self.config.lease) => {
                Err(StoreError::Unavailable("the store has not answered for the length of a lease".into()))
            }
        }
    }

    /// Gives the node up by itself where its lease has ended unrenewed: cut off from the store, or stopped for long. Its
    /// runs may be others' then, and what goes on here would be done twice. In a store of one process nobody else can
    /// have them.
    async fn fence_forever(&self) {
        if !self.is_shared {
            return pending().await;
        }
        loop {
            let left = self.lease_left();
            if !left.is_zero() {
                self.sleep(left).await;
                continue;
            }
            if let Some(node) = self.node() {
                let _joining = self.joining.lock().await;
                if self.node() == Some(node) && self.lease_left().is_zero() {
                    self.give_up(node, "this node could not renew its lease: it stops, as its runs may be others'");
                }
            }
            self.sleep(self.config.lease / 10).await;
        }
    }

    /// Removes ended runs and events past their retention, in small transactions with room for others between them.
    pub(super) async fn sweep(self: Arc<Self>) {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => {}
            () = self.sweep_forever() => {}
        }
    }

    async fn sweep_forever(&self) {
        let mut backoff = Backoff::default();
        let mut pause = self.config.sweep_every;
        loop {
            self.sleep(pause).await;
            let began = Instant::now();
            pause = match self.sweep_batch().await {
                Ok(more) => {
                    backoff.reset();
                    if more { rest(began.elapsed()) } else { self.config.sweep_every }
                }
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "retention could not be applied");
                    backoff.pause()
                }
            };
        }
    }

    /// Removes one batch. Whether there may be more.
    async fn sweep_batch(&self) -> Result<bool, StoreError> {
        let now = self.clock.now();
        let retention = i64::try_from(self.config.event_retention.as_micros()).unwrap_or(i64::MAX);
        let events_before = Timestamp::from_micros(now.as_micros().saturating_sub(retention));
        Ok(self.store.sweep(now, events_before, self.config.sweep_batch).await?.more)
    }
}
