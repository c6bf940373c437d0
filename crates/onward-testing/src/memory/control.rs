//! What operators do to runs, and what is past its time goes.

use onward_core::{
    RunId, StepKey, StoreError, Timestamp,
    journal::{invoked, reset_entries},
    run::{Outcome, Status},
    store::{Control, Swept, Unserved, UnservedPlace, UnservedQuery, Woken},
    waiter::Fact,
};

use super::state::{Registration, State};

impl State {
    pub(super) fn control(
        &mut self,
        run_id: RunId,
        control: Control,
        now: Timestamp,
    ) -> Result<Vec<Woken>, StoreError> {
        let status = self.runs.get(&run_id).ok_or(StoreError::RunNotFound)?.record.status;
        match control {
            Control::Cancel(outcome) if !status.is_final() => Ok(self.cancel(run_id, outcome, now)),
            Control::Retry { step, timeout_at } if status == Status::Failed => {
                Ok(self.retry(run_id, step, timeout_at, now))
            }
            Control::Delete if status.is_final() => {
                self.remove(run_id);
                Ok(Vec::new())
            }
            Control::TimeOut(outcome) if status == Status::Suspended && self.has_timed_out(run_id, now) => {
                Ok(self.cancel(run_id, outcome, now))
            }
            Control::Cancel(_) | Control::TimeOut(_) | Control::Retry { .. } | Control::Delete => {
                Err(StoreError::WrongStatus(status))
            }
        }
    }

    fn has_timed_out(&self, run_id: RunId, now: Timestamp) -> bool {
        self.runs.get(&run_id).and_then(|run| run.record.timeout_at).is_some_and(|at| at <= now)
    }

    /// In one lane, by their id.
    pub(super) fn unserved(&self, query: UnservedQuery) -> Unserved {
        let UnservedQuery { endpoints, now, after, limit } = query;
        let mut found: Vec<UnservedPlace> = self
            .runs
            .values()
            .map(|run| &run.record)
            .filter(|run| run.status == Status::Suspended && run.due_at <= now)
            .filter(|run| !endpoints.contains(&run.endpoint, run.version.as_ref(), run.pinned))
            .map(|run| (0, run.due_at, run.run_id))
            .filter(|place| after.is_none_or(|after| *place > after))
            .collect();
        found.sort_unstable();
        found.truncate(limit);
        let next = if found.len() < limit { None } else { found.last().copied() };
        let timed_out = found.into_iter().map(|(.., run_id)| run_id).filter(|run_id| self.has_timed_out(*run_id, now));
        Unserved { timed_out: timed_out.collect(), next }
    }

    fn cancel(&mut self, run_id: RunId, outcome: Outcome, now: Timestamp) -> Vec<Woken> {
        let mut woken = Vec::new();
        if let Some(run) = self.runs.get_mut(&run_id) {
            // Whoever holds the run should hear of it; their writes are refused from now on.
            woken.extend(run.record.node.map(|node| Woken { run_id, node: Some(node) }));
            run.record.fence = run.record.fence.next();
        }
        self.finish(run_id, outcome, now, &mut woken);
        woken
    }

    fn retry(
        &mut self,
        run_id: RunId,
        step: Option<StepKey>,
        timeout_at: Option<Timestamp>,
        now: Timestamp,
    ) -> Vec<Woken> {
        let Some(run) = self.runs.get_mut(&run_id) else { return Vec::new() };
        let reset = reset_entries(&run.journal, step, now);
        let children = invoked(&run.journal);
        run.journal.extend(reset);
        run.crashes = None;
        run.record.finished_at = None;
        run.record.outcome = None;
        run.record.timeout_at = timeout_at;
        run.suspend(now);
        let mut woken = vec![Woken { run_id, node: None }];
        for (step, child) in children {
            let ended = self.runs.get(&child).and_then(|child| child.record.outcome.clone());
            if let Some(outcome) = ended {
                self.deliver(run_id, step, now, Fact::Outcome(outcome), now, &mut woken);
            }
        }
        woken
    }

    pub(super) fn sweep(&mut self, now: Timestamp, events_before: Timestamp, limit: usize) -> Swept {
        let mut past: Vec<(Timestamp, u64, RunId)> = self
            .runs
            .values()
            .filter_map(|run| Some((run.kept_until()?, run.number, run.record.run_id)))
            .filter(|(kept_until, _, _)| *kept_until <= now && *kept_until != Timestamp::NEVER)
            .collect();
        past.sort_unstable();
        past.truncate(limit);
        for (_, _, run_id) in &past {
            self.remove(*run_id);
        }
        let old: Vec<Timestamp> = self.events.range(..events_before).map(|(at, _)| *at).take(limit).collect();
        for at in &old {
            if let Some(event) = self.events.remove(at) {
                self.event_ids.remove(&event.id);
            }
        }
        let announced = self.sweep_announced(limit);
        let more = [past.len(), old.len(), announced].iter().any(|removed| *removed > 0 && *removed >= limit);
        Swept { runs: past.len(), events: old.len(), announced, more }
    }

    /// Puts a value under a name; gives whether that changed something.
    pub(super) fn put_registration(&mut self, name: String, registration: Registration) -> bool {
        if self.registrations.get(&name) == Some(&registration) {
            return false;
        }
        self.registrations.insert(name, registration);
        true
    }

    /// Forgets some of what nodes announced that are gone; gives how many.
    fn sweep_announced(&mut self, limit: usize) -> usize {
        let is_gone = |of: &Registration| of.node.is_some_and(|node| !self.nodes.contains_key(&node));
        let gone = self.registrations.iter().filter(|(_, of)| is_gone(of)).map(|(name, _)| name.clone());
        let gone: Vec<String> = gone.take(limit).collect();
        for name in &gone {
            self.registrations.remove(name);
        }
        gone.len()
    }
}
