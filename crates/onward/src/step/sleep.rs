//! `step.sleep`: a pause that survives restarts.

use onward_core::{IntoDuration, InvalidDuration, Timestamp, step::StepKind};

use super::{Asked, Make, Step, StepFuture, refused, step_future};

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
    /// The deadline is fixed when the step is first reached and is kept; the sleep never ends early. At most 36,600 days.
    ///
    /// ```
    /// # use onward::{Step, StepError};
    /// # async fn handler(step: Step) -> Result<(), StepError> {
    /// step.sleep("rate-limit-pause", "1h30m").await?;
    /// step.sleep_until("new-year", std::time::SystemTime::UNIX_EPOCH).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// A duration that cannot be read: the error names it.
    pub fn sleep<'a>(&self, id: &str, duration: impl IntoDuration) -> Sleep<'a> {
        let duration = duration.into_duration();
        self.pause(id, move |now| Ok(now.after(duration?)))
    }

    /// Suspends the run until a time; one that has passed ends at once.
    ///
    /// # Errors
    /// A time more than 36,600 days away.
    pub fn sleep_until<'a>(&self, id: &str, until: impl Into<std::time::SystemTime>) -> Sleep<'a> {
        let since_epoch = until.into().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let until = Timestamp::EPOCH.after(since_epoch);
        self.pause(id, move |now| until.since(now).into_duration().map(|_| until))
    }

    fn pause<'a, F>(&self, id: &str, until: F) -> Sleep<'a>
    where
        F: FnOnce(Timestamp) -> Result<Timestamp, InvalidDuration> + Send + 'a,
    {
        let asked = Asked::new(self, id, StepKind::Sleep);
        let make: Make<'a, (), ()> = Box::new(move |()| match asked {
            Ok(mut asked) => Box::pin(async move {
                if asked.is_new() {
                    match until(asked.context.now()) {
                        Ok(until) => asked.context.wait(asked.key, Some(until), String::new(), |_| None, None),
                        Err(error) => asked.refuse(&error.into()),
                    }
                }
                asked.outcome().await.map(drop)
            }),
            Err(error) => refused(error),
        });
        Sleep { options: (), make: Some(make), future: None }
    }
}
