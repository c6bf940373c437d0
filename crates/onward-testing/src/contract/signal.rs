//! A signal goes to the one who waits for its name.

use onward_core::{
    Store, Timestamp,
    store::{Checkpoint, Woken},
    waiter::{Fact, Signal},
};

use super::fixture::{
    at, claim, claimed, facts, finish, key, node, register, run_id, signal, signal_waiter, start, wait, write,
};

async fn send<S: Store + ?Sized>(store: &S, signal: Signal, now: Timestamp) -> Option<Woken> {
    store.send_signal(signal, now).await.expect("signals are accepted")
}

/// With its data.
pub async fn a_signal_goes_to_who_waits_for_its_name<S: Store + ?Sized>(store: &S) {
    let node = node(store).await;
    for (number, name) in [(1, "one"), (2, "two")] {
        let lease = start(store, node, number).await;
        wait(store, lease, at(1), vec![signal_waiter("w", name, false)]).await;
    }
    let woken = send(store, signal("one", r#"{"go":true}"#), at(2)).await;
    assert_eq!(woken, Some(Woken { run_id: run_id(1), node: None }));
    assert_eq!(facts(store, 1).await, [(key("w"), Fact::Signal(r#"{"go":true}"#.into()))]);
    assert!(facts(store, 2).await.is_empty());
    assert_eq!(claimed(&claim(store, node, at(2)).await), [run_id(1)]);
}

/// Who comes later does not get it.
pub async fn a_signal_that_nobody_waits_for_is_not_kept<S: Store + ?Sized>(store: &S) {
    let node = node(store).await;
    assert_eq!(send(store, signal("one", "1"), at(1)).await, None);
    let lease = start(store, node, 1).await;
    assert_eq!(wait(store, lease, at(2), vec![signal_waiter("w", "one", false)]).await.woken, []);
    assert!(facts(store, 1).await.is_empty());
}

/// The second one finds nobody.
pub async fn a_signal_is_taken_once<S: Store + ?Sized>(store: &S) {
    let node = node(store).await;
    let lease = start(store, node, 1).await;
    register(store, lease, at(1), vec![signal_waiter("w", "one", false)]).await;
    assert_eq!(send(store, signal("one", "1"), at(2)).await, Some(Woken { run_id: run_id(1), node: Some(node) }));
    assert_eq!(send(store, signal("one", "2"), at(3)).await, None);
    assert_eq!(facts(store, 1).await, [(key("w"), Fact::Signal("1".into()))]);
}

/// It is told at once, and the first keeps waiting.
pub async fn a_second_waiter_of_a_name_is_refused<S: Store + ?Sized>(store: &S) {
    let node = node(store).await;
    let first = start(store, node, 1).await;
    wait(store, first, at(1), vec![signal_waiter("w", "one", false)]).await;
    let second = start(store, node, 2).await;
    let done = register(store, second, at(2), vec![signal_waiter("w", "one", false)]).await;
    assert_eq!(done.woken, [Woken { run_id: run_id(2), node: Some(node) }]);
    assert_eq!(facts(store, 2).await, [(key("w"), Fact::SignalTaken)]);
    assert_eq!(send(store, signal("one", "1"), at(3)).await, Some(Woken { run_id: run_id(1), node: None }));
}

/// The first is told.
pub async fn a_second_waiter_may_replace_the_first<S: Store + ?Sized>(store: &S) {
    let node = node(store).await;
    let first = start(store, node, 1).await;
    wait(store, first, at(1), vec![signal_waiter("w", "one", false)]).await;
    let second = start(store, node, 2).await;
    let done = wait(store, second, at(2), vec![signal_waiter("w", "one", true)]).await;
    assert_eq!(done.woken, [Woken { run_id: run_id(1), node: None }]);
    assert_eq!(facts(store, 1).await, [(key("w"), Fact::SignalTaken)]);
    assert_eq!(send(store, signal("one", "1"), at(3)).await, Some(Woken { run_id: run_id(2), node: None }));
    assert_eq!(facts(store, 2).await, [(key("w"), Fact::Signal("1".into()))]);
}

/// Because its step was settled, or its run ended.
pub async fn a_name_is_free_when_its_waiter_has_gone<S: Store + ?Sized>(store: &S) {
    let node = node(store).await;
    let first = start(store, node, 1).await;
    register(store, first, at(1), vec![signal_waiter("w", "one", false)]).await;
    write(store, Checkpoint { settled: vec![key("w")], ..Checkpoint::new(first, at(2)) }).await;
    assert_eq!(send(store, signal("one", "1"), at(3)).await, None);
    let second = start(store, node, 2).await;
    assert_eq!(register(store, second, at(4), vec![signal_waiter("w", "one", false)]).await.woken, []);
    finish(store, second, at(5), onward_core::run::Status::Completed).await;
    assert_eq!(register(store, first, at(6), vec![signal_waiter("again", "one", false)]).await.woken, []);
}

/// One answer a signal, in their order.
pub async fn a_run_learns_who_got_its_signals<S: Store + ?Sized>(store: &S) {
    let node = node(store).await;
    let waits = start(store, node, 1).await;
    wait(store, waits, at(1), vec![signal_waiter("w", "one", false)]).await;
    let sends = start(store, node, 2).await;
    let signals = vec![signal("nobody", "1"), signal("one", "2"), signal("one", "3")];
    let done = write(store, Checkpoint { signals, ..Checkpoint::new(sends, at(2)) }).await;
    assert_eq!(done.signalled, [None, Some(run_id(1)), None]);
    assert_eq!(done.woken, [Woken { run_id: run_id(1), node: None }]);
    assert_eq!(facts(store, 1).await, [(key("w"), Fact::Signal("2".into()))]);
}
