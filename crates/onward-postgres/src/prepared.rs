//! A checkpoint with its parts encoded, and by which way it is written.

use onward_core::{
    Payload, RunId, Seq, StepKey, StoreError, Timestamp,
    event::Event,
    journal::format,
    run::NewRun,
    store::{Checkpoint, Lease, Then, record},
    stream::{self, Place},
    waiter::{Signal, Subject, Waiter},
};

use crate::held::{Held, Known};

/// A checkpoint, encoded by whoever submits it.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) lease: Lease,
    pub(crate) now: Timestamp,
    pub(crate) start: Option<NewRun>,
    pub(crate) entries: Vec<(Seq, Payload)>,
    /// Pieces: the place of the first frame, how many there are, and their bytes.
    pub(crate) frames: Vec<(Place, u32, Payload)>,
    pub(crate) waiters: Vec<Waiter>,
    pub(crate) settled: Vec<StepKey>,
    pub(crate) events: Vec<Event>,
    pub(crate) signals: Vec<Signal>,
    pub(crate) children: Vec<NewRun>,
    pub(crate) then: Then,
    /// The outcome that `then` names, encoded.
    pub(crate) outcome: Payload,
    /// What is known of its run as it is written with others.
    pub(crate) held: Option<Held>,
}

/// The largest checkpoint, in bytes, that is written with others: they should not wait for it.
const LEN_MAX: usize = 4 << 20;

/// By which way a checkpoint is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// With others that make runs, in one statement.
    Start,
    /// With others of runs that are held, in one statement.
    Append,
    /// In a transaction of its own: it touches other runs, or not enough is known of its run.
    Alone,
}

impl Prepared {
    /// Encodes what a checkpoint appends.
    pub(crate) fn new(checkpoint: Checkpoint) -> Self {
        let Checkpoint { lease, now, start, entries, frames, waiters, settled, events, signals, children, then } =
            checkpoint;
        let entries = entries.iter().map(|entry| (entry.seq, Payload::from(format::encode(entry)))).collect();
        let frames = stream::format::pieces(&frames);
        let outcome = match &then {
            Then::Finish(outcome) => Payload::from(record::encode_outcome(outcome)),
            Then::Keep | Then::Suspend { .. } => Payload::default(),
        };
        Self {
            lease,
            now,
            start,
            entries,
            frames,
            waiters,
            settled,
            events,
            signals,
            children,
            then,
            outcome,
            held: None,
        }
    }

    pub(crate) const fn run_id(&self) -> RunId {
        self.lease.run_id
    }

    /// About how many bytes it is.
    pub(crate) fn len(&self) -> usize {
        let request = self.start.as_ref().map_or(0, |new| new.request.len());
        let entries: usize = self.entries.iter().map(|(_, data)| data.len() + 24).sum();
        let frames: usize = self.frames.iter().map(|(_, _, data)| data.len() + 32).sum();
        request + entries + frames + self.outcome.len() + 200
    }

    /// Whether it only appends, and its run stays held: the next one may go with it.
    pub(crate) fn only_appends(&self) -> bool {
        self.start.is_none() && self.then == Then::Keep && self.touches_no_other() && self.waiters.is_empty()
    }

    fn touches_no_other(&self) -> bool {
        self.settled.is_empty()
            && self.events.is_empty()
            && self.signals.is_empty()
            && self.children.is_empty()
            && self.waiters.iter().all(|waiter| matches!(waiter.subject, Subject::Event { since: None, .. }))
    }

    /// Chooses the way, and takes in what it appends where the run is known.
    pub(crate) fn choose(&self, known: &Known) -> Result<Way, StoreError> {
        if self.len() > LEN_MAX {
            return Ok(Way::Alone);
        }
        let seqs = self.entries.iter().map(|(seq, _)| *seq);
        let pieces = self.frames.iter().map(|(place, count, _)| (*place, *count));
        if let Some(new) = &self.start {
            if !self.touches_no_other() || new.parent.is_some() || new.run_id != self.lease.run_id {
                return Ok(Way::Alone);
            }
            Held::started(new, &self.lease, 0).append(seqs, pieces)?;
            return Ok(Way::Start);
        }
        known.with(self.run_id(), |held| match held {
            Some(held) if held.is_under(&self.lease) && self.touches_no_other() => {
                if held.has_ties && matches!(self.then, Then::Finish(_)) {
                    return Ok(Way::Alone);
                }
                held.append(seqs, pieces)?;
                held.has_ties |= !self.waiters.is_empty();
                Ok(Way::Append)
            }
            _ => Ok(Way::Alone),
        })
    }
}

impl Held {
    /// What is known of a run as it is made.
    pub(crate) fn started(new: &NewRun, lease: &Lease, lane: i64) -> Self {
        Self {
            fence: lease.fence,
            node: lease.node,
            next: Seq(0),
            streamed: Place(0),
            lane,
            timeout_at: new.timeout_at.map(Timestamp::as_micros),
            retention: crate::row::micros(new.retention),
            has_ties: new.parent.is_some(),
        }
    }
}
