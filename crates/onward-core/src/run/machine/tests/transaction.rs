//! Places that are given away before their entries are known.

use super::{super::Offer, Case, Run, Sleep, StepKind::Transaction, at, failed, policy};
use crate::{Draw, Payload, Seq};

#[test]
fn what_comes_after_an_undecided_transaction_reaches_nobody_before_it() {
    let mut case = Case::default();
    let (transaction, sleep) = (case.ask("a", Transaction), case.wait("b", Sleep, Some(1)));
    let place = case.machine.reserve();
    case.derive(sleep, "sleep", 1);
    assert_eq!((case.machine.offer(), case.machine.take(sleep)), (Offer::Nothing, None));

    case.machine.use_reserved(place);
    let entry = case.machine.succeed(transaction, Payload::from("transaction"), at(2), true).unwrap();
    assert_eq!(entry.seq, place);
    case.journal.insert(1, entry);
    let mut replay = case.replay();
    replay.ask("a", Transaction);
    replay.ask("b", Sleep);
    for mut machine in [case.machine, replay.machine] {
        assert_eq!(machine.offer(), Offer::Step(transaction), "the race has one winner");
    }
}

#[test]
fn what_came_before_a_transaction_need_not_wait_for_it() {
    let mut case = Case::default();
    let (run, _) = (case.ask("a", Run), case.ask("b", Transaction));
    case.succeed(run, "1");
    case.machine.durable(run);
    case.machine.reserve();
    assert_eq!(case.machine.offer(), Offer::Step(run));
}

#[test]
fn a_transaction_that_fails_uses_its_place() {
    let mut case = Case::default();
    let (transaction, run) = (case.ask("a", Transaction), case.ask("b", Run));
    let place = case.machine.reserve();
    case.succeed(run, "1");
    case.machine.use_reserved(place);
    let after = case.fail_attempt(transaction, failed(1), 1).unwrap();
    assert_eq!((place, after.entry.seq, case.journal[0].seq), (Seq(0), Seq(0), Seq(1)));
    assert_eq!(case.machine.next_seq(), Seq(2));
}

#[test]
fn the_place_of_a_transaction_that_lost_its_race_is_not_used_twice() {
    for commits in [true, false] {
        let mut case = Case::default();
        let (transaction, run) = (case.ask("a", Transaction), case.ask("b", Run));
        let place = case.machine.reserve();
        case.machine.let_go(transaction);
        case.machine.use_reserved(place);
        if commits {
            assert!(case.machine.succeed(transaction, Payload::default(), at(0), true).is_none());
        } else {
            let after = case.machine.fail_attempt(transaction, failed(1), &policy(3), at(0), Draw(0));
            assert!(after.is_none());
        }
        assert!(case.succeed(run, "1"));
        assert_eq!(case.journal[0].seq, Seq(1), "the caller has filled place 0");
    }
}
