//! Giving runs back that cannot go on here, as soon as the store takes them.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt, stream};
use onward_core::{
    StoreError,
    store::{Checkpoint, Lease, Then},
};
use parking_lot::Mutex;

use super::{Scheduler, backoff::Backoff};

/// How many are given back at once. A store that was gone is not flooded as it comes back.
const AT_ONCE: usize = 64;

/// The runs to give back, each with how long it should rest.
#[derive(Debug, Default)]
pub(super) struct Releases(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    leases: Vec<(Lease, Duration)>,
    /// A task gives them back.
    is_served: bool,
}

impl Scheduler {
    /// Gives a run back under its lease, to be due after a rest: at once, or as soon as the store answers. Until then
    /// it costs the size of its lease; how many wait for that does not matter to the store.
    pub fn release(self: &Arc<Self>, lease: Lease, rest: Duration) {
        // Why: what went wrong before may arrive after the run was given back.
        self.doubt();
        let mut waiting = self.releases.0.lock();
        waiting.leases.push((lease, rest));
        if !std::mem::replace(&mut waiting.is_served, true) {
            self.tasks.spawn("release", Arc::clone(self).release_all());
        }
    }

    async fn release_all(self: Arc<Self>) {
        let mut backoff = Backoff::default();
        while let Some(next) = self.next_release() {
            // Why one alone: as long as the store does not take it, nor would it take others.
            if self.give_back(next).await {
                backoff.reset();
                let more = std::mem::take(&mut self.releases.0.lock().leases);
                stream::iter(more)
                    .for_each_concurrent(AT_ONCE, async |each| {
                        self.give_back(each).await;
                    })
                    .await;
                continue;
            }
            let again_at = self.clock.now().after(backoff.pause());
            tokio::select! {
                () = self.clock.sleep_until(again_at) => {}
                () = self.tasks.shutdown_token().cancelled() => return, // they are given back as the node leaves
            }
        }
    }

    fn next_release(&self) -> Option<(Lease, Duration)> {
        let mut waiting = self.releases.0.lock();
        let next = waiting.leases.pop();
        waiting.is_served = next.is_some();
        next
    }

    /// Gives one back. Whether that is done with; if not, it waits again.
    async fn give_back(&self, (lease, rest): (Lease, Duration)) -> bool {
        if self.node() != Some(lease.node) {
            return true; // the node was given up, and all that it held with it
        }
        let now = self.clock.now();
        let due_at = now.after(rest);
        let mut checkpoint = Checkpoint::new(lease, now);
        checkpoint.then = Then::Suspend { due_at };
        match self.store.checkpoint(checkpoint).await {
            Ok(done) => {
                self.woken(&done.woken);
                self.due_at(due_at);
                true
            }
            Err(StoreError::Unavailable(_)) => {
                self.releases.0.lock().leases.push((lease, rest));
                false
            }
            Err(_) => true, // it has ended, is another's, or never was
        }
    }
}
