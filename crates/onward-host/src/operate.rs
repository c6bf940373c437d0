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

/// What the library writes of an error: its kind, and the id of the step that failed the run, where one did.
#[derive(Debug, Deserialize)]
struct Kept {
    kind: Option<String>,
    step: Option<String>,
}

/// The error of a failed run cannot be read, so that it is not known which step failed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the error of the run cannot be read without its app: retry it there")]
pub struct UnreadableError;

/// The step whose error failed a run of the library, from which a retry goes on; `None` where no step's did.
///
/// # Errors
/// Where the error cannot be read, as it is encrypted.
pub fn failed_step(outcome: &Outcome, journal: &[Entry]) -> Result<Option<StepKey>, UnreadableError> {
    if outcome.error.is_empty() {
        return Ok(None);
    }
    let Kept { kind, step } = serde_json::from_slice(outcome.error.as_ref()).map_err(|_| UnreadableError)?;
    Ok(match (step, kind.as_deref()) {
        // The id is written with its index, as it is hashed.
        (Some(step), _) => Some(StepKey::of(&step, 0)),
        // A handler that answers with a response of its own does not say which step failed it.
        (None, Some("Response")) => failed_last(journal),
        (None, _) => None,
    })
}

/// The last step that failed with what a run of the engine failed with, whose error an endpoint wrote as it liked.
pub fn failed_with(outcome: &Outcome, journal: &[Entry]) -> Option<StepKey> {
    let message = |error: &Payload| {
        let error: serde_json::Value = serde_json::from_slice(error.as_ref()).ok()?;
        Some(error.get("message")?.as_str()?.to_owned())
    };
    let of_run = message(&outcome.error)?;
    journal.iter().rev().find_map(|entry| match &entry.change {
        Change::Failed { error, .. } if entry.kind != StepKind::Handler => {
            (message(error).as_ref() == Some(&of_run)).then(|| entry.key())
        }
        _ => None,
    })
}

/// The step that failed for good last, of those that have not gone on since.
fn failed_last(journal: &[Entry]) -> Option<StepKey> {
    let of_steps = journal.iter().filter(|entry| entry.kind != StepKind::Handler && entry.change != Change::LetGo);
    let last: BTreeMap<StepKey, &Entry> = of_steps.map(|entry| (entry.key(), entry)).collect();
    let failed = last.into_values().filter(|entry| matches!(entry.change, Change::Failed { .. }));
    failed.max_by_key(|entry| entry.seq).map(Entry::key)
}
