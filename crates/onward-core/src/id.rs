//! Names of things: runs, steps, endpoints, nodes, and the numbers that order their writes.

use std::{fmt, str::FromStr, sync::Arc};

use sha1::{Digest, Sha1};
use ulid::Ulid;

use crate::Timestamp;

/// An id that could not be read, or is not allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid {what}: {reason}")]
pub struct InvalidId {
    /// What kind of id it should have been.
    pub what: &'static str,
    /// Why it is not one.
    pub reason: &'static str,
}

/// The longest name or id that senders and handlers choose (of events, signals and steps), in bytes.
///
/// Stores find waits and events by them, and an entry of PostgreSQL's index has 2,704 bytes at most
/// (`BTMaxItemSize` of its B-tree).
pub const NAME_BYTES_MAX: usize = 1_024;

/// Checks a name or an id of an event or a signal: 1 to 1,024 bytes, without control characters.
///
/// ```
/// use onward_core::check_name;
///
/// assert!(check_name("event name", "order/paid").is_ok());
/// let refused = check_name("event name", "order\npaid").unwrap_err();
/// assert_eq!(refused.to_string(), "invalid event name: it has a control character");
/// ```
pub fn check_name(what: &'static str, name: &str) -> Result<(), InvalidId> {
    let reason = if name.is_empty() {
        "it is empty"
    } else if name.len() > NAME_BYTES_MAX {
        "it has more than 1,024 bytes"
    } else if name.chars().any(char::is_control) {
        "it has a control character"
    } else {
        return Ok(());
    };
    Err(InvalidId { what, reason })
}

/// The id of a run: a ULID, so ids made later sort later.
///
/// # Example
///
/// ```
/// use onward_core::{RunId, Timestamp};
///
/// let id = RunId::new(Timestamp::from_micros(1_700_000_000_000_000), 42);
/// assert_eq!(id.to_string().parse(), Ok(id));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(Ulid);

impl RunId {
    /// Makes an id from the time of the request and 80 random bits (the low bits of `draw`).
    pub fn new(at: Timestamp, draw: u128) -> Self {
        Self(Ulid::from_parts(u64::try_from(at.as_millis()).unwrap_or(0), draw))
    }

    /// The id with these 16 bytes, big-endian.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Ulid::from_bytes(bytes))
    }

    /// The 16 bytes of the id, big-endian: they sort as the id does.
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0.to_bytes()
    }

    /// The smallest id of a run that began at `at` or later: where a list by time starts.
    pub fn first_at(at: Timestamp) -> Self {
        Self::new(at, 0)
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; ulid::ULID_LEN];
        f.write_str(self.0.array_to_str(&mut text))
    }
}

impl fmt::Debug for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for RunId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        Ulid::from_string(text)
            .map(Self)
            .map_err(|_| InvalidId { what: "run id", reason: "it is not a ULID of 26 characters" })
    }
}

/// The key of a step within its run: the SHA-1 of its id and, from the second use on, its index.
///
/// The rule is section 4 of the SDK protocol, so that all faces agree: the first use of an id hashes the id,
/// the n-th repeat hashes `id:n`.
///
/// # Example
///
/// ```
/// use onward_core::StepKey;
///
/// assert_eq!(StepKey::of("a", 0).to_string(), "86f7e437faa5a7fce15d1ddcb9eaeaea377667b8");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StepKey([u8; 20]);

impl StepKey {
    /// The key of the `index`-th use (from 0) of `id` in a run.
    pub fn of(id: &str, index: u32) -> Self {
        let mut hash = Sha1::new();
        hash.update(id.as_bytes());
        if index > 0 {
            hash.update(format!(":{index}").as_bytes());
        }
        Self(hash.finalize().into())
    }

    /// The key with these bytes.
    pub const fn from_bytes(bytes: [u8; 20]) -> Self {
        Self(bytes)
    }

    /// The bytes of the key.
    pub const fn to_bytes(self) -> [u8; 20] {
        self.0
    }
}

impl fmt::Display for StepKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for StepKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The id of an endpoint: 1 to 256 characters, none of them a control character.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointId(Arc<str>);

impl EndpointId {
    /// Checks and wraps an id.
    pub fn try_new(id: impl Into<Arc<str>>) -> Result<Self, InvalidId> {
        let id = id.into();
        let what = "endpoint id";
        if id.is_empty() {
            return Err(InvalidId { what, reason: "it is empty" });
        }
        if id.len() > 256 {
            return Err(InvalidId { what, reason: "it has more than 256 bytes" });
        }
        if id.chars().any(char::is_control) {
            return Err(InvalidId { what, reason: "it has a control character" });
        }
        Ok(Self(id))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EndpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for EndpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// A version of an endpoint's handler: 1 to 64 visible ASCII characters.
///
/// Versions are told apart, and not compared by age: which one is newer is for who deploys them to know. `Ord` is that
/// of the text.
///
/// # Example
///
/// ```
/// use onward_core::Version;
///
/// assert_eq!(Version::try_new("2026-11-24")?.as_str(), "2026-11-24");
/// assert!(Version::try_new("two words").is_err());
/// # Ok::<(), onward_core::InvalidId>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(Arc<str>);

impl Version {
    /// Checks and wraps a version.
    pub fn try_new(version: impl Into<Arc<str>>) -> Result<Self, InvalidId> {
        let version = version.into();
        let what = "version";
        if version.is_empty() {
            return Err(InvalidId { what, reason: "it is empty" });
        }
        if version.len() > 64 {
            return Err(InvalidId { what, reason: "it has more than 64 bytes" });
        }
        if !version.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(InvalidId { what, reason: "it has a character that is not visible ASCII" });
        }
        Ok(Self(version))
    }

    /// The version as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// A process that runs endpoints, as its store numbers it. A restart is a new node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u64);

/// The growing number of a lease: a write that names an older one is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fence(pub u64);

impl Fence {
    /// The fence of a run's first lease.
    pub const FIRST: Self = Self(1);

    /// The fence of the lease after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// The place of an entry in its run's journal, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Seq(pub u32);

impl Seq {
    /// The place after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

#[cfg(test)]
mod tests;
