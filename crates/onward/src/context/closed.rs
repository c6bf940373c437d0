//! The end of an execution: no step is recorded after it, whichever task asks.

use std::fmt;

use super::{Context, Duration, Locked, Poll, State, StepError, StepKey, TaskContext, Timestamp};
use crate::error::ErrorKind;

/// Why an execution takes no more steps. Only a task of its own can still ask for one then, or end one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Closed {
    /// The handler has returned.
    Returned,
    /// The run is suspended, or others have it: its handler is called again.
    Over,
}

impl Closed {
    /// The error of a step that is asked for, or ends, after that.
    pub(super) fn error(self) -> StepError {
        let text = match self {
            Self::Returned => {
                "the handler has returned: await every step before, also those of other tasks; a step cannot be taken in \
                 the body of a response"
            }
            Self::Over => {
                "this execution of the handler is over, and the run goes on in another: nothing of the step is recorded"
            }
        };
        StepError::new(ErrorKind::Invalid, text, false)
    }
}

impl Context {
    /// The handler has returned. Steps in other tasks that wait end with an error.
    pub(crate) fn close(&self) {
        self.lock().close(Closed::Returned);
    }

    /// The handler has returned. Whether the store knows nothing of the run, and never will.
    pub(crate) fn close_unbegun(&self) -> bool {
        let mut state = self.lock();
        let unbegun = state.lease.is_none();
        if unbegun {
            state.close(Closed::Returned);
        }
        unbegun
    }

    /// The state, where a step may be recorded. The log tells of a step that may not.
    pub(super) fn open(&self, step: impl fmt::Display) -> Option<Locked<'_>> {
        let state = self.lock();
        let Some(closed) = state.closed else { return Some(state) };
        drop(state); // whoever listens to the log may come back
        self.say_late(step, closed);
        None
    }

    /// Ends an execution that only waits, so that its run can be suspended; tells when the run is due then. `None` where a
    /// task has got the run something to do meanwhile.
    pub(crate) fn close_to_suspend(&self) -> Option<Timestamp> {
        let mut state = self.lock();
        let is_idle = state.acks.is_empty() && state.running == 0 && state.gate.is_none();
        if !is_idle || state.nudged || state.halted.is_some() || state.machine.has_offer() {
            return None;
        }
        state.close(Closed::Over);
        let wake = [state.machine.next_wake(), self.timeout_at].into_iter().flatten().min();
        Some(wake.unwrap_or(Timestamp::NEVER))
    }

    /// Whether the handler takes no more steps.
    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed.is_some()
    }

    /// Ready when the handler takes no more steps, with the error of one that a task of its own still holds.
    pub(crate) fn poll_closed(&self, key: StepKey, cx: &TaskContext<'_>) -> Poll<StepError> {
        let mut state = self.lock();
        match state.closed {
            Some(closed) => Poll::Ready(closed.error()),
            None => {
                state.wait_for(key, cx);
                Poll::Pending
            }
        }
    }

    /// Ends an execution with which nothing has begun: the store knows nothing of the run, and never will. Whether it could
    /// be ended so.
    pub(crate) fn close_idle(&self) -> bool {
        let mut state = self.lock();
        let is_idle = state.lease.is_none() && state.running == 0 && state.acks.is_empty();
        if is_idle {
            state.close(Closed::Over);
        }
        is_idle
    }

    /// A step has kept a worker of the runtime for so long, and all that waits for it.
    pub(crate) fn say_blocking(&self, key: StepKey, time: Duration) {
        let step = self.lock().machine.id(key).map(ToString::to_string).unwrap_or_default();
        tracing::warn!(run_id = %self.run_id, endpoint = %self.endpoint.id, step, ?time,
            "step blocks a thread of the runtime: put such work into tokio::task::spawn_blocking");
    }

    pub(super) fn say_late(&self, step: impl fmt::Display, closed: Closed) {
        let (run_id, endpoint) = (self.run_id, &self.endpoint.id);
        match closed {
            Closed::Returned => tracing::warn!(%run_id, %endpoint, %step,
                "step asked for, or ended, after the handler had returned: nothing of it is recorded"),
            Closed::Over => tracing::debug!(%run_id, %endpoint, %step, "step of an execution that is over"),
        }
    }
}

impl State {
    /// No more steps are taken. Tasks that wait for one are woken with an error.
    pub(super) fn close(&mut self, closed: Closed) {
        self.closed.get_or_insert(closed);
        self.woken.extend(std::mem::take(&mut self.wakers).into_values());
    }
}
