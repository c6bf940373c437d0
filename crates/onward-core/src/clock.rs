//! Points in time, and the port through which they are read.

use std::{fmt, time::Duration};

use crate::BoxFuture;

/// An instant, in whole microseconds since the Unix epoch.
///
/// Microseconds, because cutting a deadline to whole milliseconds would let a timer fire up to a millisecond early.
///
/// # Example
///
/// ```
/// use onward_core::Timestamp;
/// use std::time::Duration;
///
/// let at = Timestamp::from_micros(1_000_000);
/// assert_eq!(at.after(Duration::from_secs(1)).as_micros(), 2_000_000);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The Unix epoch.
    pub const EPOCH: Self = Self(0);
    /// Later than every other instant; stands for "no deadline" in stored rows.
    pub const NEVER: Self = Self(i64::MAX);

    /// The instant that many microseconds after the Unix epoch.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since the Unix epoch.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Milliseconds since the Unix epoch, rounded down.
    pub const fn as_millis(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// This instant moved later by `delay`, rounded up to the next microsecond; stops at [`Timestamp::NEVER`].
    #[must_use]
    pub fn after(self, delay: Duration) -> Self {
        let micros = delay.as_nanos().div_ceil(1000);
        Self(self.0.saturating_add(i64::try_from(micros).unwrap_or(i64::MAX)))
    }

    /// The time that long before, rounded up to a microsecond.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use onward_core::Timestamp;
    ///
    /// assert_eq!(Timestamp::from_micros(5_000).before(Duration::from_millis(2)), Timestamp::from_micros(3_000));
    /// ```
    #[must_use]
    pub fn before(self, time: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(time.as_micros()).unwrap_or(i64::MAX)))
    }

    /// How long after `earlier` this is; zero where it is not after it.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Timestamp({})", self.0)
    }
}

/// Where time comes from.
///
/// The real one reads the machine's clock; tests turn a manual one.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The present instant.
    fn now(&self) -> Timestamp;

    /// Completes at `at` or later, never before [`Clock::now`] has reached it.
    fn sleep_until(&self, at: Timestamp) -> BoxFuture<'static, ()>;
}

#[cfg(test)]
mod tests;
