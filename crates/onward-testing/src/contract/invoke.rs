//! Runs that other runs invoke.

use onward_core::{
    Fence, Store, Timestamp,
    journal::{Change, Entry},
    run::Status,
    step::StepKind,
    store::{Checkpoint, Control, Lease, Then, Woken},
    waiter::Fact,
};

use super::fixture::{
    appending, at, child, claim, entry, facts, finish, key, load, node, outcome, run_id, start, suspend, write,
};

/// Run 1 invokes run 2 with its step "call" and keeps its lease. Gives the leases of both.
async fn invoke<S: Store + ?Sized>(store: &S) -> (Lease, Lease) {
    let node = node(store).await;
    let parent = start(store, node, 1).await;
    let children = vec![child(2, 1, "call")];
    let done = write(store, Checkpoint { children, ..Checkpoint::new(parent, at(1)) }).await;
    assert_eq!(done.woken, [Woken { run_id: run_id(2), node: None }]);
    (parent, claim(store, node, at(1)).await.leases[0].0)
}

/// Any node may execute it.
pub async fn an_invoked_run_is_due_at_once_and_starts_with_the_first_fence<S: Store + ?Sized>(store: &S) {
    let (_, invoked) = invoke(store).await;
    assert_eq!((invoked.run_id, invoked.fence), (run_id(2), Fence::FIRST));
    let loaded = load(store, 2).await;
    assert_eq!(loaded.record.parent, child(2, 1, "call").parent);
    assert_eq!(loaded.record.request, child(2, 1, "call").request);
    assert!(loaded.journal.is_empty());
}

/// And is due.
pub async fn a_parent_gets_the_outcome<S: Store + ?Sized>(store: &S) {
    let (parent, invoked) = invoke(store).await;
    suspend(store, parent, at(2), Timestamp::NEVER).await;
    let done = finish(store, invoked, at(3), Status::Failed).await;
    assert_eq!(done.woken, [Woken { run_id: run_id(1), node: None }]);
    assert_eq!(facts(store, 1).await, [(key("call"), Fact::Outcome(outcome(Status::Failed)))]);
    let claims = claim(store, parent.node, at(3)).await;
    assert_eq!(claims.leases[0].0.run_id, run_id(1));
}

/// It need not let go.
pub async fn a_parent_that_is_held_is_nudged<S: Store + ?Sized>(store: &S) {
    let (parent, invoked) = invoke(store).await;
    let done = finish(store, invoked, at(3), Status::Completed).await;
    assert_eq!(done.woken, [Woken { run_id: run_id(1), node: Some(parent.node) }]);
    assert_eq!(claim(store, parent.node, at(3)).await.nudged, [run_id(1)]);
    let then = Then::Finish(outcome(Status::Completed));
    let settled = vec![key("call")];
    write(store, Checkpoint { settled, then, ..Checkpoint::new(parent, at(4)) }).await;
}

/// Its invoked runs go on alone.
pub async fn a_parent_that_ended_gets_nothing<S: Store + ?Sized>(store: &S) {
    let (parent, invoked) = invoke(store).await;
    finish(store, parent, at(2), Status::Completed).await;
    assert_eq!(finish(store, invoked, at(3), Status::Completed).await.woken, []);
    assert!(facts(store, 1).await.is_empty());
    assert_eq!(load(store, 1).await.record.outcome, Some(outcome(Status::Completed)));
}

/// It is not made again: what it answered meanwhile comes with the retry.
pub async fn a_failed_parent_that_is_retried_gets_what_came_meanwhile<S: Store + ?Sized>(store: &S) {
    let (parent, invoked) = invoke(store).await;
    let waiting = Change::Waiting { until: None, subject: run_id(2).to_string() };
    write(store, appending(parent, vec![Entry { kind: StepKind::Invoke, ..entry(0, "call", waiting) }])).await;
    finish(store, parent, at(2), Status::Failed).await;
    finish(store, invoked, at(3), Status::Completed).await;
    let retry = Control::Retry { step: None, timeout_at: None };
    let woken = store.control(run_id(1), retry, at(4)).await.expect("a failed run is retried");
    assert_eq!(woken, [Woken { run_id: run_id(1), node: None }]);
    assert_eq!(facts(store, 1).await, [(key("call"), Fact::Outcome(outcome(Status::Completed)))]);
}

/// However a run ends, who waits for it is told.
pub async fn a_parent_gets_the_outcome_of_a_cancelled_child<S: Store + ?Sized>(store: &S) {
    let (parent, invoked) = invoke(store).await;
    suspend(store, parent, at(2), Timestamp::NEVER).await;
    let cancel = Control::Cancel(outcome(Status::Cancelled));
    let mut woken = store.control(run_id(2), cancel, at(3)).await.expect("a live run is cancelled");
    woken.sort_unstable_by_key(|woken| woken.run_id);
    assert_eq!(woken, [Woken { run_id: run_id(1), node: None }, Woken { run_id: run_id(2), node: Some(invoked.node) }]);
    assert_eq!(facts(store, 1).await, [(key("call"), Fact::Outcome(outcome(Status::Cancelled)))]);
}
