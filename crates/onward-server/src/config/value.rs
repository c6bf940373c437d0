//! Values as people write them, and how they are written back.

use std::{fmt::Write, net::IpAddr, time::Duration};

use onward_core::parse_duration;
use onward_protocol::sdk::SigningKey;
use onward_server::{observe::LogFormat, options::OutputForm};
use reqwest::Url;

/// Why a value is refused and what to do.
type Refused = String;

pub(super) fn host(text: &str) -> Result<IpAddr, Refused> {
    if text == "localhost" {
        return Ok(IpAddr::from([127, 0, 0, 1]));
    }
    text.trim_matches(['[', ']']).parse().map_err(|_| {
        format!("{text:?} is not an IP address; give one of this machine, such as 127.0.0.1, or 0.0.0.0 for all")
    })
}

pub(super) fn port(text: &str) -> Result<u16, Refused> {
    text.parse().map_err(|_| {
        // Kubernetes tells each container of every service in such variables.
        let hint = if text.starts_with("tcp://") {
            "; Kubernetes sets this for a service named onward: set `enableServiceLinks: false`, or give --port"
        } else {
            "; give a number from 0 to 65535"
        };
        format!("{text:?} is not a port{hint}")
    })
}

pub(super) fn store(text: &str) -> Result<String, Refused> {
    let scheme = text.split_once(':').map(|(scheme, _)| scheme);
    match (scheme, text) {
        (Some("postgres" | "postgresql"), _) if text.contains("://") => Ok(text.to_owned()),
        (Some("postgres" | "postgresql"), _) => {
            Err("postgres: names no server; give postgres://USER:PASSWORD@HOST/DATABASE".to_owned())
        }
        (_, "memory:") => Ok(text.to_owned()),
        (Some("memory"), _) => Err("memory: takes no path; give memory: alone, or sqlite:PATH".to_owned()),
        (Some("sqlite"), _) => match onward_sqlite::Location::parse(text) {
            Ok(_) => Ok(text.to_owned()),
            Err(error) => Err(std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string)),
        },
        _ => Err(format!(
            "{text:?} is not a store; give sqlite:PATH, such as sqlite:onward.db, postgres://HOST/DATABASE, or memory:"
        )),
    }
}

/// The key is not repeated in the refusal: it may be nearly right, and messages are kept.
pub(super) fn signing_key(text: &str) -> Result<String, Refused> {
    if SigningKey::parse(text).is_ok() {
        return Ok(text.to_owned());
    }
    Err("a signing key is not an even number of hexadecimal digits; make one with `openssl rand -hex 32`, alone or after \
         `signkey-prod-`"
        .to_owned())
}

pub(super) fn event_key(text: &str) -> Result<String, Refused> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    if !text.is_empty() && text.bytes().all(fits) {
        return Ok(text.to_owned());
    }
    Err("an event key is malformed; it stands in a URL: take letters, digits, and - _ . ~".to_owned())
}

pub(super) fn origin(text: &str) -> Result<String, Refused> {
    let refused =
        || format!("{text:?} is not an origin; give scheme, host and port alone, as https://app.example:8443");
    let url = Url::parse(text).map_err(|_| refused())?;
    let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
    if !matches!(url.scheme(), "http" | "https") || !bare {
        return Err(refused());
    }
    Ok(url.origin().ascii_serialization())
}

/// An origin, or `None` for the word that stands for all.
pub(super) fn origin_or_any(text: &str) -> Result<Option<String>, Refused> {
    if text == "*" { Ok(None) } else { origin(text).map(Some) }
}

/// A host's name, without a port.
pub(super) fn host_name(text: &str) -> Result<String, Refused> {
    let is_one = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    if text.is_empty() || !text.bytes().all(is_one) {
        return Err(format!(
            "invalid host name {text:?}: give a name without a port, such as engine or onward.internal"
        ));
    }
    Ok(text.to_ascii_lowercase())
}

pub(super) fn url(text: &str) -> Result<String, Refused> {
    match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(text.trim_end_matches('/').to_owned()),
        _ => Err(format!("{text:?} is not a URL; give one such as http://127.0.0.1:4318")),
    }
}

pub(super) fn switch(text: &str) -> Result<bool, Refused> {
    match text {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err(format!("{text:?} is neither true nor false; give one of them")),
    }
}

