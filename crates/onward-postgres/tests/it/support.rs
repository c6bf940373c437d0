//! A store in a database of its own.

use std::ops::Deref;

use onward_postgres::{Options, PostgresStore};
use onward_testing::postgres::TestDatabase;

/// A store, and the database that goes with it.
pub(crate) struct TestStore {
    pub(crate) store: PostgresStore,
    pub(crate) database: TestDatabase,
}

impl TestStore {
    pub(crate) async fn open() -> Self {
        let database = TestDatabase::create();
        let store = PostgresStore::open(database.url(), Options::new().connections(3)).await.expect("the store opens");
        Self { store, database }
    }

    /// Another handle on the same database, as another node has it.
    pub(crate) async fn another(&self) -> PostgresStore {
        PostgresStore::open(self.database.url(), Options::new().connections(3)).await.expect("the store opens")
    }
}

impl Deref for TestStore {
    type Target = PostgresStore;

    fn deref(&self) -> &PostgresStore {
        &self.store
    }
}
