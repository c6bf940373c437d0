//! What a node knows of the runs that it holds, so that a checkpoint need not ask.
//!
//! Only the holder of a lease appends to a run, so this stays true as long as its own writes go well. Where that is
//! not known, the run is forgotten here, and its next write asks the database.

use std::collections::BTreeMap;

use onward_core::{
    Fence, NodeId, RunId, Seq, StoreError,
    store::Lease,
    stream::{FRAMES_MAX, Place},
};
use parking_lot::Mutex;

use crate::error::{corrupt, rejected};

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

/// The runs that this process holds.
#[derive(Debug, Default)]
pub(crate) struct Known(Mutex<BTreeMap<RunId, Held>>);

impl Known {
    pub(crate) fn insert(&self, run_id: RunId, held: Held) {
        self.0.lock().insert(run_id, held);
    }

    pub(crate) fn forget(&self, run_id: RunId) {
        self.0.lock().remove(&run_id);
    }

    /// Nothing is known any more.
    pub(crate) fn clear(&self) {
        self.0.lock().clear();
    }

    /// A node is gone: so is what it held.
    pub(crate) fn forget_node(&self, node: NodeId) {
        self.0.lock().retain(|_, held| held.node != node);
    }

    /// What is known of a run that is held under this lease.
    pub(crate) fn under(&self, lease: &Lease) -> Option<Held> {
        self.0.lock().get(&lease.run_id).filter(|held| held.is_under(lease)).cloned()
    }

    pub(crate) fn with<T>(&self, run_id: RunId, look: impl FnOnce(Option<&mut Held>) -> T) -> T {
        look(self.0.lock().get_mut(&run_id))
    }
}
