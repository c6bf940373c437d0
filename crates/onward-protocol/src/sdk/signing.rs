//! The signing key: the SDK shows its hash to the engine, and the engine signs with it what it sends to an endpoint.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use super::hex::{hex, unhex};

/// How old, or how far in the future, a signature may be, in seconds.
pub const SIGNATURE_AGE_MAX: i64 = 5 * 60;

/// A signing key: `signkey-`, an environment, a dash, and hexadecimal digits; or the digits alone. `Debug` hides it.
#[derive(Clone)]
pub struct SigningKey {
    /// `signkey-prod-`, or nothing.
    prefix: String,
    /// The digits. Signatures are made with them as text, not with the bytes that they stand for.
    digits: String,
    /// SHA-256 of the bytes, in hexadecimal.
    hash: String,
}

/// A text that is no signing key. It is not repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a signing key is signkey-, an environment, a dash and an even number of hexadecimal digits")]
pub struct InvalidSigningKey;

/// The keys in use: the first signs, all verify. None at all, where endpoints run in development mode.
#[derive(Clone, Debug, Default)]
pub struct Keys(Vec<SigningKey>);

/// What is signed.
#[derive(Clone, Copy, Debug)]
pub enum Payload<'a> {
    /// Nothing.
    Empty,
    /// JSON, in the form that the SDK signs: canonical (RFC 8785), and of a string what it says. Text that is no JSON
    /// counts as nothing, as the SDK would not read it either.
    Json(&'a str),
    /// This text as it is.
    Text(&'a str),
}

impl SigningKey {
    /// Reads a key.
    ///
    /// # Example
    ///
    /// ```
    /// use onward_protocol::sdk::SigningKey;
    ///
    /// let key = SigningKey::parse(&format!("signkey-prod-{}", "ab".repeat(32)))?;
    /// assert_eq!(key.bearer(), "signkey-prod-9a2db2e23f1504cd056606553ac049c5e718e8f9ce9233876df1a7a1821af885");
    /// assert_eq!(format!("{key:?}"), "SigningKey(signkey-prod-…)");
    /// # Ok::<(), onward_protocol::sdk::InvalidSigningKey>(())
    /// ```
    pub fn parse(text: &str) -> Result<Self, InvalidSigningKey> {
        let (prefix, digits) = text.split_at(prefix_len(text));
        let bytes = unhex(digits).filter(|bytes| !bytes.is_empty()).ok_or(InvalidSigningKey)?;
        Ok(Self { prefix: prefix.to_owned(), digits: digits.to_owned(), hash: hex(&Sha256::digest(bytes)) })
    }

    /// What the SDK shows of the key: its prefix and the hash of the rest. In the header, `Bearer ` goes before it.
    pub fn bearer(&self) -> String {
        format!("{}{}", self.prefix, self.hash)
    }

    fn mac(&self, payload: &[u8], time: &str) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.digits.as_bytes()).expect("HMAC takes a key of any length");
        mac.update(payload);
        mac.update(time.as_bytes());
        mac
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({}…)", self.prefix)
    }
}

impl Keys {
    /// Keys, the one that signs first.
    pub const fn new(keys: Vec<SigningKey>) -> Self {
        Self(keys)
    }

    /// Whether there are none. Nothing can be verified then: who asks decides what that means.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether an `Authorization` header shows one of the keys: hashed, or itself, whatever its prefix. The time that
    /// it takes does not tell how much of it is right. Without keys, no header does.
    ///
    /// # Example
    ///
    /// ```
    /// # use onward_protocol::sdk::{Keys, SigningKey};
    /// let key = SigningKey::parse("signkey-test-0123456789abcdef")?;
    /// let header = format!("Bearer {}", key.bearer());
    /// let keys = Keys::new(vec![key]);
    /// assert!(keys.verify_bearer(&header) && !keys.verify_bearer("Bearer "));
    /// # Ok::<(), onward_protocol::sdk::InvalidSigningKey>(())
    /// ```
    pub fn verify_bearer(&self, header_value: &str) -> bool {
        let Some((scheme, shown)) = header_value.trim().split_once(' ') else { return false };
        let shown = shown.trim();
        let shown = Sha256::digest(shown[prefix_len(shown)..].to_ascii_lowercase());
        let is = |text: &str| shown.ct_eq(&Sha256::digest(text.to_ascii_lowercase()));
        let any = self.0.iter().fold(Choice::from(0), |any, key| any | is(&key.hash) | is(&key.digits));
        bool::from(any) & scheme.eq_ignore_ascii_case("bearer")
    }

