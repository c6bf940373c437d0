//! How often a failed attempt is tried again, and after how long.

use std::time::Duration;

/// Which try, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Attempt(pub u32);

impl Attempt {
    /// The first try.
    pub const FIRST: Self = Self(1);

    /// The try after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// A random number, drawn by the caller: the rules stay pure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draw(pub u64);

/// A retry policy whose parts contradict each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid retry policy: {0}")]
pub struct InvalidRetryPolicy(&'static str);

/// The most retries that may be asked for.
pub const RETRIES_MAX: u32 = 20;

/// Exponential back-off with jitter: checked once, then only arithmetic.
///
/// The delay after attempt `n` is drawn evenly from the upper half of `min(delay_max, delay_min · 2ⁿ⁻¹)`
/// ("equal jitter"), so runs that failed together do not come back together.
///
/// # Example
///
/// ```
/// use onward_core::{Attempt, Draw, RetryPolicy};
///
/// let policy = RetryPolicy::default().with_retries(1)?;
/// assert!(policy.delay_after(Attempt::FIRST, Draw(7)).is_some());
/// assert!(policy.delay_after(Attempt(2), Draw(7)).is_none());
/// # Ok::<(), onward_core::InvalidRetryPolicy>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    delay_min: Duration,
    delay_max: Duration,
    retries: u32,
    /// Whether delays are drawn; else they are as they stand.
    jitter: bool,
}

impl Default for RetryPolicy {
    /// 3 retries; the first after 0.5 s to 1 s, none later than 2 minutes.
    fn default() -> Self {
        Self { delay_min: Duration::from_secs(1), delay_max: Duration::from_secs(120), retries: 3, jitter: true }
    }
}

impl RetryPolicy {
    /// Checks and makes a policy; see [`RetryPolicy`] for what the delays mean.
    pub fn try_new(delay_min: Duration, delay_max: Duration, retries: u32) -> Result<Self, InvalidRetryPolicy> {
        if delay_min.is_zero() {
            return Err(InvalidRetryPolicy("delay_min must not be zero"));
        }
        if delay_max < delay_min {
            return Err(InvalidRetryPolicy("delay_max must not be below delay_min"));
        }
        if delay_max > crate::duration::DURATION_MAX {
            return Err(InvalidRetryPolicy("delay_max must not be above 36600 days"));
        }
        Self { delay_min, delay_max, retries: 0, jitter: true }.with_retries(retries)
    }

    /// Always the same delay, to the nanosecond: for who must know when a retry comes, and does not mind that runs
    /// that failed together come back together.
    pub fn fixed(delay: Duration, retries: u32) -> Result<Self, InvalidRetryPolicy> {
        let policy = Self::try_new(delay, delay, retries)?;
        Ok(Self { jitter: false, ..policy })
    }

    /// The same delays with another number of retries, 0 to 20.
    pub fn with_retries(self, retries: u32) -> Result<Self, InvalidRetryPolicy> {
        if retries > RETRIES_MAX {
            return Err(InvalidRetryPolicy("retries must be 0 to 20"));
        }
        Ok(Self { retries, ..self })
    }

    /// How many tries follow the first.
    pub const fn retries(&self) -> u32 {
        self.retries
    }

    /// How long to wait after `attempt` failed; `None` when it was the last.
    pub fn delay_after(&self, attempt: Attempt, draw: Draw) -> Option<Duration> {
        if attempt.0 > self.retries {
            return None;
        }
        let doublings = attempt.0.saturating_sub(1).min(31);
        let full = self.delay_min.saturating_mul(1 << doublings).min(self.delay_max);
        if !self.jitter {
            return Some(full);
        }
        let nanos = u64::try_from(full.as_nanos()).unwrap_or(u64::MAX);
        let half = nanos / 2;
        Some(Duration::from_nanos(nanos - half + draw.0 % (half + 1)))
    }
}

#[cfg(test)]
mod tests;
