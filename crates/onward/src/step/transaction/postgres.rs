//! `step.postgres_transaction`: on PostgreSQL.

use std::{future::poll_fn, pin::pin, sync::Arc};

use onward_core::{
    RunId,
    step::{StepId, StepKind},
};
use onward_postgres::{TransactError, Transaction as PostgresTransaction};
use serde::{Serialize, de::DeserializeOwned};

use super::{Transaction, attempts, output};
use crate::{
    IntoStepError, Step, StepError,
    context::{Answer, Room, Transacting, Undone, stream::within_transaction},
    error::ErrorKind,
    onward::Postgres,
    step::{Asked, Make, refused, run::RunOptions},
};

impl Step {
    /// Runs statements on the app's PostgreSQL database and commits what they wrote together with the step's
    /// checkpoint: **exactly once**, on whichever node. A node that has lost the run commits nothing.
    ///
    /// The run's other steps are not recorded meanwhile, and the rows that it locks are locked: keep it to a few
    /// statements, and do nothing else in it. It must not end the transaction nor touch tables that begin with
    /// `onward_`. An error or panic of it rolls back what it wrote, and is a failed attempt.
    ///
    /// # Errors
    /// As [`Step::run`]; also where the app's store is not PostgreSQL.
    ///
    /// ```
    /// # use onward::{SqlError, Step, StepError};
    /// async fn handler(step: Step) -> Result<String, StepError> {
    ///     let left: i64 = step
    ///         .postgres_transaction("reserve", async |tx| {
    ///             let row = tx.query_one("UPDATE stock SET n = n - 1 WHERE item = $1 RETURNING n", &[&"book"]).await?;
    ///             Ok::<_, SqlError>(row.try_get(0)?)
    ///         })
    ///         .await?;
    ///     Ok(format!("{left} left"))
    /// }
    /// ```
    pub fn postgres_transaction<'a, T, E, F, Fut>(&self, id: &str, work: F) -> Transaction<'a, T>
    where
        F: Fn(PostgresTransaction) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
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

async fn try_all<T, E, F, Fut>(asked: Asked, options: RunOptions, work: Arc<F>) -> Result<T, StepError>
where
    F: Fn(PostgresTransaction) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<T, E>> + Send + 'static,
    T: Serialize + DeserializeOwned + Send + 'static,
    E: IntoStepError + 'static,
{
    let Some(postgres) = asked.context.shared.opened.postgres.clone() else {
        let error = StepError::new(ErrorKind::Invalid, "this transactional step needs an app on PostgreSQL", false);
        return Err(asked.error(error));
    };
    let (room, step) = (asked.context.room(), (asked.context.run_id, asked.id.clone()));
    let run = move |transacting| {
        let transacted: onward_core::BoxFuture<'static, Answer> =
            Box::pin(transact(&postgres, transacting, Arc::clone(&work), room, step.clone()));
        transacted
    };
    attempts(asked, options, run).await
}

/// Submits it now; what the future gives is what became of it.
fn transact<T, E, F, Fut>(
    postgres: &Postgres,
    Transacting { lease, checkpoint }: Transacting,
    work: Arc<F>,
    room: Room,
    step: (RunId, StepId),
) -> impl Future<Output = Answer> + Send + use<T, E, F, Fut>
where
    F: Fn(PostgresTransaction) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<T, E>> + Send + 'static,
    T: Serialize + DeserializeOwned + Send + 'static,
    E: IntoStepError + 'static,
{
    let done = postgres.transact(lease, move |tx| async move {
        let mut future = pin!(within_transaction(&step, || work(tx)));
        let value = poll_fn(|cx| within_transaction(&step, || future.as_mut().poll(cx))).await;
        let output = output(value, room)?;
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
