//! Draws operations that make sense, and a few that do not.

mod checkpoint;

use std::{collections::BTreeMap, time::Duration};

use onward_core::{
    EndpointId, NodeId, Payload, RunId, StepKey, Timestamp, Version,
    event::Event,
    run::{Outcome, RunRecord, Status},
    store::{ClaimRequest, Control, Endpoints, RunFilter, Served},
    waiter::Signal,
};

use super::{
    answer::{Answer, Seen},
    draws::Draws,
    operation::Operation,
};
use crate::contract::fixture;

const ENDPOINTS: [&str; 3] = ["GET /a", "POST /b", "GET /c"];
const VERSIONS: [&str; 2] = ["1", "2"];
const NAMES: [&str; 3] = ["order/paid", "order/shipped", "other"];

/// What the drawing knows of the stores.
pub(super) struct Model {
    draws: Draws,
    now: Timestamp,
    /// How many nodes have joined.
    joined: u64,
    /// The node that is here.
    node: Option<NodeId>,
    beat_at: Timestamp,
    /// The runs as they are listed after the last operation.
    records: BTreeMap<RunId, RunRecord>,
    /// The same runs, as far as they have been read.
    seen: BTreeMap<RunId, Seen>,
    runs_made: u64,
    /// Steps that have waited, each with its run: a step waits once.
    waited: Vec<(RunId, StepKey)>,
    steps_made: u64,
}

