//! What is undone so that a failed run can be tried again.

use expect_test::{Expect, expect};

use super::{Change, Entry, invoked, reset_entries};
use crate::{
    Attempt, Payload, Seq, StepKey, Timestamp,
    run::machine::Machine,
    step::{StepId, StepKind},
};

fn journal(entries: &[(&str, StepKind, Change)]) -> Vec<Entry> {
    let entry = |(seq, (name, kind, change)): (u32, &(&str, StepKind, Change))| Entry {
        seq: Seq(seq),
        at: Timestamp::EPOCH,
        step: StepId::try_new(*name, 0).unwrap(),
        kind: *kind,
        change: change.clone(),
    };
    (0..).zip(entries).map(entry).collect()
}

fn failed() -> Change {
    Change::Failed { attempt: Attempt(4), error: Payload::from("error") }
}

fn succeeded() -> Change {
    Change::Succeeded { attempt: Attempt::FIRST, output: Payload::from("output") }
}

fn waiting(subject: &str) -> Change {
    Change::Waiting { until: None, subject: subject.to_owned() }
}

fn check(step: Option<&str>, entries: &[(&str, StepKind, Change)], expected: &Expect) {
    let step = step.map(|name| StepKey::of(name, 0));
    let reset = reset_entries(&journal(entries), step, Timestamp::from_micros(9));
    assert!(reset.iter().all(|entry| entry.change == Change::Reset && entry.at.as_micros() == 9));
    let lines = reset.iter().map(|entry| format!("{} {:?} {}", entry.seq.0, entry.step, entry.kind));
    expected.assert_eq(&lines.collect::<Vec<_>>().join("\n"));
}

#[test]
fn nothing_is_reset_where_nothing_failed() {
    check(None, &[], &expect![[""]]);
    check(Some("a"), &[("a", StepKind::Run, succeeded())], &expect![[""]]);
}

#[test]
fn the_step_whose_error_failed_the_run_is_reset_and_no_other() {
    let failures =
        [("a", StepKind::Run, failed()), ("b", StepKind::Invoke, failed()), ("c", StepKind::Run, succeeded())];
    check(Some("a"), &failures, &expect![[r#"3 "a" run"#]]);
    check(Some("b"), &failures, &expect![[r#"3 "b" invoke"#]]);
    check(Some("unknown"), &failures, &expect![[""]]);
    check(None, &failures, &expect![[""]]);
}

#[test]
fn a_step_can_be_reset_again_and_again() {
    check(
        Some("a"),
        &[("a", StepKind::Run, failed()), ("a", StepKind::Run, Change::Reset), ("a", StepKind::Run, failed())],
        &expect![[r#"3 "a" run"#]],
    );
    let done = [("a", StepKind::Run, failed()), ("a", StepKind::Run, Change::Reset), ("a", StepKind::Run, succeeded())];
    check(Some("a"), &done, &expect![[""]]);
}

#[test]
fn a_handler_that_failed_gets_its_attempts_back() {
    check(None, &[("complete", StepKind::Handler, failed())], &expect![[r#"1 "complete" handler"#]]);
    check(
        None,
        &[("a", StepKind::Run, failed()), ("complete", StepKind::Handler, failed())],
        &expect![[r#"2 "complete" handler"#]],
    );
}

#[test]
fn waits_for_facts_begin_anew_and_sleeps_and_invoked_runs_go_on() {
    check(
        None,
        &[
            ("nap", StepKind::Sleep, waiting("")),
            ("event", StepKind::WaitForEvent, waiting("paid")),
            ("call", StepKind::Invoke, waiting("01M85R07R9XWH8JC8MQ7MF5ZXA")),
            ("signal", StepKind::WaitForSignal, waiting("go")),
            ("got", StepKind::WaitForEvent, waiting("paid")),
            ("got", StepKind::WaitForEvent, succeeded()),
        ],
        &expect![[r#"
            6 "event" wait_for_event
            7 "signal" wait_for_signal"#]],
    );
}

#[test]
fn what_a_run_has_invoked_and_waits_for_is_known() {
    let child = "01M85R07R9XWH8JC8MQ7MF5ZXA";
    let open = journal(&[("call", StepKind::Invoke, waiting(child)), ("e", StepKind::WaitForEvent, waiting("paid"))]);
    assert_eq!(invoked(&open), [(StepKey::of("call", 0), child.parse().unwrap())]);
    let done = journal(&[("call", StepKind::Invoke, waiting(child)), ("call", StepKind::Invoke, failed())]);
    assert_eq!(invoked(&done), []);
}

#[test]
fn what_was_reset_begins_with_its_first_attempt() {
    let reset = |entries: &[(&str, StepKind, Change)]| {
        let mut journal = journal(entries);
        journal.extend(reset_entries(&journal, Some(StepKey::of("a", 0)), Timestamp::EPOCH));
        Machine::replay(&journal)
    };
    let mut machine = reset(&[("a", StepKind::Run, failed())]);
    let requested = machine.request("a", StepKind::Run, 10).unwrap();
    assert_eq!(requested.next, crate::run::machine::Next::Attempt(Attempt::FIRST));

    let mut machine = reset(&[("b", StepKind::Run, failed()), ("complete", StepKind::Handler, failed())]);
    let requested = machine.request("b", StepKind::Run, 10).unwrap();
    assert_eq!(requested.next, crate::run::machine::Next::Recorded);
    let policy = crate::RetryPolicy::default();
    let (entry, _) = machine.fail_handler(Payload::default(), &policy, Timestamp::EPOCH, crate::Draw(0));
    assert_eq!(entry.seq, Seq(3));
    assert!(matches!(entry.change, Change::AttemptFailed { attempt: Attempt::FIRST, .. }));
}

#[test]
fn a_step_that_the_handler_let_go_of_is_reset_as_it_was_recorded() {
    let entry = |seq: u32, name: &str, kind, change| Entry {
        seq: Seq(seq),
        at: Timestamp::EPOCH,
        step: StepId::try_new(name, 0).unwrap(),
        kind,
        change,
    };
    let waits = Change::Waiting { until: None, subject: "go".to_owned() };
    let failed = Change::Failed { attempt: Attempt(1), error: "e".into() };
    let journal = [
        entry(0, "wait", StepKind::WaitForEvent, waits),
        entry(1, "work", StepKind::Run, failed),
        entry(2, "wait", StepKind::WaitForEvent, Change::LetGo),
    ];
    let reset = reset_entries(&journal, Some(journal[1].key()), Timestamp::EPOCH);
    let names: Vec<_> = reset.iter().map(|entry| (entry.seq.0, entry.step.name())).collect();
    assert_eq!(names, [(3, "wait"), (4, "work")]);
}
