//! A step that commits together with its checkpoint: users' own statements in the database of the store.

use std::{any::Any, panic::AssertUnwindSafe, sync::Arc};

use futures_util::FutureExt;
use onward_core::{
    BoxFuture, StoreError,
    store::{Checkpoint, Checkpointed, Lease},
};
use parking_lot::RwLock;
use tokio_postgres::{Row, error::SqlState, types::ToSql};

use crate::{
    connect::{self, Conn},
    engine::finish_user_work,
    error::{Abort, corrupt, unavailable},
    prepared::Prepared,
    store::{Inner, PostgresStore},
    tx::Tx,
};

/// Why a transaction of a user came to nothing. All of it was undone.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransactError<E> {
    /// The store refused it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The user's code gave this error.
    #[error("transaction gave an error")]
    Work(E),
    /// The user's code panicked with this message.
    #[error("transaction panicked: {0}")]
    Panicked(String),
}

/// A user's transaction, until the code that got it ends.
///
/// It takes the driver's statements: see [`tokio_postgres`]. It cannot be committed by hand; what ends it early makes
/// the step fail.
#[derive(Clone)]
pub struct Transaction(Arc<RwLock<Option<Arc<Tx>>>>);

impl std::fmt::Debug for Transaction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transaction").finish_non_exhaustive()
    }
}

const OVER: &str = "the transaction is over";

/// What follows the user's statements. From here on rows of the store are locked, so a client that hangs is ended soon.
const AFTER_WORK: &str = "RELEASE SAVEPOINT onward_user; SET LOCAL idle_in_transaction_session_timeout = '2s'";

impl Transaction {
    fn tx<E: From<StoreError>>(&self) -> Result<Arc<Tx>, E> {
        self.0.read().clone().ok_or_else(|| unavailable(OVER).into())
    }

    /// Runs a statement and gives its rows.
    ///
    /// # Errors
    /// What the database says; that the transaction is over.
    ///
    /// ```no_run
    /// # async fn work(tx: onward_postgres::Transaction) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    /// let rows = tx.query("UPDATE stock SET n = n - 1 WHERE item = $1 RETURNING n", &[&"book"]).await?;
    /// let left: i64 = rows[0].try_get(0)?;
    /// # drop(left);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn query(&self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, SqlError> {
        Ok(self.tx::<SqlError>()?.conn().query(sql, params).await?)
    }

    /// Runs a statement and gives its one row.
    ///
    /// # Errors
    /// What the database says, or that there is not one row; that the transaction is over.
    pub async fn query_one(&self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Result<Row, SqlError> {
        Ok(self.tx::<SqlError>()?.conn().query_one(sql, params).await?)
    }

    /// Runs a statement and gives its row, if it has one.
    ///
    /// # Errors
    /// What the database says, or that there are several rows; that the transaction is over.
    pub async fn query_opt(&self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Result<Option<Row>, SqlError> {
        Ok(self.tx::<SqlError>()?.conn().query_opt(sql, params).await?)
    }

    /// Runs a statement and tells how many rows it changed.
    ///
    /// # Errors
    /// What the database says; that the transaction is over.
    pub async fn execute(&self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Result<u64, SqlError> {
        Ok(self.tx::<SqlError>()?.conn().execute(sql, params).await?)
    }

    /// Runs several statements without parameters.
    ///
    /// # Errors
    /// What the database says; that the transaction is over.
    pub async fn batch_execute(&self, sql: &str) -> Result<(), SqlError> {
        Ok(self.tx::<SqlError>()?.conn().batch_execute(sql).await?)
    }
}

/// What a statement of a user's transaction came to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SqlError {
    /// The database refused it, or the way to it failed.
    #[error(transparent)]
    Database(#[from] tokio_postgres::Error),
    /// The transaction is over.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl PostgresStore {
    /// Runs statements without parameters in a transaction: to make tables of yours. Nodes may do so at once: one that
    /// meets another tries again.
    ///
    /// # Errors
    /// What the database says, as the source of [`StoreError::Unavailable`].
    ///
    /// ```no_run
    /// # async fn run(store: onward_postgres::PostgresStore) -> Result<(), onward_core::StoreError> {
    /// store.batch_execute("CREATE TABLE IF NOT EXISTS stock (item TEXT PRIMARY KEY, n INT8 NOT NULL)").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn batch_execute(&self, sql: &str) -> BoxFuture<'static, Result<(), StoreError>> {
        let sql = sql.to_owned();
        self.submit(async move |inner: Arc<Inner>| {
            let sql = &sql;
            let run = |tx: Arc<Tx>| async move {
                // `IF NOT EXISTS` does not see what another is about to make.
                tx.conn().batch_execute(sql).await.map_err(|error| match error.code() {
                    Some(&(SqlState::UNIQUE_VIOLATION | SqlState::DUPLICATE_TABLE | SqlState::DUPLICATE_OBJECT)) => {
                        Abort::Conflict(error)
                    }
                    _ => error.into(),
                })
            };
            inner.transact(run).await
        })
    }

    /// Runs `work` in a transaction and commits what it wrote together with the checkpoint that it gives: both or
    /// neither, so a step that writes to this database runs exactly once.
    ///
    /// The lease is checked when `work` has ended, in the same transaction: one that was lost undoes all. Checkpoints
    /// of the run that are submitted later wait. `work` must not touch tables that begin with `onward_`, nor end the
    /// transaction; it must leave no clone of the [`Transaction`] in use. Like every call it is submitted now; dropping
    /// the future takes nothing back.
    pub fn transact<T, E, F, Fut>(
        &self,
        lease: Lease,
        work: F,
    ) -> BoxFuture<'static, Result<(Checkpointed, T), TransactError<E>>>
    where
        F: FnOnce(Transaction) -> Fut + Send + 'static,
        Fut: Future<Output = Result<(Checkpoint, T), E>> + Send + 'static,
        T: Send + 'static,
        E: Send + 'static,
    {
        let turn = self.turn(lease);
        let inner = Arc::clone(self.inner());
        let done = self.submit(async move |inner: Arc<Inner>| {
            if let Err(error) = turn.await {
                return Ok(Err(TransactError::Store(error)));
            }
            let done = inner.user_transaction(lease, work).await;
            inner.next(lease.run_id, 1);
            Ok(done)
        });
        drop(inner);
        Box::pin(async move { done.await? })
    }

    /// Waits until what was submitted of the run before has been written; what comes later waits.
    fn turn(&self, lease: Lease) -> BoxFuture<'static, Result<Checkpointed, StoreError>> {
        let (reply, answer) = tokio::sync::oneshot::channel();
        let now = onward_core::Timestamp::EPOCH;
        let prepared = Prepared::new(Checkpoint::new(lease, now));
        self.inner().submit_checkpoint(crate::queue::Job { prepared, reply, is_turn: true });
        Box::pin(async move { answer.await.unwrap_or_else(|_| Err(unavailable("the call was broken off"))) })
    }
}

