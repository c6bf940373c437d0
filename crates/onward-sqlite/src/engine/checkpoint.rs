//! One transaction on one run.

use onward_core::{
    NodeId, Payload, Seq, StepKey, StoreError, Timestamp,
    event::Event,
    journal::format,
    run::{NewRun, Outcome},
    store::{Checkpoint, Checkpointed, Lease, Then, Woken, record},
    stream::{self, FRAMES_MAX, Place},
    waiter::{Signal, Waiter},
};
use rusqlite::params;

use crate::{
    engine::{Engine, Live, run::Position},
    error::{Done, corrupt},
    queue::Care,
    row::{self, ENTRIES_MAX},
};

/// A checkpoint with its entries encoded: that is done on the caller's thread, as the writer's time is everyone's.
#[derive(Debug)]
pub(crate) struct Prepared {
    lease: Lease,
    now: Timestamp,
    start: Option<NewRun>,
    entries: Vec<(Seq, Payload)>,
    /// Pieces: the place of the first frame, how many there are, and their bytes.
    frames: Vec<(Place, u32, Payload)>,
    waiters: Vec<Waiter>,
    settled: Vec<StepKey>,
    events: Vec<Event>,
    signals: Vec<Signal>,
    children: Vec<NewRun>,
    then: Then,
    /// The outcome that `then` names, encoded.
    outcome: Payload,
}

/// Encodes what a checkpoint appends.
pub(crate) fn prepare(checkpoint: Checkpoint) -> Prepared {
    let Checkpoint { lease, now, start, entries, frames, waiters, settled, events, signals, children, then } =
        checkpoint;
    let entries = entries.iter().map(|entry| (entry.seq, Payload::from(format::encode(entry)))).collect();
    let frames = stream::format::pieces(&frames);
    let outcome = match &then {
        Then::Finish(outcome) => Payload::from(record::encode_outcome(outcome)),
        Then::Keep | Then::Suspend { .. } => Payload::default(),
    };
    Prepared { lease, now, start, entries, frames, waiters, settled, events, signals, children, then, outcome }
}

impl Prepared {
    /// Whether it only appends and moves its own run: then no other row is touched, and nothing can fail half-way
    /// but the disk.
    fn is_alone(&self) -> bool {
        self.waiters.is_empty()
            && self.settled.is_empty()
            && self.events.is_empty()
            && self.signals.is_empty()
            && self.children.is_empty()
    }

    pub(crate) fn care(&self) -> Care {
        if self.is_alone() { Care::None } else { Care::Savepoint }
    }

    pub(crate) const fn lease(&self) -> &Lease {
        &self.lease
    }
}

