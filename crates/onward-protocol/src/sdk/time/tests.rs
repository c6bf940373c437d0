//! Every time that the SDK was seen to write is read; nothing else is taken for one, and nothing panics.

use std::time::Duration;

use proptest::prelude::*;

use super::{InvalidTime, Until, WAIT_MAX};

const HOUR: u64 = 3_600;
const DAY: u64 = 24 * HOUR;

#[test]
fn durations_are_read_as_the_sdk_writes_them() {
    for (text, seconds) in [
        ("1s", 1),
        ("1m30s", 90),
        ("1h30m", HOUR + HOUR / 2),
        ("1d", DAY),
        ("2d12h", 2 * DAY + 12 * HOUR),
        ("52w1d6h", 365 * DAY + 6 * HOUR),
        ("1w2d3h4m5s", 9 * DAY + 3 * HOUR + 4 * 60 + 5),
        ("366d", 366 * DAY),
        ("", 0),
        ("0", 0),
        ("0s", 0),
        ("-5m", 0),
    ] {
        assert_eq!(Until::parse(text), Ok(Until::For(Duration::from_secs(seconds))), "{text}");
    }
}

#[test]
fn durations_are_read_as_other_sdks_write_them() {
    for (text, nanos) in [
        ("300ms", 300_000_000),
        ("1.5h", 5_400_000_000_000),
        (".5s", 500_000_000),
        ("5.s", 5_000_000_000),
        ("1m0.25s", 60_250_000_000),
        ("1s2ms3us4µs5ns", 1_002_007_005),
        ("0.0000000000000000000000001h", 0),
        ("00000000000000000000000000000000000000001s", 1_000_000_000),
    ] {
        assert_eq!(Until::parse(text), Ok(Until::For(Duration::from_nanos(nanos))), "{text}");
    }
}

#[test]
fn instants_are_read_with_and_without_fraction_and_offset() {
    let at = 1_893_553_445_000;
    for (text, ms) in [
        ("2030-01-02T03:04:05.678Z", at + 678),
        ("2030-01-02T03:04:05Z", at),
        ("2030-01-02T05:04:05+02:00", at),
        ("2030-01-01T22:04:05.5-05:00", at + 500),
        ("2030-01-02T03:04:05.000000001Z", at + 1),
        ("2030-01-02T03:04:05", at),
        ("2030-01-02", 1_893_542_400_000),
        ("1969-12-31T23:59:59.999Z", -1),
    ] {
        assert_eq!(Until::parse(text), Ok(Until::At(ms)), "{text}");
    }
}

#[test]
fn an_endless_sleep_is_the_longest_wait() {
    assert_eq!(Until::parse("Infinityw"), Ok(Until::For(WAIT_MAX)));
}

#[test]
fn more_than_366_days_is_refused() {
    for text in ["366d1ns", "53w", "99999999999999999999w", "99999999999999999999999999999999999999999999h"] {
        assert_eq!(Until::parse(text), Err(InvalidTime::TooFar), "{text}");
    }
    let late = 367 * 24 * 3_600_000;
    assert_eq!(Until::At(late).due_ms(0), Err(InvalidTime::TooFar));
    assert_eq!(Until::At(late).due_ms(24 * 3_600_000), Ok(late));
}

#[test]
fn what_is_no_time_is_refused() {
    for text in [
        "-",
        "s",
        ".s",
        "1",
        "1x",
        "1 h",
        "h1",
        "1h30",
        "1d-2h",
        "tomorrow",
        "next tuesday",
        "2030-13-01T00:00:00Z",
        "2030-01-02T",
        "NaNw",
        "1é",
        "２h",
    ] {
        assert_eq!(Until::parse(text), Err(InvalidTime::Malformed), "{text}");
    }
}

#[test]
fn a_wait_never_ends_early() {
    assert_eq!(Until::For(Duration::from_nanos(1)).due_ms(10), Ok(11));
    assert_eq!(Until::At(5).due_ms(10), Ok(10));
}

#[test]
fn a_retry_is_between_a_second_and_a_day_away() {
    for (until, seconds) in [
        (Until::NOW, 1),
        (Until::For(Duration::from_secs(120)), 120),
        (Until::For(Duration::from_secs(2 * DAY)), DAY),
        (Until::At(i64::MIN), 1),
        (Until::At(i64::MAX), DAY),
    ] {
        assert_eq!(until.retry_delay(0), Duration::from_secs(seconds), "{until:?}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in ".{0,40}", close in "[-0-9.wdhmsnµuTZ:+]{0,40}", now: i64) {
        for text in [text, close] {
            if let Ok(until) = Until::parse(&text) {
                let due = until.due_ms(now);
                prop_assert!(due.is_ok_and(|due| due >= now) || due == Err(InvalidTime::TooFar));
                let delay = until.retry_delay(now).as_secs();
                prop_assert!((1..=DAY).contains(&delay));
            }
        }
    }

    #[test]
    fn what_is_written_is_what_is_read(seconds in 0..=366 * DAY) {
        let (days, rest) = (seconds / DAY, seconds % DAY);
        let text = format!("{days}d{}h{}m{}s", rest / HOUR, rest % HOUR / 60, rest % 60);
        prop_assert_eq!(Until::parse(&text), Ok(Until::For(Duration::from_secs(seconds))));
    }
}
