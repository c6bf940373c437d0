//! Leases that this process lost while it lived: the runs that it had under them have not crashed.

use std::sync::Arc;

use super::Scheduler;

impl Scheduler {
    /// Tells the store of each lost lease that the process lives, once it has joined anew, until the node has left. Beside the
    /// heartbeat: no lease is late for this.
    pub(super) async fn tells_that_it_lives(self: Arc<Self>) {
        let mut beat = self.beat.subscribe();
        let tell = async {
            while beat.changed().await.is_ok() {
                if !self.lost.lock().is_empty() {
                    self.uncount_crashes().await;
                    self.due.notify_one();
                }
            }
        };
        tokio::select! {
            biased;
            () = self.left.cancelled() => {}
            () = tell => {}
        }
    }

    /// What fails is told after the next heartbeat again.
    async fn uncount_crashes(&self) {
        loop {
            let Some(node) = self.lost.lock().last().copied() else { return };
            match self.store.uncount_crashes(node).await {
                Ok(()) => self.lost.lock().retain(|lost| *lost != node),
                Err(error) => {
                    tracing::debug!(error = &error as &dyn std::error::Error, "crashes were not uncounted");
                    return;
                }
            }
        }
    }
}
