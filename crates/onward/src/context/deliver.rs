//! Facts from outside, on their way into the journal.

use super::{Arc, Context, Delivery, State};
use crate::{StepError, error::ErrorKind};
use onward_core::{Payload, StepKey, Timestamp, run::Status, step::StepKind, waiter::Fact};

impl Context {
    /// Takes what has come for waiting steps: an entry each, in the order in which it came. Whether any reached a step.
    ///
    /// Where the run waits for one thing alone, nobody waits for the entry to be durable: what it records is stored
    /// already, and whatever the run writes later commits after it. Where it waits for several, their order is what
    /// decides a race, and only the journal tells it: then the handler goes on when that is durable.
    pub(crate) fn take_deliveries(self: &Arc<Self>, deliveries: Vec<Delivery>) -> bool {
        if deliveries.is_empty() {
            return false;
        }
        let now = self.now();
        let mut state = self.lock();
        let derivable = state.machine.waiting_len() <= 1;
        let mut progress = false;
        for delivery in deliveries {
            let key = delivery.step;
            let outcome = outcome(delivery.fact)
                .and_then(|output| state.has_room(&self.endpoint.options, output.len()).map(|()| output));
            let entry = match outcome {
                Ok(output) => state.machine.succeed(key, output, delivery.at, derivable),
                Err(error) => state.machine.fail(key, error.to_payload(), delivery.at, derivable),
            };
            // Why not again: what came is read until it is taken away, and that happens with the outcome or not at all. A
            // checkpoint of its own might be written where the outcome's was not.
            if entry.is_some() {
                state.taken.insert(key);
            } else if state.taken.contains(&key) {
                continue;
            }
            state.settled.insert(key);
            if let Some(entry) = entry {
                progress = true;
                let told = (!derivable).then_some(key);
                self.submit(&mut state, now, told, |checkpoint| checkpoint.entries.push(entry));
            }
        }
        if !state.settled.is_empty() {
            // What nobody waits for any more must go, or it would be found again and again.
            self.submit(&mut state, now, None, |_| ());
        }
        progress
    }

    /// All that came before this time has been read.
    pub(crate) fn fetched(&self, at: Timestamp) {
        self.lock().fetched_at = at;
    }

    /// Whether a wait is past its time and goes on only when deliveries have been read.
    pub(crate) fn is_overdue(&self, now: Timestamp) -> bool {
        self.lock().machine.next_wake().is_some_and(|at| at <= now)
    }

    /// Ends a wait whose time has come.
    pub(super) fn end_wait(self: &Arc<Self>, state: &mut State, key: StepKey, kind: StepKind, now: Timestamp) {
        // Why: that nothing came is known now alone; after a crash something may have.
        let derivable = kind == StepKind::Sleep && state.machine.waiting_len() <= 1;
        let entry = if kind == StepKind::Invoke {
            let error = StepError::new(ErrorKind::Timeout, "the invoked run took too long", false);
            state.machine.fail(key, error.to_payload(), now, derivable)
        } else {
            state.machine.succeed(key, Payload::from("null"), now, derivable)
        };
        if kind != StepKind::Sleep {
            state.settled.insert(key);
        }
        if let Some(entry) = entry {
            let told = (!derivable).then_some(key);
            self.submit(state, now, told, |checkpoint| checkpoint.entries.push(entry));
        }
    }
}

/// What a fact is to the step that waited for it.
fn outcome(fact: Fact) -> Result<Payload, StepError> {
    match fact {
        Fact::Event(event) => Ok(event),
        Fact::Signal(data) => {
            let mut wrapped = Vec::with_capacity(data.len() + 2);
            wrapped.push(b'[');
            wrapped.extend_from_slice(data.as_ref());
            wrapped.push(b']');
            Ok(wrapped.into())
        }
        Fact::SignalTaken => {
            Err(StepError::new(ErrorKind::SignalTaken, "another run waits for a signal of this name", false))
        }
        Fact::Outcome(outcome) if outcome.status == Status::Completed => Ok(outcome.response),
        // A response of any status is no error of who invoked it.
        Fact::Outcome(outcome)
            if outcome.status == Status::Failed && StepError::from_payload(&outcome.error).is_response() =>
        {
            Ok(outcome.response)
        }
        Fact::Outcome(outcome) => {
            let text = format!("the invoked run {}", outcome.status.as_str());
            Err(StepError::new(ErrorKind::Invoke, text, false))
        }
    }
}
