//! How matchers, facts and outcomes are stored: a version byte, then a record of that version.
//!
//! # Example
//!
//! ```
//! use onward_core::{store::record, waiter::Fact};
//!
//! let fact = Fact::Signal("1".into());
//! assert_eq!(record::decode_fact(&record::encode_fact(&fact)), Ok(fact));
//! ```

use serde::{Deserialize, Serialize};

use crate::{
    Payload,
    event::{MatchValue, Matcher, matching::When},
    journal::format::Raw,
    run::{Outcome, Status},
    waiter::Fact,
};

/// The version that is written. Older ones stay readable.
const VERSION: u8 = 1;

/// A stored record that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRecord {
    /// A newer release wrote it.
    #[error("record has format {0}, this release reads up to {VERSION}")]
    Newer(u8),
    /// Its bytes are damaged.
    #[error("record is damaged")]
    Damaged,
}

#[derive(Serialize, Deserialize)]
struct MatcherV1<'a> {
    name: &'a str,
    #[serde(borrow)]
    value: Option<(&'a str, &'a str)>,
    /// The expression, and the run's own request as JSON text.
    when: Option<(&'a str, String)>,
}

#[derive(Serialize, Deserialize)]
struct OutcomeV1<'a> {
    status: u8,
    #[serde(borrow)]
    response: Raw<'a>,
    #[serde(borrow)]
    error: Raw<'a>,
}

#[derive(Serialize, Deserialize)]
enum FactV1<'a> {
    Event(#[serde(borrow)] Raw<'a>),
    Signal(#[serde(borrow)] Raw<'a>),
    SignalTaken,
    #[serde(borrow)]
    Outcome(OutcomeV1<'a>),
}

fn encode(record: &impl Serialize, len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len + 24);
    bytes.push(VERSION);
    postcard::to_extend(record, bytes).expect("a record of slices and numbers always encodes")
}

fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, InvalidRecord> {
    let (&version, rest) = bytes.split_first().ok_or(InvalidRecord::Damaged)?;
    if version != VERSION {
        return Err(InvalidRecord::Newer(version));
    }
    postcard::from_bytes(rest).map_err(|_| InvalidRecord::Damaged)
}

fn payload(Raw(bytes): Raw<'_>) -> Payload {
    Payload::from(bytes.to_vec())
}

/// A matcher as it is stored.
pub fn encode_matcher(matcher: &Matcher) -> Vec<u8> {
    let record = MatcherV1 {
        name: &matcher.name,
        value: matcher.value.as_ref().map(|value| (value.path.as_str(), value.text.as_str())),
        when: matcher.when.as_ref().map(|when| (when.expression.as_str(), when.event.to_string())),
    };
    encode(&record, 128)
}

/// A matcher that was stored.
pub fn decode_matcher(bytes: &[u8]) -> Result<Matcher, InvalidRecord> {
    let record: MatcherV1<'_> = decode(bytes)?;
    let when = record.when.map(|(expression, event)| {
        let event = serde_json::from_str(&event).map_err(|_| InvalidRecord::Damaged)?;
        Ok(When { expression: expression.to_owned(), event })
    });
    Ok(Matcher {
        name: record.name.to_owned(),
        value: record.value.map(|(path, text)| MatchValue { path: path.to_owned(), text: text.to_owned() }),
        when: when.transpose()?,
    })
}

fn outcome_record(outcome: &Outcome) -> OutcomeV1<'_> {
    let status = outcome.status.number();
    OutcomeV1 { status, response: Raw(outcome.response.as_ref()), error: Raw(outcome.error.as_ref()) }
}

fn outcome(record: &OutcomeV1<'_>) -> Result<Outcome, InvalidRecord> {
    let status = Status::from_number(record.status).ok_or(InvalidRecord::Damaged)?;
    Ok(Outcome { status, response: payload(record.response), error: payload(record.error) })
}

/// An outcome as it is stored.
pub fn encode_outcome(outcome: &Outcome) -> Vec<u8> {
    encode(&outcome_record(outcome), outcome.response.len() + outcome.error.len())
}

/// An outcome that was stored.
pub fn decode_outcome(bytes: &[u8]) -> Result<Outcome, InvalidRecord> {
    outcome(&decode(bytes)?)
}

/// A fact as it is stored.
pub fn encode_fact(fact: &Fact) -> Vec<u8> {
    let (record, len) = match fact {
        Fact::Event(event) => (FactV1::Event(Raw(event.as_ref())), event.len()),
        Fact::Signal(data) => (FactV1::Signal(Raw(data.as_ref())), data.len()),
        Fact::SignalTaken => (FactV1::SignalTaken, 0),
        Fact::Outcome(outcome) => (FactV1::Outcome(outcome_record(outcome)), outcome.response.len()),
    };
    encode(&record, len)
}

/// A fact that was stored.
pub fn decode_fact(bytes: &[u8]) -> Result<Fact, InvalidRecord> {
    Ok(match decode(bytes)? {
        FactV1::Event(event) => Fact::Event(payload(event)),
        FactV1::Signal(data) => Fact::Signal(payload(data)),
        FactV1::SignalTaken => Fact::SignalTaken,
        FactV1::Outcome(record) => Fact::Outcome(outcome(&record)?),
    })
}

/// The digest by which waiters for a value are found (FNV-1a). It only narrows the search: the matcher decides.
pub fn text_digest(text: &str) -> i64 {
    let hash = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    hash.cast_signed()
}

#[cfg(test)]
mod tests;