impl Inner {
    async fn user_transaction<T, E, F, Fut>(&self, lease: Lease, work: F) -> Result<(Checkpointed, T), TransactError<E>>
    where
        F: FnOnce(Transaction) -> Fut,
        Fut: Future<Output = Result<(Checkpoint, T), E>>,
    {
        let store = |abort: Abort| TransactError::Store(abort.into());
        let conn: Conn = connect::get(&self.users).await?;
        let tx = Tx::begin(conn).await.map_err(store)?;
        for sql in ["SET LOCAL idle_in_transaction_session_timeout = '60s'", "SAVEPOINT onward_user"] {
            tx.conn().batch_execute(sql).await.map_err(|error| store(error.into()))?;
        }
        let shared = Transaction(Arc::new(RwLock::new(Some(Arc::new(tx)))));
        let begun = std::panic::catch_unwind(AssertUnwindSafe(|| work(shared.clone())));
        let worked = match begun {
            Ok(working) => AssertUnwindSafe(working).catch_unwind().await,
            Err(panic) => Err(panic),
        };
        let tx = shared.0.write().take().and_then(Arc::into_inner);
        let Some(tx) = tx else {
            return Err(TransactError::Store(unavailable("a statement of the transaction was still under way")));
        };
        let (checkpoint, value) = match worked {
            Ok(Ok(worked)) => worked,
            undone => {
                // Where that fails the connection is closed, which undoes it, too.
                let _ = tx.rollback().await;
                return Err(match undone {
                    Ok(Err(error)) => TransactError::Work(error),
                    Err(panic) => TransactError::Panicked(message(panic.as_ref())),
                    Ok(Ok(_)) => unreachable!("it was taken above"),
                });
            }
        };
        // It fails where the user's code has ended the transaction.
        tx.conn().batch_execute(AFTER_WORK).await.map_err(|error| store(error.into()))?;
        if checkpoint.lease != lease {
            let _ = tx.rollback().await;
            return Err(TransactError::Store(corrupt("the checkpoint of a transaction names another lease")));
        }
        let prepared = Prepared::new(checkpoint);
        let written = self.in_time(async {
            match finish_user_work(self, &tx, &prepared).await {
                Ok(written) => tx.commit().await.map(|()| written),
                Err(Abort::Refused(error)) => {
                    let _ = tx.rollback().await;
                    Err(Abort::Refused(error))
                }
                Err(abort) => Err(abort),
            }
        });
        let (done, held) = written.await.map_err(|abort| {
            self.known.forget(lease.run_id);
            store(abort)
        })?;
        match held {
            Some(held) => self.known.insert(lease.run_id, held),
            None => self.known.forget(lease.run_id),
        }
        self.tell_written(&prepared, &done);
        Ok((done, value))
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}
