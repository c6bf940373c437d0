//! How often a lost connection is resumed, and after how long: pure, but for the draw.

use std::time::Duration;

/// A random number in `[0, 1)`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Draw(f64);

impl Draw {
    /// The one place where this crate draws.
    pub(crate) fn random() -> Self {
        Self(rand::random())
    }
}

/// Exponential back-off with jitter, over attempts in a row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RetryPolicy {
    pub(crate) attempts_max: u32,
    pub(crate) delay: Duration,
    pub(crate) delay_max: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { attempts_max: 10, delay: Duration::from_millis(250), delay_max: Duration::from_secs(10) }
    }
}

impl RetryPolicy {
    /// The delay after so many attempts in a row; `None` when they have run out.
    ///
    /// It doubles with each attempt. A random part of up to a half is taken off, so that clients do not come all at
    /// once.
    pub(crate) fn delay_after(&self, attempts: u32, draw: Draw) -> Option<Duration> {
        if attempts >= self.attempts_max {
            return None;
        }
        let factor = 2_u32.saturating_pow(attempts);
        let delay = self.delay.saturating_mul(factor).min(self.delay_max);
        Some(delay.mul_f64(1.0 - draw.0 / 2.0))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Draw, RetryPolicy};

    #[test]
    fn delays_double_up_to_the_longest_and_run_out() {
        let policy = RetryPolicy::default();
        let longest: Vec<_> = (0..)
            .map_while(|attempts| policy.delay_after(attempts, Draw(0.0)))
            .map(|delay| delay.as_millis())
            .collect();
        assert_eq!(longest, [250, 500, 1000, 2000, 4000, 8000, 10_000, 10_000, 10_000, 10_000]);
    }

    #[test]
    fn a_draw_takes_off_up_to_a_half() {
        let policy = RetryPolicy::default();
        assert_eq!(policy.delay_after(1, Draw(0.5)), Some(Duration::from_millis(375)));
        for _ in 0..100 {
            let delay = policy.delay_after(1, Draw::random()).unwrap();
            assert!((250..=500).contains(&delay.as_millis()), "{delay:?}");
        }
    }

    #[test]
    fn numbers_at_their_limits_do_not_overflow() {
        let policy = RetryPolicy { attempts_max: u32::MAX, delay: Duration::MAX, delay_max: Duration::from_secs(3) };
        assert_eq!(policy.delay_after(u32::MAX - 1, Draw(0.0)), Some(Duration::from_secs(3)));
        let policy = RetryPolicy { attempts_max: 1, delay: Duration::ZERO, delay_max: Duration::ZERO };
        assert_eq!(policy.delay_after(0, Draw(0.0)), Some(Duration::ZERO));
    }
}
