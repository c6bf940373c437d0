//! What operators do to runs.

use onward_core::{
    Attempt, Fence, Store, StoreError, Timestamp,
    journal::{Change, reset_entries},
    run::Status,
    store::{Checkpoint, Control, Woken},
};

use super::fixture::{
    appending, at, claim, claimed, endpoint, entry, event, facts, finish, is_lease_lost, key, load, node, outcome,
    register, run_id, signal_waiter, start, succeeded, suspend, wait, waiter, write,
};

fn cancel() -> Control {
    Control::Cancel(outcome(Status::Cancelled))
}

async fn assert_wrong_status<S: Store + ?Sized>(store: &S, number: u64, control: Control) {
    let before = load(store, number).await;
    let refused = store.control(run_id(number), control, at(50)).await;
    let status = before.record.status;
    assert!(matches!(&refused, Err(StoreError::WrongStatus(is)) if *is == status), "{refused:?}");
    let after = load(store, number).await;
    assert_eq!((before.record, before.journal), (after.record, after.journal));
}

/// The holder hears of it and its lease is void.
pub async fn a_cancelled_run_has_its_outcome_and_its_holder_cannot_write<S: Store + ?Sized>(store: &S) {
    let node = node(store).await;
    let lease = start(store, node, 1).await;
    register(store, lease, at(1), vec![waiter("w", "come"), signal_waiter("s", "one", false)]).await;
    let woken = store.control(run_id(1), cancel(), at(2)).await.expect("a live run is cancelled");
    assert_eq!(woken, [Woken { run_id: run_id(1), node: Some(node) }]);

    let record = load(store, 1).await.record;
    assert_eq!((record.status, record.fence, record.node), (Status::Cancelled, Fence(2), None));
    assert_eq!((record.finished_at, record.outcome), (Some(at(2)), Some(outcome(Status::Cancelled))));
    let stale = store.checkpoint(appending(lease, vec![succeeded(0, "a", "1")])).await;
    assert!(is_lease_lost(&stale), "{stale:?}");
    let woken = store.send_events(vec![event("1", "come", "{}")], at(3)).await.expect("events are accepted");
    assert_eq!(woken, []);
    assert!(claim(store, node, at(100)).await.leases.is_empty());
}

/// It is never due again.
pub async fn a_suspended_run_can_be_cancelled<S: Store + ?Sized>(store: &S) {
    let node = node(store).await;
    let lease = start(store, node, 1).await;
    suspend(store, lease, at(1), at(10)).await;
    let woken = store.control(run_id(1), cancel(), at(2)).await.expect("a live run is cancelled");
    assert_eq!(woken, []);
    let claims = claim(store, node, at(100)).await;
    assert!(claims.leases.is_empty() && claims.next_due_at.is_none());
}

/// One outcome a run.
pub async fn an_ended_run_is_not_cancelled<S: Store + ?Sized>(store: &S) {
    let node = node(store).await;
    for (number, status) in (1..).zip([Status::Completed, Status::Failed, Status::Cancelled]) {
        let lease = start(store, node, number).await;
        finish(store, lease, at(1), status).await;
        assert_wrong_status(store, number, cancel()).await;
    }
}

