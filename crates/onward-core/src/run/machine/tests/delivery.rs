//! In which order outcomes reach the handler.

use super::{super::Offer, Case, Run, Sleep, StepKey, at};
use crate::{Draw, Payload, RetryPolicy, journal::reset_entries};

impl Case {
    /// What the handler gets when it polls these steps, in this order, after each offer, until nothing moves.
    fn take_all(&mut self, keys: &[StepKey]) -> Vec<String> {
        let mut taken = Vec::new();
        while let Offer::Step(_) = self.machine.offer() {
            taken.extend(keys.iter().filter_map(|key| self.take(*key)));
        }
        taken
    }

    fn ask_all(&mut self, names: &[&str]) {
        for name in names {
            self.ask(name, Run);
        }
    }

    fn take(&mut self, key: StepKey) -> Option<String> {
        let (Ok(outcome) | Err(outcome)) = self.machine.take(key)?;
        Some(String::from_utf8(outcome.as_ref().to_vec()).unwrap())
    }

    /// Two runs that complete one after the other and are durable.
    fn two_done() -> (Self, [StepKey; 2]) {
        let mut case = Self::default();
        let keys = ["a", "b"].map(|name| case.ask(name, Run));
        for (key, output) in keys.into_iter().zip(["a", "b"]) {
            case.succeed(key, output);
            case.machine.durable(key);
        }
        (case, keys)
    }
}

#[test]
fn an_output_waits_until_it_is_durable() {
    let mut case = Case::default();
    let key = case.ask("a", Run);
    case.succeed(key, "1");
    assert_eq!((case.machine.offer(), case.take(key)), (Offer::Nothing, None));
    case.machine.durable(key);
    assert_eq!((case.machine.offer(), case.take(key)), (Offer::Step(key), Some("1".to_owned())));
    assert_eq!((case.machine.offer(), case.take(key)), (Offer::Nothing, None), "given once");
}

#[test]
fn what_can_be_derived_again_is_given_at_once_but_in_its_turn() {
    let mut case = Case::default();
    let (run, sleep) = (case.ask("a", Run), case.wait("b", Sleep, Some(1)));
    case.succeed(run, "run");
    case.derive(sleep, "sleep", 1);
    assert_eq!(case.take_all(&[sleep, run]), Vec::<String>::new(), "what comes before it is not durable");
    case.machine.durable(run);
    assert_eq!(case.take_all(&[sleep, run]), ["run", "sleep"]);

    let sleep = case.wait("c", Sleep, Some(1));
    case.derive(sleep, "at once", 1);
    assert_eq!(case.take_all(&[sleep]), ["at once"]);
}

#[test]
fn outcomes_come_in_the_order_of_the_journal_live_and_in_a_replay() {
    let mut case = Case::default();
    let [a, b, c] = ["a", "b", "c"].map(|name| case.ask(name, Run));
    for (key, output) in [(c, "c"), (a, "a"), (b, "b")] {
        case.succeed(key, output);
    }
    for key in [a, b, c] {
        case.machine.durable(key); // in whatever order this is learned
    }
    let mut replay = case.replay();
    for name in ["a", "b", "c"] {
        replay.ask(name, Run);
    }
    assert_eq!(case.take_all(&[a, b, c]), ["c", "a", "b"]);
    assert_eq!(replay.take_all(&[b, a, c]), ["c", "a", "b"]);
}

#[test]
fn no_step_is_ready_when_it_is_first_polled() {
    let (case, _) = Case::two_done();
    let mut replay = case.replay();
    let key = replay.ask("a", Run);
    assert_eq!(replay.take(key), None);
    assert_eq!(replay.take_all(&[key]), ["a"]);
}

