//! The PostgreSQL that nodes share: private, on the same disk as SQLite's file, with its defaults.

use onward_testing::postgres::{PostgresOptions, PostgresServer, TestDatabase};

use crate::process::cpu_of_tree;

/// A server of its own, which counts its statements.
pub(super) struct Server(PostgresServer);

/// What a database was asked to do in some time.
#[derive(Clone, Copy)]
pub(super) struct Asked {
    /// Statements, with those that begin and end transactions.
    pub(super) statements: f64,
    /// Milliseconds in which they were executed.
    pub(super) execution_ms: f64,
    /// Where the server's log ends, in bytes.
    pub(super) wal_bytes: f64,
    /// CPU seconds of all the server's processes.
    pub(super) cpu: f64,
}

impl Server {
    pub(super) fn start() -> Self {
        let options = PostgresOptions::new()
            .fsync(true)
            .setting("shared_preload_libraries", "pg_stat_statements")
            .setting("pg_stat_statements.track_utility", "on");
        let server = PostgresServer::start(&options);
        server.query("CREATE EXTENSION pg_stat_statements");
        Self(server)
    }

    /// What it promises and how much it keeps in memory.
    pub(super) fn conditions(&self) -> String {
        let names = ["server_version", "fsync", "synchronous_commit", "full_page_writes", "wal_sync_method"];
        let more = ["shared_buffers", "max_wal_size", "autovacuum"];
        let said = names.iter().chain(&more).map(|name| format!("{name} = {}", self.0.query(&format!("SHOW {name}"))));
        format!("PostgreSQL: {}, and pg_stat_statements", said.collect::<Vec<_>>().join(", "))
    }

    /// A database of its own, without tables.
    pub(super) fn database(&self) -> TestDatabase {
        TestDatabase::create_on(&self.0.url())
    }

    pub(super) const fn port(&self) -> u16 {
        self.0.port()
    }

    /// CPU seconds of all its processes.
    pub(super) fn cpu(&self) -> f64 {
        self.0.pid().map_or(f64::NAN, cpu_of_tree)
    }

    /// What a database was asked so far. What is asked here is asked of another one, and does not count.
    pub(super) fn asked(&self, database: &TestDatabase) -> Asked {
        let cpu = self.cpu();
        let name = database.url().rsplit('/').next().unwrap_or_default().to_owned();
        let row = self.0.query(&format!(
            "SELECT coalesce(sum(s.calls), 0), coalesce(sum(s.total_exec_time), 0), \
             pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0') \
             FROM pg_database d LEFT JOIN pg_stat_statements s ON s.dbid = d.oid WHERE d.datname = '{name}'"
        ));
        let mut fields = row.split('|').map(|field| field.parse().unwrap_or(f64::NAN));
        let mut field = || fields.next().unwrap_or(f64::NAN);
        Asked { statements: field(), execution_ms: field(), wal_bytes: field(), cpu }
    }
}

impl Asked {
    /// What came since.
    pub(super) fn since(self, before: Self) -> Self {
        Self {
            statements: self.statements - before.statements,
            execution_ms: self.execution_ms - before.execution_ms,
            wal_bytes: self.wal_bytes - before.wal_bytes,
            cpu: self.cpu - before.cpu,
        }
    }
}
