//! The contract of every store, in memory and in a file.

use std::ops::Deref;

use onward_sqlite::{Options, SqliteStore};
use onward_testing::{MemoryStore, contract::differential};
use tempfile::TempDir;

/// A store in a file of its own, which goes with it.
#[derive(Debug)]
struct InFile {
    store: SqliteStore,
    _dir: TempDir,
}

impl Deref for InFile {
    type Target = SqliteStore;

    fn deref(&self) -> &SqliteStore {
        &self.store
    }
}

fn in_file() -> InFile {
    let dir = tempfile::tempdir().expect("a directory can be made");
    let store = SqliteStore::open(dir.path().join("onward.db"), Options::new()).expect("the store opens");
    InFile { store, _dir: dir }
}

#[tokio::test]
async fn it_does_what_the_store_in_memory_does() {
    for seed in 0..24 {
        differential(&MemoryStore::new(), &SqliteStore::in_memory().unwrap(), seed, 300).await;
    }
    for seed in 24..28 {
        differential(&MemoryStore::new(), &*in_file(), seed, 300).await;
    }
}

mod memory {
    use onward_sqlite::SqliteStore;

    onward_testing::store_contract!(SqliteStore::in_memory().unwrap());
}

mod file {
    onward_testing::store_contract!(super::in_file());
}
