//! DBOS: its TypeScript library in one process of Node, and a PostgreSQL of its own.

use std::process::Command;

use onward_testing::postgres::{PostgresOptions, PostgresServer};
use serde_json::Value;

use super::{Subject, programs};
use crate::process::{Process, free_address};

pub(super) struct Dbos {
    // It ends before its database.
    node: Process,
    postgres: PostgresServer,
}

impl Dbos {
    pub(super) async fn start() -> Self {
        let postgres = PostgresServer::start(&PostgresOptions::new().fsync(true));
        let address = free_address();
        let mut command = Command::new("node");
        command.arg("dbos.mjs").current_dir(programs().join("npm")).env("DATABASE_URL", postgres.url());
        command.env("PORT", address.rsplit(':').next().unwrap_or_default());
        command.env("NODE_ENV", "production").env("NODE_NO_WARNINGS", "1");
        let node = Process::start(&mut command, address);
        node.answers("/durability").await;
        Self { node, postgres }
    }

    pub(super) async fn subject(&self) -> Subject {
        let package = programs().join("npm/node_modules/@dbos-inc/dbos-sdk/package.json");
        let package = std::fs::read_to_string(package).unwrap_or_default();
        let package: Value = serde_json::from_str(&package).unwrap_or_default();
        let database = self.node.json("/durability").await;
        let said = |name: &str| database[name].as_str().unwrap_or("?").to_owned();
        Subject {
            system: format!("DBOS {}, TypeScript", package["version"].as_str().unwrap_or("?")),
            durability: format!(
                "PostgreSQL {}: fsync = {}, synchronous_commit = {}",
                said("server_version"),
                said("fsync"),
                said("synchronous_commit"),
            ),
            address: self.node.address.clone(),
            path: "/steps",
            pids: [self.node.pid()].into_iter().chain(self.postgres.pid()).collect(),
        }
    }
}
