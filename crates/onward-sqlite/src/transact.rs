//! A step that commits together with its checkpoint, and users' own transactions on the store's file.

use std::{any::Any, panic::AssertUnwindSafe};

use onward_core::{
    BoxFuture, StoreError,
    store::{Checkpoint, Checkpointed, Lease},
};
use rusqlite::Connection;

use crate::{
    engine::{Engine, prepare},
    error::{Abort, Done, corrupt},
    queue::Care,
    store::SqliteStore,
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

/// What came of the user's code inside the group: it refused by itself, or not.
type Worked<T, E> = Result<T, TransactError<E>>;

impl SqliteStore {
    /// Runs `work` on the writer's connection and commits what it wrote together with the checkpoint that it gives:
    /// both or neither, so a step that writes to this database runs exactly once.
    ///
    /// `work` runs on the thread on which every run's checkpoints are written: keep it to a few statements. It cannot
    /// end the transaction nor touch tables that begin with `onward_`. Where it gives an error or panics, or `lease`
    /// is lost, nothing is written. Like every call it is submitted now; dropping the future takes nothing back.
    pub fn transact<T, E>(
        &self,
        lease: Lease,
        work: impl FnOnce(&Connection) -> Result<(Checkpoint, T), E> + Send + 'static,
    ) -> BoxFuture<'static, Result<(Checkpointed, T), TransactError<E>>>
    where
        T: Send + 'static,
        E: Send + 'static,
    {
        let called = self.call(Care::Savepoint, move |engine| engine.transact(&lease, work));
        Box::pin(async move { called.await? })
    }

    /// Runs `work` in a transaction of its own on the writer's connection: to make tables of yours, or to read and
    /// write them outside a run.
    ///
    /// The same bounds hold as for [`transact`](Self::transact).
    ///
    /// # Example
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let store = onward_sqlite::SqliteStore::in_memory()?;
    /// store
    ///     .with_connection(|conn| conn.execute_batch("CREATE TABLE IF NOT EXISTS stock (item TEXT, left INTEGER)"))
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn with_connection<T, E>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, TransactError<E>>>
    where
        T: Send + 'static,
        E: Send + 'static,
    {
        let called = self.call(Care::Alone, move |engine| engine.user(work));
        Box::pin(async move { called.await? })
    }
}

impl Engine<'_> {
    fn transact<T, E>(
        &mut self,
        lease: &Lease,
        work: impl FnOnce(&Connection) -> Result<(Checkpoint, T), E>,
    ) -> Done<Worked<(Checkpointed, T), E>> {
        self.check_lease(lease)?;
        let (checkpoint, value) = match self.user(work)? {
            Ok(done) => done,
            Err(error) => return Ok(Err(error)),
        };
        let prepared = prepare(checkpoint);
        let done = if prepared.lease() == lease {
            self.checkpoint(&prepared)
        } else {
            Err(corrupt("the checkpoint of a transaction names another lease").into())
        };
        match done {
            Ok(done) => Ok(Ok((done, value))),
            // It wrote nothing itself, but the user's code did.
            Err(Abort::Refused(error)) => Err(Abort::Damaged(error)),
            Err(error) => Err(error),
        }
    }

    /// Runs a user's code between savepoints.
    fn user<T, E>(&mut self, work: impl FnOnce(&Connection) -> Result<T, E>) -> Done<Worked<T, E>> {
        let conn = self.conn();
        conn.prepare_cached("SAVEPOINT onward_user")?.execute([])?;
        let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| self.guard().around(|| work(conn))));
        if conn.is_autocommit() {
            // SQLite itself undid the group, as it may on a full disk.
            let error = rusqlite::Error::SqliteFailure(
                rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL),
                Some("the transaction was rolled back".to_owned()),
            );
            return Err(Abort::Failed(error));
        }
        let outcome = match outcome {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(TransactError::Work(error)),
            Err(panic) => Err(TransactError::Panicked(message(panic.as_ref()))),
        };
        if outcome.is_err() {
            conn.prepare_cached("ROLLBACK TO onward_user")?.execute([])?;
        }
        conn.prepare_cached("RELEASE onward_user")?.execute([])?;
        Ok(outcome)
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}
