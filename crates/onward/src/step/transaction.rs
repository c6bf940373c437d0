//! `step.transaction`: writes of the user's own that commit with the step's checkpoint.

use std::sync::Arc;

use onward_core::step::StepKind;
use onward_sqlite::rusqlite::Connection;
use serde::{Serialize, de::DeserializeOwned};

use super::{
    Asked, Make, Step, StepFuture, refused,
    run::{RunOptions, keep},
    step_future,
};
use crate::{IntoStepError, StepError};

/// A step that commits with its own writes: see [`Step::transaction`].
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

impl Step {
    /// Runs a closure on the app's SQLite database and commits what it wrote together with the step's checkpoint:
    /// **exactly once**.
    ///
    /// The closure runs on the thread that writes for every run: keep it to a few statements, and do nothing else in
    /// it. It can neither end the transaction nor touch tables that begin with `onward_`. An error or panic of it
    /// rolls back what it wrote, and is a failed attempt.
    ///
    /// # Errors
    /// As [`Step::run`]; also where the app's store is not SQLite.
    ///
    /// ```
    /// # use onward::{Step, StepError};
    /// async fn handler(step: Step) -> Result<String, StepError> {
    ///     let left: i64 = step
    ///         .transaction("reserve", |db| {
    ///             db.query_row("UPDATE stock SET n = n - 1 WHERE item = 'book' RETURNING n", [], |row| row.get(0))
    ///         })
    ///         .await?;
    ///     Ok(format!("{left} left"))
    /// }
    /// ```
    pub fn transaction<'a, T, E, F>(&self, id: &str, work: F) -> Transaction<'a, T>
    where
        F: Fn(&Connection) -> Result<T, E> + Send + Sync + 'static,
        T: Serialize + DeserializeOwned + Send + 'static,
        E: IntoStepError + 'static,
    {
        let asked = Asked::new(self, id, StepKind::Transaction);
        let make: Make<'a, RunOptions, T> = Box::new(move |options| match asked {
            Ok(asked) => Box::pin(attempts(asked, options, Arc::new(work))),
            Err(error) => refused(error),
        });
        Transaction { options: RunOptions::default(), make: Some(make), future: None }
    }
}

async fn attempts<T, E, F>(mut asked: Asked, options: RunOptions, work: Arc<F>) -> Result<T, StepError>
where
    F: Fn(&Connection) -> Result<T, E> + Send + Sync + 'static,
    T: Serialize + DeserializeOwned + Send + 'static,
    E: IntoStepError + 'static,
{
    let (policy, _) = options.resolve(asked.context.endpoint.options.retry).map_err(|error| asked.error(error))?;
    while let Some(attempt) = asked.attempt().await {
        let running = asked.context.running();
        let (work, limit) = (Arc::clone(&work), asked.context.endpoint.options.output_bytes_max);
        let once = move |connection: &Connection| {
            let value = work(connection).map_err(IntoStepError::into_step_error)?;
            keep(&value, limit).map(|(output, _)| output)
        };
        let step = (asked.key, asked.id.clone());
        asked.next = asked.context.transact(step, attempt, policy, once).await.map_err(|error| asked.error(error))?;
        drop(running);
    }
    let output = asked.outcome().await?;
    super::read(&asked, &output)
}
