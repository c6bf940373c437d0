//! What the tests write and where.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use onward_core::{
    Attempt, EndpointId, Fence, NodeId, Payload, RunId, Seq, Store, StoreError, Timestamp,
    journal::{Change, Entry},
    run::{NewRun, Outcome, Status},
    step::{StepId, StepKind},
    store::{Checkpoint, ClaimRequest, Claims, Endpoints, Lease, Loaded, Then},
};
use onward_sqlite::{Options, SqliteStore};
use tempfile::TempDir;

/// So many seconds after the tests begin.
pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(1_767_225_600_000_000 + seconds * 1_000_000)
}

/// A directory with room for one database.
#[derive(Debug)]
pub(crate) struct Place(TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory can be made"))
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.0.path().join("onward.db")
    }

    pub(crate) fn dir(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn open(&self) -> SqliteStore {
        self.open_with(Options::new())
    }

    pub(crate) fn open_with(&self, options: Options) -> SqliteStore {
        SqliteStore::open(self.path(), options).expect("the store opens")
    }
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

pub(crate) async fn join(store: &SqliteStore) -> NodeId {
    store.join(at(0), Duration::from_secs(30)).await.expect("a node joins")
}

pub(crate) fn lease(node: NodeId, number: u128) -> Lease {
    Lease { run_id: run_id(number), fence: Fence::FIRST, node }
}

/// The checkpoint that starts a run.
pub(crate) fn starting(lease: Lease, number: u128) -> Checkpoint {
    Checkpoint { start: Some(new_run(number)), ..Checkpoint::new(lease, at(1)) }
}

/// The checkpoint that appends one entry.
pub(crate) fn appending(lease: Lease, seq: u32, output: &str) -> Checkpoint {
    Checkpoint { entries: vec![entry(seq, output)], ..Checkpoint::new(lease, at(2)) }
}

pub(crate) async fn start(store: &SqliteStore, node: NodeId, number: u128) -> Lease {
    let lease = lease(node, number);
    store.checkpoint(starting(lease, number)).await.expect("a run starts");
    lease
}

pub(crate) async fn finish(store: &SqliteStore, lease: Lease, status: Status) -> Result<(), StoreError> {
    let outcome = Outcome { status, response: Payload::from("response"), error: Payload::default() };
    let checkpoint = Checkpoint { then: Then::Finish(outcome), ..Checkpoint::new(lease, at(3)) };
    store.checkpoint(checkpoint).await.map(drop)
}

pub(crate) async fn claim(store: &SqliteStore, node: NodeId, now: Timestamp) -> Claims {
    let request = ClaimRequest { node, now, limit: 100, endpoints: Endpoints::Only(vec![endpoint().into()]) };
    store.claim(request).await.expect("runs can be claimed")
}

pub(crate) async fn load(store: &SqliteStore, number: u128) -> Option<Loaded> {
    store.load(run_id(number)).await.expect("runs can be read")
}

/// How many entries a run has.
pub(crate) async fn entries(store: &SqliteStore, number: u128) -> usize {
    load(store, number).await.expect("the run is there").journal.len()
}
