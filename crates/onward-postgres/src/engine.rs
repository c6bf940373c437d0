//! What touches several runs, or more than is known here: transactions of their own.
//!
//! Locks are taken in one order: names of events, the run's own lease, then the runs that facts go to, by id. Where
//! two transactions meet nevertheless, the database breaks one off, and it is tried again.

mod checkpoint;
mod control;
mod deliver;
mod event;
mod node;
mod setting;
mod signal;
mod sweep;

pub(crate) use self::{checkpoint::finish_user_work, node::Claimed};

use std::{sync::Arc, time::Duration};

use deadpool::managed::Pool;
use onward_core::StoreError;
use tokio_postgres::error::SqlState;

use crate::{
    connect::{self, Connector},
    error::{Abort, Done},
    sender::Sender,
    store::Inner,
    tx::Tx,
};

/// How often a transaction is tried that others break off.
pub(crate) const TRIES: u32 = 10;

/// How long one rests that others broke off.
pub(crate) async fn stand_back(tries: u32) {
    tokio::time::sleep(Duration::from_millis(u64::from(tries * tries) * 2 + draw_below(8))).await;
}

impl Inner {
    /// Does some work in a transaction, again where others broke it off.
    pub(crate) async fn transact<T, Fut>(&self, work: impl Fn(Arc<Tx>) -> Fut) -> Result<T, StoreError>
    where
        Fut: Future<Output = Done<T>>,
    {
        self.transact_by(&self.pool, work).await
    }

    /// Does some work in a transaction by a connection of a pool, again where others broke it off.
    pub(crate) async fn transact_by<T, Fut>(
        &self,
        pool: &Pool<Connector>,
        work: impl Fn(Arc<Tx>) -> Fut,
    ) -> Result<T, StoreError>
    where
        Fut: Future<Output = Done<T>>,
    {
        let mut tries = 0;
        loop {
            let conn = connect::get(pool).await?;
            let done = self.in_time(async {
                let tx = Arc::new(Tx::begin(conn).await?);
                let worked = work(Arc::clone(&tx)).await;
                let tx = Arc::into_inner(tx).expect("the work has ended, and with it its handle");
                match worked {
                    Ok(value) => tx.commit().await.map(|()| value),
                    Err(Abort::Refused(error)) => {
                        tx.rollback().await?;
                        Err(Abort::Refused(error))
                    }
                    Err(abort) => Err(abort),
                }
            });
            match done.await {
                Err(Abort::Conflict(error)) if tries < TRIES => {
                    tries += 1;
                    tracing::debug!(error = &error as &dyn std::error::Error, tries, "a transaction is tried again");
                    stand_back(tries).await;
                }
                Err(abort) => return Err(abort.into()),
                Ok(value) => return Ok(value),
            }
        }
    }
}

impl Inner {
    /// Waits for the database, but not for ever. Where it takes too long the connections that are idle go, too: what
    /// lies between may pass nothing any more, and say nothing of it.
    pub(crate) async fn in_time<T>(&self, work: impl Future<Output = Done<T>>) -> Done<T> {
        let Ok(done) = tokio::time::timeout(self.timeout, work).await else {
            self.let_go();
            return Err(Abort::Failed("the database took too long".into()));
        };
        if matches!(&done, Err(Abort::Failed(error)) if is_read_only(&**error)) {
            self.let_go();
        }
        done
    }

    /// Closes the connections that are idle: the next ones may reach another server.
    fn let_go(&self) {
        self.pool.retain(|_, _| false);
        self.users.retain(|_, _| false);
        self.keeper.pool.retain(|_, _| false);
        self.senders.iter().for_each(Sender::let_go);
    }
}

/// Whether the server takes no writes any more, because another one is the primary now.
fn is_read_only(error: &(dyn std::error::Error + Send + Sync + 'static)) -> bool {
    let code = error.downcast_ref::<tokio_postgres::Error>().and_then(tokio_postgres::Error::code);
    code == Some(&SqlState::READ_ONLY_SQL_TRANSACTION)
}

/// A random number, so that two who met do not meet again.
fn draw_below(end: u64) -> u64 {
    getrandom::u64().unwrap_or_default() % end
}
