//! A clock that moves between any two readings.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use onward_core::{BoxFuture, Clock, Timestamp};

use super::ManualClock;

/// A [`Clock`] that moves on by itself between any two readings, as a machine's clock does under a busy program.
///
/// A [`ManualClock`] stands still while a program decides, so a decision that reads the clock twice always reads the
/// same time and never shows its fault. This one is a manual clock that leaps at each reading: by a time between zero
/// and `longest`, drawn from a seed. The same program with the same seed reads the same times.
///
/// # Example
///
/// ```
/// use std::time::Duration;
///
/// use onward_core::Clock;
/// use onward_testing::LeapingClock;
///
/// let clock = LeapingClock::new(7, Duration::from_millis(3));
/// let times: Vec<_> = (0..100).map(|_| clock.now()).collect();
/// assert!(times.windows(2).all(|pair| pair[0] <= pair[1] && pair[1].since(pair[0]) <= Duration::from_millis(3)));
/// assert!(times.windows(2).any(|pair| pair[0] < pair[1]));
/// ```
#[derive(Clone)]
pub struct LeapingClock {
    manual: ManualClock,
    draws: Arc<AtomicU64>,
    longest_micros: u64,
}

impl LeapingClock {
    /// A clock whose leaps are drawn from a seed and take `longest` at most, in whole microseconds.
    pub fn new(seed: u64, longest: Duration) -> Self {
        let longest_micros = u64::try_from(longest.as_micros()).unwrap_or(u64::MAX);
        Self { manual: ManualClock::new(), draws: Arc::new(AtomicU64::new(seed)), longest_micros }
    }

    /// Returns the same clock without the leaps: to turn it, and to [drive](ManualClock::drive) a test.
    pub const fn manual(&self) -> &ManualClock {
        &self.manual
    }

    /// The next leap: a draw of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
    fn leap(&self) -> Duration {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut draw = self.draws.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        draw = (draw ^ (draw >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        draw = (draw ^ (draw >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        draw ^= draw >> 31;
        Duration::from_micros(draw % self.longest_micros.saturating_add(1))
    }
}

impl fmt::Debug for LeapingClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeapingClock")
            .field("manual", &self.manual)
            .field("longest_micros", &self.longest_micros)
            .finish_non_exhaustive()
    }
}

impl Clock for LeapingClock {
    fn now(&self) -> Timestamp {
        let leap = self.leap();
        self.manual.advance(leap)
    }

    fn sleep_until(&self, at: Timestamp) -> BoxFuture<'static, ()> {
        self.manual.sleep_until(at)
    }
}
