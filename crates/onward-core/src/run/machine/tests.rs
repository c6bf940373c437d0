//! What a run does next, case by case.

mod delivery;
mod program;
mod properties;
mod transaction;

use std::time::Duration;

use super::{AfterFailure, FailedAttempt, InvalidStep, Machine, Next, Requested};
use crate::{
    Attempt, Draw, Payload, RetryPolicy, Seq, StepKey, Timestamp,
    journal::{Change, Entry},
    step::StepKind::{self, Handler, Run, Sleep, WaitForEvent},
};

const MAX: usize = 100;

/// A machine that journals what it is told to.
#[derive(Default)]
struct Case {
    machine: Machine,
    journal: Vec<Entry>,
}

fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros)
}

fn policy(retries: u32) -> RetryPolicy {
    RetryPolicy::try_new(Duration::from_micros(10), Duration::from_micros(40), retries).unwrap()
}

fn failed(attempt: u32) -> FailedAttempt {
    FailedAttempt { attempt: Attempt(attempt), error: Payload::from("error"), retryable: true, retry_after: None }
}

impl Case {
    fn replay(&self) -> Self {
        Self { machine: Machine::replay(&self.journal), journal: self.journal.clone() }
    }

    fn request(&mut self, name: &str, kind: StepKind) -> Requested {
        self.machine.request(name, kind, MAX).unwrap()
    }

    fn ask(&mut self, name: &str, kind: StepKind) -> StepKey {
        self.request(name, kind).key
    }

    fn wait(&mut self, name: &str, kind: StepKind, until: Option<i64>) -> StepKey {
        let key = self.ask(name, kind);
        let entry = self.machine.wait(key, until.map(at), name.to_owned(), at(0)).unwrap();
        self.journal.push(entry);
        key
    }

    /// The step succeeds; its output is not durable yet. Whether anything was recorded.
    fn succeed(&mut self, key: StepKey, output: &'static str) -> bool {
        let entry = self.machine.succeed(key, Payload::from(output), at(0), false);
        self.journal.extend(entry.clone());
        entry.is_some()
    }

    /// The step succeeds with what is stored already.
    fn derive(&mut self, key: StepKey, output: &'static str, now: i64) -> bool {
        let entry = self.machine.succeed(key, Payload::from(output), at(now), true);
        self.journal.extend(entry.clone());
        entry.is_some()
    }

    fn fail_attempt(&mut self, key: StepKey, failed: FailedAttempt, retries: u32) -> Option<AfterFailure> {
        let after = self.machine.fail_attempt(key, failed, &policy(retries), at(100), Draw(u64::MAX / 2));
        self.journal.extend(after.clone().map(|after| after.entry));
        after
    }
}

// ===== ids and kinds =====

#[test]
fn repeated_ids_are_numbered() {
    let mut case = Case::default();
    let steps: Vec<_> = (0..3).map(|_| case.request("same", Run)).collect();
    let shown: Vec<_> = steps.iter().map(|requested| requested.step.to_string()).collect();
    assert_eq!(shown, ["same", "same:1", "same:2"]);
    assert_eq!(steps[2].key, StepKey::of("same", 2));
    assert_eq!(case.ask("other", Run), StepKey::of("other", 0));
}

#[test]
fn an_id_that_looks_like_a_repeat_shares_no_step_with_it() {
    let mut case = Case::default();
    let keys = [case.ask("a", Run), case.ask("a", Run), case.ask("a:1", Sleep), case.ask("a", Run)];
    assert_eq!(case.machine.steps_len(), 4, "{keys:?}");
    let mut other = Case::default();
    let keys = [other.ask("a:1", Sleep), other.ask("a", Run), other.ask("a", Run)];
    assert_eq!(other.machine.steps_len(), 3, "{keys:?}");
    assert_eq!(keys[2], StepKey::of("a", 2), "as the SDKs number it");
}

#[test]
fn an_id_for_two_kinds_is_named_with_both() {
    let mut case = Case::default();
    case.ask("a", Run);
    let error = case.machine.request("a", Sleep, MAX).unwrap_err();
    let text = r#"step id "a" is used for sleep but was used for run: the handler is not deterministic"#;
    assert_eq!(error.to_string(), text);
    assert_eq!(case.ask("a", Run), StepKey::of("a", 1), "what was refused is not counted");
}

#[test]
fn an_id_that_the_journal_has_for_another_kind_is_named_with_both() {
    let mut case = Case::default();
    let key = case.ask("a", Run);
    case.succeed(key, "1");
    let error = case.replay().machine.request("a", WaitForEvent, MAX).unwrap_err();
    assert_eq!(error, InvalidStep::NonDeterminism { name: "a".to_owned(), was: Run, now: WaitForEvent });
}

#[test]
fn a_repeat_that_the_journal_has_for_another_kind_is_noticed() {
    let mut case = Case::default();
    case.ask("a", Run);
    let second = case.ask("a", Run);
    case.succeed(second, "1"); // the first is still running when the process ends
    let mut replay = case.replay();
    replay.ask("a", Sleep);
    let error = replay.machine.request("a", Sleep, MAX).unwrap_err();
    assert_eq!(error, InvalidStep::NonDeterminism { name: "a".to_owned(), was: Run, now: Sleep });
}

