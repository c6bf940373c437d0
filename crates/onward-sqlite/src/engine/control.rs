//! What operators do to runs.

use onward_core::{
    Payload, RunId, StepKey, StoreError, Timestamp,
    journal::{format, invoked, reset_entries},
    run::{Outcome, Status},
    store::{Control, Woken, record},
    waiter::{Delivery, Fact},
};
use rusqlite::params;

use crate::{
    engine::{
        Engine,
        run::{Position, Stored},
    },
    error::{Done, corrupt},
    read,
    row::{self, ENTRIES_MAX},
};

impl Engine<'_> {
    pub(crate) fn control(&mut self, run_id: RunId, control: &Control, now: Timestamp) -> Done<Vec<Woken>> {
        let key = self.key_of(run_id)?.ok_or(StoreError::RunNotFound)?;
        let run = self.stored(key)?.ok_or(StoreError::RunNotFound)?;
        match control {
            Control::TimeOut(_)
                if run.status != Status::Suspended || run.timeout_at.is_none_or(|at| at > now.as_micros()) =>
            {
                Err(StoreError::WrongStatus(run.status).into())
            }
            Control::Cancel(outcome) | Control::TimeOut(outcome) => self.cancel(&run, outcome, now),
            Control::Retry { step, timeout_at } => self.retry(&run, *step, *timeout_at, now),
            Control::Delete if run.status.is_final() => {
                self.delete_now(key, run.key_digest)?;
                Ok(Vec::new())
            }
            Control::Delete => Err(StoreError::WrongStatus(run.status).into()),
        }
    }

    fn cancel(&mut self, run: &Stored, outcome: &Outcome, now: Timestamp) -> Done<Vec<Woken>> {
        if run.status.is_final() {
            return Err(StoreError::WrongStatus(run.status).into());
        }
        let mut woken = Vec::new();
        if let Some(node) = run.node {
            woken.push(Woken { run_id: run.run_id, node: Some(node) });
        }
        self.known.remove(run.run_id);
        self.place(run.key, &Position::ended(run.fence.next(), outcome.status, now, run.retention))?;
        self.forget_waits(run.key)?;
        self.keep_outcome(run.key, Payload::from(record::encode_outcome(outcome)));
        self.tell_parent(run.parent, outcome, now, &mut woken)?;
        Ok(woken)
    }

    fn retry(
        &mut self,
        run: &Stored,
        step: Option<StepKey>,
        timeout_at: Option<Timestamp>,
        now: Timestamp,
    ) -> Done<Vec<Woken>> {
        if run.status != Status::Failed {
            return Err(StoreError::WrongStatus(run.status).into());
        }
        let journal = read::journal(self.conn, run.key)?.entries;
        let reset: Vec<_> = reset_entries(&journal, step, now)
            .iter()
            .map(|entry| (entry.seq, Payload::from(format::encode(entry))))
            .collect();
        if reset.last().is_some_and(|(seq, _)| seq.0 >= ENTRIES_MAX) {
            return Err(corrupt("the journal is full").into());
        }
        self.append(run.key, &reset);
        self.forget_crashes(run.key)?;
        self.conn
            .prepare_cached("DELETE FROM onward_entries WHERE place = ?1")?
            .execute([row::outcome_place(run.key)])?;
        let timeout_at = timeout_at.and_then(row::never_is_null);
        self.conn
            .prepare_cached("UPDATE onward_runs SET timeout_at = ?2 WHERE key = ?1")?
            .execute(params![run.key, timeout_at])?;
        self.place(run.key, &Position::suspended(run.fence, run.lane, now, timeout_at))?;
        let mut woken = vec![Woken { run_id: run.run_id, node: None }];
        for (step, child) in invoked(&journal) {
            if let Some(outcome) = self.outcome(child)? {
                let told = Delivery { step, at: now, fact: Fact::Outcome(outcome) };
                self.deliver(run.key, &told, now, &mut woken)?;
            }
        }
        Ok(woken)
    }

    /// How a run ended, if it has.
    fn outcome(&mut self, run_id: RunId) -> Done<Option<Outcome>> {
        let Some(key) = self.key_of(run_id)? else { return Ok(None) };
        let ended = self.stored(key)?.is_some_and(|run| run.status.is_final());
        if !ended {
            return Ok(None);
        }
        Ok(read::journal(self.conn_to_read()?, key)?.outcome)
    }
}
