//! What this store has beside the contract.

use std::time::Duration;

use onward_core::{
    Store,
    run::Status,
    store::{News, Watched},
};

use crate::{MemoryStore, contract::fixture};

mod shared {
    use crate::MemoryStore;

    crate::store_contract!(MemoryStore::shared());
}

#[tokio::test]
async fn a_snapshot_is_not_touched_by_what_comes_after() {
    let store = MemoryStore::new();
    let node = fixture::node(&store).await;
    fixture::start(&store, node, 1).await;
    let before = store.snapshot();
    fixture::start(&store, node, 2).await;

    assert_eq!((before.all().len(), store.all().len()), (1, 2));
    fixture::start(&before, node, 3).await;
    assert!(store.run(fixture::run_id(3)).await.unwrap().is_none());
}

#[tokio::test]
async fn a_clone_shares_what_is_stored() {
    let store = MemoryStore::new();
    let clone = store.clone();
    let node = fixture::node(&store).await;
    fixture::start(&store, node, 1).await;
    assert_eq!(clone.all().len(), 1);
}

#[tokio::test]
async fn what_one_process_does_is_news_to_the_others_alone() {
    let one = MemoryStore::shared();
    let (two, deaf) = (one.another(), one.another_without_news());
    let node = fixture::node(&one).await;
    fixture::node(&two).await;
    let lease = fixture::start(&one, node, 1).await;
    assert_eq!(two.news().await, [News::Due]);

    fixture::finish(&one, lease, fixture::at(1), Status::Completed).await;
    assert_eq!(two.news().await, [News::Ended(fixture::run_id(1))]);
    let silence = Duration::from_millis(1);
    for hears_nothing in [&one, &two, &deaf] {
        assert!(tokio::time::timeout(silence, hears_nothing.news()).await.is_err());
    }
    let watched = vec![Watched { run_id: fixture::run_id(1), streamed: None }];
    assert_eq!(deaf.look(watched).await.unwrap(), [News::Ended(fixture::run_id(1))], "but who looks sees it");
}

#[tokio::test]
async fn a_node_of_a_shared_store_is_gone_when_its_lease_has_ended_and_others_look() {
    let one = MemoryStore::shared();
    let two = one.another();
    let (first, second) = (fixture::node(&one).await, fixture::node(&two).await);
    fixture::start(&one, first, 1).await;
    let ended = fixture::at(1).after(fixture::LEASE);
    two.heartbeat(second, fixture::at(0).after(fixture::LEASE), fixture::LEASE).await.unwrap();
    assert_eq!(fixture::load(&two, 1).await.record.node, Some(first), "it is not over yet");
    two.heartbeat(second, ended, fixture::LEASE).await.unwrap();
    assert_eq!(fixture::load(&two, 1).await.record.status, Status::Suspended);
    assert!(one.heartbeat(first, ended, fixture::LEASE).await.is_err());
}