#[test]
fn an_error_is_an_outcome() {
    let mut case = Case::default();
    let key = case.ask("a", Run);
    let entry = case.machine.fail(key, Payload::from("error"), at(0), true).unwrap();
    case.journal.push(entry);
    let mut replay = case.replay();
    replay.ask("a", Run);
    for mut machine in [case.machine, replay.machine] {
        assert_eq!(machine.offer(), Offer::Step(key));
        assert_eq!(machine.take(key), Some(Err(Payload::from("error"))));
    }
}

#[test]
fn a_completion_that_nobody_polls_holds_up_nothing() {
    let (mut case, [a, b]) = Case::two_done();
    assert_eq!(case.take_all(&[b]), ["b"]);
    assert_eq!(case.take_all(&[a]), Vec::<String>::new(), "nothing is on offer");
    assert_eq!(case.take(a), None, "it goes back to its place");
    assert_eq!(case.take_all(&[a]), ["a"]);
}

#[test]
fn a_deferred_completion_wins_against_later_ones() {
    for order in [[0, 1], [1, 0]] {
        for in_replay in [false, true] {
            let (mut case, [a, b]) = Case::two_done();
            let c = case.ask("c", Run);
            case.succeed(c, "c");
            if in_replay {
                case = case.replay();
                case.ask_all(&["a", "b", "c"]);
            }
            assert_eq!(case.take_all(&[b]), ["b"], "`a` is held and not polled");
            case.machine.durable(c);
            let race = [a, c];
            for index in order {
                assert_eq!(case.take(race[index]), None);
            }
            assert_eq!(case.machine.offer(), Offer::Step(a), "polled {order:?}, replay {in_replay}");
        }
    }
}

#[test]
fn a_completion_that_was_deferred_twice_is_given_when_it_is_polled() {
    let (mut case, [a, _]) = Case::two_done();
    case.take_all(&[]);
    assert_eq!(case.take(a), None);
    case.take_all(&[]);
    assert_eq!(case.take(a).as_deref(), Some("a"));
    assert_eq!(case.take(a), None);
}

#[test]
fn a_completion_that_lost_its_race_holds_up_nothing() {
    let (mut case, [a, b]) = Case::two_done();
    assert_eq!(case.machine.offer(), Offer::Step(a));
    assert!(!case.machine.let_go(a));
    assert_eq!((case.machine.offer(), case.take(a)), (Offer::Step(b), None));
}

#[test]
fn what_nobody_asked_for_again_can_be_skipped_and_is_given_when_asked_for() {
    let (case, [_, b]) = Case::two_done();
    let mut replay = case.replay();
    replay.ask("b", Run);
    assert_eq!(replay.machine.offer(), Offer::Unrequested);
    assert_eq!(replay.take(b), None);
    replay.machine.skip();
    assert_eq!(replay.machine.offer(), Offer::Step(b));
    replay.machine.skip(); // what is asked for is not skipped
    assert_eq!(replay.take(b).as_deref(), Some("b"));
    let a = replay.ask("a", Run);
    assert_eq!(replay.take(a), None);
    assert_eq!(replay.take_all(&[a]), ["a"]);
}

#[test]
fn a_failed_step_that_was_reset_is_delivered_with_its_new_outcome_alone() {
    let mut case = Case::default();
    let [a, b] = ["a", "b"].map(|name| case.ask(name, Run));
    let policy = RetryPolicy::default().with_retries(0).unwrap();
    let after = case.machine.fail_attempt(a, super::failed(1), &policy, at(0), Draw(0)).unwrap();
    case.journal.push(after.entry);
    case.succeed(b, "b");
    case.journal.extend(reset_entries(&case.journal, Some(a), at(9)));

    let mut retried = case.replay();
    retried.ask_all(&["a", "b"]);
    assert_eq!(retried.take_all(&[a, b]), ["b"]);
    assert!(retried.succeed(a, "a"));
    retried.machine.durable(a);
    assert_eq!(retried.take_all(&[a, b]), ["a"]);

    let mut replay = retried.replay();
    replay.ask_all(&["a", "b"]);
    assert_eq!(replay.take_all(&[a, b]), ["b", "a"]);
}
