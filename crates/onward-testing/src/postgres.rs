//! A private PostgreSQL for tests, started by the tests themselves.
//!
//! | you want | use |
//! |---|---|
//! | an empty database for a test, quickly | [`TestDatabase::create`] |
//! | a server of your own: to restart it, to measure it, with settings, a password or TLS | [`PostgresServer::start`] |
//!
//! The programs are those of the machine: the first `postgres` on the `PATH`, or the newest of Debian's. Nothing is
//! downloaded, and no SQL driver is needed: what is to be said to the server is said with its own `psql`.
//!
//! Databases are made on one server that all test processes of a user share; where `DATABASE_URL` is set, on the server
//! that it names. What was started ends by itself, even when its tests are killed: see [`PostgresServer::shared`].
//!
//! Everything here blocks and panics with a text that says what to do, as a test can do no better. It is for Unix,
//! and a process that is killed is cleaned up after where there is `flock` (on Linux, that is everywhere).

mod database;
mod options;
mod programs;
mod server;
mod shared;
#[cfg(test)]
mod tests;
mod watchdog;

use std::{
    collections::hash_map::RandomState,
    fmt,
    hash::{BuildHasher as _, Hasher as _},
};

pub use self::{database::TestDatabase, options::PostgresOptions, server::PostgresServer, shared::SharedPostgres};

/// A number that is not drawn twice, in any process.
fn draw() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// Where the test called us is what its author wants to see.
#[track_caller]
fn or_panic<T>(result: Result<T, impl fmt::Display>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("{error}"),
    }
}
