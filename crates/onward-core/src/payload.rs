//! Bytes that belong to users: carried, stored, never shown.

use std::fmt;

use bytes::Bytes;

/// Opaque bytes that a user's code made: a request, a step's output, a response.
///
/// `Debug` shows the length alone, so payloads cannot slip into logs.
///
/// # Example
///
/// ```
/// use onward_core::Payload;
///
/// let secret = Payload::from("4242 4242".to_owned());
/// assert_eq!(format!("{secret:?}"), "Payload(9 bytes)");
/// ```
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Payload(Bytes);

impl Payload {
    /// Wraps bytes without copying them.
    pub const fn new(bytes: Bytes) -> Self {
        Self(bytes)
    }

    /// The bytes, shared.
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// The bytes, given away.
    pub fn into_bytes(self) -> Bytes {
        self.0
    }

    /// How many bytes it has.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl AsRef<[u8]> for Payload {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for Payload {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }
}

impl From<String> for Payload {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl From<&'static str> for Payload {
    fn from(text: &'static str) -> Self {
        Self(Bytes::from_static(text.as_bytes()))
    }
}

impl From<Bytes> for Payload {
    fn from(bytes: Bytes) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} bytes)", self.0.len())
    }
}
