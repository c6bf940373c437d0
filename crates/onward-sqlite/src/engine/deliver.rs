//! Facts for waiting steps: stored, and their runs woken.

use onward_core::{
    RunId, StepKey, Timestamp,
    run::Status,
    store::{Woken, record},
    waiter::{Delivery, Fact, Subject, Waiter},
};
use rusqlite::{OptionalExtension, params};

use crate::{
    engine::{Engine, run::Position},
    error::Done,
    row,
};

impl Engine<'_> {
    /// Stores a fact for a run's step and wakes the run. A run that has ended gets nothing.
    pub(super) fn deliver(
        &mut self,
        key: i64,
        delivery: &Delivery,
        now: Timestamp,
        woken: &mut Vec<Woken>,
    ) -> Done<()> {
        let Some(run) = self.stored(key)?.filter(|run| !run.status.is_final()) else { return Ok(()) };
        let stored = self
            .conn
            .prepare_cached(
                "INSERT INTO onward_deliveries (run, step, at, fact) VALUES (?1, ?2, ?3, ?4) \
                 ON CONFLICT (run, step) DO NOTHING",
            )?
            .execute(params![
                key,
                delivery.step.to_bytes(),
                delivery.at.as_micros(),
                record::encode_fact(&delivery.fact)
            ])?;
        if stored == 0 {
            return Ok(());
        }
        let node = if run.status == Status::Running {
            let Some(live) = self.known.live.get_mut(&run.run_id) else { return Ok(()) };
            live.deliveries += 1;
            self.known.nudged.insert(run.run_id);
            Some(live.node)
        } else {
            if run.due_at.is_none_or(|due_at| due_at > now.as_micros()) {
                let position = Position::suspended(run.fence, run.lane, now, run.timeout_at);
                self.place(key, &position)?;
            }
            None
        };
        if woken.iter().all(|woken| woken.run_id != run.run_id) {
            woken.push(Woken { run_id: run.run_id, node });
        }
        Ok(())
    }

    /// Registers a waiter of a running run, or delivers to it at once.
    pub(super) fn register(
        &mut self,
        run_id: RunId,
        key: i64,
        waiter: &Waiter,
        now: Timestamp,
        woken: &mut Vec<Woken>,
    ) -> Done<()> {
        match &waiter.subject {
            Subject::Event { matcher, since } => {
                if let Some(since) = since
                    && let Some((at, event)) = self.event_since(matcher, *since)?
                {
                    let found = Delivery { step: waiter.step, at, fact: Fact::Event(event) };
                    return self.deliver(key, &found, now, woken);
                }
                let (path, text) =
                    matcher.value.as_ref().map_or(("", ""), |value| (value.path.as_str(), value.text.as_str()));
                self.conn
                    .prepare_cached(
                        "INSERT OR REPLACE INTO onward_event_waiters (run, step, name, path, digest, matcher) \
                         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                    )?
                    .execute(params![
                        key,
                        waiter.step.to_bytes(),
                        matcher.name,
                        path,
                        record::text_digest(text),
                        record::encode_matcher(matcher)
                    ])?;
            }
            Subject::Signal { name, replace } => {
                if let Some((other, step)) = self.signal_waiter(name)? {
                    if (other, step) != (key, waiter.step) && !replace {
                        return self.deliver(key, &taken(waiter.step, now), now, woken);
                    }
                    self.remove_signal_waiter(name)?;
                    if (other, step) != (key, waiter.step) {
                        self.deliver(other, &taken(step, now), now, woken)?;
                    }
                }
                self.conn
                    .prepare_cached("INSERT INTO onward_signal_waiters (name, run, step) VALUES (?1, ?2, ?3)")?
                    .execute(params![name, key, waiter.step.to_bytes()])?;
            }
        }
        if let Some(live) = self.known.live.get_mut(&run_id) {
            live.waits = true;
        }
        Ok(())
    }

    pub(super) fn signal_waiter(&self, name: &str) -> Done<Option<(i64, StepKey)>> {
        let mut select = self.conn.prepare_cached("SELECT run, step FROM onward_signal_waiters WHERE name = ?1")?;
        Ok(select.query_row([name], |row| Ok((row.get(0)?, row::step_key(row, 1)?))).optional()?)
    }

    pub(super) fn remove_signal_waiter(&self, name: &str) -> Done<()> {
        self.conn.prepare_cached("DELETE FROM onward_signal_waiters WHERE name = ?1")?.execute([name])?;
        Ok(())
    }
}

fn taken(step: StepKey, at: Timestamp) -> Delivery {
    Delivery { step, at, fact: Fact::SignalTaken }
}
