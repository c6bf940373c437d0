//! Versions of endpoints: kept with a run, and for a pinned run a condition of its claim.

use onward_core::{
    NodeId, RunId, Store, Timestamp, Version,
    run::{NewRun, Status},
    store::{Checkpoint, Claims, Control, Endpoints, Lease, RunFilter, Served},
};

use super::fixture::{
    LEASE, at, child, claim_of, claimed, endpoint, endpoint_named, event, finish, load, new_run, node, outcome, run_id,
    start_run, suspend, wait, waiter, write,
};

fn version(text: &str) -> Version {
    Version::try_new(text).expect("the contract names versions well")
}

/// The `number`-th run, started with a version.
fn versioned(number: u64, text: &str) -> NewRun {
    NewRun { version: Some(version(text)), ..new_run(number) }
}

/// The `number`-th run, pinned to a version.
fn pinned(number: u64, text: &str) -> NewRun {
    NewRun { pinned: true, ..versioned(number, text) }
}

fn served(texts: &[Option<&str>]) -> Endpoints {
    Endpoints::Only(texts.iter().map(|text| Served { endpoint: endpoint(), version: text.map(version) }).collect())
}

/// Claims what is due of the contract's endpoint in some versions.
async fn claim<S: Store + ?Sized>(store: &S, node: NodeId, now: Timestamp, texts: &[Option<&str>]) -> Claims {
    claim_of(store, node, now, 1000, served(texts)).await
}

/// Makes a run and suspends it.
async fn sleeping<S: Store + ?Sized>(store: &S, node: NodeId, new: NewRun, due_at: Timestamp) -> Lease {
    let lease = start_run(store, node, new).await;
    suspend(store, lease, at(1), due_at).await;
    lease
}

/// From its first row to its last.
pub async fn a_run_keeps_its_version<S: Store + ?Sized>(store: &S) {
    let node = node(store).await;
    for new in [new_run(1), versioned(2, "1"), pinned(3, "1"), versioned(4, "2"), pinned(5, "2")] {
        let (run_id, kept) = (new.run_id, (new.version.clone(), new.pinned));
        let check = async || {
            let record = store.run(run_id).await.expect("the store can be read").expect("the run is there");
            assert_eq!((record.version, record.pinned), kept);
            assert_eq!(record.endpoint, endpoint());
        };
        let lease = start_run(store, node, new).await;
        check().await;
        suspend(store, lease, at(1), at(2)).await;
        check().await;
        let (lease, of) = claim_of(store, node, at(2), 1, Endpoints::All).await.leases.remove(0);
        assert_eq!((lease.run_id, of), (run_id, endpoint()));
        check().await;
        finish(store, lease, at(3), Status::Completed).await;
        check().await;
    }
}

/// Also one that was started without a version.
pub async fn a_run_that_is_not_pinned_is_claimed_whatever_the_version<S: Store + ?Sized>(store: &S) {
    let node = node(store).await;
    for (number, text) in (1..).zip([Some("1"), Some("2"), None]) {
        let new = || NewRun { version: text.map(version), ..new_run(0) };
        for (place, other) in (1..).zip([Some("1"), Some("3"), None]) {
            let run_id = run_id(number * 10 + place);
            sleeping(store, node, NewRun { run_id, ..new() }, at(5)).await;
            assert_eq!(claim(store, node, at(1), &[other]).await.next_due_at, Some(at(5)));
            let claims = claim(store, node, at(5), &[other]).await;
            assert_eq!(claimed(&claims), [run_id], "a run of {text:?} where {other:?} is served");
        }
    }
}

/// Who does not serve it does not even hear when it is due; who serves all endpoints gets it.
pub async fn a_pinned_run_is_claimed_only_where_its_version_is_served<S: Store + ?Sized>(store: &S) {
    let node = node(store).await;
    sleeping(store, node, pinned(1, "1"), at(5)).await;
    sleeping(store, node, pinned(2, "1"), at(7)).await;
    for texts in [&[Some("2")][..], &[None], &[Some("2"), None], &[]] {
        for now in [at(1), at(9)] {
            let claims = claim(store, node, now, texts).await;
            assert!(claims.leases.is_empty() && claims.next_due_at.is_none(), "where {texts:?} is served");
        }
    }
    let other = Served { endpoint: endpoint_named("GET /other"), version: Some(version("1")) };
    assert!(claim_of(store, node, at(9), 10, Endpoints::Only(vec![other])).await.leases.is_empty());

    assert_eq!(claim(store, node, at(1), &[Some("1")]).await.next_due_at, Some(at(5)));
    assert_eq!(claimed(&claim(store, node, at(5), &[Some("1")]).await), [run_id(1)]);
    assert_eq!(claimed(&claim_of(store, node, at(7), 10, Endpoints::All).await), [run_id(2)]);
}

/// Not that of a run that only others may have.
pub async fn the_next_due_time_is_that_of_a_run_that_the_asker_may_have<S: Store + ?Sized>(store: &S) {
    let node = node(store).await;
    for (new, due) in [(pinned(1, "1"), 10), (pinned(2, "2"), 20), (versioned(3, "1"), 30)] {
        sleeping(store, node, new, at(due)).await;
    }
    for (text, due) in [(Some("1"), 10), (Some("2"), 20), (Some("3"), 30), (None, 30)] {
        assert_eq!(claim(store, node, at(1), &[text]).await.next_due_at, Some(at(due)), "where {text:?} is served");
    }
    assert_eq!(claim(store, node, at(1), &[Some("2"), Some("1")]).await.next_due_at, Some(at(10)));
}

