//! Group commit: all checkpoints that wait are one statement, so one round trip and one commit.
//!
//! A statement is a transaction by itself, and all its parts see the database as it was when the statement began. What
//! it may write is decided in it: the node must be there (`alive`; the row is locked, so that who takes over waits for
//! the commit), and each lease must be the run's newest. What is refused writes nothing, and its run is not among the
//! rows that come back. One statement makes runs, the other goes on with them, so that none changes a table twice:
//! some databases of the family refuse that.

mod append;
mod start;

pub(crate) use self::{append::append, start::start};

use std::borrow::Cow;

use onward_core::{
    StoreError,
    store::{Checkpointed, Then, Woken, record},
    waiter::Subject,
};
use uuid::Uuid;

use crate::{prepared::Prepared, queue::Job, row, store::Inner, tx::Param};

/// Rows of entries, frames and waiters, a vector for each column.
#[derive(Default)]
struct Rows<'a> {
    entry_runs: Vec<Uuid>,
    entry_seqs: Vec<i64>,
    entry_data: Vec<&'a [u8]>,
    frame_runs: Vec<Uuid>,
    frame_places: Vec<i64>,
    frame_counts: Vec<i64>,
    frame_data: Vec<&'a [u8]>,
    waiter_runs: Vec<Uuid>,
    waiter_steps: Vec<Vec<u8>>,
    waiter_names: Vec<Cow<'a, str>>,
    waiter_paths: Vec<&'a str>,
    waiter_digests: Vec<i64>,
    waiter_matchers: Vec<Vec<u8>>,
}

impl<'a> Rows<'a> {
    fn push(&mut self, run: Uuid, prepared: &'a Prepared) {
        for (seq, data) in &prepared.entries {
            self.entry_runs.push(run);
            self.entry_seqs.push(i64::from(seq.0));
            self.entry_data.push(data.as_ref());
        }
        for (place, count, data) in &prepared.frames {
            self.frame_runs.push(run);
            self.frame_places.push(i64::from(place.0));
            self.frame_counts.push(i64::from(*count));
            self.frame_data.push(data.as_ref());
        }
        // Who has ended waits for nothing.
        let ended = matches!(prepared.then, Then::Finish(_));
        for waiter in prepared.waiters.iter().filter(|_| !ended) {
            let Subject::Event { matcher, .. } = &waiter.subject else { continue };
            let (path, text) = row::compared(matcher);
            self.waiter_runs.push(run);
            self.waiter_steps.push(waiter.step.to_bytes().to_vec());
            self.waiter_names.push(row::text(&matcher.name));
            self.waiter_paths.push(path);
            self.waiter_digests.push(record::text_digest(text));
            self.waiter_matchers.push(record::encode_matcher(matcher));
        }
    }
}

impl Rows<'_> {
    /// The columns in the order in which both statements have them.
    fn params(&self) -> [Param<'_>; 13] {
        [
            &self.entry_runs,
            &self.entry_seqs,
            &self.entry_data,
            &self.frame_runs,
            &self.frame_places,
            &self.frame_counts,
            &self.frame_data,
            &self.waiter_runs,
            &self.waiter_steps,
            &self.waiter_names,
            &self.waiter_paths,
            &self.waiter_digests,
            &self.waiter_matchers,
        ]
    }
}

/// Nodes of a group, each once: nearly always one.
fn nodes(jobs: &[Job]) -> Vec<i64> {
    let mut nodes: Vec<i64> = jobs.iter().map(|job| row::node(job.prepared.lease.node)).collect();
    nodes.sort_unstable();
    nodes.dedup();
    nodes
}

/// A group in two parts, about as large, for one of which is wrong. A run's checkpoints stay together: where an earlier
/// one is refused, so are the later ones. A group of one run comes back.
pub(crate) fn halves(mut jobs: Vec<Job>) -> Result<(Vec<Job>, Vec<Job>), Vec<Job>> {
    let is_cut = |at: &usize| jobs[at - 1].prepared.run_id() != jobs[*at].prepared.run_id();
    match (1..jobs.len()).filter(is_cut).min_by_key(|at| at.abs_diff(jobs.len() / 2)) {
        Some(at) => {
            let second = jobs.split_off(at);
            Ok((jobs, second))
        }
        None => Err(jobs),
    }
}

/// Answers a group that failed as a whole: what became of it is not known.
pub(crate) fn fail(inner: &Inner, jobs: Vec<Job>, error: &StoreError) {
    for job in &jobs {
        inner.known.forget(job.prepared.run_id());
    }
    for job in jobs {
        let answer = Err(again(error));
        inner.note(job.prepared.run_id(), &answer);
        job.answer(answer);
    }
}

/// What became of a checkpoint that was written: who suspends is due at once where its time has come.
fn answer_of(prepared: &Prepared, due_at: Option<i64>) -> Checkpointed {
    let mut done = Checkpointed::default();
    if due_at.is_some_and(|due_at| due_at <= prepared.now.as_micros()) {
        done.woken.push(Woken { run_id: prepared.run_id(), node: None });
    }
    done
}

/// The same failure for each of a group.
fn again(error: &StoreError) -> StoreError {
    match error {
        StoreError::Corrupt(source) => crate::error::corrupt(source.to_string()),
        StoreError::Rejected(source) => crate::error::rejected(source.to_string()),
        StoreError::Unavailable(source) => crate::error::unavailable(source.to_string()),
        other => crate::error::unavailable(other.to_string()),
    }
}
