//! Steps whose own writes commit with their checkpoint.

#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;

use onward_core::{BoxFuture, Payload};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    Asked, Make, StepFuture,
    run::{RunOptions, keep},
    step_future,
};
use crate::{
    IntoStepError, StepError,
    context::{Answer, Room, Transacting},
};

/// A step that commits with its own writes: see `Step::transaction` and `Step::postgres_transaction`.
#[must_use = "a step runs when it is awaited"]
pub struct Transaction<'a, T> {
    options: RunOptions,
    make: Option<Make<'a, RunOptions, T>>,
    future: Option<StepFuture<'a, T>>,
}

impl<T> Transaction<'_, T> {
    /// How often the step is tried again after a failure, 0 to 20. Default: the endpoint's.
    pub fn retries(mut self, retries: u32) -> Self {
        self.options.set_retries(retries);
        self
    }
}

step_future!(Transaction<'a, T>);

/// Tries until an attempt is committed, or the last has failed.
async fn attempts<T>(
    mut asked: Asked,
    options: RunOptions,
    run: impl Fn(Transacting) -> BoxFuture<'static, Answer>,
) -> Result<T, StepError>
where
    T: Serialize + DeserializeOwned + Send + 'static,
{
    let (policy, _) = options.resolve(asked.context.endpoint.options.retry).map_err(|error| asked.error(error))?;
    while let Some(attempt) = asked.attempt().await {
        let running = asked.context.running();
        let step = (asked.key, asked.id.clone());
        asked.next = asked.context.transact(step, attempt, policy, &run).await.map_err(|error| asked.error(error))?;
        drop(running);
    }
    let output = asked.outcome().await?;
    super::read(&asked, &output).await
}

/// What a closure gave, as it is kept.
fn output<T: Serialize + DeserializeOwned, E: IntoStepError>(
    value: Result<T, E>,
    room: Room,
) -> Result<Payload, StepError> {
    let value = value.map_err(IntoStepError::into_step_error)?;
    keep(&value, room).map(|(output, _)| output)
}
