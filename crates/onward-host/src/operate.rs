//! What operators do to runs, whichever face executes them.

use std::collections::BTreeMap;

use onward_core::{
    Payload, StepKey,
    journal::{Change, Entry},
    run::{Outcome, Status},
    step::StepKind,
};
use serde::Deserialize;

/// The outcome of a run that an operator cancels without the process that executes it. The status alone tells how it ended,
/// because each face has answers of its own.
pub fn cancelled() -> Outcome {
    Outcome { status: Status::Cancelled, response: Payload::default(), error: Payload::default() }
}

/// What errors say that are kept: those of the library have a kind, and perhaps the id of the step that failed the run.
#[derive(Debug, Default, Deserialize)]
struct Kept {
    kind: Option<String>,
    step: Option<String>,
    message: Option<String>,
}

impl Kept {
    fn read(error: &Payload) -> Self {
        serde_json::from_slice(error.as_ref()).unwrap_or_default()
    }
}

/// The step whose error failed a run, from which a retry goes on; `None` where no step's did.
pub fn failed_step(outcome: &Outcome, journal: &[Entry]) -> Option<StepKey> {
    let Kept { kind, step, message } = Kept::read(&outcome.error);
    match (step, kind.as_deref()) {
        // The id is written with its index, as it is hashed.
        (Some(step), _) => Some(StepKey::of(&step, 0)),
        // A handler that answers with a response of its own does not say which step failed it.
        (None, Some("Response")) => failed_last(journal),
        (None, Some(_)) => None,
        (None, None) => failed_with(message.as_deref()?, journal),
    }
}

/// The step that failed for good last, of those that have not gone on since.
fn failed_last(journal: &[Entry]) -> Option<StepKey> {
    let of_steps = journal.iter().filter(|entry| entry.kind != StepKind::Handler && entry.change != Change::LetGo);
    let last: BTreeMap<StepKey, &Entry> = of_steps.map(|entry| (entry.key(), entry)).collect();
    let failed = last.into_values().filter(|entry| matches!(entry.change, Change::Failed { .. }));
    failed.max_by_key(|entry| entry.seq).map(Entry::key)
}

/// The last step that failed with this message.
fn failed_with(message: &str, journal: &[Entry]) -> Option<StepKey> {
    journal.iter().rev().find_map(|entry| match &entry.change {
        Change::Failed { error, .. } if entry.kind != StepKind::Handler => {
            (Kept::read(error).message.as_deref() == Some(message)).then(|| entry.key())
        }
        _ => None,
    })
}
