//! Facts from outside, on their way into the journal.

use super::{Arc, Context, Delivery, State};
use crate::{StepError, error::ErrorKind};
use onward_core::{Payload, StepKey, Timestamp, run::Status, step::StepKind, waiter::Fact};

impl Context {
    /// Takes what has come for waiting steps: an entry each, in the order in which it came.
    ///
    /// Nobody waits for these entries to be durable. What they record is stored already, and whatever the run writes
    /// later commits after them.
    pub(crate) fn take_deliveries(self: &Arc<Self>, deliveries: Vec<Delivery>) -> bool {
        let now = self.now();
        let mut state = self.state.lock();
        let mut progress = false;
        for delivery in deliveries {
            let key = delivery.step;
            let entry = match outcome(delivery.fact) {
                Ok(output) => state.machine.succeed(key, output, delivery.at, true),
                Err(error) => state.machine.fail(key, error.to_payload(), delivery.at, true),
            };
            state.settled.push(key);
            if let Some(entry) = entry {
                progress = true;
                self.submit(&mut state, now, None, |checkpoint| checkpoint.entries.push(entry));
            }
        }
        progress
    }

    /// Ends a wait whose time has come.
    pub(super) fn end_wait(self: &Arc<Self>, state: &mut State, key: StepKey, kind: StepKind, now: Timestamp) {
        let entry = if kind == StepKind::Invoke {
            let error = StepError::new(ErrorKind::Timeout, "the invoked run took too long", false);
            state.machine.fail(key, error.to_payload(), now, true)
        } else {
            state.machine.succeed(key, Payload::from("null"), now, true)
        };
        if kind != StepKind::Sleep {
            state.settled.push(key);
        }
        if let Some(entry) = entry {
            self.submit(state, now, None, |checkpoint| checkpoint.entries.push(entry));
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
        Fact::Outcome(outcome) => {
            let text = format!("the invoked run {}", outcome.status.as_str());
            Err(StepError::new(ErrorKind::Invoke, text, false))
        }
    }
}