#[test]
fn a_bad_id_is_refused() {
    let error = Machine::default().request("", Run, MAX).unwrap_err();
    assert_eq!(error.to_string(), "invalid step id: it is empty");
}

#[test]
fn a_run_has_so_many_steps_and_no_more() {
    let mut case = Case::default();
    let keys = ["a", "b"].map(|name| case.machine.request(name, Run, 2).unwrap().key);
    assert_eq!(case.machine.request("c", Run, 2).unwrap_err(), InvalidStep::TooMany(2));
    for key in keys {
        case.succeed(key, "1");
    }
    let mut replay = case.replay().machine;
    for name in ["a", "b"] {
        assert!(replay.request(name, Run, 1).is_ok(), "what the journal has is not too many");
    }
    assert_eq!(replay.request("c", Run, 2).unwrap_err(), InvalidStep::TooMany(2));
}

// ===== attempts =====

#[test]
fn attempts_go_on_until_they_have_run_out() {
    let mut case = Case::default();
    let key = case.ask("a", Run);
    for attempt in 1..=2 {
        let after = case.fail_attempt(key, failed(attempt), 2).unwrap();
        let Next::AttemptAt(next, due) = after.next else { panic!("{after:?}") };
        assert_eq!(next, Attempt(attempt + 1));
        assert_eq!((case.machine.retries_due(due), case.machine.begin_retry(key)), (vec![key], Some(next)));
    }
    let last = case.fail_attempt(key, failed(3), 2).unwrap();
    assert_eq!(last.next, Next::Recorded);
    assert_eq!(last.entry.change, Change::Failed { attempt: Attempt(3), error: Payload::from("error") });
    assert_eq!(case.replay().request("a", Run).next, Next::Recorded);
}

#[test]
fn an_error_may_say_when_to_try_again_but_not_how_often() {
    let mut case = Case::default();
    let key = case.ask("a", Run);
    let later = Some(Duration::from_micros(5000));
    let after = case.fail_attempt(key, FailedAttempt { retry_after: later, ..failed(1) }, 1).unwrap();
    assert_eq!(after.next, Next::AttemptAt(Attempt(2), at(5100)));
    let after = case.fail_attempt(key, FailedAttempt { retry_after: later, ..failed(2) }, 1).unwrap();
    assert_eq!(after.next, Next::Recorded);
}

#[test]
fn an_error_that_no_retry_can_help_is_the_last() {
    let mut case = Case::default();
    let key = case.ask("a", Run);
    let after = case.fail_attempt(key, FailedAttempt { retryable: false, ..failed(1) }, 20).unwrap();
    assert!(matches!(after.entry.change, Change::Failed { attempt: Attempt::FIRST, .. }));
}

#[test]
fn an_attempt_waits_for_its_time_also_after_a_replay() {
    let mut case = Case::default();
    let key = case.ask("a", Run);
    let due = at(200);
    let after = Some(Duration::from_micros(100));
    case.fail_attempt(key, FailedAttempt { retry_after: after, ..failed(1) }, 3);
    let mut replay = case.replay();
    assert_eq!(replay.machine.next_wake(), None, "nobody has asked yet");
    assert_eq!(replay.request("a", Run).next, Next::AttemptAt(Attempt(2), due));
    for mut machine in [case.machine, replay.machine] {
        assert_eq!(machine.next_wake(), Some(due));
        assert_eq!((machine.retries_due(at(199)), machine.begin_retry(key)), (vec![], None));
        assert_eq!(machine.retries_due(due), [key]);
        assert_eq!(machine.next_wake(), None, "a retry that is due is told once, though nobody begins it");
        assert_eq!(machine.retries_due(due), []);
        assert_eq!(
            machine.begin_retry(key),
            Some(Attempt(2)),
            "a retry that was found due stays due, whatever a clock says"
        );
    }
}

#[test]
fn an_attempt_that_a_crash_cut_off_is_made_again_under_its_number() {
    let mut case = Case::default();
    let key = case.ask("a", Run);
    case.fail_attempt(key, failed(1), 3);
    assert_eq!(case.machine.retries_due(Timestamp::NEVER), [key]);
    assert_eq!(case.machine.begin_retry(key), Some(Attempt(2)));
    assert!(matches!(case.replay().request("a", Run).next, Next::AttemptAt(Attempt(2), _)));
    assert_eq!(Case::default().request("b", Run).next, Next::Attempt(Attempt::FIRST));
}

#[test]
fn the_handler_has_attempts_of_its_own() {
    let mut case = Case::default();
    let retries = policy(1);
    let (entry, retry_at) = case.machine.fail_handler(Payload::from("1"), &retries, at(0), Draw(0));
    assert_eq!((entry.kind, entry.step.to_string().as_str()), (Handler, super::HANDLER_STEP));
    assert!(retry_at.is_some());
    case.journal.push(entry);
    let mut replay = case.replay();
    assert_eq!(replay.machine.steps_len(), 0, "it is no step");
    let (entry, retry_at) = replay.machine.fail_handler(Payload::from("2"), &retries, at(0), Draw(0));
    assert_eq!((retry_at, entry.seq), (None, Seq(1)));
    assert_eq!(entry.change, Change::Failed { attempt: Attempt(2), error: Payload::from("2") });
}

