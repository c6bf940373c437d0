//! Facts for waiting steps: matched, stored, and their runs woken.

use onward_core::{
    Payload, RunId, StepKey, Timestamp,
    event::{Event, Matcher},
    run::Status,
    store::Woken,
    waiter::{Delivery, Fact, Signal, Signalled, Subject, Waiter},
};

use super::state::State;

impl State {
    /// Stores a fact that came `at` for a run's step, and wakes the run.
    ///
    /// A run that has ended gets nothing. A step gets one fact: the first.
    pub(super) fn deliver(
        &mut self,
        run_id: RunId,
        step: StepKey,
        at: Timestamp,
        fact: Fact,
        now: Timestamp,
        woken: &mut Vec<Woken>,
    ) {
        let Some(run) = self.runs.get_mut(&run_id) else { return };
        if run.record.status.is_final() || run.deliveries.iter().any(|delivery| delivery.step == step) {
            return;
        }
        run.deliveries.push(Delivery { step, at, fact });
        if run.record.status == Status::Suspended {
            run.record.due_at = run.record.due_at.min(now);
        }
        if woken.iter().all(|woken| woken.run_id != run_id) {
            woken.push(Woken { run_id, node: run.record.node });
        }
    }

    /// Registers a waiter of a running run, or delivers to it at once.
    pub(super) fn register(&mut self, run_id: RunId, waiter: Waiter, now: Timestamp, woken: &mut Vec<Woken>) {
        let Waiter { step, subject } = waiter;
        match subject {
            Subject::Event { matcher, since } => match since.and_then(|since| self.earliest(&matcher, since)) {
                Some((received_at, event)) => self.deliver(run_id, step, received_at, fact(&event), now, woken),
                None => drop(self.event_waiters.insert((run_id, step), matcher)),
            },
            Subject::Signal { name, replace } => {
                let newcomer = (run_id, step);
                let other = self.signal_waiters.get(&name).copied().filter(|other| *other != newcomer);
                match other {
                    Some(_) if !replace => {
                        self.deliver(run_id, step, now, Fact::SignalTaken, now, woken);
                        return;
                    }
                    Some((other, step)) => self.deliver(other, step, now, Fact::SignalTaken, now, woken),
                    None => {}
                }
                self.signal_waiters.insert(name, newcomer);
            }
        }
    }

    /// The first event received from `since` on that matches.
    fn earliest(&self, matcher: &Matcher, since: Timestamp) -> Option<(Timestamp, Event)> {
        let mut received = self.events.range(since..);
        let (received_at, event) = received.find(|(_, event)| matcher.matches(&event.to_json()))?;
        Some((*received_at, event.clone()))
    }

    /// Stores an event, unless it is known, and gives it to each waiter that it matches.
    pub(super) fn accept(&mut self, event: Event, now: Timestamp, woken: &mut Vec<Woken>) {
        if !self.event_ids.insert(event.id.clone()) {
            return;
        }
        let after_last = self.last_received_at.map(|last| Timestamp::from_micros(last.as_micros() + 1));
        let received_at = now.max(after_last.unwrap_or(now));
        self.last_received_at = Some(received_at);

        let json = event.to_json();
        let waiting = self.event_waiters.extract_if(.., |_, matcher| matcher.matches(&json));
        let steps: Vec<(RunId, StepKey)> = waiting.map(|(waiting, _)| waiting).collect();
        for (run_id, step) in steps {
            self.deliver(run_id, step, received_at, fact(&event), now, woken);
        }
        self.events.insert(received_at, event);
    }

    /// Gives a signal to who waits for it.
    pub(super) fn signal(&mut self, signal: &Signal, now: Timestamp, woken: &mut Vec<Woken>) -> Signalled {
        let (run_id, step) = self.signal_waiters.remove(&signal.name)?;
        self.deliver(run_id, step, now, Fact::Signal(signal.data.clone()), now, woken);
        Some(run_id)
    }
}

/// An event as its waiter gets it.
fn fact(event: &Event) -> Fact {
    Fact::Event(Payload::from(event.to_json().to_string()))
}
