//! Durations and instants: bounds, what is written is read, and both readers of durations agree.
#![no_main]

use jiff::Timestamp;
use onward_core::{duration::DURATION_MAX, parse_duration};
use onward_fuzz::as_text;
use onward_protocol::sdk::{
    Until,
    time::{RETRY_AFTER, WAIT_MAX},
};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some(text) = as_text(data) else { return };
    let until = Until::parse(text);
    if let Ok(until) = until {
        let written = match until {
            Until::For(duration) => {
                assert!(duration <= WAIT_MAX);
                format!("{}ns", duration.as_nanos())
            }
            // What is rounded up past the last second there is has no text.
            Until::At(ms) => match Timestamp::from_nanosecond(i128::from(ms) * 1_000_000) {
                Ok(instant) => instant.to_string(),
                Err(_) => {
                    assert_eq!(ms, Timestamp::MAX.as_second() * 1_000 + 1_000);
                    return;
                }
            },
        };
        assert_eq!(Until::parse(&written), Ok(until), "{written}");
        for now in [i64::MIN, -1, 0, 1_900_000_000_000, i64::MAX] {
            let due = until.due_ms(now);
            assert!(due.is_ok_and(|due| due >= now) || matches!(until, Until::At(at) if at > now), "{due:?} at {now}");
            assert!((RETRY_AFTER.0..=RETRY_AFTER.1).contains(&until.retry_delay(now)));
        }
    }

    match parse_duration(text) {
        Ok(duration) => {
            assert!(duration <= DURATION_MAX);
            assert_eq!(parse_duration(&format!(" {text}\n")), Ok(duration));
            assert_eq!(parse_duration(&format!("{text} 0s")), Ok(duration), "nothing added to it");
            if let Ok(until) = until {
                assert_eq!(until, Until::For(duration), "both read it");
            }
        }
        Err(error) => assert!(error.to_string().len() < 1_000, "an error shows the beginning only"),
    }
});
