//! What a node knows of the runs that it holds, so that a checkpoint need not ask.
//!
//! Only the holder of a lease appends to a run, so this stays true as long as its own writes go well. Where that is
//! not known, the run is forgotten here, and its next write asks the database. Runs that others end are looked for with
//! the heartbeats, because nothing more is written of them here.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
};

use onward_core::{
    Fence, NodeId, RunId, Seq, StoreError,
    store::Lease,
    stream::{FRAMES_MAX, Place},
};
use parking_lot::Mutex;
use uuid::Uuid;

use crate::{
    error::{corrupt, rejected},
    row,
    store::Inner,
};

/// The most entries that a run's journal can have.
pub(crate) const ENTRIES_MAX: u32 = (1 << 20) - 2;

/// What is known of a run that this node holds.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) fence: Fence,
    pub(crate) node: NodeId,
    pub(crate) next: Seq,
    /// The place of its stream's last frame.
    pub(crate) streamed: Place,
    pub(crate) lane: i64,
    pub(crate) timeout_at: Option<i64>,
    pub(crate) retention: i64,
    /// Whether it may have waiters, deliveries or children, or has a parent: its end touches other rows then.
    pub(crate) has_ties: bool,
}

impl Held {
    /// Whether this is the lease that it is held under.
    pub(crate) fn is_under(&self, lease: &Lease) -> bool {
        self.fence == lease.fence && self.node == lease.node
    }

    /// Takes in what is appended, or says why it does not follow.
    pub(crate) fn append(
        &mut self,
        seqs: impl Iterator<Item = Seq>,
        pieces: impl Iterator<Item = (Place, u32)>,
    ) -> Result<(), StoreError> {
        let (mut next, mut streamed) = (self.next, self.streamed);
        for seq in seqs {
            if seq != next {
                return Err(corrupt(format!("the journal's next entry is {}, not {}", next.0, seq.0)));
            }
            if next.0 >= ENTRIES_MAX {
                return Err(rejected("the journal is full"));
            }
            next = next.next();
        }
        for (first, count) in pieces {
            if first != streamed.next() {
                return Err(corrupt(format!("the stream's next frame is {}, not {}", streamed.next().0, first.0)));
            }
            streamed = match streamed.0.checked_add(count) {
                Some(last) if last <= FRAMES_MAX => Place(last),
                _ => return Err(rejected("the stream is full")),
            };
        }
        (self.next, self.streamed) = (next, streamed);
        Ok(())
    }
}

/// How many runs a heartbeat looks for.
const LOOKED_AT_ONCE: usize = 256;

/// The runs that this process holds.
#[derive(Debug, Default)]
pub(crate) struct Known(Mutex<Runs>);

#[derive(Debug, Default)]
struct Runs {
    held: BTreeMap<RunId, Held>,
    /// The run that was looked for last.
    looked_at: Option<RunId>,
}

impl Known {
    pub(crate) fn insert(&self, run_id: RunId, held: Held) {
        self.0.lock().held.insert(run_id, held);
    }

    pub(crate) fn forget(&self, run_id: RunId) {
        self.0.lock().held.remove(&run_id);
    }

    /// Nothing is known any more.
    pub(crate) fn clear(&self) {
        self.0.lock().held.clear();
    }

    /// A node is gone: so is what it held.
    pub(crate) fn forget_node(&self, node: NodeId) {
        self.0.lock().held.retain(|_, held| held.node != node);
    }

    /// A run is no longer held under this lease.
    fn forget_under(&self, lease: &Lease) {
        let mut runs = self.0.lock();
        if runs.held.get(&lease.run_id).is_some_and(|held| held.is_under(lease)) {
            runs.held.remove(&lease.run_id);
        }
    }

    /// What is known of a run that is held under this lease.
    pub(crate) fn under(&self, lease: &Lease) -> Option<Held> {
        self.0.lock().held.get(&lease.run_id).filter(|held| held.is_under(lease)).cloned()
    }

    pub(crate) fn with<T>(&self, run_id: RunId, look: impl FnOnce(Option<&mut Held>) -> T) -> T {
        look(self.0.lock().held.get_mut(&run_id))
    }

    /// The number of runs that are known.
    pub(crate) fn len(&self) -> usize {
        self.0.lock().held.len()
    }

    /// The leases to look for next: one slice after the other, and then from the beginning.
    fn next_slice(&self) -> Vec<Lease> {
        let mut runs = self.0.lock();
        let after = runs.looked_at.map_or(Bound::Unbounded, Bound::Excluded);
        let slice = runs.held.range((after, Bound::Unbounded)).take(LOOKED_AT_ONCE);
        let slice: Vec<_> =
            slice.map(|(run_id, held)| Lease { run_id: *run_id, fence: held.fence, node: held.node }).collect();
        runs.looked_at = slice.last().filter(|_| slice.len() == LOOKED_AT_ONCE).map(|lease| lease.run_id);
        slice
    }
}

impl Inner {
    /// Forgets some of the runs whose lease is gone, because another node or an operator has cancelled or deleted them.
    pub(crate) async fn forget_lost(&self) -> Result<(), StoreError> {
        let slice = self.known.next_slice();
        if slice.is_empty() {
            return Ok(());
        }
        let runs: Vec<Uuid> = slice.iter().map(|lease| row::uuid(lease.run_id)).collect();
        let sql = "SELECT run_id, fence, node FROM onward_leases WHERE run_id = ANY($1::UUID[])";
        let mut leased = BTreeSet::new();
        for row in &self.read(sql, &[&runs]).await? {
            let (run_id, fence, node): (Uuid, i64, i64) =
                (|| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?)))().map_err(row::damaged)?;
            leased.insert((run_id, fence, node));
        }
        for lease in slice {
            let lease_row = (row::uuid(lease.run_id), row::fence(lease.fence), row::node(lease.node));
            if !leased.contains(&lease_row) {
                self.known.forget_under(&lease);
            }
        }
        Ok(())
    }
}
