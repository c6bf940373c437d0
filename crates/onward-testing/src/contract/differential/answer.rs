//! What a store answers, in words that two stores can share.

use onward_core::{
    EndpointId, NodeId, Payload, RunId, Store, StoreError, Timestamp,
    journal::Entry,
    run::{RunRecord, Status},
    store::{Checkpoint, ClaimRequest, Lease, Swept, Woken},
    waiter::{Delivery, Signalled},
};

use super::operation::Operation;
use crate::contract::fixture::LEASE;

/// One of the stores, with its nodes in the order in which they joined.
pub(super) struct Side<'a, S: ?Sized> {
    store: &'a S,
    nodes: Vec<NodeId>,
}

/// An answer in which nodes are named by their place.
#[derive(Debug, PartialEq)]
pub(super) enum Answer {
    Done,
    Joined,
    Checkpointed(Vec<Woken>, Vec<Signalled>),
    Claimed { leases: Vec<(Lease, EndpointId)>, nudged: Vec<RunId>, next_due_at: Option<Timestamp> },
    Listed(Vec<RunRecord>, Option<RunId>),
    Woken(Vec<Woken>),
    Swept(Swept),
    Setting(Option<Payload>),
    Changed(bool),
    Registered(Vec<(String, Payload)>),
    Refused(Refusal),
}

/// An error without what its source says.
#[derive(Debug, PartialEq)]
pub(super) enum Refusal {
    RunNotFound,
    LeaseLost,
    KeyTaken(RunId, bool),
    WrongStatus(Status),
    Unavailable,
    Corrupt,
    Other(String),
}

/// All that is stored of a run.
#[derive(Debug, PartialEq)]
pub(super) struct Seen {
    pub(super) record: RunRecord,
    pub(super) journal: Vec<Entry>,
    pub(super) deliveries: Vec<Delivery>,
}

impl Answer {
    /// The answer without the orders that a store may choose.
    pub(super) fn sorted(mut self) -> Self {
        match &mut self {
            Self::Checkpointed(woken, _) | Self::Woken(woken) => woken.sort_unstable_by_key(|woken| woken.run_id),
            Self::Claimed { leases, nudged, .. } => {
                leases.sort_unstable_by_key(|(lease, _)| lease.run_id);
                nudged.sort_unstable();
            }
            _ => {}
        }
        self
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::RunNotFound => Self::RunNotFound,
            StoreError::LeaseLost => Self::LeaseLost,
            StoreError::KeyTaken { run_id, same_request } => Self::KeyTaken(run_id, same_request),
            StoreError::WrongStatus(status) => Self::WrongStatus(status),
            StoreError::Unavailable(_) => Self::Unavailable,
            StoreError::Corrupt(_) => Self::Corrupt,
            other => Self::Other(other.to_string()),
        }
    }
}

impl<'a, S: Store + ?Sized> Side<'a, S> {
    pub(super) const fn new(store: &'a S) -> Self {
        Self { store, nodes: Vec::new() }
    }

    pub(super) async fn apply(&mut self, operation: &Operation) -> Answer {
        self.try_apply(operation).await.unwrap_or_else(|error| Answer::Refused(error.into()))
    }

    async fn try_apply(&mut self, operation: &Operation) -> Result<Answer, StoreError> {
        Ok(match operation.clone() {
            Operation::Join(now) => {
                let node = self.store.join(now, LEASE).await?;
                self.nodes.push(node);
                Answer::Joined
            }
            Operation::Heartbeat(node, now) => {
                self.store.heartbeat(self.node(node), now, LEASE).await?;
                Answer::Done
            }
            Operation::Leave(node, now) => {
                self.store.leave(self.node(node), now).await?;
                Answer::Done
            }
            Operation::Checkpoint(checkpoint) => {
                let lease = Lease { node: self.node(checkpoint.lease.node), ..checkpoint.lease };
                let done = self.store.checkpoint(Checkpoint { lease, ..*checkpoint }).await?;
                Answer::Checkpointed(self.woken(done.woken), done.signalled)
            }
            Operation::Claim(request) => {
                let node = self.node(request.node);
                let claims = self.store.claim(ClaimRequest { node, ..request }).await?;
                let place = |lease: Lease| Lease { node: self.place(lease.node), ..lease };
                Answer::Claimed {
                    leases: claims.leases.into_iter().map(|(lease, of)| (place(lease), of)).collect(),
                    nudged: claims.nudged,
                    next_due_at: claims.next_due_at,
                }
            }
            Operation::Runs(filter) => {
                let page = self.store.runs(filter).await?;
                Answer::Listed(page.runs.into_iter().map(|record| self.record(record)).collect(), page.next)
            }
            Operation::SendEvents(events, now) => Answer::Woken(self.woken(self.store.send_events(events, now).await?)),
            Operation::SendSignal(signal, now) => {
                let woken = self.store.send_signal(signal, now).await?;
                Answer::Woken(self.woken(woken.into_iter().collect()))
            }
            Operation::Control(run_id, control, now) => {
                Answer::Woken(self.woken(self.store.control(run_id, control, now).await?))
            }
            Operation::Sweep { now, events_before, limit } => {
                Answer::Swept(self.store.sweep(now, events_before, limit).await?)
            }
            Operation::Setting(name, proposal) => Answer::Setting(self.store.setting(name, proposal).await?),
            Operation::Register(name, value) => Answer::Changed(self.store.register(name, value).await?),
            Operation::Unregister(name) => Answer::Changed(self.store.unregister(name).await?),
            Operation::Registrations => Answer::Registered(self.store.registrations().await?),
        })
    }

    /// A run with all that can be seen of it.
    pub(super) async fn load(&self, run_id: RunId) -> Option<Seen> {
        let loaded = self.store.load(run_id).await.expect("the store can be read");
        let record = self.store.run(run_id).await.expect("the store can be read");
        let deliveries = self.store.deliveries(run_id).await.expect("the store can be read");
        assert_eq!(loaded.as_ref().map(|loaded| &loaded.record), record.as_ref(), "`run` says what `load` says");
        let loaded = loaded?;
        assert_eq!(loaded.deliveries, deliveries, "`deliveries` says what `load` says");
        let mut seen =
            Seen { record: self.record(loaded.record), journal: loaded.journal, deliveries: loaded.deliveries };
        // One event may be for two steps: which of them comes first is free.
        for together in seen.deliveries.chunk_by_mut(|one, next| one.at == next.at) {
            together.sort_by_key(|delivery| delivery.step);
        }
        Some(seen)
    }

    /// The store's node at a place; one that nobody has where none joined.
    fn node(&self, place: NodeId) -> NodeId {
        let index = usize::try_from(place.0).unwrap_or(usize::MAX);
        self.nodes.get(index).copied().unwrap_or(NodeId(u64::MAX >> 1))
    }

    fn place(&self, node: NodeId) -> NodeId {
        let place = self.nodes.iter().position(|joined| *joined == node);
        NodeId(place.map_or(u64::MAX, |place| place as u64))
    }

    fn woken(&self, woken: Vec<Woken>) -> Vec<Woken> {
        let place = |woken: Woken| Woken { node: woken.node.map(|node| self.place(node)), ..woken };
        woken.into_iter().map(place).collect()
    }

    fn record(&self, record: RunRecord) -> RunRecord {
        RunRecord { node: record.node.map(|node| self.place(node)), ..record }
    }
}
