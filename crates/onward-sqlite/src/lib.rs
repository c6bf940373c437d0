//! Onward's [`Store`](onward_core::Store) on embedded SQLite: one file, one writer, group commit.
//!
//! [`SqliteStore`] owns its database: a lock file keeps every other process out, so the one writer thread can keep
//! the leases of live runs in memory and a step's checkpoint is one `INSERT`. All that is waiting when the disk is
//! free shares one commit and one `fdatasync`; calls are acknowledged after it.
//!
//! Its tables begin with `onward_`. Your own tables may live in the same file: make them with
//! [`SqliteStore::with_connection`], and write to them together with a step's checkpoint, exactly once, with
//! [`SqliteStore::transact`].

mod checkpointer;
mod connection;
mod disk;
mod engine;
mod error;
mod guard;
mod location;
mod migrate;
mod options;
mod queue;
mod read;
mod readers;
mod row;
mod store;
mod transact;
mod writer;

pub use rusqlite;

pub use crate::{
    location::Location,
    options::{Durability, Options},
    store::SqliteStore,
    transact::TransactError,
};
