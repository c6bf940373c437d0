//! A commit that the database finishes after the store has given up waiting for it: what it wrote is found again, so no
//! run is held by a node that knows nothing of it.

use std::time::Duration;

use onward_core::{
    Store, StoreError,
    run::Status,
    store::{Checkpoint, Then},
};
use onward_postgres::{Options, PostgresStore};
use onward_testing::postgres::{PostgresOptions, PostgresServer};

use crate::support::*;

/// A server whose commits can be held up: they wait for a copy that nobody keeps.
struct Slow(PostgresServer);

impl Slow {
    fn start() -> Self {
        Self(PostgresServer::start(&PostgresOptions::new()))
    }

    async fn store(&self) -> PostgresStore {
        let options = Options::new().connections(3).timeout(Duration::from_millis(500)).notifications(false);
        PostgresStore::open(&self.0.url(), options).await.expect("the store opens")
    }

    async fn hold_commits(&self) {
        self.0.query("ALTER SYSTEM SET synchronous_standby_names = 'nobody'");
        self.0.query("SELECT pg_reload_conf()");
        tokio::time::sleep(Duration::from_millis(700)).await;
    }

    async fn let_go(&self) {
        self.0.query("ALTER SYSTEM RESET synchronous_standby_names");
        self.0.query("SELECT pg_reload_conf()");
        let held = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
        while self.0.query(held).trim() != "0" {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test]
async fn a_claim_whose_commit_was_late_is_handed_out_by_the_next() {
    let server = Slow::start();
    let store = server.store().await;
    let node = join(&store).await;
    let held = start(&store, node, 1).await;
    suspend(&store, held, at(2)).await;
    server.hold_commits().await;
    let request = |now| onward_core::store::ClaimRequest {
        node,
        now,
        limit: 10,
        endpoints: onward_core::store::Endpoints::Only(vec![endpoint().into()]),
    };
    assert!(is_unavailable(&store.claim(request(at(3))).await));
    server.let_go().await;
    assert_eq!(status(&store, 1).await, Status::Running, "the claim was committed after all");
    let leases = store.claim(request(at(4))).await.unwrap().leases;
    assert_eq!(leases.iter().map(|(lease, _)| lease.run_id).collect::<Vec<_>>(), [run_id(1)]);
    store.checkpoint(appending(leases[0].0, 0, "a")).await.unwrap();
    assert!(store.claim(request(at(5))).await.unwrap().leases.is_empty(), "once");
}

#[tokio::test]
async fn a_run_whose_start_is_in_doubt_can_be_given_back() {
    let server = Slow::start();
    let store = server.store().await;
    let node = join(&store).await;
    start(&store, node, 1).await; // its endpoint is known from here on
    server.hold_commits().await;
    assert!(is_unavailable(&store.checkpoint(starting(node, 2)).await));
    // As who failed to start a run gives it back: there is none, it must not be told as long as there may be one.
    let then = Then::Suspend { due_at: at(2) };
    let gives_back = Checkpoint { then, ..Checkpoint::new(lease(node, 2), at(2)) };
    let told = store.checkpoint(gives_back.clone()).await;
    assert!(is_unavailable(&told), "{told:?}");
    server.let_go().await;
    store.checkpoint(gives_back).await.unwrap();
    assert_eq!(claim(&store, node, at(3), 10).await.leases.len(), 1);
    let unknown = store.checkpoint(appending(lease(node, 3), 0, "a")).await;
    assert!(matches!(unknown, Err(StoreError::RunNotFound)), "{unknown:?}");
}
