//! The task that polls an execution: how others wake it, and what it waits for while it rests.

use std::task::{Context as TaskContext, Waker};

use onward_core::Timestamp;

/// The task that polls an execution.
#[derive(Default)]
pub(super) struct Driver {
    waker: Option<Waker>,
    /// Whether the task is to be woken when the lock is let go of.
    is_woken: bool,
    phase: Phase,
    /// How often the execution has been polled.
    polls: u64,
}

#[derive(Clone, Copy, Default)]
enum Phase {
    /// The execution is being polled, or has not been polled yet, or is settled.
    #[default]
    Polled,
    /// The execution is being polled, and something came for it meanwhile: the runtime polls it again.
    PolledAndWoken,
    /// The runtime has been told to poll the execution.
    Woken,
    /// The execution is pending.
    Rests(Rest),
}

/// The things that a driver waits for once its handler is pending, beside acknowledgements and running steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rest {
    /// The time for which a timer is set.
    pub(crate) timer: Option<Timestamp>,
    /// Whether deliveries are being read.
    pub(crate) reads: bool,
    /// Whether the driver gives the handler a moment to ask for the journal's next step.
    pub(crate) stalls: bool,
}

impl Driver {
    /// A poll of the execution begins.
    pub(super) fn begin_poll(&mut self) {
        self.phase = Phase::Polled;
        self.polls += 1;
    }

    /// A poll of the execution ends, and the handler is pending.
    pub(super) fn rest(&mut self, rest: Rest) {
        self.phase = match self.phase {
            Phase::PolledAndWoken | Phase::Woken => Phase::Woken,
            Phase::Polled | Phase::Rests(_) => Phase::Rests(rest),
        };
    }

    /// Remembers the task that polls.
    pub(super) fn register(&mut self, cx: &TaskContext<'_>) {
        if !self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            self.waker = Some(cx.waker().clone());
        }
    }

    /// Has the execution polled.
    pub(super) fn wake(&mut self) {
        self.phase = match self.phase {
            Phase::Polled | Phase::PolledAndWoken => Phase::PolledAndWoken,
            Phase::Woken | Phase::Rests(_) => Phase::Woken,
        };
        self.is_woken = true;
    }

    /// Has the execution polled, unless it is being polled.
    pub(super) fn wake_if_resting(&mut self) {
        if matches!(self.phase, Phase::Rests(_)) {
            self.wake();
        }
    }

    pub(super) const fn has_woken(&self) -> bool {
        self.is_woken
    }

    /// The task to wake.
    pub(super) fn take_woken(&mut self) -> Option<Waker> {
        std::mem::take(&mut self.is_woken).then(|| self.waker.clone()).flatten()
    }

    /// No task polls the execution any more.
    pub(super) fn forget(&mut self) {
        self.waker = None;
        self.phase = Phase::Polled;
    }

    /// Returns what the driver waits for and how often it has polled; `None` while it polls, or is about to.
    pub(super) const fn resting(&self) -> Option<(Rest, u64)> {
        match self.phase {
            Phase::Rests(rest) => Some((rest, self.polls)),
            _ => None,
        }
    }
}
