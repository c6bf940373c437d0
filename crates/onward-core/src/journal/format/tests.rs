//! What is written can be read, and nothing else can.

use proptest::prelude::*;

use super::{InvalidEntry, decode, encode};
use crate::{
    Attempt, Payload, Seq, Timestamp,
    journal::{BlockedBy, Change, Entry},
    step::{StepId, StepKind},
};

/// The reasons in the order of their numbers in storage.
const CAUSES: [BlockedBy; 4] =
    [BlockedBy::NotAsked, BlockedBy::Unreadable, BlockedBy::NotCarried, BlockedBy::CarriedUnreadable];

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
        (".{0,40}", proptest::sample::select(&CAUSES)).prop_map(|(step, cause)| Change::Blocked { step, cause }),
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

/// An older release reads what it knows, and says of the rest that it is newer and not that it is damaged.
#[test]
fn each_reason_of_a_blocked_run_has_its_number_and_the_version_that_brought_it() {
    for (number, cause) in CAUSES.into_iter().enumerate() {
        let change = Change::Blocked { step: "s".to_owned(), cause };
        let step = StepId::try_new("handler", 0).unwrap();
        let entry = Entry { seq: Seq(0), at: Timestamp::EPOCH, step, kind: StepKind::Handler, change };
        let bytes = encode(&entry);
        assert_eq!((bytes[0], usize::from(bytes[bytes.len() - 1])), (if number < 2 { 2 } else { 3 }, number));
    }
}
