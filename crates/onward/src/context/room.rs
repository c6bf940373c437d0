//! How many bytes the output of a step may have: by itself, and together with the outputs that the run has.

use super::{Context, State};
use crate::{Options, StepError, error::ErrorKind};

/// The room that is left for one more output.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    output_max: usize,
    state_max: usize,
    taken: usize,
}

impl Room {
    /// Whether an output of so many bytes has room; the error says which option bounds it.
    pub(crate) fn check(self, bytes: usize) -> Result<(), StepError> {
        let Self { output_max, state_max, taken } = self;
        let text = if bytes > output_max {
            format!("the output has {bytes} bytes, the limit is {output_max} (output_bytes_max)")
        } else if bytes > state_max.saturating_sub(taken) {
            format!(
                "the outputs of the run's steps would have {} bytes, the limit is {state_max} (state_bytes_max)",
                taken.saturating_add(bytes)
            )
        } else {
            return Ok(());
        };
        Err(StepError::new(ErrorKind::TooLarge, text, false))
    }
}

impl Context {
    /// The room for one more output. Steps that run at the same time each see all of it.
    pub(crate) fn room(&self) -> Room {
        self.lock().room(&self.endpoint.options)
    }
}

impl Context {
    /// How many bytes the run keeps in memory while it waits, apart from what its handler's future has.
    pub(crate) fn bytes_kept(&self) -> usize {
        self.request.len() + self.lock().machine.outcome_bytes()
    }

    /// The run is parked, and counts among those: its body no longer counts among the bodies of requests under way.
    pub(crate) fn is_parked(&self) {
        let share = self.lock().share.take();
        drop(share);
    }
}

impl State {
    /// The room for an output that is recorded now.
    pub(super) fn room(&self, options: &Options) -> Room {
        let taken = self.machine.outcome_bytes();
        Room { output_max: options.output_bytes_max, state_max: options.state_bytes_max, taken }
    }

    /// Whether an output has room among those of the run. The caller has looked at its own limit before.
    pub(super) fn has_room(&self, options: &Options, bytes: usize) -> Result<(), StepError> {
        Room { output_max: usize::MAX, ..self.room(options) }.check(bytes)
    }
}
