//! Delays grow, stay inside their bounds, and end.

use std::time::Duration;

use proptest::prelude::*;

use super::{Attempt, Draw, RetryPolicy};

#[test]
fn retries_outside_0_to_20_are_refused() {
    assert!(RetryPolicy::default().with_retries(20).is_ok());
    assert!(RetryPolicy::default().with_retries(21).is_err());
    assert!(RetryPolicy::try_new(Duration::ZERO, Duration::from_secs(1), 1).is_err());
    assert!(RetryPolicy::try_new(Duration::from_secs(2), Duration::from_secs(1), 1).is_err());
}

#[test]
fn the_first_default_retry_comes_within_a_second() {
    for draw in [0, 1, u64::MAX / 2, u64::MAX] {
        let delay = RetryPolicy::default().delay_after(Attempt::FIRST, Draw(draw)).unwrap();
        assert!((Duration::from_millis(500)..=Duration::from_secs(1)).contains(&delay), "{delay:?}");
    }
}

#[test]
fn a_fixed_delay_is_always_the_same() {
    let delay = Duration::from_millis(1_500);
    let policy = RetryPolicy::fixed(delay, 20).unwrap();
    for attempt in [1, 2, 20] {
        for draw in [0, 7, u64::MAX] {
            assert_eq!(policy.delay_after(Attempt(attempt), Draw(draw)), Some(delay));
        }
    }
    assert_eq!(policy.delay_after(Attempt(21), Draw(0)), None);
    let none = policy.with_retries(0).unwrap();
    assert_eq!(none.delay_after(Attempt::FIRST, Draw(0)), None);
    let one = policy.with_retries(1).unwrap();
    assert_eq!(one.delay_after(Attempt::FIRST, Draw(5)), Some(delay));
}

#[test]
fn a_fixed_delay_outside_its_limits_is_refused() {
    assert!(RetryPolicy::fixed(Duration::ZERO, 1).is_err());
    assert!(RetryPolicy::fixed(Duration::from_secs(36_601 * 86_400), 1).is_err());
    assert!(RetryPolicy::fixed(Duration::from_secs(1), 21).is_err());
}

proptest! {
    #[test]
    fn every_delay_is_in_the_upper_half_of_its_step(attempt in 1_u32..30, draw: u64, retries in 0_u32..=20) {
        let (min, max) = (Duration::from_millis(100), Duration::from_secs(60));
        let policy = RetryPolicy::try_new(min, max, retries).unwrap();
        match policy.delay_after(Attempt(attempt), Draw(draw)) {
            None => prop_assert!(attempt > retries),
            Some(delay) => {
                prop_assert!(attempt <= retries);
                let full = min.saturating_mul(1 << (attempt - 1)).min(max);
                prop_assert!(delay >= full / 2 && delay <= full);
            }
        }
    }
}
