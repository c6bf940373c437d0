//! Onward's [`Store`](onward_core::Store) on PostgreSQL: any number of nodes share runs.
//!
//! [`PostgresStore`] is a node's handle. All checkpoints of the node that wait go in one statement, so in one round
//! trip and one commit; what touches other runs (events, signals, invocations) is a transaction of its own. Leases are
//! the node's: each write names them, and is refused in the statement itself once another node has taken over.
//!
//! What must be known of time comes from the database's clock: see [`PostgresStore::clock`].
//!
//! Its tables begin with `onward_`, in the first schema of the connection's `search_path`. Your own tables may live in
//! the same database: [`PostgresStore::transact`] writes to them together with a step's checkpoint, exactly once.

mod clock;
mod connect;
mod engine;
mod error;
mod group;
mod held;
mod keeper;
mod migrate;
mod news;
mod options;
mod pace;
mod prepared;
mod queue;
mod read;
mod row;
mod sender;
mod store;
mod tls;
mod transact;
mod tx;

pub use tokio_postgres;

pub use crate::{
    clock::DatabaseClock,
    options::{Options, PasswordFn},
    store::PostgresStore,
    transact::{SqlError, TransactError, Transaction},
};
