//! From a journal to the state it tells.

use super::{Blocked, Machine, State, Step, Way, size};
use crate::{
    Attempt,
    journal::{Change, Entry},
    step::StepKind,
};

impl Machine {
    /// The state that a journal tells, before its handler is called again.
    pub fn replay(journal: &[Entry]) -> Self {
        let mut machine = Self::default();
        for entry in journal {
            machine.next = entry.seq.next();
            if entry.kind == StepKind::Handler {
                machine.fold_handler(entry);
            } else {
                machine.fold(entry);
            }
        }
        machine
    }

    fn fold_handler(&mut self, entry: &Entry) {
        match &entry.change {
            Change::AttemptFailed { attempt, .. } | Change::Failed { attempt, .. } => self.handler_attempt = attempt.0,
            Change::Blocked { step, cause } => {
                let since = self.blocked.as_ref().map_or(entry.at, |blocked| blocked.since);
                self.blocked = Some(Blocked { since, step: step.clone(), cause: *cause });
            }
            _ => (self.handler_attempt, self.blocked) = (0, None),
        }
    }

    fn fold(&mut self, entry: &Entry) {
        let key = entry.key();
        let step = self.steps.entry(key).or_insert_with(|| {
            Box::new(Step {
                id: entry.step.clone(),
                kind: entry.kind,
                state: State::Ready { attempt: Attempt::FIRST },
                requested: false,
                dropped: false,
                replayed: Some(entry.seq),
                let_go: false,
            })
        });
        match &entry.change {
            Change::LetGo => {
                step.let_go = true;
                return;
            }
            Change::Blocked { .. } => return, // it is about the handler
            _ => step.let_go = false,
        }
        self.blocked = None;
        let retried = match (&entry.change, &step.state) {
            (Change::Reset, State::Done { outcome: Err(_), seq, .. }) => Some(*seq),
            _ => None,
        };
        if let State::Done { seq, outcome, .. } = &step.state {
            self.queue.remove(seq);
            self.outcome_bytes -= size(outcome);
        }
        let (at, seq) = (entry.at, entry.seq);
        let done = |outcome| State::Done { outcome, at, seq, durable: true, way: Way::NEW };
        step.state = match &entry.change {
            Change::AttemptFailed { attempt, retry_at, .. } => {
                State::Retrying { attempt: attempt.next(), at: *retry_at }
            }
            Change::Waiting { until, .. } => State::Waiting { until: *until },
            Change::Succeeded { output, .. } => done(Ok(output.clone())),
            Change::Failed { error, .. } => done(Err(error.clone())),
            Change::Reset | Change::LetGo | Change::Blocked { .. } => State::Ready { attempt: Attempt::FIRST },
        };
        if let Some(failed) = retried {
            // Without the failure, the handler may go a way on which it asks for none of them.
            for step in self.steps.values_mut().filter(|step| step.replayed.is_some_and(|place| place > failed)) {
                step.let_go = true;
            }
            return;
        }
        if let State::Done { outcome, .. } = &step.state {
            self.outcome_bytes += size(outcome);
            self.queue.insert(entry.seq, key);
        }
    }
}
