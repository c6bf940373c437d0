//! The store contract.

use onward_testing::{MemoryStore, contract::differential};

use crate::support::TestStore;

onward_testing::store_contract!(TestStore::open().await);

#[tokio::test]
async fn it_answers_as_the_plain_store_does() {
    for seed in 0..6 {
        let store = TestStore::open().await;
        differential(&MemoryStore::new(), &*store, seed, 300).await;
    }
}