pub(super) fn output(text: &str) -> Result<OutputForm, Refused> {
    match text {
        "compatible" => Ok(OutputForm::Compatible),
        "original" => Ok(OutputForm::Original),
        _ => Err(format!("{text:?} is not a form; give compatible or original")),
    }
}

pub(super) fn log_format(text: &str) -> Result<LogFormat, Refused> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err(format!("{text:?} is not a format; give text or json")),
    }
}

pub(super) fn log(text: &str) -> Result<String, Refused> {
    let refused =
        |why: &str| format!("{text:?} is not a filter ({why}); give one such as info, or warn,onward::run=debug");
    // A word alone would be a target, of which everything is logged: it is rather a level that was mistyped.
    let is_level = |word: &str| word.parse::<tracing_subscriber::filter::LevelFilter>().is_ok();
    let mut words = text.split(',').map(str::trim);
    if let Some(word) = words.find(|word| word.bytes().all(|byte| byte.is_ascii_alphanumeric()) && !is_level(word)) {
        return Err(refused(&format!("{word:?} is not a level")));
    }
    match tracing_subscriber::EnvFilter::try_new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(refused(&error.to_string())),
    }
}

/// A duration that is not zero.
pub(super) fn duration(text: &str) -> Result<Duration, Refused> {
    match duration_or_zero(text)? {
        Duration::ZERO => Err(format!("{text:?} is no time at all; give a longer one, such as 1s")),
        duration => Ok(duration),
    }
}

/// How long a lease lasts.
pub(super) fn lease(text: &str) -> Result<Duration, Refused> {
    match duration_or_zero(text)? {
        lease if lease < Duration::from_secs(1) => Err(format!("{text:?} is too short; give a second or more")),
        lease => Ok(lease),
    }
}

pub(super) fn duration_or_zero(text: &str) -> Result<Duration, Refused> {
    parse_duration(text).map_err(|error| error.to_string())
}

pub(super) fn count(text: &str) -> Result<usize, Refused> {
    match text.parse() {
        Ok(0) | Err(_) => Err(format!("{text:?} is not a count; give a whole number from 1")),
        Ok(count) => Ok(count),
    }
}

const UNITS: [(&str, usize); 7] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("B", 1),
];

/// A number of bytes, alone or with a unit.
pub(super) fn size(text: &str) -> Result<usize, Refused> {
    let trimmed = text.trim();
    let (number, unit) = trimmed.split_at(trimmed.find(|c: char| !c.is_ascii_digit()).unwrap_or(trimmed.len()));
    let unit = unit.trim_start();
    let scale = if unit.is_empty() {
        Some(1)
    } else {
        UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)).map(|(_, scale)| *scale)
    };
    let size = number.parse::<usize>().ok().zip(scale).and_then(|(number, scale)| number.checked_mul(scale));
    size.filter(|size| *size > 0)
        .ok_or_else(|| format!("{text:?} is not a size; give a number of bytes from 1, or one as 512 KiB or 16 MiB"))
}

/// A size in the largest binary unit that it is a multiple of.
pub(super) fn size_text(size: usize) -> String {
    match UNITS[..3].iter().find(|(_, scale)| size > 0 && size.is_multiple_of(*scale)) {
        Some((unit, scale)) => format!("{} {unit}", size / scale),
        None => size.to_string(),
    }
}

/// A duration as it can be read again.
pub(crate) fn duration_text(duration: Duration) -> String {
    const UNITS: [(&str, u128); 5] = [
        ("d", 86_400_000_000_000),
        ("h", 3_600_000_000_000),
        ("m", 60_000_000_000),
        ("s", 1_000_000_000),
        ("ms", 1_000_000),
    ];
    let mut left = duration.as_nanos();
    let mut text = String::new();
    for (unit, nanos) in UNITS {
        // What is left below a millisecond is a fraction of one.
        if unit == "ms" && !left.is_multiple_of(nanos) {
            let _ = write!(text, "{}.{:06}ms", left / nanos, left % nanos);
            return text;
        }
        if left >= nanos {
            let _ = write!(text, "{}{unit}", left / nanos);
            left %= nanos;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// A text as TOML writes it.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => drop(write!(quoted, "\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
