//! What the tests write and where.

use std::{
    io::{self, BufRead, BufReader, Write},
    ops::Deref,
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use onward_core::{
    Attempt, EndpointId, Fence, NodeId, Payload, RunId, Seq, Store, StoreError, Timestamp,
    journal::{Change, Entry},
    run::{IdempotencyKey, NewRun, Outcome, Status},
    step::{StepId, StepKind},
    store::{Checkpoint, Checkpointed, ClaimRequest, Claims, Endpoints, Lease, Then},
};
use onward_postgres::{Options, PostgresStore};
use onward_testing::postgres::TestDatabase;
use tokio::task::{JoinHandle, spawn_blocking};

/// How long leases last in the tests.
pub(crate) const LEASE: Duration = Duration::from_secs(30);

/// A store, and the database that goes with it.
pub(crate) struct TestStore {
    pub(crate) store: PostgresStore,
    pub(crate) database: TestDatabase,
}

impl TestStore {
    pub(crate) async fn open() -> Self {
        let database = TestDatabase::create();
        let store = open(database.url()).await;
        Self { store, database }
    }

    /// Another handle on the same database, as another node has it.
    pub(crate) async fn another(&self) -> PostgresStore {
        open(self.database.url()).await
    }
}

impl Deref for TestStore {
    type Target = PostgresStore;

    fn deref(&self) -> &PostgresStore {
        &self.store
    }
}

pub(crate) async fn open(url: &str) -> PostgresStore {
    PostgresStore::open(url, Options::new().connections(3)).await.expect("the store opens")
}

/// So many seconds after the tests begin.
pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(1_767_225_600_000_000 + seconds * 1_000_000)
}

pub(crate) fn endpoint() -> EndpointId {
    EndpointId::try_new("POST /checkout").expect("it is valid")
}

pub(crate) fn run_id(number: u128) -> RunId {
    RunId::new(at(0), number)
}

pub(crate) fn new_run(number: u128) -> NewRun {
    NewRun {
        run_id: run_id(number),
        endpoint: endpoint(),
        version: None,
        pinned: false,
        created_at: at(0),
        request: Payload::from(format!("request {number}")),
        timeout_at: None,
        retention: Duration::from_secs(60),
        key: None,
        parent: None,
    }
}

pub(crate) fn entry(seq: u32, output: &str) -> Entry {
    Entry {
        seq: Seq(seq),
        at: at(1),
        step: StepId::try_new(format!("step {seq}"), 0).expect("it is valid"),
        kind: StepKind::Run,
        change: Change::Succeeded { attempt: Attempt::FIRST, output: Payload::from(output.to_owned()) },
    }
}

pub(crate) async fn join(store: &PostgresStore) -> NodeId {
    store.join(at(0), LEASE).await.expect("a node joins")
}

pub(crate) fn lease(node: NodeId, number: u128) -> Lease {
    Lease { run_id: run_id(number), fence: Fence::FIRST, node }
}

/// The checkpoint that starts a run.
pub(crate) fn starting(node: NodeId, number: u128) -> Checkpoint {
    Checkpoint { start: Some(new_run(number)), ..Checkpoint::new(lease(node, number), at(1)) }
}

/// The same, with a key that all runs of the tests have.
pub(crate) fn starting_with_key(node: NodeId, number: u128) -> Checkpoint {
    let key = IdempotencyKey { digest: [1; 32], fingerprint: [2; 32] };
    Checkpoint { start: Some(NewRun { key: Some(key), ..new_run(number) }), ..starting(node, number) }
}

/// The checkpoint that appends one entry.
pub(crate) fn appending(lease: Lease, seq: u32, output: &str) -> Checkpoint {
    Checkpoint { entries: vec![entry(seq, output)], ..Checkpoint::new(lease, at(2)) }
}

pub(crate) async fn start(store: &PostgresStore, node: NodeId, number: u128) -> Lease {
    store.checkpoint(starting(node, number)).await.expect("a run starts");
    lease(node, number)
}

pub(crate) fn finishing(lease: Lease, response: &str) -> Checkpoint {
    let response = Payload::from(response.to_owned());
    let outcome = Outcome { status: Status::Completed, response, error: Payload::default() };
    Checkpoint { then: Then::Finish(outcome), ..Checkpoint::new(lease, at(3)) }
}

pub(crate) async fn suspend(store: &PostgresStore, lease: Lease, due_at: Timestamp) -> Checkpointed {
    let then = Then::Suspend { due_at };
    store.checkpoint(Checkpoint { then, ..Checkpoint::new(lease, at(2)) }).await.expect("a run is suspended")
}

pub(crate) async fn claim(store: &PostgresStore, node: NodeId, now: Timestamp, limit: usize) -> Claims {
    let request = ClaimRequest { node, now, limit, endpoints: Endpoints::Only(vec![endpoint().into()]) };
    store.claim(request).await.expect("runs can be claimed")
}

pub(crate) async fn status(store: &PostgresStore, number: u128) -> Status {
    store.run(run_id(number)).await.expect("runs can be read").expect("the run is there").status
}

/// How many entries a run has.
pub(crate) async fn entries(store: &PostgresStore, number: u128) -> usize {
    store.load(run_id(number)).await.expect("runs can be read").expect("the run is there").journal.len()
}

/// Has another client of the database do something that ends with a `pg_sleep`; it sleeps when this returns.
pub(crate) async fn beside(database: &TestDatabase, sql: String) -> JoinHandle<io::Result<Output>> {
    let url = database.url().to_owned();
    let client = spawn_blocking(move || Command::new("psql").args([url, "-qc".to_owned(), sql]).output());
    let sleeping =
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()";
    while database.query(sleeping).trim() != "1" {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    client
}

pub(crate) fn is_lease_lost<T>(answer: &Result<T, StoreError>) -> bool {
    matches!(answer, Err(StoreError::LeaseLost))
}

pub(crate) fn is_unavailable<T>(answer: &Result<T, StoreError>) -> bool {
    matches!(answer, Err(StoreError::Unavailable(_)))
}

/// Tries until it is well again.
pub(crate) async fn again<T, E: std::fmt::Debug>(mut ask: impl AsyncFnMut() -> Result<T, E>) -> T {
    let mut last = None;
    for _ in 0..200 {
        match ask().await {
            Ok(value) => return value,
            Err(error) => last = Some(error),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it did not come back: {last:?}");
}

/// A session of somebody else's that has begun a transaction, which is undone when this is dropped.
pub(crate) struct Session(Child);

impl Session {
    pub(crate) fn begin(database: &TestDatabase, sql: &str) -> Self {
        let mut child = Command::new("psql")
            .args([database.url(), "-qAt"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("psql starts");
        let stdin = child.stdin.as_mut().expect("it is a pipe");
        writeln!(stdin, "BEGIN; {sql}; SELECT 'begun';").expect("psql reads");
        let stdout = BufReader::new(child.stdout.as_mut().expect("it is a pipe"));
        assert!(stdout.lines().any(|line| line.expect("psql writes") == "begun"), "{sql} is refused");
        Self(child)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().expect("psql ends");
    }
}
