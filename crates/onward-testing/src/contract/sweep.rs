//! What is past its time goes, a little at a time.

use std::time::Duration;

use onward_core::{
    Store, Timestamp,
    run::{NewRun, Status},
    store::Swept,
};

use super::fixture::{
    RETENTION, at, event, finish, load, new_run, node, register, run_id, since, start, start_run, suspend, waiter,
};

/// How many runs and events go.
async fn sweep<S: Store + ?Sized>(store: &S, now: Timestamp, events_before: Timestamp, limit: usize) -> (usize, usize) {
    let Swept { runs, events, .. } = store.sweep(now, events_before, limit).await.expect("a sweep works");
    (runs, events)
}

/// Not a microsecond earlier, and never one that is kept for ever.
pub async fn a_run_goes_when_its_retention_is_over<S: Store + ?Sized>(store: &S) {
    let node = node(store).await;
    for (number, retention) in [(1, RETENTION), (2, RETENTION * 2), (3, Duration::MAX)] {
        let lease = start_run(store, node, NewRun { retention, ..new_run(number) }).await;
        finish(store, lease, at(5), Status::Completed).await;
    }
    let over = at(5).after(RETENTION);
    let early = Timestamp::from_micros(over.as_micros() - 1);
    assert_eq!(sweep(store, early, at(0), 10).await, (0, 0));
    assert_eq!(sweep(store, over, at(0), 10).await, (1, 0));
    assert!(store.load(run_id(1)).await.expect("the store can be read").is_none());
    assert_eq!(sweep(store, over.after(RETENTION * 5), at(0), 10).await, (1, 0));
    assert_eq!(load(store, 3).await.record.retention, Duration::MAX);
}

/// However old it is.
pub async fn a_live_run_is_never_swept<S: Store + ?Sized>(store: &S) {
    let node = node(store).await;
    start(store, node, 1).await;
    let sleeps = start(store, node, 2).await;
    suspend(store, sleeps, at(1), Timestamp::NEVER).await;
    assert_eq!(sweep(store, at(1_000_000_000), at(0), 10).await, (0, 0));
    assert_eq!(
        (load(store, 1).await.record.status, load(store, 2).await.record.status),
        (Status::Running, Status::Suspended)
    );
}

/// So that it never holds the writers up; the oldest go first.
pub async fn a_sweep_keeps_to_its_limit<S: Store + ?Sized>(store: &S) {
    let node = node(store).await;
    for number in 1..=5 {
        let lease = start(store, node, number).await;
        finish(store, lease, at(10 - number), Status::Completed).await;
        let id = format!("event {number}");
        store.send_events(vec![event(&id, "come", "{}")], at(number)).await.expect("events are accepted");
    }
    let later = at(1_000_000);
    assert_eq!(sweep(store, later, later, 2).await, (2, 2));
    for number in 1..=5 {
        let left = store.run(run_id(number)).await.expect("the store can be read").is_some();
        assert_eq!(left, number <= 3, "run {number}");
    }
    assert_eq!(sweep(store, later, later, 2).await, (2, 2));
    assert_eq!(sweep(store, later, later, 2).await, (1, 1));
    assert_eq!(sweep(store, later, later, 2).await, (0, 0));
}

/// Then nobody who looks back finds them, and their ids are free.
pub async fn events_go_when_they_are_old<S: Store + ?Sized>(store: &S) {
    let node = node(store).await;
    let lease = start(store, node, 1).await;
    for (id, secs) in [("old", 1), ("new", 2)] {
        store.send_events(vec![event(id, id, "{}")], at(secs)).await.expect("events are accepted");
    }
    assert_eq!(sweep(store, at(3), at(2), 10).await, (0, 1));
    let waiters = vec![since(waiter("a", "old"), at(0)), since(waiter("b", "new"), at(0))];
    register(store, lease, at(3), waiters).await;
    let deliveries = store.deliveries(run_id(1)).await.expect("the store can be read");
    assert_eq!(deliveries.iter().map(|delivery| delivery.step).collect::<Vec<_>>(), [super::fixture::key("b")]);
    let woken = store.send_events(vec![event("old", "old", "{}")], at(4)).await.expect("events are accepted");
    assert_eq!(woken.len(), 1);
}
