//! Durations as people write them: `"30s"`, `"1h30m"`, `"24h"`, `"7d"`.

use std::time::Duration;

/// A duration that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid duration {text:?}: {reason}; write it like \"30s\", \"1h30m\", \"24h\" or \"7d\"")]
pub struct InvalidDuration {
    text: String,
    reason: &'static str,
}

/// The longest duration that is accepted: 36,600 days, which is a hundred years.
pub const DURATION_MAX: Duration = Duration::from_secs(100 * 366 * 24 * 60 * 60);

/// Reads a duration: one or more of a whole or decimal number and a unit, largest unit first is customary.
///
/// Units are `ms`, `s`, `m`, `h`, `d` and `w`. A bad duration is an error that names it, never zero.
///
/// # Example
///
/// ```
/// use onward_core::parse_duration;
/// use std::time::Duration;
///
/// assert_eq!(parse_duration("1h30m"), Ok(Duration::from_secs(5400)));
/// assert!(parse_duration("soon").is_err());
/// ```
pub fn parse_duration(text: &str) -> Result<Duration, InvalidDuration> {
    let invalid = |reason| InvalidDuration { text: text.chars().take(64).collect(), reason };
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(invalid("it is empty"));
    }
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let after = after.trim_start();
        let letters = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        total = total.checked_add(part(number, unit).map_err(invalid)?).ok_or(invalid("it is too long"))?;
        rest = after.trim_start();
    }
    if total > DURATION_MAX {
        return Err(invalid("it is longer than 36600 days"));
    }
    Ok(total)
}

/// One number with its unit. Whole and fractional digits are scaled as integers, so nothing is lost to floats.
fn part(number: &str, unit: &str) -> Result<Duration, &'static str> {
    let unit_nanos: u64 = match unit {
        "ms" => 1_000_000,
        "s" | "sec" | "secs" => 1_000_000_000,
        "m" | "min" | "mins" => 60_000_000_000,
        "h" | "hr" | "hrs" => 3_600_000_000_000,
        "d" | "day" | "days" => 86_400_000_000_000,
        "w" | "week" | "weeks" => 604_800_000_000_000,
        "" => return Err("a number has no unit"),
        _ => return Err("a unit is not one of ms, s, m, h, d, w"),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || (number.contains('.') && fraction.is_empty()) || fraction.len() > 9 {
        return Err("it has a unit without a plain number before it");
    }
    let whole: u64 = whole.parse().map_err(|_| "a number is too large")?;
    let mut nanos = u128::from(whole) * u128::from(unit_nanos);
    if !fraction.is_empty() {
        let digits: u64 = fraction.parse().map_err(|_| "a number is not decimal")?;
        let scale = 10_u128.pow(u32::try_from(fraction.len()).unwrap_or(9));
        nanos += u128::from(digits) * u128::from(unit_nanos) / scale;
    }
    u64::try_from(nanos).map(Duration::from_nanos).map_err(|_| "it is too long")
}

/// What can be given where a duration is wanted: a [`Duration`], or text such as `"1h30m"`.
pub trait IntoDuration {
    /// The duration, or an error that names what was given.
    fn into_duration(self) -> Result<Duration, InvalidDuration>;
}

impl IntoDuration for Duration {
    fn into_duration(self) -> Result<Duration, InvalidDuration> {
        if self > DURATION_MAX {
            let text = format!("{}s", self.as_secs());
            return Err(InvalidDuration { text, reason: "it is longer than 36600 days" });
        }
        Ok(self)
    }
}

impl IntoDuration for &str {
    fn into_duration(self) -> Result<Duration, InvalidDuration> {
        parse_duration(self)
    }
}

impl IntoDuration for String {
    fn into_duration(self) -> Result<Duration, InvalidDuration> {
        parse_duration(&self)
    }
}

impl IntoDuration for &String {
    fn into_duration(self) -> Result<Duration, InvalidDuration> {
        parse_duration(self)
    }
}

#[cfg(test)]
mod tests;
