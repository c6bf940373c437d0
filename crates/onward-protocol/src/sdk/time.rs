//! Durations and instants as the SDK writes them: `1w2d3h4m5s`, the ISO-8601 of a `Date`, or nothing for "now".

use std::time::Duration;

use jiff::{Timestamp, civil, fmt::temporal::DateTimeParser, tz::TimeZone};

/// The longest that anything waits: 366 days.
pub const WAIT_MAX: Duration = Duration::from_secs(366 * 24 * 60 * 60);
/// The shortest and the longest delay that an endpoint may ask for before a retry.
pub const RETRY_AFTER: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(24 * 60 * 60));

/// How long something waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// So long from when the engine is told.
    For(Duration),
    /// Until an instant, in milliseconds since the Unix epoch.
    At(i64),
}

/// A text that is no time, or one that is too far away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTime {
    /// It is neither a duration nor an instant.
    #[error("it is neither a duration like 1d12h nor an ISO-8601 instant")]
    Malformed,
    /// It is more than 366 days away.
    #[error("it is more than 366 days away")]
    TooFar,
}

impl Until {
    /// No time at all.
    pub const NOW: Self = Self::For(Duration::ZERO);

    /// Reads a duration or an instant. The empty text is now, and so is a negative duration; `Infinityw`, which is what
    /// the SDK makes of an endless sleep, is the longest wait there is. An instant without an offset is in UTC.
    ///
    /// # Example
    ///
    /// ```
    /// use std::time::Duration;
    /// use onward_protocol::sdk::Until;
    ///
    /// assert_eq!(Until::parse("1h30m"), Ok(Until::For(Duration::from_secs(5_400))));
    /// assert_eq!(Until::parse("2030-01-02T03:04:05.678Z"), Ok(Until::At(1_893_553_445_678)));
    /// assert_eq!(Until::parse(""), Ok(Until::NOW));
    /// assert!(Until::parse("soon").is_err() && Until::parse("53w").is_err());
    /// ```
    pub fn parse(text: &str) -> Result<Self, InvalidTime> {
        // Why a dash after the first character: instants have one there, and no duration has.
        if text.len() >= 10 && text.char_indices().any(|(at, char)| at > 0 && char == '-') {
            return instant(text).map(Self::At).ok_or(InvalidTime::Malformed);
        }
        duration(text).map(Self::For)
    }

    /// When it is over, for something that began at `now_ms`: never before that, and at most 366 days later.
    ///
    /// ```
    /// # use onward_protocol::sdk::{InvalidTime, Until};
    /// assert_eq!(Until::At(2_000).due_ms(1_500), Ok(2_000));
    /// assert_eq!(Until::At(1_000).due_ms(1_500), Ok(1_500));
    /// assert_eq!(Until::At(i64::MAX).due_ms(1_500), Err(InvalidTime::TooFar));
    /// ```
    pub fn due_ms(self, now_ms: i64) -> Result<i64, InvalidTime> {
        let latest = now_ms.saturating_add(whole_ms(WAIT_MAX));
        let due = match self {
            Self::For(duration) => now_ms.saturating_add(whole_ms(duration)),
            Self::At(instant) => instant.max(now_ms),
        };
        if due <= latest { Ok(due) } else { Err(InvalidTime::TooFar) }
    }

    /// The delay of a retry that is asked for at `now_ms`: at least a second and at most a day.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use onward_protocol::sdk::Until;
    /// assert_eq!(Until::At(5_000).retry_delay(2_000), Duration::from_secs(3));
    /// assert_eq!(Until::At(5_000).retry_delay(9_000), Duration::from_secs(1));
    /// ```
    pub fn retry_delay(self, now_ms: i64) -> Duration {
        let delay = match self {
            Self::For(duration) => duration,
            Self::At(instant) => Duration::from_millis(u64::try_from(instant.saturating_sub(now_ms)).unwrap_or(0)),
        };
        delay.clamp(RETRY_AFTER.0, RETRY_AFTER.1)
    }
}

/// Rounded up, so that no timer fires early.
fn whole_ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(i64::MAX)
}

fn instant(text: &str) -> Option<i64> {
    static PARSER: DateTimeParser = DateTimeParser::new();
    let in_utc = |time: civil::DateTime| TimeZone::UTC.to_timestamp(time).ok();
    let instant: Timestamp = PARSER.parse_timestamp(text).ok().or_else(|| in_utc(PARSER.parse_datetime(text).ok()?))?;
    let ms =
        instant.as_nanosecond().div_euclid(1_000_000) + i128::from(instant.as_nanosecond().rem_euclid(1_000_000) > 0);
    i64::try_from(ms).ok()
}

fn duration(text: &str) -> Result<Duration, InvalidTime> {
    if text.starts_with("Infinity") {
        return Ok(WAIT_MAX);
    }
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    if negative && rest.is_empty() {
        return Err(InvalidTime::Malformed);
    }
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    let mut nanos = 0_u128;
    while !rest.is_empty() {
        let (amount, after) = part(rest)?;
        nanos = nanos.checked_add(amount).ok_or(InvalidTime::TooFar)?;
        rest = after;
    }
    if negative {
        return Ok(Duration::ZERO);
    }
    let duration = u64::try_from(nanos).map(Duration::from_nanos).map_err(|_| InvalidTime::TooFar)?;
    if duration <= WAIT_MAX { Ok(duration) } else { Err(InvalidTime::TooFar) }
}

/// A number with its unit, in nanoseconds, and what follows.
fn part(text: &str) -> Result<(u128, &str), InvalidTime> {
    let (whole, rest) = digits(text);
    let (fraction, rest) = rest.strip_prefix('.').map_or(("", rest), digits);
    if whole.is_empty() && fraction.is_empty() {
        return Err(InvalidTime::Malformed);
    }
    let (unit, rest) =
        rest.split_at(rest.find(|char: char| char.is_ascii_digit() || char == '.').unwrap_or(rest.len()));
    let nanos = nanos(unit).ok_or(InvalidTime::Malformed)?;
    let whole = whole.trim_start_matches('0');
    let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| InvalidTime::TooFar)? };
    // Eighteen digits are below a nanosecond in every unit.
    let fraction = &fraction[..fraction.len().min(18)];
    let scale = 10_u128.pow(u32::try_from(fraction.len()).unwrap_or(0));
    let fraction: u128 = if fraction.is_empty() { 0 } else { fraction.parse().unwrap_or(0) };
    let amount = whole.checked_mul(nanos).and_then(|whole| whole.checked_add(fraction * nanos / scale));
    Ok((amount.ok_or(InvalidTime::TooFar)?, rest))
}

fn digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|char: char| !char.is_ascii_digit()).unwrap_or(text.len()))
}

fn nanos(unit: &str) -> Option<u128> {
    const SECOND: u128 = 1_000_000_000;
    Some(match unit {
        "w" => 7 * 24 * 3_600 * SECOND,
        "d" => 24 * 3_600 * SECOND,
        "h" => 3_600 * SECOND,
        "m" => 60 * SECOND,
        "s" => SECOND,
        "ms" => 1_000_000,
        "us" | "µs" | "μs" => 1_000,
        "ns" => 1,
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
