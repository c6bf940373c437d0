//! `step.transaction`: on SQLite.

use std::sync::Arc;

use onward_core::{
    RunId,
    step::{StepId, StepKind},
};
use onward_sqlite::{TransactError, rusqlite::Connection};
use serde::{Serialize, de::DeserializeOwned};

use super::{Transaction, attempts, output};
use crate::{
    IntoStepError, Step, StepError,
    context::{Answer, Room, Transacting, Undone, stream::within_transaction},
    error::ErrorKind,
    onward::Sqlite,
    step::{Asked, Make, refused, run::RunOptions},
};

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
            Ok(asked) => Box::pin(try_all(asked, options, Arc::new(work))),
            Err(error) => refused(error),
        });
        Transaction { options: RunOptions::default(), make: Some(make), future: None }
    }
}

async fn try_all<T, E, F>(asked: Asked, options: RunOptions, work: Arc<F>) -> Result<T, StepError>
where
    F: Fn(&Connection) -> Result<T, E> + Send + Sync + 'static,
    T: Serialize + DeserializeOwned + Send + 'static,
    E: IntoStepError + 'static,
{
    let Some(sqlite) = asked.context.shared.opened.sqlite.clone() else {
        let error = StepError::new(ErrorKind::Invalid, "a transactional step needs an app on SQLite", false);
        return Err(asked.error(error));
    };
    let (room, step) = (asked.context.room(), (asked.context.run_id, asked.id.clone()));
    attempts(asked, options, move |transacting| {
        Box::pin(transact(&sqlite, transacting, Arc::clone(&work), room, step.clone()))
    })
    .await
}

/// Submits it now; what the future gives is what became of it.
fn transact<T, E, F>(
    sqlite: &Sqlite,
    Transacting { lease, checkpoint }: Transacting,
    work: Arc<F>,
    room: Room,
    step: (RunId, StepId),
) -> impl Future<Output = Answer> + Send + use<T, E, F>
where
    F: Fn(&Connection) -> Result<T, E> + Send + Sync + 'static,
    T: Serialize + DeserializeOwned + Send + 'static,
    E: IntoStepError + 'static,
{
    let done = sqlite.transact(lease, move |connection| {
        let output = output(within_transaction(&step, || work(connection)), room)?;
        Ok::<_, StepError>((checkpoint(&output), output))
    });
    async move {
        done.await.map_err(|error| match error {
            TransactError::Store(error) => Undone::Store(error),
            TransactError::Work(error) => Undone::Work(error),
            TransactError::Panicked(text) => Undone::Panicked(text),
            other => Undone::Panicked(other.to_string()),
        })
    }
}
