//! What is undone so that a failed run can be tried again.

use expect_test::{Expect, expect};

use super::{Change, Entry, reset_entries};
use crate::{
    Attempt, Payload, Seq, Timestamp,
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

fn check(entries: &[(&str, StepKind, Change)], expected: &Expect) {
    let reset = reset_entries(&journal(entries), Timestamp::from_micros(9));
    assert!(reset.iter().all(|entry| entry.change == Change::Reset && entry.at.as_micros() == 9));
    let lines = reset.iter().map(|entry| format!("{} {:?} {}", entry.seq.0, entry.step, entry.kind));
    expected.assert_eq(&lines.collect::<Vec<_>>().join("\n"));
}

#[test]
fn nothing_is_reset_where_nothing_failed() {
    check(&[], &expect![[""]]);
    check(&[("a", StepKind::Run, succeeded())], &expect![[""]]);
}

#[test]
fn the_step_that_failed_last_is_reset() {
    check(
        &[("a", StepKind::Run, failed()), ("b", StepKind::Invoke, failed()), ("c", StepKind::Run, succeeded())],
        &expect![[r#"3 "b" invoke"#]],
    );
}

#[test]
fn a_handler_that_failed_gets_its_attempts_back_and_a_failure_it_handled_stays() {
    check(&[("complete", StepKind::Handler, failed())], &expect![[r#"1 "complete" handler"#]]);
    check(
        &[("a", StepKind::Run, failed()), ("complete", StepKind::Handler, failed())],
        &expect![[r#"2 "complete" handler"#]],
    );
}

#[test]
fn a_failure_that_was_reset_is_not_reset_again() {
    check(
        &[
            ("handled", StepKind::Run, failed()),
            ("a", StepKind::Run, failed()),
            ("a", StepKind::Run, Change::Reset),
            ("a", StepKind::Run, succeeded()),
        ],
        &expect![[""]],
    );
    check(
        &[("a", StepKind::Run, failed()), ("a", StepKind::Run, Change::Reset), ("a", StepKind::Run, failed())],
        &expect![[r#"3 "a" run"#]],
    );
}

#[test]
fn the_place_of_a_transaction_that_came_to_nothing_hides_no_failure() {
    check(
        &[("a", StepKind::Run, failed()), ("lost", StepKind::Transaction, Change::Reset)],
        &expect![[r#"2 "a" run"#]],
    );
}

#[test]
fn what_was_reset_begins_with_its_first_attempt() {
    let reset = |entries: &[(&str, StepKind, Change)]| {
        let mut journal = journal(entries);
        journal.extend(reset_entries(&journal, Timestamp::EPOCH));
        Machine::replay(&journal)
    };
    let mut machine = reset(&[("a", StepKind::Run, failed())]);
    let requested = machine.request("a", StepKind::Run, 10).unwrap();
    assert_eq!(requested.next, crate::run::machine::Next::Attempt(Attempt::FIRST));

    let mut machine = reset(&[("a", StepKind::Run, failed()), ("complete", StepKind::Handler, failed())]);
    let requested = machine.request("a", StepKind::Run, 10).unwrap();
    assert_eq!(requested.next, crate::run::machine::Next::Recorded);
    let policy = crate::RetryPolicy::default();
    let (entry, _) = machine.fail_handler(Payload::default(), &policy, Timestamp::EPOCH, crate::Draw(0));
    assert_eq!(entry.seq, Seq(3));
    assert!(matches!(entry.change, Change::AttemptFailed { attempt: Attempt::FIRST, .. }));
}