/// What was done stays done; the outcome goes.
pub async fn a_failed_run_is_retried_from_the_step_that_failed<S: Store + ?Sized>(store: &S) {
    let node = node(store).await;
    let lease = start(store, node, 1).await;
    let failed = entry(1, "b", Change::Failed { attempt: Attempt(4), error: "no".into() });
    write(store, appending(lease, vec![succeeded(0, "a", "1"), failed])).await;
    finish(store, lease, at(1), Status::Failed).await;
    let before = load(store, 1).await.journal;

    let retry = Control::Retry { step: Some(key("b")), timeout_at: Some(at(500)) };
    let woken = store.control(run_id(1), retry, at(60)).await.expect("a failed run is retried");
    assert_eq!(woken, [Woken { run_id: run_id(1), node: None }]);
    let loaded = load(store, 1).await;
    assert_eq!(loaded.journal, [before.clone(), reset_entries(&before, Some(key("b")), at(60))].concat());
    assert_eq!(loaded.journal.len(), 3);
    let record = loaded.record;
    assert_eq!((record.status, record.due_at, record.timeout_at), (Status::Suspended, at(60), Some(at(500))));
    assert_eq!((record.finished_at, record.outcome), (None, None));
    assert_eq!(store.run(run_id(1)).await.expect("the store can be read").and_then(|run| run.outcome), None);

    let (lease, of) = claim(store, node, at(60)).await.leases[0].clone();
    assert_eq!((lease.fence, of), (Fence(2), endpoint()));
    write(store, appending(lease, vec![succeeded(3, "b", "2")])).await;
    finish(store, lease, at(61), Status::Completed).await;
    assert_eq!(load(store, 1).await.record.outcome, Some(outcome(Status::Completed)));
}

/// The others have nothing to try again.
pub async fn only_a_failed_run_is_retried<S: Store + ?Sized>(store: &S) {
    let node = node(store).await;
    let retry = || Control::Retry { step: None, timeout_at: None };
    for (number, status) in (1..).zip([Status::Completed, Status::Cancelled]) {
        let lease = start(store, node, number).await;
        finish(store, lease, at(1), status).await;
        assert_wrong_status(store, number, retry()).await;
    }
    let lease = start(store, node, 3).await;
    assert_wrong_status(store, 3, retry()).await;
    suspend(store, lease, at(1), Timestamp::NEVER).await;
    assert_wrong_status(store, 3, retry()).await;
}

/// A run that is made later under its id has none of it.
pub async fn an_ended_run_is_deleted_with_all_that_belongs_to_it<S: Store + ?Sized>(store: &S) {
    let node = node(store).await;
    let lease = start(store, node, 1).await;
    write(store, appending(lease, vec![succeeded(0, "a", "1")])).await;
    finish(store, lease, at(1), Status::Completed).await;
    let woken = store.control(run_id(1), Control::Delete, at(2)).await.expect("an ended run is deleted");
    assert_eq!(woken, []);
    assert!(store.load(run_id(1)).await.expect("the store can be read").is_none());
    assert!(
        store
            .runs(onward_core::store::RunFilter { limit: 9, ..Default::default() })
            .await
            .is_ok_and(|page| page.runs.is_empty())
    );
    let late = store.checkpoint(Checkpoint::new(lease, at(3))).await;
    assert!(matches!(late, Err(StoreError::RunNotFound)), "{late:?}");

    start(store, node, 1).await;
    let loaded = load(store, 1).await;
    assert!(loaded.journal.is_empty() && loaded.record.outcome.is_none());
}

/// It is cancelled first.
pub async fn a_live_run_is_not_deleted<S: Store + ?Sized>(store: &S) {
    let node = node(store).await;
    let lease = start(store, node, 1).await;
    assert_wrong_status(store, 1, Control::Delete).await;
    wait(store, lease, at(1), vec![waiter("w", "come")]).await;
    assert_wrong_status(store, 1, Control::Delete).await;
    store.send_events(vec![event("1", "come", "{}")], at(2)).await.expect("events are accepted");
    assert_eq!(facts(store, 1).await.len(), 1);
    assert_eq!(claimed(&claim(store, node, at(2)).await), [run_id(1)]);
}

/// The caller is told.
pub async fn a_run_that_was_never_made_is_not_controlled<S: Store + ?Sized>(store: &S) {
    node(store).await;
    for control in [cancel(), Control::Retry { step: None, timeout_at: None }, Control::Delete] {
        let refused = store.control(run_id(1), control, at(1)).await;
        assert!(matches!(refused, Err(StoreError::RunNotFound)), "{refused:?}");
    }
}
