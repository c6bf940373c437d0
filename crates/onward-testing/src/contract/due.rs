//! Which runs are due, when, and in which order they are claimed.

use onward_core::{
    EndpointId, Store, Timestamp,
    run::{NewRun, Status},
    store::{Claims, Endpoints, Served, Woken},
};

use super::fixture::{
    at, claim, claim_of, claimed, endpoint, endpoint_named, event, finish, load, new_run, node, run_id, start,
    start_run, suspend, wait, waiter,
};

/// Timers never fire early, and fire at their very microsecond.
pub async fn a_suspended_run_is_due_at_its_time_and_not_before<S: Store + ?Sized>(store: &S) {
    let node = node(store).await;
    let lease = start(store, node, 1).await;
    let due_at = Timestamp::from_micros(at(10).as_micros() + 1);
    assert_eq!(suspend(store, lease, at(1), due_at).await.woken, []);
    let record = load(store, 1).await.record;
    assert_eq!((record.status, record.due_at, record.node), (Status::Suspended, due_at, None));

    let claims = claim(store, node, at(10)).await;
    assert!(claims.leases.is_empty());
    assert_eq!(claims.next_due_at, Some(due_at));
    assert_eq!(claimed(&claim(store, node, due_at).await), [run_id(1)]);
}

/// Not the newest, nor the one that was made first.
pub async fn the_longest_due_comes_first<S: Store + ?Sized>(store: &S) {
    let node = node(store).await;
    for (number, due) in [(1, 30), (2, 10), (3, 20), (4, 99)] {
        let lease = start(store, node, number).await;
        suspend(store, lease, at(1), at(due)).await;
    }
    assert_eq!(claimed(&claim(store, node, at(50)).await), [run_id(2), run_id(3), run_id(1)]);
}

/// Who is left out is due still.
pub async fn a_claim_keeps_to_its_limit<S: Store + ?Sized>(store: &S) {
    let node = node(store).await;
    for number in 1..=5 {
        let lease = start(store, node, number).await;
        suspend(store, lease, at(1), at(10 + number)).await;
    }
    let claim = |limit| claim_of(store, node, at(50), limit, Endpoints::Only(vec![endpoint().into()]));
    let empty = claim(0).await;
    assert!(empty.leases.is_empty());
    assert_eq!(empty.next_due_at, Some(at(11)));
    let two = claim(2).await;
    assert_eq!(claimed(&two), [run_id(1), run_id(2)]);
    assert_eq!(two.next_due_at, Some(at(13)));
    let rest = claim(9).await;
    assert_eq!(claimed(&rest), [run_id(3), run_id(4), run_id(5)]);
    assert_eq!(rest.next_due_at, None);
}

/// A node gets no run that it cannot execute.
pub async fn a_claim_keeps_to_its_endpoints<S: Store + ?Sized>(store: &S) {
    let node = node(store).await;
    let other = endpoint_named("POST /other");
    for (number, of) in [(1, endpoint()), (2, other.clone()), (3, endpoint_named("GET /unknown"))] {
        let lease = start_run(store, node, NewRun { endpoint: of, ..new_run(number) }).await;
        suspend(store, lease, at(1), at(10 + number)).await;
    }
    let claim = |of: Vec<EndpointId>| {
        let served = of.into_iter().map(Served::from).collect();
        claim_of(store, node, at(50), 10, Endpoints::Only(served))
    };
    let empty = claim(Vec::new()).await;
    assert!(empty.leases.is_empty() && empty.next_due_at.is_none());
    let claims = claim(vec![other.clone()]).await;
    assert_eq!(
        claims.leases.iter().map(|(lease, of)| (lease.run_id, of.clone())).collect::<Vec<_>>(),
        [(run_id(2), other.clone())]
    );
    assert_eq!(claims.next_due_at, None);
    let unseen = vec![endpoint(), other, endpoint_named("GET /never-used")];
    assert_eq!(claimed(&claim(unseen).await), [run_id(1)]);
}

