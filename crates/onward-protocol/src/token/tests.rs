//! A token opens one run, until its time, for as long as its key is kept; nothing else does.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use proptest::prelude::*;

use super::{KeyRing, TokenInvalid, TokenKey, mint, verify};

const RUN: [u8; 16] = [9; 16];

fn ring(ids: &[u8]) -> KeyRing {
    let keys = ids.iter().map(|id| TokenKey { id: u32::from(*id), secret: [*id; 32] }).collect();
    KeyRing::try_new(keys).unwrap()
}

#[test]
fn a_token_outlives_the_rotation_of_its_key_until_that_is_removed() {
    let token = mint(&ring(&[1]), RUN, 100);
    assert_eq!(verify(&ring(&[2, 1]), RUN, &token, 0), Ok(()));
    assert_eq!(verify(&ring(&[2]), RUN, &token, 0), Err(TokenInvalid));
}

#[test]
fn the_first_key_signs() {
    let token = mint(&ring(&[2, 1]), RUN, 100);
    assert_eq!(verify(&ring(&[2]), RUN, &token, 0), Ok(()));
    assert_eq!(verify(&ring(&[1]), RUN, &token, 0), Err(TokenInvalid));
}

#[test]
fn a_key_of_the_same_number_with_another_secret_refuses() {
    let token = mint(&ring(&[1]), RUN, 100);
    let other = KeyRing::try_new(vec![TokenKey { id: 1, secret: [2; 32] }]).unwrap();
    assert_eq!(verify(&other, RUN, &token, 0), Err(TokenInvalid));
}

#[test]
fn a_token_ends_at_its_time_to_the_millisecond() {
    let keys = ring(&[1]);
    let token = mint(&keys, RUN, 100);
    assert_eq!(verify(&keys, RUN, &token, 99), Ok(()));
    assert_eq!(verify(&keys, RUN, &token, 100), Err(TokenInvalid));
    assert_eq!(verify(&keys, RUN, &token, i64::MAX), Err(TokenInvalid));
}

/// Where the key is unknown, some work is done with a stand-in: that must never let anybody in.
#[test]
fn a_token_signed_with_the_stand_in_for_unknown_keys_is_refused() {
    let forger = KeyRing::try_new(vec![TokenKey { id: 7, secret: [0; 32] }]).unwrap();
    let token = mint(&forger, RUN, 100);
    assert_eq!(verify(&ring(&[1]), RUN, &token, 0), Err(TokenInvalid));
}

#[test]
fn another_version_is_refused_though_its_tag_is_right() {
    let keys = ring(&[1]);
    let mut bytes = [0; super::HEAD_LEN + super::TAG_LEN];
    let (head, tag) = bytes.split_at_mut(super::HEAD_LEN);
    head[0] = super::VERSION + 1;
    head[1..5].copy_from_slice(&1_u32.to_be_bytes());
    head[5..].copy_from_slice(&100_i64.to_be_bytes());
    tag.copy_from_slice(&hmac::Mac::finalize(super::mac(&[1; 32], head, RUN)).into_bytes());
    assert_eq!(verify(&keys, RUN, &URL_SAFE_NO_PAD.encode(bytes), 0), Err(TokenInvalid));
}

#[test]
fn a_ring_has_keys_with_numbers_of_their_own() {
    let key = |id, secret| TokenKey { id, secret: [secret; 32] };
    assert!(KeyRing::try_new(vec![]).is_err());
    assert!(KeyRing::try_new(vec![key(1, 1), key(2, 2), key(1, 3)]).is_err());
    assert!(KeyRing::try_new(vec![key(1, 1), key(2, 1)]).is_ok());
}

#[test]
fn debug_does_not_show_the_secret() {
    let key = TokenKey { id: 3, secret: [42; 32] };
    assert_eq!(format!("{key:?}"), "TokenKey(3, …)");
    assert!(!format!("{:?}", KeyRing::try_new(vec![key]).unwrap()).contains("42"));
}

proptest! {
    #[test]
    fn a_token_is_good_in_a_url_as_it_is(run: [u8; 16], expires_at: i64) {
        let token = mint(&ring(&[1]), run, expires_at);
        prop_assert!(token.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'));
    }

    #[test]
    fn a_minted_token_opens_its_run_exactly_until_it_expires(run: [u8; 16], expires_at: i64, now: i64) {
        let keys = ring(&[1]);
        let token = mint(&keys, run, expires_at);
        prop_assert_eq!(verify(&keys, run, &token, now).is_ok(), now < expires_at);
    }

    #[test]
    fn any_flipped_bit_makes_a_token_void(run: [u8; 16], bit in 0_usize..45 * 8) {
        let keys = ring(&[1, 0]);
        let mut bytes = URL_SAFE_NO_PAD.decode(mint(&keys, run, i64::MAX)).unwrap();
        bytes[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(verify(&keys, run, &URL_SAFE_NO_PAD.encode(bytes), 0).is_err());
    }

    #[test]
    fn any_changed_character_makes_a_token_void(at in 0_usize..60, to in "[A-Za-z0-9_-]", run: [u8; 16]) {
        let keys = ring(&[1]);
        let token = mint(&keys, run, 100);
        let mut changed = token.clone();
        changed.replace_range(at..=at, &to);
        prop_assert_eq!(verify(&keys, run, &changed, 0).is_ok(), changed == token);
    }

    #[test]
    fn a_longer_or_shorter_token_is_void(run: [u8; 16], more in "[A-Za-z0-9_=-]{1,8}", cut in 1_usize..60) {
        let keys = ring(&[1]);
        let token = mint(&keys, run, 100);
        let longer = format!("{token}{more}");
        prop_assert!(verify(&keys, run, &longer, 0).is_err());
        prop_assert!(verify(&keys, run, &token[..token.len() - cut], 0).is_err());
    }

    #[test]
    fn the_token_of_another_run_is_refused(run: [u8; 16], other: [u8; 16]) {
        let keys = ring(&[1]);
        prop_assert_eq!(verify(&keys, other, &mint(&keys, run, 100), 0).is_ok(), run == other);
    }

    #[test]
    fn anything_else_is_refused_and_never_a_panic(text in ".{0,100}") {
        prop_assert!(verify(&ring(&[0, 1]), [0; 16], &text, i64::MIN).is_err());
    }
}
