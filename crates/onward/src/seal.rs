//! Encryption at rest: a store that seals what users wrote before it reaches the one behind it.
//!
//! Sealed are requests, step outputs and errors, responses, and what invoked runs answer. Not sealed are what the store
//! must compare or sort by: ids, names of steps, endpoints, events and signals, times, and the data of events.
//! A sealed payload is `magic ‖ key id ‖ nonce ‖ ciphertext and tag` (XChaCha20-Poly1305, random 24-byte nonces),
//! bound to its run and purpose.

mod store;

pub(crate) use self::store::SealedStore;

use std::fmt;

use chacha20poly1305::{
    Key, KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Payload as AeadPayload},
};
use onward_core::{Payload, RunId, StoreError};

const MAGIC: &[u8; 4] = b"\xffOW1";
const NONCE_LEN: usize = 24;
const HEAD_LEN: usize = 4 + 4 + NONCE_LEN;

/// A key for encryption at rest, and its number. `Debug` does not show it.
#[derive(Clone)]
pub(crate) struct EncryptionKey {
    id: u32,
    cipher: XChaCha20Poly1305,
}

impl fmt::Debug for EncryptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EncryptionKey({}, …)", self.id)
    }
}

impl EncryptionKey {
    pub(crate) fn new(id: u32, secret: [u8; 32]) -> Self {
        Self { id, cipher: XChaCha20Poly1305::new(&Key::from(secret)) }
    }
}

/// What a payload is, so that one cannot stand in the place of another.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose {
    Request = 1,
    Entry = 2,
    Response = 3,
    Error = 4,
    Setting = 5,
    Frame = 6,
}

impl Purpose {
    /// Whether a payload stands for nothing, which is never sealed: a run that did not fail has no error.
    fn may_be_absent(self, payload: &Payload) -> bool {
        payload.is_empty() && matches!(self, Self::Error)
    }
}

/// The error of a stored payload that is not sealed and should be.
fn unsealed(purpose: Purpose) -> StoreError {
    let text = match purpose {
        Purpose::Setting => {
            "the store's key for tokens is not encrypted, and Builder::require_encryption refuses it: give a token_key and \
             forget_kept_token_key, or open the app without require_encryption"
        }
        _ => {
            "a stored payload is not encrypted, and Builder::require_encryption refuses it: it is from before encryption, or \
             somebody without a key wrote it. Open the app without require_encryption until the runs from before encryption \
             have ended, or delete the run"
        }
    };
    StoreError::Corrupt(text.into())
}

/// Seals with the first of its keys and opens with all.
#[derive(Debug)]
pub(crate) struct Sealer {
    keys: Vec<EncryptionKey>,
    /// Whether a stored payload that is not sealed is refused.
    is_required: bool,
}

impl Sealer {
    pub(crate) fn try_new(keys: Vec<EncryptionKey>, is_required: bool) -> Result<Self, crate::Error> {
        let mut ids: Vec<_> = keys.iter().map(|key| key.id).collect();
        ids.sort_unstable();
        if ids.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(crate::Error::config("two encryption keys have the same number"));
        }
        Ok(Self { keys, is_required })
    }

    fn bound(run_id: RunId, purpose: Purpose) -> [u8; 17] {
        let mut bound = [0; 17];
        bound[..16].copy_from_slice(&run_id.to_bytes());
        bound[16] = purpose as u8;
        bound
    }

    pub(crate) fn seal(&self, run_id: RunId, purpose: Purpose, payload: &Payload) -> Payload {
        let key = &self.keys[0];
        let nonce: [u8; NONCE_LEN] = rand::random();
        let bound = Self::bound(run_id, purpose);
        let message = AeadPayload { msg: payload.as_ref(), aad: &bound };
        let sealed = key.cipher.encrypt(&XNonce::from(nonce), message);
        let sealed = sealed.expect("encryption fails only past 256 GiB");
        let mut bytes = Vec::with_capacity(HEAD_LEN + sealed.len());
        bytes.extend_from_slice(MAGIC);
        bytes.extend(key.id.to_be_bytes());
        bytes.extend(nonce);
        bytes.extend(sealed);
        bytes.into()
    }

    /// Returns the payload as it was before it was sealed. A payload that never was sealed is returned as it is, or refused
    /// where encryption is required.
    pub(crate) fn open(&self, run_id: RunId, purpose: Purpose, payload: Payload) -> Result<Payload, StoreError> {
        let Some(rest) = payload.as_ref().strip_prefix(MAGIC) else {
            return if self.is_required && !purpose.may_be_absent(&payload) {
                Err(unsealed(purpose))
            } else {
                Ok(payload)
            };
        };
        let failed = |text: &str| StoreError::Corrupt(text.to_owned().into());
        let (Some((id, rest)), true) = (rest.split_first_chunk::<4>(), rest.len() > 4 + NONCE_LEN) else {
            return Err(failed("a sealed payload is cut short"));
        };
        let id = u32::from_be_bytes(*id);
        let key = self.keys.iter().find(|key| key.id == id);
        let key = key.ok_or_else(|| failed("a sealed payload names an encryption key that was not given"))?;
        let (nonce, sealed) =
            rest.split_first_chunk::<NONCE_LEN>().ok_or_else(|| failed("a sealed payload is cut short"))?;
        let bound = Self::bound(run_id, purpose);
        let message = AeadPayload { msg: sealed, aad: &bound };
        let opened = key.cipher.decrypt(&XNonce::from(*nonce), message);
        opened.map(Payload::from).map_err(|_| failed("a sealed payload does not open: wrong key, or changed bytes"))
    }
}

