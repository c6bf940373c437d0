//! `step.sleep`: a pause that survives restarts.

use onward_core::{IntoDuration, Timestamp, step::StepKind};

use super::{Asked, Make, Step, StepFuture, refused, step_future};
use crate::StepError;

/// A pause: see [`Step::sleep`].
#[must_use = "a step runs when it is awaited"]
pub struct Sleep<'a, T = ()> {
    options: (),
    make: Option<Make<'a, (), T>>,
    future: Option<StepFuture<'a, T>>,
}

step_future!(Sleep<'a, T>);

impl Step {
    /// Suspends the run for a duration: a [`Duration`](std::time::Duration), or text such as `"30s"`, `"1h30m"`, `"24h"`, `"7d"`.
    ///
    /// The deadline is fixed when the step is first reached and is kept; it is never early. At most 366 days.
    ///
    /// # Errors
    /// A duration that cannot be read: the error names it.
    pub fn sleep<'a>(&self, id: &str, duration: impl IntoDuration) -> Sleep<'a> {
        match duration.into_duration() {
            Ok(duration) => self.pause(id, move |now| now.after(duration)),
            Err(error) => failed(StepError::from(error).at_step(id)),
        }
    }

    /// Suspends the run until a time; one that has passed ends at once.
    ///
    /// # Errors
    /// A time more than 366 days away.
    pub fn sleep_until<'a>(&self, id: &str, until: impl Into<std::time::SystemTime>) -> Sleep<'a> {
        let since_epoch = until.into().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let until = Timestamp::EPOCH.after(since_epoch);
        match until.since(self.context.now()).into_duration() {
            Ok(_) => self.pause(id, move |_| until),
            Err(error) => failed(StepError::from(error).at_step(id)),
        }
    }

    fn pause<'a>(&self, id: &str, until: impl FnOnce(Timestamp) -> Timestamp + Send + 'a) -> Sleep<'a> {
        let asked = Asked::new(self, id, StepKind::Sleep);
        let make: Make<'a, (), ()> = Box::new(move |()| match asked {
            Ok(mut asked) => Box::pin(async move {
                if asked.is_new() {
                    let until = until(asked.context.now());
                    asked.context.wait(asked.key, Some(until), String::new(), |_| None, None);
                }
                asked.outcome().await.map(drop)
            }),
            Err(error) => refused(error),
        });
        Sleep { options: (), make: Some(make), future: None }
    }
}

fn failed<'a>(error: StepError) -> Sleep<'a> {
    Sleep { options: (), make: None, future: Some(refused(error)) }
}
