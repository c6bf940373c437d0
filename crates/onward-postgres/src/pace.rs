//! How large a group must be to be worth a statement beside one that is under way.

use std::time::Duration;

use tokio::time::Instant;

/// The most and the fewest checkpoints that must wait for that.
///
/// Why so many: each statement costs the database a tenth of a millisecond, whatever is in it. Three nodes on 2 cores
/// with 256 connections did 0.94 of what one did; where 16 were enough, 0.83.
const GROUP_MIN: (usize, usize) = (4, 40);
/// Where a statement takes no longer than this, so many must wait; where it takes several times as long, so much fewer.
const SOON: Duration = Duration::from_millis(1);
/// How long the shortest time of a statement counts, at least; at most twice as long.
const WINDOW: Duration = Duration::from_secs(1);

/// How long a statement takes where nothing holds it up: the shortest time of late. A disk or a network that is slow
/// makes each slow, while one of a database that is busy is quick now and then. The first is worth several statements
/// at once, and the second is not.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    now: Option<Duration>,
    before: Option<Duration>,
    /// When `now` was begun.
    since: Option<Instant>,
}

impl Pace {
    /// A statement has taken so long.
    pub(crate) fn took(&mut self, time: Duration, now: Instant) {
        let since = *self.since.get_or_insert(now);
        if now.saturating_duration_since(since) >= WINDOW {
            (self.before, self.now, self.since) = (self.now.take(), None, Some(now));
        }
        self.now = Some(self.now.map_or(time, |shortest| shortest.min(time)));
    }

    /// How many checkpoints must wait for a statement to be sent while another one of its kind is under way.
    pub(crate) fn group_min(&self) -> usize {
        let shortest = self.now.into_iter().chain(self.before).min().unwrap_or(SOON).max(SOON);
        let (fewest, most) = GROUP_MIN;
        let share = SOON.as_micros() * most as u128 / shortest.as_micros();
        usize::try_from(share).unwrap_or(most).clamp(fewest, most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slower_the_database_always_is_the_smaller_are_the_groups_that_are_sent_at_once() {
        let (mut pace, began) = (Pace::default(), Instant::now());
        assert_eq!(pace.group_min(), 40);
        let ms = Duration::from_millis;
        for (took, expected) in [(200, 4), (10, 4), (5, 8), (2, 20), (1, 40), (30, 40), (0, 40)] {
            pace.took(ms(took), began);
            assert_eq!(pace.group_min(), expected, "{took}");
        }
        // A disk that has become slow is noticed when what was before no longer counts.
        pace.took(ms(5), began + WINDOW);
        assert_eq!(pace.group_min(), 40);
        pace.took(ms(5), began + 2 * WINDOW);
        assert_eq!(pace.group_min(), 8);
    }
}
