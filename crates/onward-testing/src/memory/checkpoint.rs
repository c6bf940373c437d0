//! One transaction on one run. All that can be wrong with it is checked first, so it is done as a whole or not at all.

use onward_core::{
    RunId, Seq, StepKey, StoreError, Timestamp,
    run::{NewRun, Outcome, Status},
    store::{Checkpoint, Checkpointed, Lease, Then, Woken},
    stream::Place,
    waiter::Fact,
};

use super::state::{Run, State};

impl State {
    pub(super) fn checkpoint(&mut self, checkpoint: Checkpoint) -> Result<Checkpointed, StoreError> {
        self.check(&checkpoint)?;

        let Checkpoint { lease, now, start, entries, frames, waiters, settled, events, signals, children, then } =
            checkpoint;
        let run_id = lease.run_id;
        let mut done = Checkpointed::default();
        if let Some(new) = start {
            self.start(new, &lease, now);
        }
        if let Some(run) = self.runs.get_mut(&run_id) {
            run.journal.extend(entries);
            run.frames.extend(frames);
        }
        for step in settled {
            self.settle(run_id, step);
        }
        for waiter in waiters {
            self.register(run_id, waiter, now, &mut done.woken);
        }
        for event in events {
            self.accept(event, now, &mut done.woken);
        }
        for signal in signals {
            let signalled = self.signal(&signal, now, &mut done.woken);
            done.signalled.push(signalled);
        }
        for child in children {
            done.woken.push(Woken { run_id: child.run_id, node: None });
            self.insert(child, now);
        }
        self.then(run_id, then, now, &mut done.woken);
        Ok(done)
    }

    /// Fails where any part of a checkpoint could not be done.
    fn check(&self, checkpoint: &Checkpoint) -> Result<(), StoreError> {
        let lease = &checkpoint.lease;
        let mut next = match &checkpoint.start {
            Some(new) => {
                if new.run_id != lease.run_id {
                    return Err(corrupt("a checkpoint starts another run than its lease is for"));
                }
                self.check_node(lease.node)?;
                self.check_new(new)?;
                Seq(0)
            }
            None => self.check_lease(lease)?,
        };
        for entry in &checkpoint.entries {
            if entry.seq != next {
                return Err(corrupt("the entries do not follow the journal's last"));
            }
            next = next.next();
        }
        let mut last = self.runs.get(&lease.run_id).map_or(Place(0), Run::streamed);
        for frame in &checkpoint.frames {
            if frame.place != last.next() {
                return Err(corrupt("the frames do not follow the stream's last"));
            }
            last = frame.place;
        }
        let mut made: Vec<&NewRun> = checkpoint.start.iter().collect();
        for child in &checkpoint.children {
            let digest = |run: &NewRun| run.key.as_ref().map(|key| key.digest);
            let twice =
                |other: &&NewRun| other.run_id == child.run_id || child.key.is_some() && digest(other) == digest(child);
            if made.iter().any(twice) {
                return Err(StoreError::LeaseLost);
            }
            self.check_new(child)?;
            made.push(child);
        }
        Ok(())
    }

    fn check_new(&self, new: &NewRun) -> Result<(), StoreError> {
        if self.runs.contains_key(&new.run_id) {
            return Err(StoreError::LeaseLost);
        }
        self.check_key(new)
    }

    /// Fails unless this is the newest lease of a running run; gives the place of its next entry.
    fn check_lease(&self, lease: &Lease) -> Result<Seq, StoreError> {
        let run = self.runs.get(&lease.run_id).ok_or(StoreError::RunNotFound)?;
        let held = run.record.status == Status::Running
            && run.record.fence == lease.fence
            && run.record.node == Some(lease.node);
        if !held {
            return Err(StoreError::LeaseLost);
        }
        Ok(run.journal.last().map_or(Seq(0), |entry| entry.seq.next()))
    }

    fn start(&mut self, new: NewRun, lease: &Lease, now: Timestamp) {
        let record = &mut self.insert(new, now).record;
        record.status = Status::Running;
        record.due_at = Timestamp::NEVER;
        record.fence = lease.fence;
        record.node = Some(lease.node);
    }

    fn settle(&mut self, run_id: RunId, step: StepKey) {
        self.event_waiters.remove(&(run_id, step));
        self.signal_waiters.retain(|_, waiting| *waiting != (run_id, step));
        if let Some(run) = self.runs.get_mut(&run_id) {
            run.deliveries.retain(|delivery| delivery.step != step);
        }
    }

    fn then(&mut self, run_id: RunId, then: Then, now: Timestamp, woken: &mut Vec<Woken>) {
        match then {
            Then::Keep => {}
            Then::Suspend { due_at } => {
                let Some(run) = self.runs.get_mut(&run_id) else { return };
                run.suspend(if run.deliveries.is_empty() { due_at } else { now });
                let is_due = run.record.due_at <= now;
                // What was found while the run was held is true no longer: nobody holds it.
                woken.retain(|woken| woken.run_id != run_id);
                if is_due {
                    woken.push(Woken { run_id, node: None });
                }
            }
            Then::Finish(outcome) => {
                self.finish(run_id, outcome, now, woken);
                woken.retain(|woken| woken.run_id != run_id);
            }
        }
    }

    /// Ends a run and gives its outcome to its parent.
    pub(super) fn finish(&mut self, run_id: RunId, outcome: Outcome, now: Timestamp, woken: &mut Vec<Woken>) {
        self.forget_waits(run_id);
        let Some(run) = self.runs.get_mut(&run_id) else { return };
        run.record.status = outcome.status;
        run.record.due_at = Timestamp::NEVER;
        run.record.finished_at = Some(now);
        run.record.node = None;
        run.record.outcome = Some(outcome.clone());
        if let Some(parent) = run.record.parent {
            self.deliver(parent.run_id, parent.step, now, Fact::Outcome(outcome), now, woken);
        }
    }
}

fn corrupt(why: &'static str) -> StoreError {
    StoreError::Corrupt(why.into())
}
