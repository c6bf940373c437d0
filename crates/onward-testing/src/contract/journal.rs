//! A run's journal is kept as it was written.

use std::time::Duration;

use onward_core::{
    Attempt, Fence, Payload, Store, StoreError, Timestamp,
    journal::Change,
    run::{Outcome, RunRecord, Status},
    store::{Checkpoint, Then},
};

use super::fixture::{
    appending, at, child, entry, first_lease, is_lease_lost, load, new_run, node, run_id, start, start_run, starting,
    succeeded, write,
};

/// What was asked for is what is stored.
pub async fn a_run_is_loaded_as_it_was_started<S: Store + ?Sized>(store: &S) {
    let node = node(store).await;
    let new = onward_core::run::NewRun {
        timeout_at: Some(at(500)),
        retention: Duration::from_micros(1_500_001),
        ..child(1, 99, "of another")
    };
    start_run(store, node, new.clone()).await;

    let loaded = load(store, 1).await;
    let expected = RunRecord {
        run_id: run_id(1),
        endpoint: new.endpoint,
        version: None,
        pinned: false,
        status: Status::Running,
        created_at: at(1),
        finished_at: None,
        due_at: loaded.record.due_at,
        timeout_at: Some(at(500)),
        retention: Duration::from_micros(1_500_001),
        fence: Fence::FIRST,
        node: Some(node),
        parent: new.parent,
        request: "request 1".into(),
        outcome: None,
    };
    assert_eq!(loaded.record, expected);
    assert!(loaded.journal.is_empty() && loaded.deliveries.is_empty());
    assert_eq!(store.run(run_id(1)).await.expect("the store can be read"), Some(expected));
}

/// Nothing is made up.
pub async fn a_run_that_was_never_made_is_not_there<S: Store + ?Sized>(store: &S) {
    assert!(store.load(run_id(1)).await.expect("the store can be read").is_none());
    assert!(store.run(run_id(1)).await.expect("the store can be read").is_none());
    assert!(store.deliveries(run_id(1)).await.expect("the store can be read").is_empty());
}

/// One checkpoint or several: the order is that of the writing.
pub async fn entries_are_loaded_in_the_order_in_which_they_were_appended<S: Store + ?Sized>(store: &S) {
    let node = node(store).await;
    let first = vec![succeeded(0, "a", "1"), succeeded(1, "b", "2")];
    let lease = first_lease(node, 1);
    write(store, Checkpoint { entries: first.clone(), ..starting(node, new_run(1)) }).await;
    let second = vec![succeeded(2, "c", "3")];
    write(store, appending(lease, second.clone())).await;
    assert_eq!(load(store, 1).await.journal, [first, second].concat());
}

/// Each change with all of its fields.
pub async fn every_kind_of_entry_survives<S: Store + ?Sized>(store: &S) {
    let node = node(store).await;
    let lease = start(store, node, 1).await;
    let attempt = Attempt(3);
    let entries = vec![
        entry(0, "tried", Change::AttemptFailed { attempt, error: "no".into(), retry_at: at(7) }),
        entry(1, "sleeps", Change::Waiting { until: Some(at(9)), subject: String::new() }),
        entry(2, "waits", Change::Waiting { until: None, subject: "approval/received".into() }),
        entry(3, "done", Change::Succeeded { attempt, output: "yes".into() }),
        entry(4, "failed", Change::Failed { attempt, error: "never".into() }),
        entry(5, "again", Change::Reset),
    ];
    write(store, appending(lease, entries.clone())).await;
    assert_eq!(load(store, 1).await.journal, entries);
}

/// A place was left out: something was lost on the way.
pub async fn a_gap_in_the_journal_is_refused<S: Store + ?Sized>(store: &S) {
    let node = node(store).await;
    let lease = start(store, node, 1).await;
    let refused = store.checkpoint(appending(lease, vec![succeeded(1, "b", "2")])).await;
    assert!(matches!(refused, Err(StoreError::Corrupt(_))), "{refused:?}");
}

