//! Runs whose record cannot be read: damaged, of a newer release, or sealed with a key that this process lacks.

use std::{collections::BTreeMap, time::Duration};

use onward_core::{
    RunId, Store, StoreError, Timestamp,
    run::RunRecord,
    store::{RunFilter, RunPage},
};
use parking_lot::Mutex;

/// The shortest and the longest rest of such a run between two attempts to read it.
const RESTS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));
/// A run that was not found unreadable for so long is read by another node, has ended, or is gone.
const FORGET_AFTER: Duration = Duration::from_secs(900);

/// The unreadable runs that this process has met, each with the cause.
///
/// A run rests twice as long after each attempt, from a second to five minutes, so that it goes on soon after its record
/// becomes readable (a newer release, the right key) and costs next to nothing until then.
///
/// # Example
///
/// ```
/// use onward_core::{RunId, Timestamp};
/// use onward_scheduler::Unreadable;
///
/// let (unreadable, run, now) = (Unreadable::default(), RunId::from_bytes([1; 16]), Timestamp::EPOCH);
/// assert!(unreadable.found(run, "wrong key", now).is_new);
/// assert!(!unreadable.found(run, "wrong key", now).is_new);
/// assert_eq!(unreadable.cause(run, now).as_deref(), Some("wrong key"));
/// ```
#[derive(Debug, Default)]
pub struct Unreadable(Mutex<Met>);

#[derive(Debug, Default)]
struct Met {
    runs: BTreeMap<RunId, Run>,
    /// From when on runs are forgotten that were not met again.
    forgets_at: Timestamp,
    total: u64,
}

#[derive(Debug)]
struct Run {
    cause: String,
    times: u32,
    last: Timestamp,
}

/// The consequence of finding a run unreadable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// How long the run rests before the next attempt.
    pub rest: Duration,
    /// Whether the log has yet to tell of the run and this cause.
    pub is_new: bool,
}

impl Unreadable {
    /// Notes that a run was found unreadable.
    pub fn found(&self, run_id: RunId, cause: &str, now: Timestamp) -> Found {
        let mut met = self.0.lock();
        if now >= met.forgets_at {
            met.runs.retain(|_, run| now.since(run.last) < FORGET_AFTER);
            met.forgets_at = now.after(FORGET_AFTER);
        }
        let run = met.runs.entry(run_id).or_insert_with(|| Run { cause: String::new(), times: 0, last: now });
        let is_new = run.cause != cause;
        if is_new {
            *run = Run { cause: cause.to_owned(), times: 0, last: now };
        }
        let rest = RESTS.0.saturating_mul(1 << run.times.min(16)).min(RESTS.1);
        (run.times, run.last) = (run.times.saturating_add(1), now);
        met.total += u64::from(is_new);
        Found { rest, is_new }
    }

    /// Forgets a run that was read, ended or deleted.
    pub fn forget(&self, run_id: RunId) {
        self.0.lock().runs.remove(&run_id);
    }

    /// The cause for which a run was found unreadable of late, if it was.
    pub fn cause(&self, run_id: RunId, now: Timestamp) -> Option<String> {
        let met = self.0.lock();
        let run = met.runs.get(&run_id).filter(|run| now.since(run.last) < FORGET_AFTER)?;
        Some(run.cause.clone())
    }

    /// How many runs were found unreadable, each cause once.
    pub fn total(&self) -> u64 {
        self.0.lock().total
    }
}

/// Reads what the store knows of a run without its request, journal and outcome: what a list shows of it. An unreadable
/// run has that, too.
pub async fn head(store: &dyn Store, run_id: RunId) -> Result<Option<RunRecord>, StoreError> {
    let next = u128::from_be_bytes(run_id.to_bytes()).checked_add(1);
    let before = next.map(|next| RunId::from_bytes(next.to_be_bytes()));
    let RunPage { runs, .. } = store.runs(RunFilter { before, limit: 1, ..RunFilter::default() }).await?;
    Ok(runs.into_iter().find(|run| run.run_id == run_id))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use onward_core::{RunId, Timestamp};

    use super::{FORGET_AFTER, Unreadable};

    #[test]
    fn an_unreadable_run_rests_longer_each_time_is_told_of_once_per_cause_and_is_forgotten() {
        let (unreadable, run, other) = (Unreadable::default(), RunId::from_bytes([1; 16]), RunId::from_bytes([2; 16]));
        let mut now = Timestamp::EPOCH;
        let rests: Vec<_> = (0..11)
            .map(|n| {
                let found = unreadable.found(run, "newer", now);
                assert_eq!(found.is_new, n == 0);
                now = now.after(found.rest);
                found.rest.as_secs()
            })
            .collect();
        assert_eq!(rests, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        let found = unreadable.found(run, "wrong key", now);
        assert_eq!((found.is_new, found.rest, unreadable.total()), (true, Duration::from_secs(1), 2));
        assert!(unreadable.cause(run, now).is_some() && unreadable.cause(run, now.after(FORGET_AFTER)).is_none());
        unreadable.found(other, "newer", now.after(FORGET_AFTER));
        unreadable.found(other, "newer", now.after(FORGET_AFTER).after(FORGET_AFTER));
        assert!(!unreadable.0.lock().runs.contains_key(&run), "another node has it by now");
        unreadable.forget(other);
        assert!(unreadable.0.lock().runs.is_empty());
    }
}