impl Model {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            draws: Draws::new(seed),
            now: fixture::at(0),
            joined: 0,
            node: None,
            beat_at: fixture::at(0),
            records: BTreeMap::new(),
            seen: BTreeMap::new(),
            runs_made: 0,
            waited: Vec::new(),
            steps_made: 0,
        }
    }

    /// The next operation. Time moves a little with each.
    pub(super) fn next(&mut self) -> Operation {
        let step = self.draws.one([1, 1, 1000, 50_000, 900_000]);
        self.now = self.now.after(Duration::from_micros(step + self.draws.below(step)));
        let Some(node) = self.node else {
            return if self.draws.chance(70) { self.join() } else { self.without_node() };
        };
        // So that the node lives on in a store where several may live.
        if self.now.since(self.beat_at) > fixture::LEASE / 3 {
            self.beat_at = self.now;
            return Operation::Heartbeat(node, self.now);
        }
        match self.draws.below(100) {
            0..50 => Operation::Checkpoint(Box::new(self.checkpoint(node))),
            50..65 => Operation::Claim(self.claim(node)),
            65 => self.join(),
            66 => Operation::Leave(self.some_node(), self.now),
            67 => Operation::Heartbeat(node, self.now),
            _ => self.without_node(),
        }
    }

    /// The node is the only one that lives: the one before is gone by any store's rules.
    fn join(&mut self) -> Operation {
        self.now = self.now.after(fixture::LEASE * 2);
        self.beat_at = self.now;
        Operation::Join(self.now)
    }

    fn without_node(&mut self) -> Operation {
        match self.draws.below(100) {
            0..45 => {
                let count = self.draws.below(3) + 1;
                Operation::SendEvents((0..count).map(|_| self.event()).collect(), self.now)
            }
            45..60 => Operation::SendSignal(self.signal(), self.now),
            60..80 => self.control(),
            80..86 => {
                let back = Duration::from_secs(self.draws.below(60));
                let events_before = Timestamp::from_micros(self.now.as_micros() - micros(back));
                Operation::Sweep { now: self.now, events_before, limit: 1000 }
            }
            86..88 => {
                let proposal = self.draws.chance(60).then(|| format!("value {}", self.draws.below(9)).into());
                Operation::Setting(self.draws.one(["colour", "shape"]), proposal)
            }
            88..93 => self.registration(),
            _ => Operation::Runs(self.filter()),
        }
    }

    fn registration(&mut self) -> Operation {
        let name = self.draws.one(NAMES).to_owned();
        match self.draws.below(4) {
            0..2 => Operation::Register(name, format!("value {}", self.draws.below(3)).into()),
            2 => Operation::Unregister(name),
            _ => Operation::Registrations,
        }
    }

    fn some_node(&mut self) -> NodeId {
        NodeId(self.draws.below(self.joined + 1))
    }

    fn endpoint(&mut self) -> EndpointId {
        fixture::endpoint_named(self.draws.one(ENDPOINTS))
    }

    fn version(&mut self) -> Option<Version> {
        let text = self.draws.one(VERSIONS);
        self.draws.chance(70).then(|| Version::try_new(text).expect("it is short"))
    }

    fn some_run(&mut self) -> RunId {
        if self.draws.chance(4) {
            return fixture::run_id(1_000_000);
        }
        let run_ids: Vec<RunId> = self.records.keys().copied().collect();
        self.draws.pick(&run_ids).copied().unwrap_or(fixture::run_id(1_000_000))
    }

    /// A time around now, or none.
    fn some_time(&mut self, percent: u64) -> Option<Timestamp> {
        let span = Duration::from_secs(20);
        let from = self.now.as_micros() - micros(span);
        let place = i64::try_from(self.draws.below(40_000_000)).unwrap_or(0);
        self.draws.chance(percent).then(|| Timestamp::from_micros(from + place))
    }

    fn event(&mut self) -> Event {
        let data = format!(r#"{{"id":{},"sum":{}}}"#, self.draws.below(3), self.draws.below(20));
        Event {
            id: format!("event {}", self.draws.below(400)),
            name: self.draws.one(NAMES).to_owned(),
            data: data.into(),
            ts: Timestamp::from_micros(i64::try_from(self.draws.below(1 << 50)).unwrap_or(0)),
            more: if self.draws.chance(20) { r#"{"v":"7"}"#.into() } else { Payload::default() },
        }
    }

    fn signal(&mut self) -> Signal {
        Signal { name: self.draws.one(NAMES).to_owned(), data: format!("{}", self.draws.below(1000)).into() }
    }

    fn outcome(&mut self, status: Status) -> Outcome {
        let response = vec![7; usize::try_from(self.draws.below(50)).unwrap_or(0)];
        Outcome { status, response: response.into(), error: format!("error {}", self.draws.below(9)).into() }
    }

    fn control(&mut self) -> Operation {
        let control = match self.draws.below(3) {
            0 => Control::Cancel(self.outcome(Status::Cancelled)),
            1 => {
                let step = self.draws.chance(50).then(|| StepKey::of(self.draws.one(NAMES), 0));
                Control::Retry { step, timeout_at: self.some_time(30) }
            }
            _ => Control::Delete,
        };
        Operation::Control(self.some_run(), control, self.now)
    }

    fn claim(&mut self, node: NodeId) -> ClaimRequest {
        let mut some = Vec::new();
        for endpoint in ENDPOINTS.map(fixture::endpoint_named) {
            // Now and then in two versions, or in the same one twice.
            while self.draws.chance(60) {
                some.push(Served { endpoint: endpoint.clone(), version: self.version() });
            }
        }
        let endpoints = if self.draws.chance(30) { Endpoints::All } else { Endpoints::Only(some) };
        let limit = usize::try_from(self.draws.below(5)).unwrap_or(0);
        let limit = if self.is_tied(&endpoints, limit) { 1000 } else { limit };
        let node = if self.draws.chance(5) { self.some_node() } else { node };
        ClaimRequest { node, now: self.now, limit, endpoints }
    }

    /// Whether a claim of that many would have to choose between runs that are due at the same time.
    fn is_tied(&self, endpoints: &Endpoints, limit: usize) -> bool {
        let mut due: Vec<Timestamp> = self
            .records
            .values()
            .filter(|record| record.status == Status::Suspended)
            .filter(|record| endpoints.contains(&record.endpoint, record.version.as_ref(), record.pinned))
            .map(|record| record.due_at)
            .collect();
        due.sort_unstable();
        limit > 0 && due.get(limit).is_some_and(|next| due[limit - 1] == *next)
    }

    /// Fails where a claim did not give the longest due run first.
    pub(super) fn check_claim_order(&self, answer: &Answer) {
        let Answer::Claimed { leases, .. } = answer else { return };
        let due = |run_id: &RunId| self.records.get(run_id).map(|record| record.due_at);
        assert!(leases.iter().is_sorted_by_key(|(lease, _)| due(&lease.run_id)), "the longest due comes first");
    }

    fn filter(&mut self) -> RunFilter {
        let mut statuses = Status::ALL.to_vec();
        statuses.retain(|_| self.draws.chance(50));
        RunFilter {
            statuses,
            endpoint: self.draws.chance(30).then(|| self.endpoint()),
            created_from: self.some_time(30),
            created_before: self.some_time(30),
            before: self.draws.chance(30).then(|| self.some_run()),
            limit: usize::try_from(self.draws.below(6)).unwrap_or(0),
        }
    }

    /// Takes in what an operation did and which runs are listed after it.
    pub(super) fn learn(&mut self, operation: &Operation, answer: &Answer, listed: Answer) {
        match (operation, answer) {
            (Operation::Join(_), Answer::Joined) => {
                self.node = Some(NodeId(self.joined));
                self.joined += 1;
            }
            (Operation::Leave(node, _), Answer::Done) if self.node == Some(*node) => self.node = None,
            _ => {}
        }
        let Answer::Listed(records, _) = listed else { return };
        self.records = records.into_iter().map(|record| (record.run_id, record)).collect();
        self.seen.retain(|run_id, _| self.records.contains_key(run_id));
        self.waited.retain(|(run_id, _)| self.records.contains_key(run_id));
    }

    /// Every run.
    pub(super) fn all(&self) -> Vec<RunId> {
        self.records.keys().copied().collect()
    }

    /// The runs that an operation was about or that it woke, whether they are there or not.
    #[expect(clippy::unused_self, reason = "it reads as a question to the model")]
    pub(super) fn touched(&self, operation: &Operation, answer: &Answer) -> Vec<RunId> {
        let mut touched = Vec::new();
        match operation {
            Operation::Checkpoint(checkpoint) => {
                touched.push(checkpoint.lease.run_id);
                touched.extend(checkpoint.start.iter().chain(&checkpoint.children).map(|new| new.run_id));
            }
            Operation::Control(run_id, ..) => touched.push(*run_id),
            _ => {}
        }
        match answer {
            Answer::Checkpointed(woken, _) | Answer::Woken(woken) => {
                touched.extend(woken.iter().map(|woken| woken.run_id));
            }
            Answer::Claimed { leases, nudged, .. } => {
                touched.extend(leases.iter().map(|(lease, _)| lease.run_id).chain(nudged.iter().copied()));
            }
            _ => {}
        }
        touched.sort_unstable();
        touched.dedup();
        touched
    }

    /// Takes in how a run is now.
    pub(super) fn see(&mut self, run_id: RunId, seen: Option<Seen>) {
        if let Some(seen) = seen {
            self.seen.insert(run_id, seen);
        }
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
