//! The slow loops: the node's lease, and what is past its retention.

use std::sync::Arc;

use onward_core::{StoreError, Timestamp};

use super::Scheduler;

impl Scheduler {
    /// Renews the node's lease. A node that lost it stops what it executes and joins anew.
    pub(super) async fn heartbeat(self: Arc<Self>) {
        while self.pause(self.config.lease / 3).await {
            let Some(node) = self.node() else { continue };
            match self.store.heartbeat(node, self.clock.now(), self.config.lease).await {
                Ok(()) => {}
                Err(StoreError::LeaseLost) => {
                    tracing::error!(node = node.0, "this node lost its lease: its runs are others' now");
                    self.hub.cancel_all();
                    if let Err(error) = self.join().await {
                        tracing::error!(error = &error as &dyn std::error::Error, "the store cannot be joined");
                    }
                }
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "the node's lease was not renewed");
                }
            }
        }
    }

    /// Removes ended runs and events past their retention, in small transactions with room for others between them.
    pub(super) async fn sweep(self: Arc<Self>) {
        while self.pause(self.config.sweep_every).await {
            loop {
                let now = self.clock.now();
                let retention = i64::try_from(self.config.event_retention.as_micros()).unwrap_or(i64::MAX);
                let events_before = Timestamp::from_micros(now.as_micros().saturating_sub(retention));
                let batch = self.config.sweep_batch;
                match self.store.sweep(now, events_before, batch).await {
                    Ok(swept) if swept.runs >= batch || swept.events >= batch => tokio::task::yield_now().await,
                    Ok(_) => break,
                    Err(error) => {
                        tracing::warn!(error = &error as &dyn std::error::Error, "retention could not be applied");
                        break;
                    }
                }
            }
        }
    }
}
