//! How an entry is stored: a version byte, then a record of that version.

use serde::{Deserialize, Serialize};

use crate::{
    Attempt, Payload, Seq, Timestamp,
    journal::{BlockedBy, Change, Entry},
    step::{StepId, StepKind},
};

/// The newest version. Older ones stay readable.
const VERSION: u8 = 3;

/// The version in which a change is written: the oldest that has it, so that older releases beside this one can read what
/// they know.
const fn version(change: &Change) -> u8 {
    match change {
        Change::Blocked { cause: BlockedBy::NotCarried | BlockedBy::CarriedUnreadable, .. } => 3,
        Change::LetGo | Change::Blocked { .. } => 2,
        _ => 1,
    }
}

/// A stored entry that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEntry {
    /// A newer release wrote it.
    #[error("journal entry has format {0}, this release reads up to {VERSION}")]
    Newer(u8),
    /// Its bytes are damaged.
    #[error("journal entry is damaged")]
    Damaged,
}

#[derive(Serialize, Deserialize)]
struct Record<'a> {
    at: i64,
    name: &'a str,
    index: u32,
    kind: u8,
    #[serde(borrow)]
    change: ChangeRecord<'a>,
}

#[derive(Serialize, Deserialize)]
enum ChangeRecord<'a> {
    AttemptFailed {
        attempt: u32,
        #[serde(borrow)]
        error: Raw<'a>,
        retry_at: i64,
    },
    Waiting {
        until: Option<i64>,
        subject: &'a str,
    },
    Succeeded {
        attempt: u32,
        output: Raw<'a>,
    },
    Failed {
        attempt: u32,
        error: Raw<'a>,
    },
    Reset,
    /// From version 2 on.
    LetGo,
    /// From version 2 on.
    Blocked {
        step: &'a str,
        cause: CauseRecord,
    },
}

#[derive(Clone, Copy, Serialize, Deserialize)]
enum CauseRecord {
    NotAsked,
    Unreadable,
    /// From version 3 on.
    NotCarried,
    /// From version 3 on.
    CarriedUnreadable,
}

/// Bytes that are copied as a whole: serde takes a plain slice for a sequence, a byte at a time.
#[derive(Clone, Copy)]
pub(crate) struct Raw<'a>(pub(crate) &'a [u8]);

impl Serialize for Raw<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Raw<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&[u8]>::deserialize(deserializer).map(Self)
    }
}

/// The stored bytes of an entry. Its place is not among them: that is the row's key.
pub fn encode(entry: &Entry) -> Vec<u8> {
    let change = match &entry.change {
        Change::AttemptFailed { attempt, error, retry_at } => ChangeRecord::AttemptFailed {
            attempt: attempt.0,
            error: Raw(error.as_ref()),
            retry_at: retry_at.as_micros(),
        },
        Change::Waiting { until, subject } => ChangeRecord::Waiting { until: until.map(Timestamp::as_micros), subject },
        Change::Succeeded { attempt, output } => {
            ChangeRecord::Succeeded { attempt: attempt.0, output: Raw(output.as_ref()) }
        }
        Change::Failed { attempt, error } => ChangeRecord::Failed { attempt: attempt.0, error: Raw(error.as_ref()) },
        Change::Reset => ChangeRecord::Reset,
        Change::LetGo => ChangeRecord::LetGo,
        Change::Blocked { step, cause } => {
            let cause = match cause {
                BlockedBy::NotAsked => CauseRecord::NotAsked,
                BlockedBy::Unreadable => CauseRecord::Unreadable,
                BlockedBy::NotCarried => CauseRecord::NotCarried,
                BlockedBy::CarriedUnreadable => CauseRecord::CarriedUnreadable,
            };
            ChangeRecord::Blocked { step, cause }
        }
    };
    let record = Record {
        at: entry.at.as_micros(),
        name: entry.step.name(),
        index: entry.step.index(),
        kind: kind_number(entry.kind),
        change,
    };
    let len = match &entry.change {
        Change::AttemptFailed { error, .. } | Change::Failed { error, .. } => error.len(),
        Change::Succeeded { output, .. } => output.len(),
        Change::Waiting { subject, .. } => subject.len(),
        Change::Blocked { step, .. } => step.len(),
        Change::Reset | Change::LetGo => 0,
    };
    let mut start = Vec::with_capacity(entry.step.name().len() + len + 48);
    start.push(version(&entry.change));
    postcard::to_extend(&record, start).expect("a record of slices and numbers always encodes")
}

/// Reads an entry back.
pub fn decode(seq: Seq, bytes: &[u8]) -> Result<Entry, InvalidEntry> {
    let (&version, rest) = bytes.split_first().ok_or(InvalidEntry::Damaged)?;
    if !(1..=VERSION).contains(&version) {
        return Err(InvalidEntry::Newer(version));
    }
    let record: Record<'_> = postcard::from_bytes(rest).map_err(|_| InvalidEntry::Damaged)?;
    let payload = |Raw(bytes): Raw<'_>| Payload::from(bytes.to_vec());
    let change = match record.change {
        ChangeRecord::AttemptFailed { attempt, error, retry_at } => Change::AttemptFailed {
            attempt: Attempt(attempt),
            error: payload(error),
            retry_at: Timestamp::from_micros(retry_at),
        },
        ChangeRecord::Waiting { until, subject } => {
            Change::Waiting { until: until.map(Timestamp::from_micros), subject: subject.to_owned() }
        }
        ChangeRecord::Succeeded { attempt, output } => {
            Change::Succeeded { attempt: Attempt(attempt), output: payload(output) }
        }
        ChangeRecord::Failed { attempt, error } => Change::Failed { attempt: Attempt(attempt), error: payload(error) },
        ChangeRecord::Reset => Change::Reset,
        ChangeRecord::LetGo => Change::LetGo,
        ChangeRecord::Blocked { step, cause } => {
            let cause = match cause {
                CauseRecord::NotAsked => BlockedBy::NotAsked,
                CauseRecord::Unreadable => BlockedBy::Unreadable,
                CauseRecord::NotCarried => BlockedBy::NotCarried,
                CauseRecord::CarriedUnreadable => BlockedBy::CarriedUnreadable,
            };
            Change::Blocked { step: step.to_owned(), cause }
        }
    };
    Ok(Entry {
        seq,
        at: Timestamp::from_micros(record.at),
        step: StepId::try_new(record.name, record.index).map_err(|_| InvalidEntry::Damaged)?,
        kind: *StepKind::ALL.get(usize::from(record.kind)).ok_or(InvalidEntry::Damaged)?,
        change,
    })
}

fn kind_number(kind: StepKind) -> u8 {
    let place = StepKind::ALL.iter().position(|each| *each == kind);
    place.and_then(|place| u8::try_from(place).ok()).expect("ALL has every kind, and fewer than 256")
}

#[cfg(test)]
mod tests;