    /// A value for the header `x-inngest-signature`, signed with the first key. Without one it is a signature of
    /// zeros: never empty, because an empty header can be lost on its way, and a call without one starts a new run.
    pub fn sign(&self, payload: Payload<'_>, unix_seconds: i64) -> String {
        let time = unix_seconds.to_string();
        let tag = match self.0.first() {
            Some(key) => hex(&key.mac(&payload.bytes(), &time).finalize().into_bytes()),
            None => "0".repeat(64),
        };
        format!("t={time}&s={tag}")
    }

    /// The signature of a call with this method and body. The SDK reads the body of a `POST` or `PUT` only.
    ///
    /// ```
    /// # use onward_protocol::sdk::{Keys, Payload};
    /// let keys = Keys::default();
    /// assert_eq!(keys.signature_header("GET", "ignored", 7), keys.sign(Payload::Empty, 7));
    /// assert_eq!(keys.signature_header("GET", "", 7), format!("t=7&s={}", "0".repeat(64)));
    /// ```
    pub fn signature_header(&self, method: &str, body: &str, now_s: i64) -> String {
        self.sign(if reads_body(method) { Payload::Json(body) } else { Payload::Empty }, now_s)
    }

    /// Whether a signature is by one of the keys over this body, and not more than five minutes away from now. So the
    /// SDK signs its responses.
    pub fn verify_signature(&self, header: &str, body: &str, now_s: i64) -> bool {
        let (mut time, mut tag) = (None, None);
        for pair in header.split('&') {
            match pair.split_once('=') {
                Some(("t", value)) => time = time.or(Some(value)),
                Some(("s", value)) => tag = tag.or(Some(value)),
                _ => {}
            }
        }
        let (Some(time), Some(tag)) = (time, tag.and_then(unhex)) else { return false };
        let fresh = time.parse::<i64>().is_ok_and(|time| {
            let age = now_s.saturating_sub(time);
            (-SIGNATURE_AGE_MAX..=SIGNATURE_AGE_MAX).contains(&age)
        });
        let is = |key: &SigningKey| key.mac(body.as_bytes(), time).verify_slice(&tag).is_ok();
        fresh & self.0.iter().fold(false, |any, key| any | is(key))
    }
}

impl Payload<'_> {
    fn bytes(self) -> Vec<u8> {
        match self {
            Self::Empty => Vec::new(),
            Self::Text(text) => text.as_bytes().to_vec(),
            Self::Json(json) => match serde_json::from_str(json) {
                Ok(Value::String(text)) => text.into_bytes(),
                Ok(value) => canonical(&value).unwrap_or_default(),
                Err(_) => Vec::new(),
            },
        }
    }
}

/// The body that a call to an endpoint may carry: one that the SDK could not read would break the call.
///
/// ```
/// # use onward_protocol::sdk::readable_body;
/// assert_eq!(readable_body("POST", "a=1"), "");
/// assert_eq!(readable_body("PATCH", "a=1"), "a=1");
/// assert_eq!(readable_body("POST", "[1]"), "[1]");
/// ```
pub fn readable_body<'a>(method: &str, body: &'a str) -> &'a str {
    let refused = reads_body(method) && serde_json::from_str::<Value>(body).is_err();
    if refused { "" } else { body }
}

/// The canonical form of RFC 8785; `None` for a number beyond what the SDK can read.
pub(super) fn canonical(value: &Value) -> Option<Vec<u8>> {
    serde_json_canonicalizer::to_vec(value).ok()
}

fn reads_body(method: &str) -> bool {
    method.eq_ignore_ascii_case("POST") || method.eq_ignore_ascii_case("PUT")
}

/// How long `signkey-`, an environment and a dash are at the text's beginning.
fn prefix_len(text: &str) -> usize {
    let Some(rest) = text.strip_prefix("signkey-") else { return 0 };
    let word = rest.find(|char: char| !char.is_ascii_alphanumeric() && char != '_').unwrap_or(rest.len());
    if word > 0 && rest[word..].starts_with('-') { "signkey-".len() + word + 1 } else { 0 }
}

#[cfg(test)]
mod tests;
