//! A run's append-only record: one entry a fact.

pub mod format;

use crate::{
    Attempt, Payload, Seq, StepKey, Timestamp,
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
}

/// The entries to append so that a failed run can be retried from the step that failed it.
///
/// That is the step that failed for good last. A run that failed outside its steps gets its handler's attempts back.
pub fn reset_entries(journal: &[Entry], now: Timestamp) -> Vec<Entry> {
    let mut reset: Vec<(StepId, StepKind)> = Vec::new();
    let fails = |entry: &&Entry| entry.kind != StepKind::Handler && matches!(entry.change, Change::Failed { .. });
    let failed_last = journal.iter().rev().find(fails);
    // Why: a reset of another step is the place of a transaction that came to nothing.
    let is_reset = |failed: &Entry| {
        let undoes =
            |entry: &Entry| entry.seq > failed.seq && entry.change == Change::Reset && entry.step == failed.step;
        journal.iter().any(undoes)
    };
    // Why: where the handler itself failed the run, a step's failure is one that the handler had handled.
    let by_handler = journal.last().is_some_and(|last| last.kind == StepKind::Handler);
    let failed_last = failed_last.filter(|failed| !by_handler && !is_reset(failed));
    if let Some(entry) = failed_last {
        reset.push((entry.step.clone(), entry.kind));
    }
    if let Some(entry) = journal.iter().rev().find(|entry| entry.kind == StepKind::Handler) {
        reset.push((entry.step.clone(), entry.kind));
    }
    let next = journal.last().map_or(Seq(0), |entry| entry.seq.next());
    reset
        .into_iter()
        .zip(next.0..)
        .map(|((step, kind), seq)| Entry { seq: Seq(seq), at: now, step, kind, change: Change::Reset })
        .collect()
}

#[cfg(test)]
mod tests;
