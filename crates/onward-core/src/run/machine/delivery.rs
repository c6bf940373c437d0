//! In which order completed steps reach the handler: that of their entries.
//!
//! The handler may have let go of a step, or hold on to one without polling it. Then what comes after must not be
//! held up: a completion that was offered and not taken is *deferred*, and given whenever it is asked for.

use super::{Machine, State, Way};
use crate::{Payload, StepKey};

/// How often the handler is polled with a completion on offer before the next one is offered.
///
/// More than once, because a combinator may use up its cooperative budget before it polls the future that was woken.
const OFFERS_MAX: u8 = 8;

/// What is next on its way to the handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// Nothing is ready.
    Nothing,
    /// This step's outcome: wake who asked for it.
    Step(StepKey),
    /// A step that this execution has not asked for yet. If nothing else can move the handler, it never will, and
    /// [`Machine::skip`] lets the next one through.
    Unrequested,
}

impl Machine {
    /// What was appended for a step is durable.
    pub fn durable(&mut self, key: StepKey) {
        if let Some(State::Done { durable, .. }) = self.steps.get_mut(&key).map(|step| &mut step.state) {
            *durable = true;
        }
    }

    /// The outcome of a step, if it is its turn. It is given once.
    pub fn take(&mut self, key: StepKey) -> Option<Result<Payload, Payload>> {
        self.drop_settled();
        let front = self.undelivered.front() == Some(&key);
        let State::Done { outcome, durable: true, way, .. } = &mut self.steps.get_mut(&key)?.state else {
            return None;
        };
        if *way == Way::Delivered || (*way == Way::Queued && !front) {
            return None;
        }
        *way = Way::Delivered;
        let outcome = outcome.clone();
        if front {
            self.undelivered.pop_front();
        }
        Some(outcome)
    }

    /// What to offer to the handler now. Called after each poll of the handler that left it pending.
    pub fn offer(&mut self) -> Offer {
        loop {
            self.drop_settled();
            let Some(&key) = self.undelivered.front() else {
                self.offered = None;
                return Offer::Nothing;
            };
            let step = self.steps.get_mut(&key).expect("what is queued is known");
            let State::Done { durable, way, .. } = &mut step.state else { return Offer::Nothing };
            if !*durable {
                return Offer::Nothing;
            }
            if !step.requested {
                return Offer::Unrequested;
            }
            let times = match self.offered {
                Some((offered, times)) if offered == key => times,
                _ => 0,
            };
            if times < OFFERS_MAX {
                self.offered = Some((key, times + 1));
                return Offer::Step(key);
            }
            *way = Way::Deferred;
        }
    }

    /// Lets what comes after a step that nobody asked for through.
    pub fn skip(&mut self) {
        self.drop_settled();
        let Some(step) = self.undelivered.front().and_then(|key| self.steps.get_mut(key)) else { return };
        if let State::Done { way, durable: true, .. } = &mut step.state
            && !step.requested
        {
            *way = Way::Deferred;
        }
    }

    /// Takes what no longer waits in the queue from its front.
    fn drop_settled(&mut self) {
        while let Some(step) = self.undelivered.front().and_then(|key| self.steps.get(key)) {
            let queued = matches!(step.state, State::Done { way: Way::Queued, .. });
            if queued && !step.dropped {
                return;
            }
            self.undelivered.pop_front();
        }
    }
}