/// What is written never changes.
pub async fn an_entry_that_is_there_already_is_refused<S: Store + ?Sized>(store: &S) {
    let node = node(store).await;
    let lease = start(store, node, 1).await;
    write(store, appending(lease, vec![succeeded(0, "a", "1")])).await;
    let refused = store.checkpoint(appending(lease, vec![succeeded(0, "a", "2")])).await;
    assert!(matches!(refused, Err(StoreError::Corrupt(_))), "{refused:?}");
    assert_eq!(load(store, 1).await.journal, [succeeded(0, "a", "1")]);
}

/// Empty, large, and any byte there is: in requests, outputs and responses.
pub async fn payloads_survive_byte_by_byte<S: Store + ?Sized>(store: &S) {
    let node = node(store).await;
    let every_byte: Vec<u8> = (0..=255).collect();
    let large: Vec<u8> = (0..1024 * 1024_u32).map(|n| n.to_le_bytes()[(n % 3) as usize]).collect();
    for (number, bytes) in (1..).zip([Vec::new(), every_byte, large]) {
        let payload = Payload::from(bytes);
        let new = onward_core::run::NewRun { request: payload.clone(), ..new_run(number) };
        let lease = start_run(store, node, new).await;
        let outcome = Outcome { status: Status::Completed, response: payload.clone(), error: payload.clone() };
        let entries = vec![succeeded(0, "a", payload.clone())];
        let then = Then::Finish(outcome.clone());
        write(store, Checkpoint { then, ..appending(lease, entries.clone()) }).await;

        let loaded = load(store, number).await;
        assert!(loaded.record.request == payload, "the request of {} bytes", payload.len());
        assert!(loaded.journal == entries, "the output of {} bytes", payload.len());
        assert!(loaded.record.outcome.as_ref() == Some(&outcome), "the response of {} bytes", payload.len());
        let record = store.run(run_id(number)).await.expect("the store can be read");
        assert!(record == Some(loaded.record), "the record of {} bytes", payload.len());
    }
}

/// The call submits; the future only waits.
pub async fn a_submitted_checkpoint_survives_the_drop_of_its_future<S: Store + ?Sized>(store: &S) {
    let node = node(store).await;
    let lease = start(store, node, 1).await;
    drop(store.checkpoint(appending(lease, vec![succeeded(0, "a", "1")])));
    // The next call commits after it, so its answer says that the first is there.
    write(store, appending(lease, vec![succeeded(1, "b", "2")])).await;
    assert_eq!(load(store, 1).await.journal.len(), 2);
}

/// However their answers are waited for.
pub async fn calls_made_in_order_commit_in_order<S: Store + ?Sized>(store: &S) {
    let node = node(store).await;
    let lease = first_lease(node, 1);
    let start = store.checkpoint(starting(node, new_run(1)));
    let mut answers: Vec<_> = (0..50)
        .map(|seq| store.checkpoint(appending(lease, vec![succeeded(seq, &format!("step {seq}"), "")])))
        .collect();
    answers.reverse();
    for answer in answers {
        answer.await.expect("it follows the one before");
    }
    start.await.expect("it came first");
    assert_eq!(load(store, 1).await.journal.len(), 50);
}

/// A second start of an id is refused, whoever asks.
pub async fn a_run_is_made_once<S: Store + ?Sized>(store: &S) {
    let node = node(store).await;
    let lease = start(store, node, 1).await;
    let again = store.checkpoint(starting(node, new_run(1))).await;
    assert!(is_lease_lost(&again), "{again:?}");
    let done = Outcome { status: Status::Completed, response: Payload::default(), error: Payload::default() };
    write(store, Checkpoint { then: Then::Finish(done), ..Checkpoint::new(lease, at(1)) }).await;
    let again = store.checkpoint(starting(node, new_run(1))).await;
    assert!(is_lease_lost(&again), "{again:?}");
    assert_eq!(load(store, 1).await.record.status, Status::Completed);
}

/// A lease of one run makes no other.
pub async fn a_run_is_made_under_its_own_lease<S: Store + ?Sized>(store: &S) {
    let node = node(store).await;
    let wrong = Checkpoint { start: Some(new_run(2)), ..Checkpoint::new(first_lease(node, 1), Timestamp::EPOCH) };
    let refused = store.checkpoint(wrong).await;
    assert!(matches!(refused, Err(StoreError::Corrupt(_))), "{refused:?}");
    assert!(store.run(run_id(2)).await.expect("the store can be read").is_none());
}
