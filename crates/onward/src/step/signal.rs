//! `step.wait_for_signal` and `step.send_signal`.

use std::time::Duration;

use onward_core::{
    IntoDuration, Payload,
    step::StepKind,
    waiter::{Signal, Subject, Waiter},
};
use serde::{Serialize, de::DeserializeOwned};

use super::{Asked, Make, Step, StepFuture, parse, refused, step_future};
use crate::{StepError, error::ErrorKind, events::checked_signal};

/// A wait for a signal: see [`Step::wait_for_signal`].
#[must_use = "a step runs when it is awaited"]
pub struct WaitForSignal<'a, T> {
    options: SignalOptions,
    make: Option<Make<'a, SignalOptions, T>>,
    future: Option<StepFuture<'a, T>>,
}

#[derive(Default)]
struct SignalOptions {
    timeout: Option<Duration>,
    replace: bool,
    error: Option<StepError>,
}

impl<T> WaitForSignal<'_, T> {
    /// How long to wait; then the step gives `None`. Default: for ever.
    pub fn timeout(mut self, timeout: impl IntoDuration) -> Self {
        match timeout.into_duration() {
            Ok(timeout) => self.options.timeout = Some(timeout),
            Err(error) => self.options.error = Some(error.into()),
        }
        self
    }

    /// Takes the name from a run that waits for it already: that one's step fails. Default: this step fails.
    pub fn replace(mut self) -> Self {
        self.options.replace = true;
        self
    }
}

step_future!(WaitForSignal<'a, T>);

/// A signal sent by the run: see [`Step::send_signal`].
#[must_use = "a step runs when it is awaited"]
pub struct SendSignal<'a, T = ()> {
    options: (),
    make: Option<Make<'a, (), T>>,
    future: Option<StepFuture<'a, T>>,
}

step_future!(SendSignal<'a, T>);

impl Step {
    /// Suspends the run until the signal of this name comes, and gives its data; `None` where a
    /// [`timeout`](WaitForSignal::timeout) passed first. At most one run waits for a name.
    ///
    /// # Errors
    /// A bad duration or name; another run that has the name or takes it; data that is not a `T`.
    ///
    /// ```
    /// # use onward::{Step, StepError};
    /// # async fn handler(step: Step) -> Result<(), StepError> {
    /// let go: Option<bool> = step.wait_for_signal("wait", "deploy-42").timeout("1h").await?;
    /// # Ok(()) }
    /// ```
    pub fn wait_for_signal<'a, T>(&self, id: &str, name: &str) -> WaitForSignal<'a, Option<T>>
    where
        T: DeserializeOwned + Send + 'a,
    {
        let asked = Asked::new(self, id, StepKind::WaitForSignal);
        let name = name.to_owned();
        let make: Make<'a, SignalOptions, Option<T>> = Box::new(move |options| match asked {
            Ok(asked) => Box::pin(wait::<T>(asked, name, options)),
            Err(error) => refused(error),
        });
        WaitForSignal { options: SignalOptions::default(), make: Some(make), future: None }
    }

    /// Sends a signal to the run that waits for its name, in the same transaction that records the step. Where
    /// nobody waits it is not kept.
    ///
    /// # Errors
    /// A name or data that is not allowed.
    pub fn send_signal<'a>(&self, id: &str, name: &str, data: &impl Serialize) -> SendSignal<'a> {
        let asked = Asked::new(self, id, StepKind::SendSignal);
        let data = serde_json::to_vec(data).map(Payload::from).map_err(|error| error.to_string());
        let name = name.to_owned();
        let make: Make<'a, (), ()> = Box::new(move |()| match asked {
            Ok(asked) => Box::pin(send(asked, name, data)),
            Err(error) => refused(error),
        });
        SendSignal { options: (), make: Some(make), future: None }
    }
}

async fn wait<T: DeserializeOwned>(
    mut asked: Asked,
    name: String,
    options: SignalOptions,
) -> Result<Option<T>, StepError> {
    if asked.is_new() {
        let limit = asked.context.shared.config.event_bytes_max;
        let checked = options.error.map_or(Ok(()), Err).and_then(|()| {
            let checked = checked_signal(&name, Payload::from("null"), limit);
            checked.map_err(|text| StepError::new(ErrorKind::Invalid, text, false))
        });
        match checked {
            Ok(_) => {
                let until = options.timeout.map(|timeout| asked.context.now().after(timeout));
                let subject = Subject::Signal { name: name.clone(), replace: options.replace };
                let waiter = Waiter { step: asked.key, subject };
                asked.context.wait(asked.key, until, name, |_| Some(waiter), None);
            }
            Err(error) => asked.refuse(&error),
        }
    }
    let output = asked.outcome().await?;
    // What came is kept in an array of one, so that a signal of `null` is not taken for a timeout.
    let came: Option<(T,)> = parse(&asked, &output)?;
    Ok(came.map(|(data,)| data))
}

async fn send(mut asked: Asked, name: String, data: Result<Payload, String>) -> Result<(), StepError> {
    if asked.is_new() {
        let limit = asked.context.shared.config.event_bytes_max;
        let signal: Result<Signal, String> = data.and_then(|data| checked_signal(&name, data, limit));
        match signal {
            Ok(signal) => {
                asked.context.succeed(asked.key, Payload::from("null"), |checkpoint| checkpoint.signals.push(signal));
            }
            Err(text) => asked.refuse(&StepError::new(ErrorKind::Invalid, text, false)),
        }
    }
    asked.outcome().await.map(drop)
}
