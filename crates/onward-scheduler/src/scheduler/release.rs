//! Giving runs back that cannot go on here, as soon as the store takes them.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::{StreamExt, stream};
use onward_core::{
    RunId, StoreError,
    store::{Checkpoint, Lease, Then},
};
use parking_lot::Mutex;

use super::{Scheduler, backoff::Backoff};

/// How many are given back at once. A store that was gone is not flooded as it comes back.
const AT_ONCE: usize = 64;

/// The rest of a run that is given back for the second time in a row; each further time doubles it, up to the longest.
const REST_FIRST: Duration = Duration::from_secs(1);
const REST_LONGEST: Duration = Duration::from_secs(60);
/// A run that was not given back for so long is well again.
const FORGET_AFTER: Duration = Duration::from_secs(600);
/// How many runs are remembered that were given back, before those that are well again are forgotten.
const REMEMBERED_MAX: usize = 10_000;

/// The runs to give back, each with how long it should rest.
#[derive(Debug, Default)]
pub(super) struct Releases(Mutex<Waiting>);

/// How long no run is forgotten after the last look for those that are well again: a look reads all of them.
const FORGET_EVERY: Duration = Duration::from_secs(60);

/// How often each run was given back in a row, and when last.
#[derive(Debug, Default)]
struct Again {
    runs: BTreeMap<RunId, (u32, Duration)>,
    /// From when on runs that are well again are forgotten.
    forgets_at: Duration,
}

impl Again {
    /// Counts a run that is given back, and tells how long it rests at least.
    fn rest(&mut self, run_id: RunId, now: Duration) -> Duration {
        if self.runs.len() >= REMEMBERED_MAX && now >= self.forgets_at {
            self.runs.retain(|_, (_, last)| now.saturating_sub(*last) < FORGET_AFTER);
            self.forgets_at = now + FORGET_EVERY;
        }
        let (times, last) = self.runs.entry(run_id).or_insert((0, now));
        *times = if now.saturating_sub(*last) < FORGET_AFTER { times.saturating_add(1) } else { 1 };
        *last = now;
        match times.checked_sub(2) {
            None => Duration::ZERO,
            Some(doubled) => REST_FIRST.saturating_mul(1 << doubled.min(16)).min(REST_LONGEST),
        }
    }
}

#[derive(Debug, Default)]
struct Waiting {
    leases: Vec<(Lease, Duration)>,
    again: Again,
    /// A task gives them back.
    is_served: bool,
}

impl Scheduler {
    /// Gives a run back under its lease, to be due after a rest: at once, or as soon as the store answers. Until then
    /// it costs the size of its lease; how many wait for that does not matter to the store.
    ///
    /// A run that is given back again and again rests longer each time: a second, then twice as long, up to a minute.
    pub fn release(self: &Arc<Self>, lease: Lease, rest: Duration) {
        // Why: what went wrong before may arrive after the run was given back.
        self.doubt();
        let now = self.upkeep_now();
        let mut waiting = self.releases.0.lock();
        let rest = waiting.again.rest(lease.run_id, now).max(rest);
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use onward_core::{RunId, Timestamp};

    use super::{Again, FORGET_AFTER};

    #[test]
    fn a_run_that_is_given_back_again_and_again_rests_longer_each_time() {
        let (mut again, one, other) =
            (Again::default(), RunId::new(Timestamp::EPOCH, 1), RunId::new(Timestamp::EPOCH, 2));
        let mut now = Duration::ZERO;
        let rests: Vec<_> = (0..10)
            .map(|_| {
                let rest = again.rest(one, now);
                now += rest;
                rest.as_secs()
            })
            .collect();
        assert_eq!(rests, [0, 1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(again.rest(other, now), Duration::ZERO, "each run by itself");
        assert_eq!(again.rest(one, now + FORGET_AFTER), Duration::ZERO, "the run was well for long");
    }
}
