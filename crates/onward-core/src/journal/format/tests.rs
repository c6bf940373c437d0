//! What is written can be read, and nothing else can.

use proptest::prelude::*;

use super::{InvalidEntry, decode, encode};
use crate::{
    Attempt, Payload, Seq, Timestamp,
    journal::{BlockedBy, Change, Entry},
    step::{StepId, StepKind},
};

fn change() -> impl Strategy<Value = Change> {
    let bytes = || proptest::collection::vec(any::<u8>(), 0..64).prop_map(Payload::from);
    let time = || any::<i64>().prop_map(Timestamp::from_micros);
    prop_oneof![
        (any::<u32>(), bytes(), time()).prop_map(|(n, error, retry_at)| Change::AttemptFailed {
            attempt: Attempt(n),
            error,
            retry_at
        }),
        (proptest::option::of(time()), ".{0,20}").prop_map(|(until, subject)| Change::Waiting { until, subject }),
        (any::<u32>(), bytes()).prop_map(|(n, output)| Change::Succeeded { attempt: Attempt(n), output }),
        (any::<u32>(), bytes()).prop_map(|(n, error)| Change::Failed { attempt: Attempt(n), error }),
        Just(Change::Reset),
        Just(Change::LetGo),
        (".{0,40}", any::<bool>()).prop_map(|(step, unread)| {
            let cause = if unread { BlockedBy::Unreadable } else { BlockedBy::NotAsked };
            Change::Blocked { step, cause }
        }),
    ]
}

proptest! {
    #[test]
    fn an_entry_survives_storage(name in ".{1,40}", index: u32, at: i64, kind in 0..StepKind::ALL.len(), change in change()) {
        let step = StepId::try_new(name, index).unwrap();
        let entry = Entry { seq: Seq(7), at: Timestamp::from_micros(at), step, kind: StepKind::ALL[kind], change };
        prop_assert_eq!(decode(Seq(7), &encode(&entry)), Ok(entry));
    }

    #[test]
    fn damaged_bytes_are_an_error_and_never_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        let _ = decode(Seq(0), &bytes);
    }
}

#[test]
fn a_newer_format_is_refused_by_its_number() {
    assert_eq!(decode(Seq(0), &[9, 1, 2]), Err(InvalidEntry::Newer(9)));
    assert_eq!(decode(Seq(0), &[]), Err(InvalidEntry::Damaged));
}
