//! Crashes of a run: executions that ended with their process, and added nothing to the journal.

use crate::{NodeId, Seq, Timestamp};

/// How often in a row a run's process died before the run had a new entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Crashes {
    /// The number of crashes.
    pub count: u32,
    /// When a store learned of the last one.
    pub last_at: Timestamp,
}

/// The crashes of a run as a store keeps them: written only where a node died that held the run.
///
/// The first crash at a place of the journal does not count, because the execution may have added what is before that place.
/// It counts where the journal is empty.
///
/// # Example
///
/// ```
/// use onward_core::{NodeId, Seq, Timestamp, run::CrashRecord};
///
/// let crash = |before, next| CrashRecord::after(before, Seq(next), NodeId(1), Timestamp::EPOCH);
/// let first = crash(None, 3);
/// assert_eq!(first.count, 0);
/// let second = crash(Some(first), 3);
/// assert_eq!((second.count, second.crashes(Seq(3)).count), (1, 1));
/// assert_eq!(second.crashes(Seq(4)).count, 0, "the run has a new entry");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CrashRecord {
    /// The place of the journal's next entry, then.
    pub next: Seq,
    /// How many crashes count at that place.
    pub count: u32,
    /// The time of the last one.
    pub last_at: Timestamp,
    /// The node that died last; 0 where that was taken back.
    pub node: NodeId,
}

impl CrashRecord {
    /// Counts that `node` died, where the journal's next entry was to be at `next`.
    pub fn after(before: Option<Self>, next: Seq, node: NodeId, now: Timestamp) -> Self {
        let count = match before {
            Some(before) if before.next == next => before.count.saturating_add(1),
            _ => u32::from(next == Seq(0)),
        };
        Self { next, count, last_at: now, node }
    }

    /// The crashes that count now, where the journal's next entry is at `next`.
    pub fn crashes(&self, next: Seq) -> Crashes {
        let count = if self.next == next { self.count } else { 0 };
        Crashes { count, last_at: self.last_at }
    }

    /// Takes the last crash back: the process lives, and only its lease was lost. Twice is once.
    pub fn uncount(&mut self) {
        if self.node != NodeId(0) {
            self.count = self.count.saturating_sub(1);
            self.node = NodeId(0);
        }
    }
}
