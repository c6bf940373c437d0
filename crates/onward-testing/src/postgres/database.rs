//! A database of a test's own.

use std::thread;

use super::{draw, or_panic, programs, server::PostgresServer};

/// The name of a database has at most 63 bytes.
const TEST_NAME_MAX: usize = 40;

/// An empty database of its own, on the server that tests share.
///
/// It blocks for some 0.1 seconds. The database is named after the test and dropped with this, whoever is still
/// connected to it.
///
/// # Example
///
/// ```
/// use onward_testing::postgres::TestDatabase;
///
/// let database = TestDatabase::create();
/// database.query("CREATE TABLE orders (id int)");
/// assert_eq!(database.query("SELECT count(*) FROM orders"), "0");
/// ```
#[derive(Debug)]
pub struct TestDatabase {
    /// Of another database on the server.
    server: String,
    name: String,
    url: String,
}

impl TestDatabase {
    /// Makes it on the [shared](PostgresServer::shared) server.
    ///
    /// # Example
    ///
    /// ```
    /// use onward_testing::postgres::TestDatabase;
    ///
    /// let (one, other) = (TestDatabase::create(), TestDatabase::create());
    /// assert_ne!(one.url(), other.url());
    /// ```
    #[track_caller]
    pub fn create() -> Self {
        Self::create_on(PostgresServer::shared().url())
    }

    /// Makes it on a server of your own, given the URL of a database there.
    ///
    /// # Example
    ///
    /// ```no_run
    /// use onward_testing::postgres::{PostgresOptions, PostgresServer, TestDatabase};
    ///
    /// let server = PostgresServer::start(&PostgresOptions::new());
    /// let database = TestDatabase::create_on(&server.url());
    /// assert_eq!(database.query("SELECT 1"), "1");
    /// ```
    #[track_caller]
    pub fn create_on(server: &str) -> Self {
        let name = name();
        let url = or_panic(with_database(server, &name));
        // Not of `template1`, which may be in use or filled.
        let made = programs::psql(server, &format!("CREATE DATABASE {name} TEMPLATE template0"));
        or_panic(made.map_err(|error| format!("a database for a test: {error}")));
        Self { server: server.to_owned(), name, url }
    }

    /// Its URL.
    ///
    /// # Example
    ///
    /// ```
    /// use onward_testing::postgres::TestDatabase;
    ///
    /// assert!(TestDatabase::create().url().contains("/test_"));
    /// ```
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Runs SQL with `psql` and returns what it gives: a line a row, with `|` between columns. For what a test wants
    /// to see from outside.
    ///
    /// # Example
    ///
    /// ```
    /// use onward_testing::postgres::TestDatabase;
    ///
    /// assert_eq!(TestDatabase::create().query("VALUES (1, 'a'), (2, 'b')"), "1|a\n2|b");
    /// ```
    #[track_caller]
    pub fn query(&self, sql: &str) -> String {
        or_panic(programs::psql(&self.url, sql))
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        // Should this fail, the server's end does it.
        let _ = programs::psql(&self.server, &format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name));
    }
}

/// Unique, and told apart by a person: the test harness names threads after tests.
fn name() -> String {
    let thread = thread::current();
    let test = thread.name().unwrap_or_default().rsplit("::").next().unwrap_or_default();
    let test = test.chars().filter(|char| char.is_ascii_alphanumeric() || *char == '_').take(TEST_NAME_MAX);
    format!("test_{}_{:016x}", test.collect::<String>().to_lowercase(), draw())
}

/// The same server's URL with another database.
fn with_database(url: &str, name: &str) -> Result<String, String> {
    let (scheme, rest) = url.split_once("://").ok_or("DATABASE_URL must be a URL: postgres://user@host/database")?;
    let (before, parameters) = rest.split_at(rest.find('?').unwrap_or(rest.len()));
    let authority = before.split('/').next().unwrap_or_default();
    Ok(format!("{scheme}://{authority}/{name}{parameters}"))
}
