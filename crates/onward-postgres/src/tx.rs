//! One transaction on a connection of the pool.

use tokio_postgres::{Row, types::ToSql};

use crate::{connect::Conn, error::Done};

/// A parameter of a statement.
pub(crate) type Param<'a> = &'a (dyn ToSql + Sync);

/// A transaction. Where it is dropped before its end its connection is closed, so it is rolled back.
pub(crate) struct Tx(Option<Conn>);

impl Tx {
    pub(crate) async fn begin(conn: Conn) -> Done<Self> {
        let tx = Self(Some(conn));
        tx.conn().batch_execute("BEGIN").await?;
        Ok(tx)
    }

    pub(crate) fn conn(&self) -> &Conn {
        self.0.as_ref().expect("it is there until the transaction ends")
    }

    /// Prepares, once for each connection, and asks.
    pub(crate) async fn query(&self, sql: &'static str, params: &[Param<'_>]) -> Done<Vec<Row>> {
        let statement = self.conn().prepare_cached(sql).await?;
        Ok(self.conn().query(&statement, params).await?)
    }

    /// The row, where there is at most one.
    pub(crate) async fn one(&self, sql: &'static str, params: &[Param<'_>]) -> Done<Option<Row>> {
        Ok(self.query(sql, params).await?.into_iter().next())
    }

    /// How many rows it changed.
    pub(crate) async fn execute(&self, sql: &'static str, params: &[Param<'_>]) -> Done<u64> {
        let statement = self.conn().prepare_cached(sql).await?;
        Ok(self.conn().execute(&statement, params).await?)
    }

    pub(crate) async fn commit(mut self) -> Done<()> {
        self.end("COMMIT").await
    }

    pub(crate) async fn rollback(mut self) -> Done<()> {
        self.end("ROLLBACK").await
    }

    async fn end(&mut self, sql: &'static str) -> Done<()> {
        self.conn().batch_execute(sql).await?;
        self.0.take(); // clean: the pool may have it again
        Ok(())
    }
}

impl Drop for Tx {
    fn drop(&mut self) {
        if let Some(conn) = self.0.take() {
            drop(Conn::take(conn));
        }
    }
}
