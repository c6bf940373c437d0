//! What nodes wait for, remembered for a while.

use std::{collections::BTreeSet, mem, time::Duration};

use onward_core::RunId;
use tokio::time::Instant;

/// The most that is remembered in the time for which it is.
const LEN_MAX: usize = 100_000;

/// What came lately: each remembered for at least a time, and for at most twice as long.
#[derive(Debug)]
pub(super) struct Lately<T> {
    time: Duration,
    now: BTreeSet<T>,
    before: BTreeSet<T>,
    /// When `now` was begun.
    since: Option<Instant>,
}

impl<T: Ord> Lately<T> {
    pub(super) const fn new(time: Duration) -> Self {
        Self { time, now: BTreeSet::new(), before: BTreeSet::new(), since: None }
    }

    /// Remembers one from now on, whether it is new or not, where there is room.
    pub(super) fn renew(&mut self, value: T, now: Instant) {
        self.turn(now);
        if !self.is_full() {
            self.now.insert(value);
        }
    }

    pub(super) fn contains(&mut self, value: &T, now: Instant) -> bool {
        self.turn(now);
        self.now.contains(value) || self.before.contains(value)
    }

    pub(super) fn clear(&mut self) {
        (self.now, self.before) = (BTreeSet::new(), BTreeSet::new());
    }

    fn is_full(&self) -> bool {
        self.now.len() >= LEN_MAX
    }

    fn turn(&mut self, now: Instant) {
        let since = self.since.get_or_insert(now);
        let age = now.saturating_duration_since(*since);
        if age >= 2 * self.time {
            *since = now;
            self.clear();
        } else if age >= self.time {
            *since += self.time;
            self.before = mem::take(&mut self.now);
        }
    }
}

/// Which runs other nodes wait for.
#[derive(Debug)]
pub(super) struct Watched {
    runs: Lately<RunId>,
    /// There were too many to remember: all are waited for, until then.
    all_until: Option<Instant>,
}

impl Watched {
    pub(super) const fn new(time: Duration) -> Self {
        Self { runs: Lately::new(time), all_until: None }
    }

    pub(super) fn insert(&mut self, run_id: RunId, now: Instant) {
        self.runs.renew(run_id, now);
        if self.runs.is_full() {
            self.all_until = Some(now + self.runs.time);
        }
    }

    pub(super) fn contains(&mut self, run_id: RunId, now: Instant) -> bool {
        self.all_until.is_some_and(|until| now < until) || self.runs.contains(&run_id, now)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use onward_core::{RunId, Timestamp};
    use tokio::time::Instant;

    use super::{LEN_MAX, Lately, Watched};

    const TIME: Duration = Duration::from_secs(10);

    #[test]
    fn what_came_lately_is_remembered_for_a_time_and_for_twice_as_long_at_most() {
        let (mut lately, began) = (Lately::new(TIME), Instant::now());
        lately.renew(1, began);
        let later = began + TIME * 9 / 10;
        lately.renew(2, later);
        assert!(lately.contains(&1, later + TIME) && lately.contains(&2, later + TIME));
        assert!(!lately.contains(&1, began + 2 * TIME + Duration::from_millis(1)));
        assert!(!lately.contains(&2, began + 4 * TIME));

        // What comes again is remembered anew.
        let (mut lately, again) = (Lately::new(TIME), began + TIME * 19 / 10);
        lately.renew(1, began);
        lately.renew(1, again);
        assert!(lately.contains(&1, again + TIME));
        lately.clear();
        assert!(!lately.contains(&1, again + TIME));
    }

    #[test]
    fn where_too_many_are_waited_for_all_are() {
        let (mut watched, began) = (Watched::new(TIME), Instant::now());
        let run_id = |number| RunId::new(Timestamp::EPOCH, number);
        (0..LEN_MAX as u128).for_each(|number| watched.insert(run_id(number), began));
        let unknown = run_id(u128::MAX >> 60);
        assert!(watched.contains(unknown, began));
        assert!(!watched.contains(unknown, began + TIME));
        assert!(watched.contains(run_id(7), began + TIME));
        // One that goes on waiting is known on.
        watched.insert(run_id(7), began + TIME);
        assert!(watched.contains(run_id(7), began + 2 * TIME) && !watched.contains(run_id(8), began + 2 * TIME));
    }
}
