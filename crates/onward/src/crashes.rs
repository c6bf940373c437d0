//! Runs that take their process down with them: how long they rest, when they fail, and what they may run beside.

use std::{sync::Arc, time::Duration};

use onward_core::{Timestamp, run::Crashes};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{StepError, error::ErrorKind};

/// The shortest and the longest rest of a run between two executions that crashed.
const RESTS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));

/// How long a run rests for which there is no place among the suspects.
pub(crate) const PLACE_PAUSE: Duration = Duration::from_secs(1);

/// How long a run that has all places waits before it begins, so that those that were claimed with it have been given back.
pub(crate) const ALONE_AFTER: Duration = Duration::from_millis(250);

/// How long the handler of a run that has failed is given to ask for the steps that it has not finished.
pub(crate) const ASKS_FOR: Duration = Duration::from_secs(1);

/// What becomes of a run whose process has crashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The run goes on, beside others that have as many crashes left.
    GoOn {
        /// The crashes after which it fails.
        left: u32,
    },
    /// The run rests for so long.
    Rest(Duration),
    /// The run has failed.
    Fail {
        /// Whether its handler can still be asked for the steps that are not finished.
        asks: bool,
    },
}

/// Decides what becomes of a run.
///
/// A run that has crashed as often as it may is asked once for its unfinished steps, without running them. Where even that
/// crashes, the handler does so outside of its steps, and the run fails unasked.
pub(crate) fn judge(crashes: Crashes, crashes_max: u32, now: Timestamp) -> Verdict {
    let Crashes { count, last_at } = crashes;
    if count >= crashes_max {
        return Verdict::Fail { asks: count == crashes_max };
    }
    let Some(doubled) = count.checked_sub(1) else { return Verdict::GoOn { left: crashes_max } };
    let rest = RESTS.0.saturating_mul(1 << doubled.min(16)).min(RESTS.1);
    match rest.checked_sub(now.since(last_at)) {
        Some(left) if !left.is_zero() => Verdict::Rest(left),
        _ => Verdict::GoOn { left: crashes_max - count },
    }
}

/// The error of a run that has crashed too often.
pub(crate) fn error(crashes: u32, unfinished: &[String]) -> StepError {
    let text =
        format!("the process that executed the run ended {crashes} times in a row without the run getting further");
    let text = match unfinished {
        [] => format!("{text}: the handler may crash outside of its steps"),
        [one] => format!("{text}: step {one:?} is not finished"),
        several => format!("{text}: the steps {several:?} are not finished"),
    };
    StepError::new(ErrorKind::Crashed, text, false)
}

/// Bounds how many runs that have crashed are executed at once, so that a run which brings its process down is soon the only
/// one that counts a crash for it.
#[derive(Debug)]
pub(crate) struct Suspects(Arc<Semaphore>);

/// A place among the suspects.
#[derive(Debug)]
pub(crate) struct Place(OwnedSemaphorePermit);

impl Place {
    /// Whether no other suspect has a place.
    pub(crate) fn is_alone(&self) -> bool {
        self.0.num_permits() == PLACES as usize
    }
}

/// All places.
const PLACES: u32 = 16;

/// How many places a run needs that fails after so many more crashes: its last two executions have all.
const fn places(left: u32) -> u32 {
    match left {
        0..=2 => PLACES,
        3 => PLACES / 8,
        _ => 0,
    }
}

impl Suspects {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(PLACES as usize)))
    }

    /// A place for a run that fails after so many more crashes; `None` while there is none.
    pub(crate) fn try_begin(&self, left: u32) -> Option<Place> {
        Arc::clone(&self.0).try_acquire_many_owned(places(left)).ok().map(Place)
    }
}

#[cfg(test)]
mod tests {
    use super::{Crashes, Duration, Suspects, Timestamp, Verdict, judge};

    fn at(secs: u64) -> Timestamp {
        Timestamp::EPOCH.after(Duration::from_secs(secs))
    }

    #[test]
    fn a_run_rests_longer_after_each_crash_and_fails_after_the_last() {
        let verdict = |count, now| judge(Crashes { count, last_at: at(0) }, 5, at(now));
        assert_eq!(verdict(0, 0), Verdict::GoOn { left: 5 });
        for (count, rest) in [(1, 1), (2, 2), (3, 4), (4, 8)] {
            assert_eq!(verdict(count, 0), Verdict::Rest(Duration::from_secs(rest)));
            assert_eq!(verdict(count, rest), Verdict::GoOn { left: 5 - count });
        }
        assert_eq!(verdict(5, 0), Verdict::Fail { asks: true });
        assert_eq!(verdict(6, 0), Verdict::Fail { asks: false });
        let long = judge(Crashes { count: 99, last_at: at(0) }, 100, at(0));
        assert_eq!(long, Verdict::Rest(Duration::from_secs(300)));
    }

    #[test]
    fn a_run_before_its_last_crashes_is_the_only_suspect() {
        let suspects = Suspects::new();
        let fresh = suspects.try_begin(4);
        let last = suspects.try_begin(2);
        assert!(fresh.is_some_and(|place| !place.is_alone()) && last.as_ref().is_some_and(super::Place::is_alone));
        assert!(suspects.try_begin(3).is_none() && suspects.try_begin(0).is_none());
        assert!(suspects.try_begin(4).is_some(), "runs that may crash often do not wait");
        drop(last);
        let several: Vec<_> = std::iter::from_fn(|| suspects.try_begin(3)).collect();
        assert_eq!(several.len(), 8);
    }
}
