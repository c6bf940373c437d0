//! Run tokens: who has one may wait for the run's outcome, and for no other's.
//!
//! A token is `base64url(version ‖ key id ‖ expiry ‖ HMAC-SHA256)`. The tag covers a domain, all that comes before it,
//! and the run's id, which the token does not carry: it is compared with the run that is asked for.

use std::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

const VERSION: u8 = 1;
const DOMAIN: &[u8] = b"onward run token";
const HEAD_LEN: usize = 1 + 4 + 8;
const TAG_LEN: usize = 32;

/// A secret that signs tokens, and the number by which tokens name it. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenKey {
    /// Its number.
    pub id: u32,
    /// The secret: random, 32 bytes.
    pub secret: [u8; 32],
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenKey({}, …)", self.id)
    }
}

/// Keys in use: the first signs, all verify.
#[derive(Clone, Debug)]
pub struct KeyRing(Vec<TokenKey>);

/// Keys that make no ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidKeyRing(&'static str);

/// A token that does not open the run: wrong, expired, another run's, or no token at all. It does not say which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the run token is not valid")]
pub struct TokenInvalid;

impl KeyRing {
    /// A ring of at least one key, each with a number of its own.
    pub fn try_new(keys: Vec<TokenKey>) -> Result<Self, InvalidKeyRing> {
        if keys.is_empty() {
            return Err(InvalidKeyRing("a key ring has at least one key"));
        }
        let mut ids: Vec<_> = keys.iter().map(|key| key.id).collect();
        ids.sort_unstable();
        if ids.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(InvalidKeyRing("two keys have the same number"));
        }
        Ok(Self(keys))
    }
}

/// Makes a token for a run, valid until a time in milliseconds since the Unix epoch.
///
/// # Example
///
/// ```
/// use onward_protocol::token::{KeyRing, TokenKey, mint, verify};
///
/// let keys = KeyRing::try_new(vec![TokenKey { id: 1, secret: [7; 32] }])?;
/// let token = mint(&keys, [1; 16], 1_000);
/// assert!(verify(&keys, [1; 16], &token, 999).is_ok());
/// assert!(verify(&keys, [2; 16], &token, 999).is_err());
/// assert!(verify(&keys, [1; 16], &token, 1_000).is_err());
/// # Ok::<(), onward_protocol::token::InvalidKeyRing>(())
/// ```
pub fn mint(keys: &KeyRing, run_id: [u8; 16], expires_at_ms: i64) -> String {
    let key = &keys.0[0];
    let mut token = Vec::with_capacity(HEAD_LEN + TAG_LEN);
    token.push(VERSION);
    token.extend(key.id.to_be_bytes());
    token.extend(expires_at_ms.to_be_bytes());
    let tag = mac(&key.secret, &token, run_id).finalize().into_bytes();
    token.extend_from_slice(&tag);
    URL_SAFE_NO_PAD.encode(token)
}

/// Whether a token opens a run. The same work is done whatever is wrong with it, and the tag is compared in constant
/// time.
pub fn verify(keys: &KeyRing, run_id: [u8; 16], token: &str, now_ms: i64) -> Result<(), TokenInvalid> {
    let mut bytes = [0; HEAD_LEN + TAG_LEN];
    let decoded = URL_SAFE_NO_PAD.decode_slice(token, &mut bytes);
    let shaped = decoded == Ok(bytes.len()) && bytes[0] == VERSION;
    let (head, tag) = bytes.split_at(HEAD_LEN);
    let id = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
    let key = keys.0.iter().find(|key| key.id == id);
    let secret = key.map_or([0; 32], |key| key.secret);
    let signed = mac(&secret, head, run_id).verify_slice(tag).is_ok();
    let mut expiry = [0; 8];
    expiry.copy_from_slice(&head[5..]);
    let fresh = now_ms < i64::from_be_bytes(expiry);
    if shaped & key.is_some() & signed & fresh { Ok(()) } else { Err(TokenInvalid) }
}

fn mac(secret: &[u8; 32], head: &[u8], run_id: [u8; 16]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes a key of any length");
    mac.update(DOMAIN);
    mac.update(head);
    mac.update(&run_id);
    mac
}

#[cfg(test)]
mod tests;
