//! A checkpoint is done as a whole or not at all.

use onward_core::{
    Store, StoreError,
    run::{NewRun, Status},
    store::{Checkpoint, Lease, Then, Woken},
};

use super::fixture::{
    at, child, event, facts, finish, first_lease, idempotency_key, load, new_run, node, outcome, register, run_id,
    signal, signal_waiter, start, start_run, starting, succeeded, suspend, wait, waiter, write,
};

/// Everything that a checkpoint can do, at once.
fn everything(lease: Lease, first_child: NewRun) -> Checkpoint {
    Checkpoint {
        entries: vec![succeeded(0, "a", "1")],
        waiters: vec![waiter("waits", "mine"), signal_waiter("listens", "mine", true)],
        settled: vec![super::fixture::key("got")],
        events: vec![event("sent", "theirs", "{}")],
        signals: vec![signal("theirs", "{}")],
        children: vec![first_child, child(51, 1, "second")],
        then: Then::Finish(outcome(Status::Completed)),
        ..Checkpoint::new(lease, at(9))
    }
}

/// Run 1 is held and has got something, run 2 waits for an event and a signal. Gives the lease of run 1.
async fn scene<S: Store + ?Sized>(store: &S) -> Lease {
    let node = node(store).await;
    let lease = start(store, node, 1).await;
    register(store, lease, at(1), vec![waiter("got", "early")]).await;
    store.send_events(vec![event("early", "early", "{}")], at(2)).await.expect("events are accepted");
    let other = start(store, node, 2).await;
    wait(store, other, at(2), vec![waiter("event", "theirs"), signal_waiter("signal", "theirs", false)]).await;
    lease
}

async fn assert_nothing_happened<S: Store + ?Sized>(store: &S) {
    let loaded = load(store, 1).await;
    assert_eq!(loaded.record.status, Status::Running);
    assert!(loaded.journal.is_empty(), "no entry was appended");
    assert_eq!(loaded.deliveries.len(), 1, "nothing was settled");
    assert!(facts(store, 2).await.is_empty(), "nothing was sent");
    for number in [50, 51] {
        assert!(store.run(run_id(number)).await.expect("the store can be read").is_none(), "no run was invoked");
    }
    let mine = store.send_events(vec![event("mine", "mine", "{}")], at(10)).await.expect("events are accepted");
    assert_eq!(mine, [], "no waiter was registered");
    let mine = store.send_signal(signal("mine", "{}"), at(10)).await.expect("signals are accepted");
    assert_eq!(mine, None, "no waiter was registered");
    let sent = store.send_events(vec![event("sent", "theirs", "{}")], at(10)).await.expect("events are accepted");
    assert_eq!(sent, [Woken { run_id: run_id(2), node: None }], "the event's id is not known");
}

/// Its lease was lost.
pub async fn a_refused_checkpoint_leaves_nothing_of_it<S: Store + ?Sized>(store: &S) {
    let lease = scene(store).await;
    let stale = Lease { fence: lease.fence.next(), ..lease };
    let refused = store.checkpoint(everything(stale, child(50, 1, "first"))).await;
    assert!(matches!(refused, Err(StoreError::LeaseLost)), "{refused:?}");
    assert_nothing_happened(store).await;
}

/// Its last entry does not follow.
pub async fn a_checkpoint_with_a_gap_leaves_nothing_of_it<S: Store + ?Sized>(store: &S) {
    let lease = scene(store).await;
    let mut checkpoint = everything(lease, child(50, 1, "first"));
    checkpoint.entries.push(succeeded(2, "c", "3"));
    let refused = store.checkpoint(checkpoint).await;
    assert!(matches!(refused, Err(StoreError::Corrupt(_))), "{refused:?}");
    assert_nothing_happened(store).await;
    write(store, Checkpoint { entries: vec![succeeded(0, "a", "1")], ..Checkpoint::new(lease, at(11)) }).await;
    assert_eq!(load(store, 1).await.journal.len(), 1);
}

