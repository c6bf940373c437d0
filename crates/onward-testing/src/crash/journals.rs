//! What journals must be like, whatever happened.

use std::collections::{BTreeMap, BTreeSet};

use onward_core::{
    RunId, StepKey, Timestamp,
    journal::{Change, Entry},
    store::Loaded,
};

use crate::MemoryStore;

/// Every run with its journal, at one moment.
#[derive(Default)]
pub(super) struct Journals(BTreeMap<RunId, Loaded>);

impl Journals {
    pub(super) fn of(memory: &MemoryStore) -> Self {
        Self(memory.all().into_iter().map(|run| (run.record.run_id, run)).collect())
    }

    /// Whether a step has succeeded in any run.
    pub(super) fn has_succeeded(&self, step: &str) -> bool {
        self.0.values().any(|run| {
            let entries = run.journal.iter().filter(|entry| entry.step.to_string() == step);
            entries.last().is_some_and(|entry| matches!(entry.change, Change::Succeeded { .. }))
        })
    }

    /// What is wrong with them, given what was durable before.
    pub(super) fn broken_since(&self, before: &Self, now: Timestamp) -> Vec<String> {
        let mut broken = Vec::new();
        for (run_id, run) in &self.0 {
            broken.extend(done_twice(&run.journal).map(|step| format!("step {step} of run {run_id} is done twice")));
        }
        for (run_id, was) in &before.0 {
            let Some(is) = self.0.get(run_id) else {
                if !may_be_gone(was, now) {
                    broken.push(format!("run {run_id} is lost"));
                }
                continue;
            };
            if !is.journal.starts_with(&was.journal) {
                broken.push(format!("the journal of run {run_id} lost or changed an entry"));
            }
            // Who retries a failed run takes its outcome back; that is in the journal.
            let retried =
                is.journal[was.journal.len().min(is.journal.len())..].iter().any(|entry| entry.change == Change::Reset);
            if was.record.outcome.is_some() && was.record.outcome != is.record.outcome && !retried {
                broken.push(format!("the outcome of run {run_id} changed"));
            }
        }
        broken
    }
}

/// Whether a run's record was not to be kept any longer.
fn may_be_gone(run: &Loaded, now: Timestamp) -> bool {
    run.record.finished_at.is_some_and(|at| at.after(run.record.retention) <= now)
}

/// The steps about which anything was recorded after they had succeeded.
fn done_twice(journal: &[Entry]) -> impl Iterator<Item = String> {
    let mut done: BTreeSet<StepKey> = BTreeSet::new();
    journal.iter().filter_map(move |entry| match entry.change {
        Change::Reset => {
            done.remove(&entry.key());
            None
        }
        Change::LetGo => None,
        Change::Succeeded { .. } => (!done.insert(entry.key())).then(|| format!("{:?}", entry.step)),
        _ => done.contains(&entry.key()).then(|| format!("{:?}", entry.step)),
    })
}
