//! Other systems with the same handler of three steps, each alone on the machine and as it is by default; see
//! `bench-peers`.

mod dbos;
mod restate;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use onward_testing::postgres::{PostgresOptions, PostgresServer};

use crate::{
    Setup,
    client::{Load, load},
    cluster::node,
    disk,
    process::cpu_of_tree,
    say, server,
};

const CONNECTIONS: [usize; 4] = [1, 16, 64, 256];
const STEPS: f64 = 3.0;
/// How often each is started anew. What else the machine does then hits each of them, and the median is taken.
const ROUNDS: usize = 3;

/// Something that answers a request after three steps.
pub(crate) struct Subject {
    pub(crate) system: String,
    /// What it promises of a step that it has acknowledged.
    pub(crate) durability: String,
    pub(crate) address: String,
    pub(crate) path: &'static str,
    /// Its processes. What runs below them counts, too.
    pub(crate) pids: Vec<u32>,
}

/// One subject at one number of connections.
pub(crate) struct Row {
    pub(crate) system: String,
    pub(crate) durability: String,
    pub(crate) connections: usize,
    pub(crate) load: Load,
    /// The lowest and the highest rate of all rounds.
    pub(crate) spread: (f64, f64),
    /// Of all its processes, not of the load.
    pub(crate) cpu_ms_per_request: f64,
    /// `fdatasync` after a 4 KiB append (p50), just before its system was loaded.
    pub(crate) sync_us: f64,
}

/// Measures and prints, side by side.
pub(crate) async fn run(setup: &Setup) {
    print(&measure(setup).await);
}

/// Starts each by itself, loads it, and ends it before the next, in several rounds. The median of each.
pub(crate) async fn measure(setup: &Setup) -> Vec<Row> {
    let mut rows = Vec::new();
    for number in 0..if setup.quick { 1 } else { ROUNDS } {
        rows.extend(round(setup, &format!("peers-{number}")).await);
    }
    medians(rows)
}

async fn round(setup: &Setup, name: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    {
        let folder = folder(setup, &format!("{name}-onward"));
        let onward = server::start(&folder).await;
        let subject = Subject {
            system: "Onward".to_owned(),
            durability: "SQLite: fdatasync for every group commit".to_owned(),
            address: onward.address.clone(),
            path: "/steps/3",
            pids: vec![onward.pid()],
        };
        rows.extend(drive(setup, &subject).await);
    }
    {
        let postgres = PostgresServer::start(&PostgresOptions::new().fsync(true));
        let node = node::start(&postgres.url()).await;
        let subject = Subject {
            system: "Onward on PostgreSQL".to_owned(),
            durability: "PostgreSQL: fsync = on, synchronous_commit = on".to_owned(),
            address: node.address.clone(),
            path: "/steps/3",
            pids: [node.pid()].into_iter().chain(postgres.pid()).collect(),
        };
        rows.extend(drive(setup, &subject).await);
    }
    {
        let restate = restate::Restate::start(&folder(setup, &format!("{name}-restate"))).await;
        rows.extend(drive(setup, &restate.subject()).await);
    }
    {
        let dbos = dbos::Dbos::start().await;
        rows.extend(drive(setup, &dbos.subject().await).await);
    }
    rows
}

/// Of what was measured several times, the one with the median rate.
fn medians(mut rows: Vec<Row>) -> Vec<Row> {
    let mut all = Vec::new();
    while let Some(first) = rows.first() {
        let (system, connections) = (first.system.clone(), first.connections);
        let same = |row: &Row| row.system == system && row.connections == connections;
        let (mut rounds, others): (Vec<_>, Vec<_>) = rows.into_iter().partition(same);
        rounds.sort_by(|one, other| one.load.per_second.total_cmp(&other.load.per_second));
        let spread = (rounds[0].load.per_second, rounds[rounds.len() - 1].load.per_second);
        all.push(Row { spread, ..rounds.swap_remove(rounds.len() / 2) });
        rows = others;
    }
    all
}

/// Loads a subject with more and more connections.
pub(crate) async fn drive(setup: &Setup, subject: &Subject) -> Vec<Row> {
    let cpu = || subject.pids.iter().map(|pid| cpu_of_tree(*pid)).sum::<f64>();
    let sync_us = disk::fdatasync(setup).0;
    // Until what is compiled and cached at first use is there.
    load(&subject.address, subject.path, 16, setup.seconds).await;
    let mut rows = Vec::new();
    for connections in CONNECTIONS {
        let before = cpu();
        let load = load(&subject.address, subject.path, connections, setup.seconds).await;
        let cpu_ms_per_request = (cpu() - before) * 1e3 / load.latency.len() as f64;
        let (system, durability) = (subject.system.clone(), subject.durability.clone());
        let spread = (load.per_second, load.per_second);
        rows.push(Row { system, durability, connections, load, spread, cpu_ms_per_request, sync_us });
    }
    rows
}

/// The systems side by side, for each number of connections.
pub(crate) fn print(rows: &[Row]) {
    say("3 steps                              conn   req/s (low  to high)  steps/s   p50 ms   p99 ms  CPU ms/req  \
         fdatasync ms");
    for connections in CONNECTIONS {
        for row in rows.iter().filter(|row| row.connections == connections) {
            say(&format!(
                "{:<34} {connections:>6} {:>7.0} ({:>4.0} to {:>5.0}) {:>8.0} {:>8.2} {:>8.2} {:>11.2} {:>13.2}",
                row.system,
                row.load.per_second,
                row.spread.0,
                row.spread.1,
                row.load.per_second * STEPS,
                row.load.ms(50.0),
                row.load.ms(99.0),
                row.cpu_ms_per_request,
                row.sync_us / 1e3,
            ));
        }
        say("");
    }
    say("durability of an acknowledged step, by default");
    for row in rows.iter().filter(|row| row.connections == CONNECTIONS[0]) {
        say(&format!("  {}: {}", row.system, row.durability));
    }
    say("");
}

/// Where the other systems' programs are, which `cargo xtask bench --peers` builds and installs.
fn programs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../bench-peers")
}

/// A new folder, with its whole path.
fn folder(setup: &Setup, name: &str) -> PathBuf {
    let folder = setup.directory.join(name);
    std::fs::create_dir_all(&folder).expect("the folder can be made");
    folder.canonicalize().expect("the folder is there")
}

/// Tries something until it comes to something, twice a second for a minute.
async fn eventually<T>(what: &str, mut attempt: impl AsyncFnMut() -> Result<T, String>) -> T {
    let mut error = String::new();
    for _ in 0..120 {
        match attempt().await {
            Ok(value) => return value,
            Err(why) => error = why,
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    panic!("{what}: {error}");
}