#[cfg(test)]
mod tests {
    use onward_core::{Payload, RunId};

    use super::{EncryptionKey, Purpose, Sealer};

    fn keys(ids: &[u8]) -> Vec<EncryptionKey> {
        ids.iter().map(|id| EncryptionKey::new(u32::from(*id), [*id; 32])).collect()
    }

    fn sealer(ids: &[u8]) -> Sealer {
        Sealer::try_new(keys(ids), false).unwrap()
    }

    #[test]
    fn what_is_sealed_opens_in_its_place_alone_and_after_rotation() {
        let run = RunId::from_bytes([1; 16]);
        let plain = Payload::from("card 4242");
        let sealed = sealer(&[1]).seal(run, Purpose::Request, &plain);
        assert!(!sealed.as_ref().windows(4).any(|bytes| bytes == b"4242"));
        assert_eq!(sealer(&[2, 1]).open(run, Purpose::Request, sealed.clone()).unwrap(), plain);
        assert!(sealer(&[2]).open(run, Purpose::Request, sealed.clone()).is_err());
        assert!(sealer(&[1]).open(run, Purpose::Response, sealed.clone()).is_err());
        assert!(sealer(&[1]).open(RunId::from_bytes([2; 16]), Purpose::Request, sealed.clone()).is_err());
        let mut changed = sealed.as_ref().to_vec();
        *changed.last_mut().unwrap() ^= 1;
        assert!(sealer(&[1]).open(run, Purpose::Request, changed.into()).is_err());
    }

    #[test]
    fn what_was_stored_before_encryption_stays_readable() {
        let run = RunId::from_bytes([1; 16]);
        let plain = Payload::from("{}");
        assert_eq!(sealer(&[1]).open(run, Purpose::Entry, plain.clone()).unwrap(), plain);
    }

    #[test]
    fn where_encryption_is_required_what_is_not_sealed_is_refused_with_the_option_to_change() {
        let (run, strict) = (RunId::from_bytes([1; 16]), Sealer::try_new(keys(&[1]), true).unwrap());
        let refused = |purpose, bytes: &'static str| {
            let error = strict.open(run, purpose, bytes.into()).unwrap_err();
            std::error::Error::source(&error).unwrap().to_string()
        };
        let all =
            [Purpose::Request, Purpose::Entry, Purpose::Response, Purpose::Error, Purpose::Setting, Purpose::Frame];
        for purpose in all {
            assert!(refused(purpose, "{}").contains("require_encryption"), "{purpose:?}");
            let sealed = strict.seal(run, purpose, &"{}".into());
            assert_eq!(strict.open(run, purpose, sealed).unwrap(), Payload::from("{}"));
            if !matches!(purpose, Purpose::Error) {
                assert!(refused(purpose, "").contains("require_encryption"), "{purpose:?}");
            }
        }
        assert!(refused(Purpose::Setting, "k").contains("forget_kept_token_key"));
        // A run that did not fail has no error to seal.
        assert!(strict.open(run, Purpose::Error, Payload::default()).unwrap().is_empty());
    }
}
