//! Who sends groups: each with a connection of its own, and a part of the node that it alone locks.

use std::time::Duration;

use deadpool::managed::Pool;
use onward_core::StoreError;
use parking_lot::Mutex;
use tokio::time::Instant;

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
    last: Mutex<Last>,
}

/// What became of the last thing that was to be written.
#[derive(Clone, Copy, Debug, Default)]
enum Last {
    /// Nothing that counts.
    #[default]
    None,
    Worked(Instant),
    /// A group of checkpoints, and all of it failed.
    Failed(Instant),
}

impl Sender {
    /// All of a store.
    pub(crate) async fn all(url: &str, options: &Options) -> Result<Vec<Self>, StoreError> {
        let mut senders = Vec::with_capacity(WAYS.len());
        for (way, part) in WAYS.into_iter().zip(1..PARTS) {
            let pool = connect::pool(Connector::try_new(url, options)?, 1)?;
            let sender = Self { way, part, pool, last: Mutex::default() };
            // So that one which is new later is another one than before, and a node that cannot have all that it needs
            // says so before it takes requests.
            let made = senders.len() + 1;
            let connected = sender.connection().await;
            drop(connected.inspect_err(|error| {
                let (all, error) = (WAYS.len(), error as &dyn std::error::Error);
                tracing::warn!(error, "connection {made} of {all} for checkpoints could not be made");
            })?);
            sender.worked();
            senders.push(sender);
        }
        Ok(senders)
    }

    pub(crate) async fn connection(&self) -> Result<Conn, StoreError> {
        connect::get(&self.pool).await
    }

    /// It wrote something.
    pub(crate) fn worked(&self) {
        *self.last.lock() = Last::Worked(Instant::now());
    }

    /// It could not write a group.
    pub(crate) fn failed(&self) {
        *self.last.lock() = Last::Failed(Instant::now());
    }

    /// It could not be told whether it can write.
    pub(crate) fn doubt(&self) {
        *self.last.lock() = Last::None;
    }

    /// Whether the last write worked, or the last group failed; `None` where neither was within that time.
    pub(crate) fn writes(&self, within: Duration) -> Option<bool> {
        match *self.last.lock() {
            Last::Worked(at) if at.elapsed() < within => Some(true),
            Last::Failed(at) if at.elapsed() < within => Some(false),
            _ => None,
        }
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