/// Also of endpoints that come up later, and each with its endpoint.
pub async fn a_claim_of_all_endpoints_gets_the_longest_due_of_any<S: Store + ?Sized>(store: &S) {
    let node = node(store).await;
    let claim = |limit, now| claim_of(store, node, now, limit, Endpoints::All);
    assert_eq!(claim(10, at(1)).await.next_due_at, None);
    for (number, of, due_at) in [
        (1, "GET /a", at(30)),
        (2, "GET /b", at(10)),
        (3, "GET /c", at(20)),
        (4, "GET /b", at(40)),
        (5, "GET /a", at(99)),
        (6, "GET /d", Timestamp::NEVER),
    ] {
        let lease = start_run(store, node, NewRun { endpoint: endpoint_named(of), ..new_run(number) }).await;
        suspend(store, lease, at(1), due_at).await;
    }
    start(store, node, 7).await;
    let ended = start(store, node, 8).await;
    finish(store, ended, at(1), Status::Completed).await;

    let early = claim(10, at(9)).await;
    assert!(early.leases.is_empty());
    assert_eq!(early.next_due_at, Some(at(10)));
    let two = claim(2, at(50)).await;
    let of = |claims: &Claims| claims.leases.iter().map(|(_, of)| of.clone()).collect::<Vec<_>>();
    assert_eq!(claimed(&two), [run_id(2), run_id(3)]);
    assert_eq!(of(&two), ["GET /b", "GET /c"].map(endpoint_named));
    assert_eq!(two.next_due_at, Some(at(30)));
    let rest = claim(10, at(50)).await;
    assert_eq!(claimed(&rest), [run_id(1), run_id(4)]);
    assert_eq!(of(&rest), ["GET /a", "GET /b"].map(endpoint_named));
    assert_eq!(rest.next_due_at, Some(at(99)));
    assert_eq!(claimed(&claim(10, at(100)).await), [run_id(5)]);
    assert_eq!(claim(10, at(100_000)).await.next_due_at, None);
}

/// One holder at a time.
pub async fn a_held_run_is_not_claimed_again<S: Store + ?Sized>(store: &S) {
    let node = node(store).await;
    start(store, node, 1).await;
    let slept = start(store, node, 2).await;
    suspend(store, slept, at(1), at(1)).await;
    let ended = start(store, node, 3).await;
    finish(store, ended, at(1), Status::Completed).await;
    assert_eq!(claimed(&claim(store, node, at(100)).await), [run_id(2)]);
    assert!(claim(store, node, at(100)).await.leases.is_empty());
}

/// Whatever else it waits for.
pub async fn a_timeout_makes_a_run_due<S: Store + ?Sized>(store: &S) {
    let node = node(store).await;
    for (number, due_at) in [(1, Timestamp::NEVER), (2, at(500)), (3, at(10))] {
        let new = NewRun { timeout_at: Some(at(60)), ..new_run(number) };
        let lease = start_run(store, node, new).await;
        suspend(store, lease, at(1), due_at).await;
        assert_eq!(load(store, number).await.record.due_at, due_at.min(at(60)));
    }
    assert_eq!(claimed(&claim(store, node, at(59)).await), [run_id(3)]);
    let mut late = claimed(&claim(store, node, at(60)).await);
    late.sort_unstable();
    assert_eq!(late, [run_id(1), run_id(2)]);
}

/// So a scheduler knows how long it may sleep.
pub async fn a_claim_tells_when_the_next_run_is_due<S: Store + ?Sized>(store: &S) {
    let node = node(store).await;
    assert_eq!(claim(store, node, at(1)).await.next_due_at, None);
    for (number, due) in [(1, 40), (2, 20), (3, 30)] {
        let lease = start(store, node, number).await;
        suspend(store, lease, at(1), at(due)).await;
    }
    assert_eq!(claim(store, node, at(1)).await.next_due_at, Some(at(20)));
    assert_eq!(claim(store, node, at(20)).await.next_due_at, Some(at(30)));
}

/// No time is made up for it.
pub async fn a_run_that_only_a_fact_can_move_has_no_due_time<S: Store + ?Sized>(store: &S) {
    let node = node(store).await;
    let lease = start(store, node, 1).await;
    assert_eq!(wait(store, lease, at(1), vec![waiter("w", "come")]).await.woken, []);
    assert_eq!(load(store, 1).await.record.due_at, Timestamp::NEVER);
    let claims = claim(store, node, at(1_000_000)).await;
    assert!(claims.leases.is_empty() && claims.next_due_at.is_none());
    let woken = store.send_events(vec![event("1", "come", "{}")], at(1_000_000)).await.expect("events are accepted");
    assert_eq!(woken, [Woken { run_id: run_id(1), node: None }]);
    assert_eq!(claimed(&claim(store, node, at(1_000_000)).await), [run_id(1)]);
}

/// The scheduler is told, as the time is past already.
pub async fn a_run_suspended_until_now_is_woken_at_once<S: Store + ?Sized>(store: &S) {
    let node = node(store).await;
    for (number, due) in [(1, 5), (2, 4)] {
        let lease = start(store, node, number).await;
        let woken = suspend(store, lease, at(5), at(due)).await.woken;
        assert_eq!(woken, [Woken { run_id: run_id(number), node: None }]);
    }
}