// ===== waits =====

#[test]
fn waits_end_in_the_order_of_their_deadlines() {
    let mut case = Case::default();
    let (late, early) = (case.wait("a", Sleep, Some(30)), case.wait("b", WaitForEvent, Some(20)));
    case.wait("c", WaitForEvent, None);
    assert_eq!(case.machine.next_wake(), Some(at(20)));
    assert_eq!([19, 20, 30].map(|now| case.machine.next_wake_after(at(now))), [Some(at(20)), Some(at(30)), None]);
    assert_eq!(case.machine.due(at(19)), []);
    assert_eq!(case.machine.due(at(30)), [(early, WaitForEvent, at(20)), (late, Sleep, at(30))]);
    assert!(case.derive(early, "null", 30) && case.derive(late, "null", 30));
    assert_eq!((case.machine.due(at(99)), case.machine.next_wake()), (vec![], None));
    assert!(case.machine.is_waiting(), "for the event");
}

#[test]
fn a_registered_wait_keeps_its_deadline_in_a_replay() {
    let mut case = Case::default();
    case.wait("a", Sleep, Some(30));
    let mut replay = case.replay();
    assert_eq!((replay.machine.next_wake(), replay.machine.is_waiting()), (None, false), "nobody has asked yet");
    assert_eq!(replay.request("a", Sleep).next, Next::Waiting);
    assert_eq!((replay.machine.next_wake(), replay.machine.is_waiting()), (Some(at(30)), true));
}

#[test]
fn what_the_handler_let_go_of_leaves_no_trace() {
    let mut case = Case::default();
    let (sleep, run, retried) = (case.wait("a", Sleep, Some(30)), case.ask("b", Run), case.ask("c", Run));
    case.fail_attempt(retried, failed(1), 3);
    assert!(case.machine.let_go(sleep), "its wait ends with it");
    assert!(!case.machine.let_go(run) && !case.machine.let_go(retried));
    assert!(!case.machine.is_waiting());
    assert_eq!((case.machine.next_wake(), case.machine.due(at(99))), (None, vec![]));
    let recorded = case.journal.len();
    for key in [sleep, run, retried] {
        assert!(!case.succeed(key, "late"));
        assert!(case.fail_attempt(key, failed(1), 3).is_none());
        assert!(case.machine.fail(key, Payload::default(), at(0), true).is_none());
        assert!(case.machine.wait(key, Some(at(1)), String::new(), at(0)).is_none());
    }
    assert_eq!(case.machine.next_seq(), Seq(u32::try_from(recorded).unwrap()));
    assert_eq!(case.machine.next_wake(), None);
}

#[test]
fn what_is_done_stays_as_it_is() {
    let mut case = Case::default();
    let key = case.ask("a", Run);
    assert!(case.succeed(key, "first"));
    assert!(!case.succeed(key, "second"));
    assert!(case.fail_attempt(key, failed(1), 3).is_none());
    assert!(case.machine.wait(key, None, String::new(), at(0)).is_none());
    assert_eq!(case.replay().request("a", Run).next, Next::Recorded);
    assert_eq!(case.request("a", Run).next, Next::Attempt(Attempt::FIRST), "it is another step");
}

#[test]
fn a_wait_looks_back_to_the_start_and_past_what_the_run_got() {
    let mut case = Case::default();
    let start = at(5);
    assert_eq!(case.machine.look_back("a", start), start);
    let key = case.wait("a", WaitForEvent, None);
    let sleep = case.wait("b", Sleep, Some(1));
    assert_eq!(case.machine.look_back("a", start), start, "it has got none yet");
    let gave_up = case.wait("c", WaitForEvent, Some(1));
    case.derive(gave_up, "null", 50);
    case.derive(key, "{}", 40);
    case.derive(sleep, "null", 60);
    for machine in [&case.machine, &case.replay().machine] {
        assert_eq!(machine.look_back("a", start), at(41));
        assert_eq!(machine.look_back("b", start), start, "another step, and no wait for an event");
        assert_eq!(machine.look_back("c", start), start, "it gave up: an event that came meanwhile still counts");
        assert_eq!(machine.look_back("a", at(90)), at(90));
    }
}

#[test]
fn places_have_no_gaps() {
    let mut case = Case::default();
    let (run, sleep, failing) = (case.ask("a", Run), case.wait("b", Sleep, Some(1)), case.ask("c", Run));
    case.succeed(run, "1");
    case.succeed(run, "refused");
    case.fail_attempt(failing, failed(1), 1);
    case.derive(sleep, "null", 1);
    case.fail_attempt(failing, failed(2), 1);
    let places: Vec<_> = case.journal.iter().map(|entry| entry.seq.0).collect();
    assert_eq!(places, [0, 1, 2, 3, 4]);
    assert_eq!((case.machine.next_seq(), case.replay().machine.next_seq()), (Seq(5), Seq(5)));
}
