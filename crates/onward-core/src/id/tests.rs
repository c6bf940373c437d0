//! Ids as they are written, and what may be one.

use proptest::prelude::*;

use super::{EndpointId, RunId, StepKey, Version};
use crate::{Timestamp, step::StepId};

#[test]
fn a_run_id_is_written_as_a_ulid() {
    // The example of the ULID specification: this time is written 01ARYZ6S41.
    let at = Timestamp::from_micros(1_469_918_176_385_000);
    assert_eq!(RunId::new(at, 0).to_string(), "01ARYZ6S410000000000000000");
    assert_eq!(RunId::new(at, u128::MAX).to_string(), "01ARYZ6S41ZZZZZZZZZZZZZZZZ");
    assert_eq!("01aryz6s410000000000000000".parse(), Ok(RunId::new(at, 0)));
}

#[test]
fn text_that_is_no_ulid_is_refused() {
    for text in ["", "01ARYZ6S41", "01ARYZ6S41000000000000000U", "01ARYZ6S4100000000000000000"] {
        let error = text.parse::<RunId>().unwrap_err();
        assert_eq!(error.to_string(), "invalid run id: it is not a ULID of 26 characters", "{text:?}");
    }
}

#[test]
fn keys_are_those_of_the_protocol() {
    // Section 4 of the SDK protocol; the keys of `same` are the SHA-1 of `same`, `same:1` and `same:2`.
    let vectors = [
        ("a", 0, "86f7e437faa5a7fce15d1ddcb9eaeaea377667b8"),
        ("b", 0, "e9d71f5ee7c92d6dc9e92ffdad17b8bd49418f98"),
        ("complete", 0, "0737c22d3bfae812339732d14d8c7dbd6dc4e09c"),
        ("same", 0, "ff3390557335ba88d37755e41514beb03bc499ec"),
        ("same", 1, "c1023fa587daa4753ff5868c7e4bdbd03defda7d"),
        ("same", 2, "e48d666a39ba11b45ba1301e5228396678a2ad06"),
    ];
    for (id, index, key) in vectors {
        assert_eq!(StepKey::of(id, index).to_string(), key, "{id}:{index}");
        assert_eq!(StepId::try_new(id, index).unwrap().key(), StepKey::of(id, index));
    }
}

#[test]
fn a_repeat_has_the_key_of_its_id_with_its_number() {
    assert_eq!(StepKey::of("same", 1), StepKey::of("same:1", 0));
    assert_eq!(StepId::try_new("same", 1).unwrap().to_string(), "same:1");
}

#[test]
fn endpoint_ids_are_1_to_256_bytes_without_control_characters() {
    for (id, allowed) in
        [("GET /a", true), ("", false), ("a\nb", false), (&"a".repeat(256), true), (&"a".repeat(257), false)]
    {
        assert_eq!(EndpointId::try_new(id).is_ok(), allowed, "{id:?}");
    }
}

#[test]
fn versions_are_1_to_64_visible_ascii_characters() {
    for (version, allowed) in [
        ("1", true),
        ("v2.0.0-rc.1+5f3a", true),
        ("~!", true),
        ("", false),
        ("a b", false),
        ("a\n", false),
        ("ü", false),
        ("a\u{7f}", false),
        (&"a".repeat(64), true),
        (&"a".repeat(65), false),
    ] {
        assert_eq!(Version::try_new(version).is_ok(), allowed, "{version:?}");
    }
}

#[test]
fn step_ids_are_1_to_1024_bytes() {
    for (id, allowed) in [("a", true), ("", false), (&"a".repeat(1024), true), (&"a".repeat(1025), false)] {
        assert_eq!(StepId::try_new(id, 0).is_ok(), allowed, "{} bytes", id.len());
    }
}

proptest! {
    #[test]
    fn run_ids_round_trip_and_sort_by_time_as_text_and_as_bytes(
        draws: [u128; 2],
        micros in [0_i64..1 << 55, 0_i64..1 << 55],
    ) {
        let [a, b] = [0, 1].map(|index| RunId::new(Timestamp::from_micros(micros[index]), draws[index]));
        prop_assert_eq!(a.to_string().parse(), Ok(a));
        prop_assert_eq!(RunId::from_bytes(a.to_bytes()), a);
        prop_assert_eq!(a.cmp(&b), a.to_string().cmp(&b.to_string()));
        prop_assert_eq!(a.cmp(&b), a.to_bytes().cmp(&b.to_bytes()));
        if micros[0] / 1000 < micros[1] / 1000 {
            prop_assert!(a < b && a < RunId::first_at(Timestamp::from_micros(micros[1])));
        }
        prop_assert!(RunId::first_at(Timestamp::from_micros(micros[0])) <= a);
    }
}
