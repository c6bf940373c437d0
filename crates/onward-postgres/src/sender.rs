//! Who sends groups: each with a connection of its own, and a part of the node that it alone locks.

use deadpool::managed::Pool;
use onward_core::StoreError;

use crate::{
    connect::{self, Conn, Connector},
    options::Options,
    prepared::Way,
};

/// How many statements of each kind are under way at once, at most.
///
/// Why several: a statement that comes while another one is flushed waits for the end of that flush and for its own.
/// Sent at once, all that come in that time share the next flush.
const WAYS: [Way; 5] = [Way::Start, Way::Start, Way::Append, Way::Append, Way::Append];

/// The parts of a node: the first one is its lease and its transactions, and each sender has one.
pub(crate) const PARTS: i64 = 6;

/// One that sends groups, one after the other.
pub(crate) struct Sender {
    pub(crate) way: Way,
    /// The node's row that its statements lock.
    pub(crate) part: i64,
    pool: Pool<Connector>,
}

impl Sender {
    /// All of a store.
    pub(crate) async fn all(url: &str, options: &Options) -> Result<Vec<Self>, StoreError> {
        let mut senders = Vec::with_capacity(WAYS.len());
        for (way, part) in WAYS.into_iter().zip(1..PARTS) {
            let sender = Self { way, part, pool: connect::pool(Connector::try_new(url, options)?, 1)? };
            // So that one which is new later is another one than before.
            if way == Way::Append {
                drop(sender.connection().await?);
            }
            senders.push(sender);
        }
        Ok(senders)
    }

    pub(crate) async fn connection(&self) -> Result<Conn, StoreError> {
        connect::get(&self.pool).await
    }

    /// Whether a connection that it got stands in for another one.
    pub(crate) fn is_other(&self, conn: &Conn) -> bool {
        self.way == Way::Append && connect::is_fresh(conn)
    }

    /// What is idle goes.
    pub(crate) fn let_go(&self) {
        self.pool.retain(|_, _| false);
    }

    pub(crate) fn close(&self) {
        self.pool.close();
    }
}
