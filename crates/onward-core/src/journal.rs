//! A run's append-only record: one entry a fact.

pub mod format;

use std::collections::BTreeMap;

use crate::{
    Attempt, Payload, RunId, Seq, StepKey, Timestamp,
    step::{StepId, StepKind},
};

/// One row of a journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its place; places of a run have no gaps.
    pub seq: Seq,
    /// When what it records happened.
    pub at: Timestamp,
    /// The step it is about.
    pub step: StepId,
    /// What kind of operation the step is.
    pub kind: StepKind,
    /// What happened to the step.
    pub change: Change,
}

impl Entry {
    /// The key of the step it is about.
    pub fn key(&self) -> StepKey {
        self.step.key()
    }
}

/// What an entry records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// An attempt failed and the next may start at `retry_at`.
    AttemptFailed {
        /// Which attempt failed.
        attempt: Attempt,
        /// The error as the handler would see it.
        error: Payload,
        /// When the next attempt is due.
        retry_at: Timestamp,
    },
    /// The step began to wait: for a time, for a fact from outside, or for whichever comes first.
    Waiting {
        /// When the wait ends by itself; `None` waits for the fact alone.
        until: Option<Timestamp>,
        /// What is waited for: an event's or signal's name, the invoked run's id, or nothing for a sleep.
        subject: String,
    },
    /// The step is done and this is its output; it never runs again.
    Succeeded {
        /// The attempt that succeeded.
        attempt: Attempt,
        /// The output.
        output: Payload,
    },
    /// The step failed for good; the handler gets this error.
    Failed {
        /// The attempt that was the last.
        attempt: Attempt,
        /// The error as the handler sees it.
        error: Payload,
    },
    /// An operator asked to try the step again: what was recorded of it before no longer counts.
    Reset,
    /// The handler let go of the step, because the step lost a race or its future was dropped. Its entries stay, and a
    /// replay need not ask for the step again.
    LetGo,
    /// An execution of the handler could not go on with this journal. The run waits for another handler.
    Blocked {
        /// The id of the step at which it could not, with its index; of a carried value its name.
        step: String,
        /// The reason.
        cause: BlockedBy,
    },
}

/// The reason for which a handler cannot go on with a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockedBy {
    /// The handler returned without asking for the step.
    NotAsked,
    /// The step's output is not of the type that it asks for.
    Unreadable,
    /// The run keeps a carried value of this name, and its endpoint carries none.
    NotCarried,
    /// The carried value of this name is not of the type that the endpoint carries.
    CarriedUnreadable,
}

/// The entries to append so that a failed run can be retried from the step that failed it.
///
/// `step` is that step, where its error failed the run: it begins with its first attempt again. A failure that the
/// handler had handled stays. Waits for events and signals begin anew, because an ended run waits for nothing; a
/// sleep stays as it is, and so does an invoked run. A run that failed outside its steps gets its handler's attempts
/// back.
pub fn reset_entries(journal: &[Entry], step: Option<StepKey>, now: Timestamp) -> Vec<Entry> {
    // A step may have the id under which what happens to the handler is recorded.
    let mut last: BTreeMap<(bool, StepKey), &Entry> = BTreeMap::new();
    // What the handler let go of stays as it was recorded.
    for entry in journal.iter().filter(|entry| entry.change != Change::LetGo) {
        last.insert((entry.kind == StepKind::Handler, entry.key()), entry);
    }
    let begins_anew = |entry: &&Entry| match &entry.change {
        Change::Failed { .. } => step == Some(entry.key()),
        Change::Waiting { .. } => matches!(entry.kind, StepKind::WaitForEvent | StepKind::WaitForSignal),
        _ => false,
    };
    let handler = |entry: &&Entry| entry.kind == StepKind::Handler && entry.change != Change::Reset;
    let mut reset: Vec<_> = last.values().copied().filter(|entry| begins_anew(entry) || handler(entry)).collect();
    reset.sort_unstable_by_key(|entry| entry.seq);
    let next = journal.last().map_or(Seq(0), |entry| entry.seq.next());
    let entry = |(old, seq): (&Entry, u32)| Entry {
        seq: Seq(seq),
        at: now,
        step: old.step.clone(),
        kind: old.kind,
        change: Change::Reset,
    };
    reset.into_iter().zip(next.0..).map(entry).collect()
}

/// The runs that a journal's open steps have invoked, by their steps.
pub fn invoked(journal: &[Entry]) -> Vec<(StepKey, RunId)> {
    let mut open = BTreeMap::new();
    for entry in journal {
        match &entry.change {
            Change::Waiting { subject, .. } if entry.kind == StepKind::Invoke => {
                open.extend(subject.parse().ok().map(|child: RunId| (entry.key(), child)));
            }
            Change::LetGo => {}
            _ => drop(open.remove(&entry.key())),
        }
    }
    open.into_iter().collect()
}

#[cfg(test)]
mod tests;
