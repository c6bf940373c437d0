//! The comparison finds nothing between equals, reaches all that can happen, and finds what differs.

use std::sync::Arc;

use onward_core::Store;

use super::differential;
use crate::{Fault, FaultyStore, MemoryStore};

#[tokio::test]
async fn two_plain_stores_never_differ() {
    for seed in 0..32 {
        differential(&MemoryStore::new(), &MemoryStore::new(), seed, 200).await;
    }
}

#[tokio::test]
async fn a_run_of_the_comparison_reaches_every_status_and_fact() {
    let store = MemoryStore::new();
    let mut reached = std::collections::BTreeSet::new();
    for seed in 0..8 {
        let store = MemoryStore::new();
        differential(&store, &MemoryStore::new(), seed, 300).await;
        for run in store.all() {
            reached.insert(run.record.status.as_str());
            reached.extend(run.deliveries.iter().map(|delivery| match delivery.fact {
                onward_core::waiter::Fact::Event(_) => "event",
                onward_core::waiter::Fact::Signal(_) => "signal",
                onward_core::waiter::Fact::SignalTaken => "signal taken",
                onward_core::waiter::Fact::Outcome(_) => "outcome",
            }));
        }
    }
    assert!(store.all().is_empty());
    let expected =
        ["cancelled", "completed", "event", "failed", "outcome", "running", "signal", "signal taken", "suspended"];
    assert_eq!(reached.into_iter().collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn one_write_that_is_missing_is_found() {
    let missing = FaultyStore::new(Arc::new(MemoryStore::new()) as Arc<dyn Store>).with_fault(20, Fault::Fail);
    #[expect(clippy::disallowed_methods, reason = "to see its panic")]
    let compared = tokio::spawn(async move { differential(&MemoryStore::new(), &missing, 1, 200).await });
    let panic = compared.await.expect_err("the stores differ").into_panic();
    let message = panic.downcast_ref::<String>().expect("it says what differs");
    assert!(message.contains("the answers differ (seed 1, operation "), "{message}");
}