impl Engine<'_> {
    pub(crate) fn checkpoint(&mut self, checkpoint: &Prepared) -> Done<Checkpointed> {
        let (first, streamed) = match &checkpoint.start {
            Some(new) => {
                self.check_start(new, checkpoint)?;
                (Seq(0), Place(0))
            }
            None => {
                let live = self.leased(&checkpoint.lease)?;
                (live.next, live.streamed)
            }
        };
        let next = check_places(first, &checkpoint.entries)?;
        let streamed = check_frames(streamed, &checkpoint.frames)?;
        self.check_children(checkpoint)?;
        if let Some(new) = &checkpoint.start
            && let Some(checkpointed) = self.start(new, checkpoint)?
        {
            return Ok(checkpointed);
        }
        let live = self.leased(&checkpoint.lease)?;
        live.next = next;
        live.streamed = streamed;
        let key = live.key;
        self.append(key, &checkpoint.entries);
        self.append_frames(key, &checkpoint.frames)?;
        let mut done = Checkpointed::default();
        if !checkpoint.is_alone() {
            self.effects(key, checkpoint, &mut done)?;
        }
        self.then(checkpoint, &mut done.woken)?;
        Ok(done)
    }

    fn check_start(&self, new: &NewRun, checkpoint: &Prepared) -> Done<()> {
        let lease = &checkpoint.lease;
        if new.run_id != lease.run_id {
            return Err(corrupt("a checkpoint starts another run than its lease is for").into());
        }
        if self.node != Some(lease.node) || self.known.live.contains_key(&new.run_id) {
            return Err(StoreError::LeaseLost.into());
        }
        match &new.key {
            Some(key) => self.check_key(key),
            None => Ok(()),
        }
    }

    fn check_children(&self, checkpoint: &Prepared) -> Done<()> {
        for (place, child) in checkpoint.children.iter().enumerate() {
            let twice = checkpoint.children[..place].iter().chain(&checkpoint.start).any(|other| {
                other.run_id == child.run_id
                    || child.key.is_some()
                        && other.key.as_ref().map(|key| key.digest) == child.key.as_ref().map(|key| key.digest)
            });
            if twice || self.key_of(child.run_id)?.is_some() {
                return Err(StoreError::LeaseLost.into());
            }
            if let Some(key) = &child.key {
                self.check_key(key)?;
            }
        }
        Ok(())
    }

    /// Makes the run. One that is over at once is written once, with its entries: then the checkpoint is done.
    fn start(&mut self, new: &NewRun, checkpoint: &Prepared) -> Done<Option<Checkpointed>> {
        let Lease { run_id, fence, node } = checkpoint.lease;
        let of = self.numbers(new)?;
        let timeout_at = new.timeout_at.map(Timestamp::as_micros);
        let position = match &checkpoint.then {
            Then::Suspend { due_at } if checkpoint.is_alone() => {
                Position::suspended(fence, of.lane, *due_at, timeout_at)
            }
            Then::Finish(outcome) if checkpoint.is_alone() => {
                Position::ended(fence, outcome.status, checkpoint.now, row::micros(new.retention))
            }
            _ => {
                let key = self.insert_run(new, of.endpoint, &Position::running(fence, node))?;
                self.known.insert(run_id, Live::started(new, key, of, fence, node));
                return Ok(None);
            }
        };
        let key = self.insert_run(new, of.endpoint, &position)?;
        self.append(key, &checkpoint.entries);
        self.append_frames(key, &checkpoint.frames)?;
        let mut done = Checkpointed::default();
        if position.is_due(checkpoint.now) {
            done.woken.push(Woken { run_id, node: None });
        }
        if let Then::Finish(outcome) = &checkpoint.then {
            self.keep_outcome(key, checkpoint.outcome.clone());
            self.tell_parent(new.parent, outcome, checkpoint.now, &mut done.woken)?;
        }
        Ok(Some(done))
    }

    fn effects(&mut self, key: i64, checkpoint: &Prepared, done: &mut Checkpointed) -> Done<()> {
        let now = checkpoint.now;
        for step in &checkpoint.settled {
            self.settle(checkpoint.lease.run_id, key, *step)?;
        }
        for waiter in &checkpoint.waiters {
            self.register(checkpoint.lease.run_id, key, waiter, now, &mut done.woken)?;
        }
        for event in &checkpoint.events {
            self.accept(event, now, &mut done.woken)?;
        }
        for signal in &checkpoint.signals {
            let signalled = self.signal(signal, now, &mut done.woken)?;
            done.signalled.push(signalled);
        }
        for child in &checkpoint.children {
            let of = self.numbers(child)?;
            let timeout_at = child.timeout_at.map(Timestamp::as_micros);
            let position = Position::suspended(onward_core::Fence(0), of.lane, now, timeout_at);
            self.insert_run(child, of.endpoint, &position)?;
            done.woken.push(Woken { run_id: child.run_id, node: None });
        }
        Ok(())
    }

    /// Takes away what a step waited for and what came for it.
    fn settle(&mut self, run_id: onward_core::RunId, key: i64, step: StepKey) -> Done<()> {
        let Some(live) = self.known.live.get_mut(&run_id) else { return Ok(()) };
        let named = params![key, step.to_bytes()];
        if live.waits {
            for sql in [
                "DELETE FROM onward_event_waiters WHERE run = ?1 AND step = ?2",
                "DELETE FROM onward_signal_waiters WHERE run = ?1 AND step = ?2",
            ] {
                self.conn.prepare_cached(sql)?.execute(named)?;
            }
        }
        if live.deliveries > 0 {
            let taken = self
                .conn
                .prepare_cached("DELETE FROM onward_deliveries WHERE run = ?1 AND step = ?2")?
                .execute(named)?;
            live.deliveries = live.deliveries.saturating_sub(taken);
            if live.deliveries == 0 {
                self.known.nudged.remove(&run_id);
            }
        }
        Ok(())
    }

    fn then(&mut self, checkpoint: &Prepared, woken: &mut Vec<Woken>) -> Done<()> {
        let run_id = checkpoint.lease.run_id;
        match &checkpoint.then {
            Then::Keep => Ok(()),
            Then::Suspend { due_at } => {
                let live = self.leased(&checkpoint.lease)?;
                let due_at = if live.deliveries > 0 { checkpoint.now } else { *due_at };
                let position = Position::suspended(live.fence, live.of.lane, due_at, live.timeout_at);
                let key = live.key;
                self.place(key, &position)?;
                self.known.remove(run_id);
                woken.retain(|woken| woken.run_id != run_id);
                if position.is_due(checkpoint.now) {
                    woken.push(Woken { run_id, node: None });
                }
                Ok(())
            }
            Then::Finish(outcome) => {
                self.finish(checkpoint, outcome, woken)?;
                woken.retain(|woken| woken.run_id != run_id);
                Ok(())
            }
        }
    }

    fn finish(&mut self, checkpoint: &Prepared, outcome: &Outcome, woken: &mut Vec<Woken>) -> Done<()> {
        let now = checkpoint.now;
        let live = self.leased(&checkpoint.lease)?.clone();
        self.known.remove(checkpoint.lease.run_id);
        self.place(live.key, &Position::ended(live.fence, outcome.status, now, live.retention))?;
        if live.waits || live.deliveries > 0 {
            self.forget_waits(live.key)?;
        }
        self.keep_outcome(live.key, checkpoint.outcome.clone());
        self.tell_parent(live.parent, outcome, now, woken)
    }

    /// Whether this is the node that is here.
    pub(super) fn is_here(&self, node: NodeId) -> bool {
        self.node == Some(node)
    }
}

/// Frames must follow the stream's last without a gap.
fn check_frames(mut last: Place, pieces: &[(Place, u32, Payload)]) -> Done<Place> {
    for (first, count, _) in pieces {
        if *first != last.next() {
            let why = format!("the stream's next frame is {}, not {}", last.next().0, first.0);
            return Err(corrupt(why).into());
        }
        last = match last.0.checked_add(*count) {
            Some(last) if last <= FRAMES_MAX => Place(last),
            _ => return Err(crate::error::rejected("the stream is full").into()),
        };
    }
    Ok(last)
}

/// Entries must follow the journal's last without a gap.
fn check_places(first: Seq, entries: &[(Seq, Payload)]) -> Done<Seq> {
    let mut next = first;
    for (seq, _) in entries {
        if *seq != next {
            let why = format!("the journal's next entry is {}, not {}", next.0, seq.0);
            return Err(corrupt(why).into());
        }
        if next.0 >= ENTRIES_MAX {
            return Err(crate::error::rejected("the journal is full").into());
        }
        next = next.next();
    }
    Ok(next)
}
