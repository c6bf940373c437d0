//! What holds for every handler, every order of events, and every crash.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::program::{Program, RETRIES, State, execute};
use crate::{
    Attempt, Payload, Seq, StepKey, Timestamp,
    journal::{Change, Entry},
    run::machine::{Machine, Offer},
    step::{StepId, StepKind},
};

fn program() -> impl Strategy<Value = Program> {
    let step = prop_oneof![
        4 => (0..=RETRIES + 1).prop_map(|fails| Program::Run { fails: fails.saturating_sub(1) }),
        1 => Just(Program::Run { fails: RETRIES + 1 }),
        2 => (0..=RETRIES + 1).prop_map(|fails| Program::Transaction { fails }),
        3 => (0_u64..60).prop_map(|micros| Program::Sleep { micros }),
        3 => prop::option::of(0_u64..60).prop_map(|timeout| Program::Event { timeout }),
    ];
    step.prop_recursive(3, 16, 4, |inner| {
        let some = || prop::collection::vec(inner.clone(), 1..4);
        prop_oneof![
            3 => some().prop_map(Program::Sequence),
            2 => some().prop_map(Program::Join),
            3 => some().prop_map(Program::Race),
            2 => some().prop_map(Program::Biased),
            2 => some().prop_map(Program::TryJoin),
            1 => inner.clone().prop_map(|inner| Program::Drop(Box::new(inner))),
            2 => [inner.clone(), inner.clone(), inner.clone()].prop_map(|parts| Program::Hold(Box::new(parts))),
        ]
    })
}

/// What no journal may contain.
fn check_journal(journal: &[Entry]) {
    let mut done: BTreeMap<StepKey, Seq> = BTreeMap::new();
    let mut until: BTreeMap<StepKey, Option<Timestamp>> = BTreeMap::new();
    for (place, entry) in journal.iter().enumerate() {
        assert_eq!(entry.seq.0 as usize, place);
        let key = entry.key();
        let may_follow = matches!(entry.change, Change::Reset | Change::LetGo);
        assert!(!done.contains_key(&key) || may_follow, "{entry:?} comes after the step was done");
        match &entry.change {
            Change::AttemptFailed { attempt, .. } => assert!(attempt.0 <= RETRIES),
            Change::Waiting { until: at, .. } => {
                assert_eq!(until.insert(key, *at), None, "a wait is registered once");
            }
            Change::Succeeded { attempt, output } => {
                assert!(attempt.0 <= RETRIES + 1);
                if output.as_ref() == b"null" {
                    let until = until[&key].expect("only a wait with a deadline ends by itself");
                    assert!(until <= entry.at, "a timer fired early");
                }
            }
            Change::Failed { attempt, .. } => assert_eq!(attempt.0, RETRIES + 1),
            Change::Reset | Change::LetGo => {}
            Change::Blocked { .. } => panic!("a deterministic handler is never blocked"),
        }
        if matches!(entry.change, Change::Succeeded { .. } | Change::Failed { .. }) {
            done.insert(key, entry.seq);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    /// The executor asserts that a race which the durable journal has decided is decided the same way again, that
    /// the handler asks again for all that its journal has, that places are used once, and that no run gets stuck.
    #[test]
    fn a_handler_survives_crashes_and_its_journal_alone_replays_it(
        program in program(),
        choices in prop::collection::vec(any::<u8>(), 0..250),
    ) {
        let (mut output, mut state) = execute(&program, State::new(choices));
        while output.is_none() {
            (output, state) = execute(&program, state.crash());
            check_journal(&state.store);
        }
        check_journal(&state.store);

        let mut again = State::new(Vec::new());
        again.store.clone_from(&state.store);
        again.machine = Machine::replay(&state.store);
        again.frozen = true;
        prop_assert_eq!(execute(&program, again).0, output, "the journal alone tells what the handler returned");
    }

    #[test]
    fn any_journal_folds_and_can_be_replayed_to_its_end(entries in prop::collection::vec(entry(), 0..30)) {
        let journal: Vec<_> = (0..).zip(entries).map(|(seq, entry)| Entry { seq: Seq(seq), ..entry }).collect();
        let mut machine = Machine::replay(&journal);
        prop_assert_eq!(machine.next_seq().0 as usize, journal.len());
        let mut done: BTreeMap<StepKey, Seq> = BTreeMap::new();
        for entry in journal.iter().filter(|entry| entry.kind != StepKind::Handler) {
            match entry.change {
                Change::LetGo => {}
                Change::Succeeded { .. } | Change::Failed { .. } => drop(done.insert(entry.key(), entry.seq)),
                _ => drop(done.remove(&entry.key())),
            }
            if let Some(kind) = machine.kind(entry.key()) {
                drop(machine.request(entry.step.name(), kind, 100));
            }
        }
        let mut left: Vec<_> = done.into_iter().map(|(key, seq)| (seq, key)).collect();
        left.sort_unstable();
        for (_, key) in left {
            prop_assert_eq!(machine.offer(), Offer::Step(key), "in the order of the journal");
            prop_assert!(machine.take(key).is_some());
            prop_assert!(machine.take(key).is_none(), "given once");
        }
        prop_assert_eq!(machine.offer(), Offer::Nothing);
    }
}

fn entry() -> impl Strategy<Value = Entry> {
    let payload = || "[a-z]{0,3}".prop_map(Payload::from);
    let attempt = || (1_u32..5).prop_map(Attempt);
    let at = || (0_i64..100).prop_map(Timestamp::from_micros);
    let change = prop_oneof![
        (attempt(), payload(), at()).prop_map(|(attempt, error, retry_at)| Change::AttemptFailed {
            attempt,
            error,
            retry_at
        }),
        (prop::option::of(at()), "[a-c]").prop_map(|(until, subject)| Change::Waiting { until, subject }),
        (attempt(), payload()).prop_map(|(attempt, output)| Change::Succeeded { attempt, output }),
        (attempt(), payload()).prop_map(|(attempt, error)| Change::Failed { attempt, error }),
        Just(Change::Reset),
        Just(Change::LetGo),
    ];
    let kind = prop::sample::select(&StepKind::ALL[..]);
    ("[a-d]", kind, at(), change).prop_map(|(name, kind, at, change)| Entry {
        seq: Seq(0),
        at,
        step: StepId::try_new(name, 0).unwrap(),
        kind,
        change,
    })
}
