//! Who waits for a fact from outside, and the fact once it has come.

use crate::{Payload, RunId, StepKey, Timestamp, event::Matcher};

/// A run's step that waits for an event or a signal.
#[derive(Clone, Debug, PartialEq)]
pub struct Waiter {
    /// The step that waits.
    pub step: StepKey,
    /// What it waits for.
    pub subject: Subject,
}

/// What a waiter waits for.
#[derive(Clone, Debug, PartialEq)]
pub enum Subject {
    /// An event that matches.
    Event {
        /// Which events count.
        matcher: Matcher,
        /// Look back: events received from this instant on count too, the earliest first.
        since: Option<Timestamp>,
    },
    /// The signal of this name. At most one waiter a name.
    Signal {
        /// The name.
        name: String,
        /// Whether a waiter who has the name already loses it; otherwise the newcomer is refused.
        replace: bool,
    },
}

/// A fact that has come for a waiting step: stored until the run's next checkpoint takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The step it is for.
    pub step: StepKey,
    /// When it came.
    pub at: Timestamp,
    /// What came.
    pub fact: Fact,
}

/// What can come for a waiting step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// The event that matched, as JSON.
    Event(Payload),
    /// The data of the signal, as JSON.
    Signal(Payload),
    /// Another waiter took the signal's name, or had it already.
    SignalTaken,
    /// The invoked run ended: its status and its response.
    Outcome(crate::run::Outcome),
}

/// A signal: data for the one run that waits for its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signal {
    /// The name that a waiter waits for.
    pub name: String,
    /// What it brings, as JSON.
    pub data: Payload,
}

/// What came of a signal: the run that waited for it, if one did.
pub type Signalled = Option<RunId>;
