//! Runs that no node can execute are found, and ended where their timeout has passed.

use onward_core::{
    RunId, Store, StoreError, Timestamp, Version,
    run::{NewRun, Status},
    store::{Control, Endpoints, Served, UnservedQuery},
};

use super::fixture::{at, claim, endpoint, endpoint_named, load, new_run, node, outcome, run_id, start_run, suspend};

/// A run of an endpoint that is given up at a time, suspended until long after.
async fn sleeping<S: Store + ?Sized>(store: &S, new: NewRun, timeout_at: Option<Timestamp>) {
    let lease = start_run(store, node(store).await, NewRun { timeout_at, ..new }).await;
    suspend(store, lease, at(1), at(5)).await;
}

fn pinned(number: u64, text: &str) -> NewRun {
    NewRun { version: Some(version(text)), pinned: true, ..new_run(number) }
}

fn version(text: &str) -> Version {
    Version::try_new(text).expect("the contract names versions well")
}

/// The contract's endpoint in version 2.
fn served() -> Endpoints {
    Endpoints::Only(vec![Served { endpoint: endpoint(), version: Some(version("2")) }])
}

/// All that is found, a page at a time.
async fn timed_out<S: Store + ?Sized>(store: &S, now: Timestamp, limit: usize) -> Vec<RunId> {
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let query = UnservedQuery { endpoints: served(), now, after, limit };
        let page = store.unserved(query).await.expect("the store can be read");
        found.extend(page.timed_out);
        after = page.next;
        if after.is_none() {
            found.sort_unstable();
            return found;
        }
    }
}

/// Those of other endpoints, and those that are pinned to other versions; due, and past their timeout.
pub async fn runs_that_timed_out_where_nobody_serves_them_are_found<S: Store + ?Sized>(store: &S) {
    let other = |number| NewRun { endpoint: endpoint_named("other"), ..new_run(number) };
    sleeping(store, new_run(1), Some(at(4))).await;
    sleeping(store, pinned(2, "2"), Some(at(4))).await;
    for number in 3..8 {
        sleeping(store, pinned(number, "1"), Some(at(4))).await;
    }
    sleeping(store, other(8), Some(at(4))).await;
    sleeping(store, other(9), None).await;
    // Its place in its lane is before the places of the other lane, whichever lane comes first.
    sleeping(store, other(0), Some(at(4))).await;
    sleeping(store, pinned(10, "1"), Some(at(6))).await;
    let expected: Vec<_> = [0].into_iter().chain(3..=8).map(run_id).collect();
    for limit in [1, 2, 3, 100] {
        assert_eq!(timed_out(store, at(3), limit).await, []);
        assert_eq!(timed_out(store, at(5), limit).await, expected, "{limit} at a time");
    }
    assert_eq!(timed_out(store, at(6), 100).await.len(), 8);
}

/// What is executed, or has time left, or has ended, is left as it is.
pub async fn only_a_run_that_timed_out_and_is_not_executed_is_ended_for_it<S: Store + ?Sized>(store: &S) {
    let time_out = async |now| store.control(run_id(1), Control::TimeOut(outcome(Status::Failed)), now).await;
    sleeping(store, new_run(1), Some(at(4))).await;
    assert!(matches!(time_out(at(3)).await, Err(StoreError::WrongStatus(Status::Suspended))));
    let (lease, _) = claim(store, node(store).await, at(4)).await.leases.remove(0);
    assert!(matches!(time_out(at(4)).await, Err(StoreError::WrongStatus(Status::Running))));
    suspend(store, lease, at(4), at(5)).await;
    time_out(at(4)).await.expect("its timeout has passed");
    let ended = load(store, 1).await.record;
    assert_eq!((ended.status, ended.outcome), (Status::Failed, Some(outcome(Status::Failed))));
    assert!(matches!(time_out(at(5)).await, Err(StoreError::WrongStatus(Status::Failed))));
    sleeping(store, new_run(2), None).await;
    let never = store.control(run_id(2), Control::TimeOut(outcome(Status::Failed)), at(1000)).await;
    assert!(matches!(never, Err(StoreError::WrongStatus(Status::Suspended))));
    let nobody = store.control(run_id(3), Control::TimeOut(outcome(Status::Failed)), at(4)).await;
    assert!(matches!(nobody, Err(StoreError::RunNotFound)));
}
