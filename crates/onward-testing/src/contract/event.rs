//! An accepted event is never missed, and wakes each waiter once.

use onward_core::{
    Store, Timestamp,
    event::Event,
    run::Status,
    store::{Checkpoint, Then, Woken},
};
use serde_json::json;

use super::fixture::{
    at, claim, claimed, event, fact, facts, key, load, node, register, run_id, since, start, suspend, wait, waiter,
    waiter_for_value, waiter_when, write,
};

async fn send<S: Store + ?Sized>(store: &S, event: &Event, now: Timestamp) -> Vec<Woken> {
    store.send_events(vec![event.clone()], now).await.expect("events are accepted")
}

fn due(number: u64) -> Woken {
    Woken { run_id: run_id(number), node: None }
}

/// And to nobody else.
pub async fn an_event_goes_to_who_waits_for_its_name<S: Store + ?Sized>(store: &S) {
    let node = node(store).await;
    for (number, name) in [(1, "order/paid"), (2, "order/shipped")] {
        let lease = start(store, node, number).await;
        wait(store, lease, at(1), vec![waiter("w", name)]).await;
    }
    let paid = Event { ts: Timestamp::from_micros(123_456_789), ..event("1", "order/paid", r#"{"sum":42}"#) };
    assert_eq!(send(store, &paid, at(2)).await, [due(1)]);
    assert_eq!(facts(store, 1).await, [(key("w"), fact(&paid))]);
    assert!(facts(store, 2).await.is_empty());
    assert_eq!(claimed(&claim(store, node, at(2)).await), [run_id(1)]);
}

/// Whether it waits already or looks back, it gets them, and its expression sees them.
pub async fn an_event_keeps_its_further_members<S: Store + ?Sized>(store: &S) {
    let node = node(store).await;
    let own = |name| waiter_when("w", name, "async.user.name == 'ada' && async.v == '2'", json!({}));
    let lease = start(store, node, 1).await;
    wait(store, lease, at(1), vec![own("come")]).await;
    let come = Event { more: r#"{"user":{"name":"ada"},"v":"2"}"#.into(), ..event("1", "come", r#"{"sum":42}"#) };
    assert_eq!(send(store, &event("0", "come", r#"{"sum":42}"#), at(2)).await, []);
    assert_eq!(send(store, &come, at(2)).await, [due(1)]);
    assert_eq!(facts(store, 1).await, [(key("w"), fact(&come))]);
    let lease = start(store, node, 2).await;
    assert_eq!(wait(store, lease, at(3), vec![since(own("come"), at(0))]).await.woken, [due(2)]);
    assert_eq!(facts(store, 2).await, [(key("w"), fact(&come))]);
}

/// Values compare by their text.
pub async fn an_event_goes_to_who_waits_for_its_value<S: Store + ?Sized>(store: &S) {
    let node = node(store).await;
    for (number, path, text) in
        [(1, "data.id", "42"), (2, "data.id", "43"), (3, "data.name", "42"), (4, "data.items.1.ok", "true")]
    {
        let lease = start(store, node, number).await;
        wait(store, lease, at(1), vec![waiter_for_value("w", "come", path, text)]).await;
    }
    assert_eq!(send(store, &event("1", "come", r#"{"id":41}"#), at(2)).await, []);
    assert_eq!(send(store, &event("2", "other", r#"{"id":42}"#), at(2)).await, []);
    assert_eq!(send(store, &event("3", "come", r#"{"id":{"id":42},"name":null}"#), at(2)).await, []);
    assert_eq!(send(store, &event("4", "come", r#"{"id":42}"#), at(2)).await, [due(1)]);
    assert_eq!(send(store, &event("5", "come", r#"{"id":"43","name":"4"}"#), at(2)).await, [due(2)]);
    assert_eq!(send(store, &event("6", "come", r#"{"items":[{},{"ok":true}]}"#), at(2)).await, [due(4)]);
}

/// `async` is the event, `event` the run's own request.
pub async fn an_event_goes_to_who_waits_for_it_with_an_expression<S: Store + ?Sized>(store: &S) {
    let node = node(store).await;
    let own = "async.data.order == event.data.order && async.data.sum > 10";
    for (number, order) in [(1, "a"), (2, "b")] {
        let lease = start(store, node, number).await;
        let request = json!({ "data": { "order": order } });
        wait(store, lease, at(1), vec![waiter_when("w", "come", own, request)]).await;
    }
    assert_eq!(send(store, &event("1", "come", r#"{"order":"a","sum":10}"#), at(2)).await, []);
    assert_eq!(send(store, &event("2", "come", r#"{"order":"c","sum":11}"#), at(2)).await, []);
    assert_eq!(send(store, &event("3", "come", r#""neither field""#), at(2)).await, []);
    assert_eq!(send(store, &event("4", "come", r#"{"order":"b","sum":11}"#), at(2)).await, [due(2)]);
    assert_eq!(send(store, &event("5", "come", r#"{"order":"a","sum":11}"#), at(2)).await, [due(1)]);
}

/// Of several runs, and several steps of one.
pub async fn an_event_wakes_every_matching_waiter<S: Store + ?Sized>(store: &S) {
    let node = node(store).await;
    for number in 1..=3 {
        let lease = start(store, node, number).await;
        let waiters = vec![
            waiter("by name", "come"),
            waiter_for_value("by value", "come", "data.id", "1"),
            waiter_when("by expression", "come", "async.data.id == 1", json!(null)),
            waiter_for_value("another", "come", "data.id", "2"),
        ];
        wait(store, lease, at(1), waiters).await;
    }
    let come = event("1", "come", r#"{"id":1}"#);
    let mut woken = send(store, &come, at(2)).await;
    woken.sort_unstable_by_key(|woken| woken.run_id);
    assert_eq!(woken, [due(1), due(2), due(3)]);
    for number in 1..=3 {
        let mut got = facts(store, number).await;
        got.sort_by_key(|(step, _)| *step);
        let mut expected = ["by name", "by value", "by expression"].map(|step| (key(step), fact(&come)));
        expected.sort_by_key(|(step, _)| *step);
        assert_eq!(got, expected);
    }
}

/// The second one is for somebody else.
pub async fn an_event_wakes_a_waiter_once<S: Store + ?Sized>(store: &S) {
    let node = node(store).await;
    let lease = start(store, node, 1).await;
    wait(store, lease, at(1), vec![waiter("w", "come")]).await;
    let first = event("1", "come", "1");
    assert_eq!(send(store, &first, at(2)).await, [due(1)]);
    assert_eq!(send(store, &event("2", "come", "2"), at(3)).await, []);
    assert_eq!(facts(store, 1).await, [(key("w"), fact(&first))]);
}

/// It is the same event, in one call or in two.
pub async fn an_event_with_a_known_id_does_nothing<S: Store + ?Sized>(store: &S) {
    let node = node(store).await;
    let lease = start(store, node, 1).await;
    register(store, lease, at(1), vec![waiter("first", "come")]).await;
    let come = event("1", "come", "1");
    let twice = store.send_events(vec![come.clone(), event("1", "come", "2")], at(2)).await;
    assert_eq!(twice.expect("events are accepted").len(), 1);
    register(store, lease, at(3), vec![waiter("second", "come")]).await;
    assert_eq!(send(store, &come, at(4)).await, []);
    assert_eq!(facts(store, 1).await, [(key("first"), fact(&come))]);
    // Nor is it stored again: looking back from after the first finds nothing.
    let looked = register(store, lease, at(5), vec![since(waiter("third", "come"), at(3))]).await;
    assert_eq!(looked.woken, []);
}

/// Of those from its instant on; the run is told at once.
pub async fn a_wait_that_looks_back_gets_the_earliest_event<S: Store + ?Sized>(store: &S) {
    let node = node(store).await;
    let lease = start(store, node, 1).await;
    let (first, second) = (event("z", "come", "1"), event("a", "come", "2"));
    send(store, &first, at(1)).await;
    send(store, &second, at(2)).await;
    let done = register(store, lease, at(3), vec![since(waiter("w", "come"), at(0))]).await;
    assert_eq!(done.woken, [Woken { run_id: run_id(1), node: Some(node) }]);
    assert_eq!(facts(store, 1).await, [(key("w"), fact(&first))]);
    let deliveries = store.deliveries(run_id(1)).await.expect("the store can be read");
    assert_eq!(deliveries[0].at, at(1), "it came when it was received");
    assert_eq!(send(store, &event("3", "come", "3"), at(4)).await, [], "it waits no longer");
}

/// Name, value and expression count for the past, too.
pub async fn a_wait_that_looks_back_gets_only_what_matches<S: Store + ?Sized>(store: &S) {
    let node = node(store).await;
    let lease = start(store, node, 1).await;
    let by_value = event("3", "come", r#"{"id":1,"sum":1}"#);
    let by_expression = event("4", "come", r#"{"id":2,"sum":50}"#);
    let events = vec![
        event("1", "other", r#"{"id":1,"sum":50}"#),
        event("2", "come", r#"{"id":3,"sum":1}"#),
        by_value.clone(),
        by_expression.clone(),
    ];
    store.send_events(events, at(1)).await.expect("events are accepted");
    let waiters = vec![
        since(waiter_for_value("by value", "come", "data.id", "1"), at(0)),
        since(waiter_when("by expression", "come", "async.data.sum > 10", json!(null)), at(0)),
    ];
    register(store, lease, at(2), waiters).await;
    assert_eq!(
        facts(store, 1).await,
        [(key("by value"), fact(&by_value)), (key("by expression"), fact(&by_expression))]
    );
}

/// What was received at the instant counts, what was before it does not.
pub async fn a_wait_that_looks_back_stops_at_its_instant<S: Store + ?Sized>(store: &S) {
    let node = node(store).await;
    let lease = start(store, node, 1).await;
    send(store, &event("1", "come", "1"), at(1)).await;
    let second = event("2", "come", "2");
    send(store, &second, at(2)).await;
    register(store, lease, at(3), vec![since(waiter("w", "come"), at(2))]).await;
    assert_eq!(facts(store, 1).await, [(key("w"), fact(&second))]);
}

/// For the next, as any other.
pub async fn a_wait_that_looks_back_and_finds_nothing_waits<S: Store + ?Sized>(store: &S) {
    let node = node(store).await;
    let lease = start(store, node, 1).await;
    send(store, &event("1", "come", "1"), at(1)).await;
    assert_eq!(wait(store, lease, at(3), vec![since(waiter("w", "come"), at(2))]).await.woken, []);
    assert_eq!(send(store, &event("2", "come", "2"), at(4)).await, [due(1)]);
}

/// The past is the past.
pub async fn a_wait_that_does_not_look_back_waits<S: Store + ?Sized>(store: &S) {
    let node = node(store).await;
    let lease = start(store, node, 1).await;
    send(store, &event("1", "come", "1"), at(1)).await;
    assert_eq!(wait(store, lease, at(2), vec![waiter("w", "come")]).await.woken, []);
    assert!(facts(store, 1).await.is_empty());
    assert_eq!(send(store, &event("2", "come", "2"), at(3)).await, [due(1)]);
}

/// The run lets go and is due at once.
pub async fn an_event_before_the_suspension_is_not_lost<S: Store + ?Sized>(store: &S) {
    let node = node(store).await;
    let lease = start(store, node, 1).await;
    register(store, lease, at(1), vec![waiter("w", "come")]).await;
    let sent = send(store, &event("1", "come", "1"), at(2)).await;
    assert_eq!(sent, [Woken { run_id: run_id(1), node: Some(node) }]);
    let then = Then::Suspend { due_at: Timestamp::NEVER };
    let suspended = store.checkpoint(Checkpoint { then, ..Checkpoint::new(lease, at(3)) });
    assert_eq!(suspended.await.expect("the run is held").woken, [due(1)]);
    assert_eq!(load(store, 1).await.record.due_at, at(3));
    assert_eq!(claimed(&claim(store, node, at(3)).await), [run_id(1)]);
    assert_eq!(load(store, 1).await.deliveries.len(), 1);
}

/// The run is made due.
pub async fn an_event_after_the_suspension_is_not_lost<S: Store + ?Sized>(store: &S) {
    let node = node(store).await;
    let lease = start(store, node, 1).await;
    register(store, lease, at(1), vec![waiter("w", "come")]).await;
    let then = Then::Suspend { due_at: at(500) };
    let suspended = store.checkpoint(Checkpoint { then, ..Checkpoint::new(lease, at(2)) });
    assert_eq!(suspended.await.expect("the run is held").woken, []);
    assert_eq!(send(store, &event("1", "come", "1"), at(3)).await, [due(1)]);
    assert_eq!(load(store, 1).await.record.due_at, at(3));
    assert_eq!(claimed(&claim(store, node, at(3)).await), [run_id(1)]);
    assert_eq!(load(store, 1).await.deliveries.len(), 1);
}

/// And whoever claims is reminded of it until it is taken.
pub async fn an_event_to_a_held_run_names_its_holder<S: Store + ?Sized>(store: &S) {
    let node = node(store).await;
    let lease = start(store, node, 1).await;
    register(store, lease, at(1), vec![waiter("w", "come")]).await;
    assert!(claim(store, node, at(1)).await.nudged.is_empty());
    let woken = send(store, &event("1", "come", "1"), at(2)).await;
    assert_eq!(woken, [Woken { run_id: run_id(1), node: Some(node) }]);
    assert_eq!(load(store, 1).await.record.status, Status::Running);
    assert_eq!(claim(store, node, at(2)).await.nudged, [run_id(1)]);
    write(store, Checkpoint { settled: vec![key("w")], ..Checkpoint::new(lease, at(3)) }).await;
    assert!(claim(store, node, at(3)).await.nudged.is_empty());
}

/// Even if they come in the same microsecond, or the clock went back.
pub async fn events_are_received_in_a_strict_order<S: Store + ?Sized>(store: &S) {
    let node = node(store).await;
    let lease = start(store, node, 1).await;
    let names = ["c", "a", "b"];
    let waiters = names.map(|name| waiter(name, name));
    register(store, lease, at(1), waiters.to_vec()).await;
    let together = vec![event("9", "c", "1"), event("8", "a", "2")];
    store.send_events(together, at(5)).await.expect("events are accepted");
    send(store, &event("7", "b", "3"), at(2)).await;
    let deliveries = store.deliveries(run_id(1)).await.expect("the store can be read");
    assert_eq!(deliveries.iter().map(|delivery| delivery.step).collect::<Vec<_>>(), names.map(key));
    let at: Vec<Timestamp> = deliveries.iter().map(|delivery| delivery.at).collect();
    assert!(at[0] < at[1] && at[1] < at[2], "{at:?}");
}

/// Across suspensions and claims.
pub async fn a_delivery_stays_until_it_is_settled<S: Store + ?Sized>(store: &S) {
    let node = node(store).await;
    let lease = start(store, node, 1).await;
    wait(store, lease, at(1), vec![waiter("w", "come")]).await;
    send(store, &event("1", "come", "1"), at(2)).await;
    let (lease, _) = claim(store, node, at(2)).await.leases[0];
    assert_eq!(suspend(store, lease, at(3), Timestamp::NEVER).await.woken, [due(1)]);
    let (lease, _) = claim(store, node, at(3)).await.leases[0];
    let then = Then::Suspend { due_at: Timestamp::NEVER };
    let settled = Checkpoint { settled: vec![key("w")], then, ..Checkpoint::new(lease, at(4)) };
    assert_eq!(write(store, settled).await.woken, []);
    assert!(facts(store, 1).await.is_empty());
    assert!(claim(store, node, at(5)).await.leases.is_empty());
}

/// Its step went on without it.
pub async fn a_settled_waiter_gets_nothing<S: Store + ?Sized>(store: &S) {
    let node = node(store).await;
    let lease = start(store, node, 1).await;
    register(store, lease, at(1), vec![waiter("gone", "come"), waiter("stays", "come")]).await;
    write(store, Checkpoint { settled: vec![key("gone")], ..Checkpoint::new(lease, at(2)) }).await;
    let come = event("1", "come", "1");
    send(store, &come, at(3)).await;
    assert_eq!(facts(store, 1).await, [(key("stays"), fact(&come))]);
}

/// To others and to itself.
pub async fn a_run_can_send_events<S: Store + ?Sized>(store: &S) {
    let node = node(store).await;
    let waits = start(store, node, 1).await;
    wait(store, waits, at(1), vec![waiter("w", "come")]).await;
    let sends = start(store, node, 2).await;
    let come = event("1", "come", "1");
    let sending = Checkpoint {
        waiters: vec![waiter("own", "come")],
        events: vec![come.clone()],
        ..Checkpoint::new(sends, at(2))
    };
    let mut woken = write(store, sending).await.woken;
    woken.sort_unstable_by_key(|woken| woken.run_id);
    assert_eq!(woken, [due(1), Woken { run_id: run_id(2), node: Some(node) }]);
    assert_eq!(facts(store, 1).await, [(key("w"), fact(&come))]);
    assert_eq!(facts(store, 2).await, [(key("own"), fact(&come))]);
}