/// A run that it invokes claims a key that another has.
pub async fn a_checkpoint_with_a_taken_key_leaves_nothing_of_it<S: Store + ?Sized>(store: &S) {
    let lease = scene(store).await;
    let key = Some(idempotency_key(1, 1));
    start_run(store, lease.node, NewRun { key: key.clone(), ..new_run(3) }).await;
    let refused = store.checkpoint(everything(lease, NewRun { key, ..child(50, 1, "first") })).await;
    assert!(matches!(refused, Err(StoreError::KeyTaken { run_id: has, same_request: true }) if has == run_id(3)));
    assert_nothing_happened(store).await;
}

/// A run that it invokes is there already.
pub async fn a_checkpoint_with_a_known_child_leaves_nothing_of_it<S: Store + ?Sized>(store: &S) {
    let lease = scene(store).await;
    let refused = store.checkpoint(everything(lease, child(2, 1, "first"))).await;
    assert!(matches!(refused, Err(StoreError::LeaseLost)), "{refused:?}");
    assert_nothing_happened(store).await;
}

/// The run is part of the whole.
pub async fn a_start_with_a_gap_makes_no_run<S: Store + ?Sized>(store: &S) {
    let node = node(store).await;
    let new = NewRun { key: Some(idempotency_key(1, 1)), ..new_run(1) };
    let wrong = Checkpoint { entries: vec![succeeded(1, "b", "2")], ..starting(node, new.clone()) };
    let refused = store.checkpoint(wrong).await;
    assert!(matches!(refused, Err(StoreError::Corrupt(_))), "{refused:?}");
    assert!(store.run(run_id(1)).await.expect("the store can be read").is_none());
    start_run(store, node, new).await;
}

/// And so can it start and sleep.
pub async fn a_run_can_start_and_finish_in_one_checkpoint<S: Store + ?Sized>(store: &S) {
    let node = node(store).await;
    let entries = vec![succeeded(0, "a", "1")];
    let then = Then::Finish(outcome(Status::Completed));
    let done = write(store, Checkpoint { entries: entries.clone(), then, ..starting(node, new_run(1)) }).await;
    assert_eq!(done.woken, []);
    let loaded = load(store, 1).await;
    assert_eq!(loaded.journal, entries);
    let record = loaded.record;
    assert_eq!((record.status, record.finished_at, record.node), (Status::Completed, Some(at(0)), None));
    assert_eq!(record.outcome, Some(outcome(Status::Completed)));

    let then = Then::Suspend { due_at: at(7) };
    let done = write(store, Checkpoint { entries, then, ..starting(node, new_run(2)) }).await;
    assert_eq!(done.woken, []);
    let record = load(store, 2).await.record;
    assert_eq!((record.status, record.due_at, record.node), (Status::Suspended, at(7), None));
}

/// Its waiters and deliveries go with its lease.
pub async fn a_finished_run_waits_for_nothing<S: Store + ?Sized>(store: &S) {
    let lease = scene(store).await;
    register(store, lease, at(3), vec![waiter("waits", "mine"), signal_waiter("listens", "mine", false)]).await;
    finish(store, lease, at(4), Status::Completed).await;
    assert!(facts(store, 1).await.is_empty());
    let woken = store.send_events(vec![event("mine", "mine", "{}")], at(5)).await.expect("events are accepted");
    assert_eq!(woken, []);
    let got = store.send_signal(signal("mine", "{}"), at(5)).await.expect("signals are accepted");
    assert_eq!(got, None);
    assert!(facts(store, 1).await.is_empty());

    let next = start(store, lease.node, 3).await;
    assert_eq!(next, first_lease(lease.node, 3));
    let taken = register(store, next, at(6), vec![signal_waiter("listens", "mine", false)]).await;
    assert_eq!(taken.woken, [], "the signal's name is free");
    suspend(store, next, at(7), at(8)).await;
}
