//! What this store has beside the contract.

use onward_core::Store;

use crate::{MemoryStore, contract::fixture};

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
