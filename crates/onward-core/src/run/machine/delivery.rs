//! In which order completed steps reach the handler: that of their entries.
//!
//! A completion is given in a poll before which it was offered, and at no other time: a step is never ready when it is
//! first polled, neither live, where it has yet to become durable, nor in a replay, where it was long ago. So a handler
//! goes the same way both times, however its combinators order their polls.
//!
//! The handler may have let go of a step, or hold on to one without polling it. Then what comes after must not be
//! held up: a completion that was offered and not taken is *deferred*. When it is asked for later, it goes back to
//! its place in the queue, and wins against what came after it.

use super::{Machine, State, Way};
use crate::{Payload, StepKey, step::StepId};

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

    /// The outcome of a step, if it is its turn: if it was offered last. It is given once.
    pub fn take(&mut self, key: StepKey) -> Option<Result<Payload, Payload>> {
        let its_turn = self.front() == Some(key) && self.offered.is_some_and(|(offered, _)| offered == key);
        let step = self.steps.get_mut(&key).filter(|step| !step.dropped)?;
        let State::Done { outcome, seq, durable: true, way, .. } = &mut step.state else { return None };
        match *way {
            Way::Queued { .. } if its_turn => {
                self.queue.remove(seq);
                self.offered = None;
            }
            // Why: who polls it is not the handler's own task, and is polled after the offers.
            Way::Deferred { again: true } => {}
            Way::Deferred { again: false } => {
                *way = Way::Queued { again: true };
                self.queue.insert(*seq, key);
                return None;
            }
            Way::Queued { .. } | Way::Delivered => return None,
        }
        *way = Way::Delivered;
        Some(outcome.clone())
    }

    /// What to offer to the handler now. Called after each poll of the handler that left it pending.
    pub fn offer(&mut self) -> Offer {
        while let Some(key) = self.front() {
            let step = &self.steps[&key];
            if !matches!(step.state, State::Done { durable: true, .. }) {
                return Offer::Nothing;
            }
            if !step.requested {
                if self.is_retired(step) {
                    self.defer(key);
                    continue;
                }
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
            self.defer(key);
        }
        self.offered = None;
        Offer::Nothing
    }

    /// Lets what comes after steps that nobody asked for through. Gives the first of them, and how many there were.
    pub fn skip(&mut self) -> Option<(StepId, usize)> {
        let (mut first, mut count) = (None, 0);
        while let Some(key) = self.front()
            && !self.steps[&key].requested
        {
            first.get_or_insert(key);
            count += 1;
            self.defer(key);
        }
        Some((self.steps[&first?].id.clone(), count))
    }

    /// Whether a completion is to be offered. Between two polls of the handler there is none, unless a task of its own has
    /// asked for one since.
    pub fn has_offer(&self) -> bool {
        self.front().is_some_and(|key| {
            let step = &self.steps[&key];
            step.requested && matches!(step.state, State::Done { durable: true, .. })
        })
    }

    /// The first completion in the order of the journal, unless what comes before it is still being decided.
    fn front(&self) -> Option<StepKey> {
        let (seq, key) = self.queue.first_key_value()?;
        self.undecided.is_none_or(|undecided| *seq < undecided).then_some(*key)
    }

    fn defer(&mut self, key: StepKey) {
        // When it is asked for and comes back, it is offered as often as the first time.
        self.offered = self.offered.filter(|(offered, _)| *offered != key);
        if let Some(State::Done { seq, way, .. }) = self.steps.get_mut(&key).map(|step| &mut step.state)
            && let Way::Queued { again } = *way
        {
            *way = Way::Deferred { again };
            self.queue.remove(seq);
        }
    }
}

impl Way {
    /// How a completion sets out.
    pub(super) const NEW: Self = Self::Queued { again: false };
}
