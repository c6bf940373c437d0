//! A deadline is never early, and arithmetic stops at the ends of time.

use std::time::Duration;

use proptest::prelude::*;

use super::Timestamp;

#[test]
fn a_part_of_a_microsecond_is_rounded_up() {
    let at = Timestamp::from_micros(10);
    assert_eq!(at.after(Duration::ZERO), at);
    assert_eq!(at.after(Duration::from_nanos(1)).as_micros(), 11);
    assert_eq!(at.after(Duration::from_nanos(1000)).as_micros(), 11);
    assert_eq!(at.after(Duration::from_nanos(1001)).as_micros(), 12);
}

#[test]
fn a_delay_beyond_all_time_ends_at_never() {
    assert_eq!(Timestamp::from_micros(1).after(Duration::MAX), Timestamp::NEVER);
    assert_eq!(Timestamp::NEVER.after(Duration::from_secs(1)), Timestamp::NEVER);
}

#[test]
fn milliseconds_are_rounded_down_before_the_epoch_too() {
    assert_eq!(Timestamp::from_micros(1999).as_millis(), 1);
    assert_eq!(Timestamp::from_micros(-1).as_millis(), -1);
}

#[test]
fn nothing_is_a_negative_time_ago() {
    let (early, late) = (Timestamp::from_micros(-5), Timestamp::from_micros(5));
    assert_eq!(late.since(early), Duration::from_micros(10));
    assert_eq!(early.since(late), Duration::ZERO);
    assert_eq!(Timestamp::from_micros(i64::MIN).since(Timestamp::NEVER), Duration::ZERO);
}

proptest! {
    #[test]
    fn a_deadline_is_less_than_a_microsecond_late_and_never_early(start in -1_i64 << 50..1 << 50, nanos in 0_u64..1 << 60) {
        let delay = Duration::from_nanos(nanos);
        let waited = Timestamp::from_micros(start).after(delay).since(Timestamp::from_micros(start));
        prop_assert!((delay..delay + Duration::from_micros(1)).contains(&waited));
    }
}
