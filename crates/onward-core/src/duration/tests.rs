//! What counts as a duration, a case a line.

use std::time::Duration;

use proptest::prelude::*;

use super::{IntoDuration, parse_duration};

#[test]
fn durations_are_read_as_people_write_them() {
    for (text, millis) in [
        ("30s", 30_000),
        ("1h30m", 5_400_000),
        ("24h", 86_400_000),
        ("7d", 604_800_000),
        ("500ms", 500),
        ("1.5s", 1_500),
        ("2w 1d", 1_296_000_000),
        (" 10 s ", 10_000),
        ("0s", 0),
    ] {
        assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
    }
}

#[test]
fn a_bad_duration_is_an_error_that_names_it_and_never_zero() {
    for text in [
        "",
        " ",
        "soon",
        "30",
        "s",
        "-5s",
        "1h30",
        "1.s",
        ".5s",
        "Infinityw",
        "1y",
        "36601d",
        "99999999999999999999s",
        "1e3s",
    ] {
        let error = parse_duration(text).expect_err(text);
        assert!(error.to_string().contains(&format!("{text:?}")), "{error}");
    }
}

#[test]
fn a_duration_value_is_bounded_too() {
    assert!(Duration::from_secs(36_601 * 86_400).into_duration().is_err());
    assert!(Duration::from_secs(36_600 * 86_400).into_duration().is_ok());
}

proptest! {
    #[test]
    fn reading_never_panics(text in ".{0,40}") {
        let _ = parse_duration(&text);
    }

    #[test]
    fn whole_seconds_survive(secs in 0_u64..36_600 * 86_400) {
        let text = format!("{}h{}m{}s", secs / 3600, secs / 60 % 60, secs % 60);
        prop_assert_eq!(parse_duration(&text), Ok(Duration::from_secs(secs)));
    }
}
