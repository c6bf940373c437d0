//! The slow loops: the node's lease, and what is past its retention.

use std::{sync::Arc, time::Duration};

use onward_core::{StoreError, Timestamp};
use tokio::time::Instant;

use super::{Scheduler, backoff::Backoff};

/// The shortest and the longest rest after a batch of the sweep; between them it is as long as the batch took.
const REST_MIN: Duration = Duration::from_millis(10);
const REST_MAX: Duration = Duration::from_secs(1);

impl Scheduler {
    /// Renews the node's lease until the node has left, so also while the app drains.
    pub(super) async fn heartbeat(self: Arc<Self>) {
        tokio::select! {
            biased;
            () = self.left.cancelled() => {}
            () = self.renew_forever() => {}
        }
    }

    async fn renew_forever(&self) {
        let every = self.config.lease / 3;
        let mut backoff = Backoff::default();
        let mut pause = every;
        loop {
            self.sleep(pause).await;
            pause = match self.renew().await {
                Ok(()) => {
                    backoff.reset();
                    every
                }
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "the node's lease was not renewed");
                    backoff.pause().min(every)
                }
            };
        }
    }

    /// Renews the lease, or joins anew where it is lost.
    async fn renew(&self) -> Result<(), StoreError> {
        let Some(node) = self.node() else { return self.rejoin(None).await };
        match self.store.heartbeat(node, self.clock.now(), self.config.lease).await {
            Err(StoreError::LeaseLost) => self.rejoin(Some(node)).await,
            answer => answer,
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
                    if more { began.elapsed().clamp(REST_MIN, REST_MAX) } else { self.config.sweep_every }
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
