//! What is stored, and how it is read.

use std::collections::{BTreeMap, BTreeSet};

use onward_core::{
    NodeId, Payload, RunId, Seq, StepKey, StoreError, Timestamp,
    event::{Event, Matcher},
    journal::Entry,
    run::{CrashRecord, Crashes, IdempotencyKey, NewRun, Outcome, RunRecord, Status},
    store::{Loaded, RunFilter, RunPage},
    stream::{Frame, Place},
    waiter::Delivery,
};

/// All that is stored.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    /// Whether several processes share it.
    pub(super) is_shared: bool,
    /// The nodes that are here, and when their leases end.
    pub(super) nodes: BTreeMap<NodeId, Timestamp>,
    /// How many nodes have joined: the id of the newest.
    pub(super) nodes_joined: u64,
    pub(super) runs: BTreeMap<RunId, Run>,
    /// How many runs were ever made.
    pub(super) runs_made: u64,
    /// Who has an idempotency key: by its digest, the run and the fingerprint of its request.
    pub(super) keys: BTreeMap<[u8; 32], (RunId, [u8; 32])>,
    pub(super) event_waiters: BTreeMap<(RunId, StepKey), Matcher>,
    pub(super) signal_waiters: BTreeMap<String, (RunId, StepKey)>,
    /// By when they were received: no two at the same time.
    pub(super) events: BTreeMap<Timestamp, Event>,
    pub(super) event_ids: BTreeSet<String>,
    pub(super) last_received_at: Option<Timestamp>,
    pub(super) settings: BTreeMap<&'static str, Payload>,
    pub(super) registrations: BTreeMap<String, Registration>,
}

/// A value under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Registration {
    pub(super) value: Payload,
    /// The node that announced it, with which it goes; `None` where it stays.
    pub(super) node: Option<NodeId>,
}

/// A run with what belongs to it alone.
#[derive(Clone, Debug)]
pub(super) struct Run {
    /// How many runs were made before it: breaks ties.
    pub(super) number: u64,
    pub(super) record: RunRecord,
    pub(super) key: Option<IdempotencyKey>,
    pub(super) journal: Vec<Entry>,
    pub(super) frames: Vec<Frame>,
    /// In the order in which they came.
    pub(super) deliveries: Vec<Delivery>,
    pub(super) crashes: Option<CrashRecord>,
}

impl Run {
    /// The place of its journal's next entry.
    pub(super) fn next(&self) -> Seq {
        self.journal.last().map_or(Seq(0), |entry| entry.seq.next())
    }

    /// Releases the lease; the run is due at `due_at`, or when its time is out if that is earlier.
    pub(super) fn suspend(&mut self, due_at: Timestamp) {
        self.record.status = Status::Suspended;
        self.record.due_at = due_at.min(self.record.timeout_at.unwrap_or(Timestamp::NEVER));
        self.record.node = None;
    }

    /// The place of its stream's last frame.
    pub(super) fn streamed(&self) -> Place {
        self.frames.last().map_or(Place(0), |frame| frame.place)
    }

    /// When its record may go; `None` while it has not ended.
    pub(super) fn kept_until(&self) -> Option<Timestamp> {
        self.record.finished_at.map(|at| at.after(self.record.retention))
    }
}

impl State {
    /// Fails unless this is a node that is here.
    pub(super) fn check_node(&self, node: NodeId) -> Result<(), StoreError> {
        if self.nodes.contains_key(&node) { Ok(()) } else { Err(StoreError::LeaseLost) }
    }

    /// Fails where the key of a run to be made belongs to another.
    pub(super) fn check_key(&self, new: &NewRun) -> Result<(), StoreError> {
        let Some(key) = &new.key else { return Ok(()) };
        match self.keys.get(&key.digest) {
            None => Ok(()),
            Some((run_id, fingerprint)) => {
                Err(StoreError::KeyTaken { run_id: *run_id, same_request: *fingerprint == key.fingerprint })
            }
        }
    }

    /// Makes a run whose id and key are known to be free. The caller sets what differs from a run that is due now.
    pub(super) fn insert(&mut self, new: NewRun, now: Timestamp) -> &mut Run {
        let NewRun { run_id, endpoint, version, pinned, created_at, request, timeout_at, retention, key, parent } = new;
        if let Some(key) = &key {
            self.keys.insert(key.digest, (run_id, key.fingerprint));
        }
        let record = RunRecord {
            run_id,
            endpoint,
            version,
            pinned,
            status: Status::Suspended,
            created_at,
            finished_at: None,
            due_at: now.min(timeout_at.unwrap_or(Timestamp::NEVER)),
            timeout_at,
            retention,
            fence: onward_core::Fence(0),
            node: None,
            parent,
            request,
            outcome: None,
        };
        let (journal, frames, deliveries) = (Vec::new(), Vec::new(), Vec::new());
        let run = Run { number: self.runs_made, record, key, journal, frames, deliveries, crashes: None };
        self.runs_made += 1;
        self.runs.entry(run_id).or_insert(run)
    }

    /// Removes a run with all that belongs to it.
    pub(super) fn remove(&mut self, run_id: RunId) {
        self.forget_waits(run_id);
        if let Some(key) = self.runs.remove(&run_id).and_then(|run| run.key) {
            self.keys.remove(&key.digest);
        }
    }

    /// Removes what a run waits for and what came for it.
    pub(super) fn forget_waits(&mut self, run_id: RunId) {
        self.event_waiters.retain(|(waiting, _), _| *waiting != run_id);
        self.signal_waiters.retain(|_, (waiting, _)| *waiting != run_id);
        if let Some(run) = self.runs.get_mut(&run_id) {
            run.deliveries.clear();
        }
    }

    pub(super) fn load(&self, run_id: RunId) -> Option<Loaded> {
        let run = self.runs.get(&run_id)?;
        let (record, journal, deliveries) = (run.record.clone(), run.journal.clone(), run.deliveries.clone());
        let crashes = run.crashes.map_or_else(Crashes::default, |record| record.crashes(run.next()));
        Some(Loaded { record, journal, deliveries, streamed: run.streamed(), crashes })
    }

    pub(super) fn page(&self, filter: &RunFilter) -> RunPage {
        let mut passing = self.runs.values().rev().map(|run| &run.record).filter(|record| {
            (filter.statuses.is_empty() || filter.statuses.contains(&record.status))
                && filter.endpoint.as_ref().is_none_or(|endpoint| *endpoint == record.endpoint)
                && filter.created_from.is_none_or(|from| record.created_at >= from)
                && filter.created_before.is_none_or(|before| record.created_at < before)
                && filter.before.is_none_or(|before| record.run_id < before)
        });
        let runs: Vec<RunRecord> = passing.by_ref().take(filter.limit).map(without_payloads).collect();
        let more = passing.next().is_some();
        RunPage { next: runs.last().filter(|_| more).map(|record| record.run_id), runs }
    }
}

fn without_payloads(record: &RunRecord) -> RunRecord {
    let outcome = record.outcome.as_ref().map(|outcome| Outcome {
        status: outcome.status,
        response: Payload::default(),
        error: Payload::default(),
    });
    RunRecord { request: Payload::default(), outcome, ..record.clone() }
}
