//! A chosen write goes wrong, and only that one, and nothing is heard after a crash.

use std::{
    future::Future,
    sync::Arc,
    task::{Context, Waker},
};

use onward_core::{Store, StoreError};

use super::{Call, Fault, FaultyStore};
use crate::{MemoryStore, contract::fixture};

fn is_pending(future: impl Future) -> bool {
    std::pin::pin!(future).as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending()
}

#[tokio::test]
async fn only_the_chosen_write_fails_and_nothing_of_it_is_written() {
    let memory = MemoryStore::new();
    let store = FaultyStore::new(Arc::new(memory.clone())).with_fault(2, Fault::Fail);
    let node = fixture::node(&store).await;
    let failed = store.checkpoint(fixture::starting(node, fixture::new_run(1))).await;
    assert!(matches!(failed, Err(StoreError::Unavailable(_))));
    assert!(memory.all().is_empty());
    fixture::start(&store, node, 1).await;
    assert_eq!(memory.all().len(), 1);
    assert_eq!(store.calls(), [Call::Join, Call::Checkpoint, Call::Checkpoint]);
}

#[tokio::test]
async fn a_crash_after_a_write_leaves_it_durable_and_silent() {
    let memory = MemoryStore::new();
    let store = FaultyStore::counting(Arc::new(memory.clone()), Call::is_fact).with_fault(1, Fault::CrashAfter);
    let node = fixture::node(&store).await;
    assert!(is_pending(store.checkpoint(fixture::starting(node, fixture::new_run(1)))));
    assert!(store.is_crashed());
    assert_eq!(memory.all().len(), 1);

    assert!(is_pending(store.load(fixture::run_id(1))), "a dead process reads nothing");
    assert!(is_pending(store.checkpoint(fixture::starting(node, fixture::new_run(2)))));
    assert_eq!(memory.all().len(), 1, "a dead process writes nothing");
    assert_eq!(store.writes(), 1);
}

#[tokio::test]
async fn a_crash_before_a_write_leaves_nothing_of_it() {
    let memory = MemoryStore::new();
    let store = FaultyStore::new(Arc::new(memory.clone())).with_fault(2, Fault::CrashBefore);
    let node = fixture::node(&store).await;
    assert!(is_pending(store.checkpoint(fixture::starting(node, fixture::new_run(1)))));
    assert!(store.is_crashed() && memory.all().is_empty());
}

#[tokio::test]
async fn an_answer_that_was_under_way_is_not_heard_after_a_crash() {
    let store = FaultyStore::new(Arc::new(MemoryStore::new()));
    let answer = store.setting("name", Some("value".into()));
    store.crash();
    assert!(is_pending(answer));
}

#[tokio::test]
async fn a_look_is_a_call_that_writes_nothing_and_ends_with_the_process() {
    let store = FaultyStore::new(Arc::new(MemoryStore::new())).with_fault(1, Fault::Fail);
    assert_eq!(store.look(Vec::new()).await.unwrap(), []);
    assert_eq!((store.calls(), store.writes()), (vec![Call::Look], 0));
    let (news, look) = (store.news(), store.look(Vec::new()));
    store.crash();
    assert!(is_pending(news) && is_pending(look));
}