/// A rolling deploy in one process: each run once, the longest due first, within the limit.
pub async fn an_endpoint_may_be_served_in_two_versions<S: Store + ?Sized>(store: &S) {
    let node = node(store).await;
    for (new, due) in
        [(pinned(1, "1"), 14), (pinned(2, "2"), 13), (versioned(3, "1"), 12), (new_run(4), 11), (pinned(5, "3"), 10)]
    {
        sleeping(store, node, new, at(due)).await;
    }
    let both = [Some("1"), Some("2")];
    let first = claim_of(store, node, at(50), 3, served(&both)).await;
    assert_eq!(claimed(&first), [run_id(4), run_id(3), run_id(2)]);
    assert_eq!(first.next_due_at, Some(at(14)));
    let rest = claim(store, node, at(50), &both).await;
    assert_eq!(claimed(&rest), [run_id(1)]);
    assert_eq!(rest.next_due_at, None);
}

/// They belong to a node as much as others.
pub async fn an_invoked_run_keeps_to_its_version<S: Store + ?Sized>(store: &S) {
    let node = node(store).await;
    let parent = start_run(store, node, versioned(1, "7")).await;
    let of = |number, text| NewRun { version: Some(version(text)), ..child(number, 1, &format!("call {number}")) };
    let children = vec![NewRun { pinned: true, ..of(2, "1") }, of(3, "1"), child(4, 1, "call 4")];
    write(store, Checkpoint { children, ..Checkpoint::new(parent, at(1)) }).await;
    let record = load(store, 2).await.record;
    assert_eq!((record.version, record.pinned), (Some(version("1")), true));
    assert_eq!(load(store, 4).await.record.version, None);

    let mut others = claimed(&claim(store, node, at(1), &[Some("7")]).await);
    others.sort_unstable();
    assert_eq!(others, [run_id(3), run_id(4)]);
    assert_eq!(claimed(&claim(store, node, at(1), &[Some("1")]).await), [run_id(2)]);
}

/// What wakes a run, or takes it from its node, leaves it pinned.
pub async fn a_pinned_run_stays_pinned_however_it_becomes_due<S: Store + ?Sized>(store: &S) {
    let first = node(store).await;
    let waiting = start_run(store, first, pinned(1, "1")).await;
    wait(store, waiting, at(1), vec![waiter("w", "come")]).await;
    store.send_events(vec![event("1", "come", "{}")], at(2)).await.expect("events are accepted");
    let failed = start_run(store, first, pinned(2, "1")).await;
    finish(store, failed, at(2), Status::Failed).await;
    let retry = Control::Retry { step: None, timeout_at: None };
    store.control(run_id(2), retry, at(2)).await.expect("a failed run is retried");
    let _left = start_run(store, first, pinned(3, "1")).await;
    let _other = start_run(store, first, versioned(4, "1")).await;
    store.leave(first, at(3)).await.expect("a node may leave");

    let second = store.join(at(3), LEASE).await.expect("a node joins");
    assert_eq!(claimed(&claim(store, second, at(4), &[Some("2")]).await), [run_id(4)]);
    let mut ours = claimed(&claim(store, second, at(4), &[Some("1")]).await);
    ours.sort_unstable();
    assert_eq!(ours, [1, 2, 3].map(run_id));
}

/// A pinned run that nobody may execute can be cancelled still.
pub async fn a_pinned_run_can_be_cancelled<S: Store + ?Sized>(store: &S) {
    let node = node(store).await;
    sleeping(store, node, pinned(1, "1"), at(5)).await;
    let cancel = Control::Cancel(outcome(Status::Cancelled));
    store.control(run_id(1), cancel, at(6)).await.expect("a live run is cancelled");
    assert!(claim(store, node, at(9), &[Some("1")]).await.leases.is_empty());
    assert_eq!(load(store, 1).await.record.status, Status::Cancelled);
}

/// An endpoint is one endpoint, in however many versions.
pub async fn lists_by_endpoint_hold_every_version<S: Store + ?Sized>(store: &S) {
    let node = node(store).await;
    let other = NewRun { endpoint: endpoint_named("GET /other"), ..pinned(4, "1") };
    for new in [new_run(1), versioned(2, "1"), pinned(3, "2"), other] {
        sleeping(store, node, new, at(5)).await;
    }
    let filter = RunFilter { endpoint: Some(endpoint()), limit: 10, ..RunFilter::default() };
    let page = store.runs(filter).await.expect("the store can be read");
    let listed: Vec<_> = page.runs.into_iter().map(|record| (record.run_id, record.version, record.pinned)).collect();
    let expected: [(RunId, Option<Version>, bool); 3] =
        [(run_id(3), Some(version("2")), true), (run_id(2), Some(version("1")), false), (run_id(1), None, false)];
    assert_eq!(listed, expected);
}
