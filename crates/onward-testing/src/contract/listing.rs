//! Runs are listed newest first, a page at a time.

use onward_core::{
    RunId, Store,
    run::{NewRun, Outcome, Status},
    store::{RunFilter, RunPage},
};

use super::fixture::{at, endpoint_named, finish, new_run, node, run_id, start, start_run, suspend};

async fn page<S: Store + ?Sized>(store: &S, filter: RunFilter) -> RunPage {
    store.runs(filter).await.expect("the store can be read")
}

fn ids(page: &RunPage) -> Vec<RunId> {
    page.runs.iter().map(|run| run.run_id).collect()
}

/// None twice, none left out.
pub async fn runs_are_listed_newest_first_a_page_at_a_time<S: Store + ?Sized>(store: &S) {
    let empty = page(store, RunFilter { limit: 10, ..RunFilter::default() }).await;
    assert!(empty.runs.is_empty() && empty.next.is_none());
    let node = node(store).await;
    for number in [3, 1, 5, 2, 4] {
        start(store, node, number).await;
    }
    let first = page(store, RunFilter { limit: 2, ..RunFilter::default() }).await;
    assert_eq!((ids(&first), first.next), (vec![run_id(5), run_id(4)], Some(run_id(4))));
    let second = page(store, RunFilter { limit: 2, before: first.next, ..RunFilter::default() }).await;
    assert_eq!((ids(&second), second.next), (vec![run_id(3), run_id(2)], Some(run_id(2))));
    start(store, node, 6).await;
    let third = page(store, RunFilter { limit: 2, before: second.next, ..RunFilter::default() }).await;
    assert_eq!((ids(&third), third.next), (vec![run_id(1)], None));
    let exact = page(store, RunFilter { limit: 6, ..RunFilter::default() }).await;
    assert_eq!((exact.runs.len(), exact.next), (6, None));
}

/// And by all of it at once.
pub async fn runs_are_filtered_by_status_endpoint_and_time<S: Store + ?Sized>(store: &S) {
    let node = node(store).await;
    let other = endpoint_named("POST /other");
    start(store, node, 1).await;
    let sleeps = start(store, node, 2).await;
    suspend(store, sleeps, at(1), at(50)).await;
    for (number, status) in [(3, Status::Completed), (4, Status::Failed), (5, Status::Cancelled)] {
        let lease = start_run(store, node, NewRun { endpoint: other.clone(), ..new_run(number) }).await;
        finish(store, lease, at(9), status).await;
    }
    let all = RunFilter { limit: 10, ..RunFilter::default() };
    for (number, status) in (1..).zip(Status::ALL) {
        let one = page(store, RunFilter { statuses: vec![status], ..all.clone() }).await;
        assert_eq!(ids(&one), [run_id(number)], "{status:?}");
    }
    let two = page(store, RunFilter { statuses: vec![Status::Failed, Status::Running], ..all.clone() }).await;
    assert_eq!(ids(&two), [run_id(4), run_id(1)]);
    let of_other = page(store, RunFilter { endpoint: Some(other.clone()), ..all.clone() }).await;
    assert_eq!(ids(&of_other), [run_id(5), run_id(4), run_id(3)]);
    let of_none = page(store, RunFilter { endpoint: Some(endpoint_named("never used")), ..all.clone() }).await;
    assert!(of_none.runs.is_empty());
    // The n-th run began n seconds in: from is included, before is not.
    let timed = RunFilter { created_from: Some(at(2)), created_before: Some(at(4)), ..all.clone() };
    assert_eq!(ids(&page(store, timed.clone()).await), [run_id(3), run_id(2)]);
    let both = RunFilter { endpoint: Some(other), statuses: vec![Status::Completed], limit: 1, ..timed };
    let both = page(store, both).await;
    assert_eq!((ids(&both), both.next), (vec![run_id(3)], None));
}

/// A list of large runs is small; all else is as in the record.
pub async fn lists_leave_payloads_out<S: Store + ?Sized>(store: &S) {
    let node = node(store).await;
    start(store, node, 1).await;
    let ended = start(store, node, 2).await;
    finish(store, ended, at(9), Status::Failed).await;
    let listed = page(store, RunFilter { limit: 10, ..RunFilter::default() }).await;
    for run in listed.runs {
        let mut record = store.run(run.run_id).await.expect("the store can be read").expect("it was listed");
        assert!(!record.request.is_empty());
        record.request = "".into();
        record.outcome = record.outcome.map(|outcome| Outcome { response: "".into(), error: "".into(), ..outcome });
        assert_eq!(run, record);
    }
}
