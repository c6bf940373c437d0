//! What a step costs beside a million runs that have ended, of what it costs in a database that had none.

use std::time::Instant;

use onward_testing::postgres::TestDatabase;

use crate::{
    Setup,
    aims::Aims,
    client::load,
    cluster::{PATH, STEPS, database::Server, median, node},
    process::Process,
    say,
};

const CONNECTIONS: usize = 64;

/// What a round came to, a step.
#[derive(Default)]
struct Costs {
    /// Steps a second.
    rates: Vec<f64>,
    /// Microseconds of the database's execution, and of its CPU.
    execution: Vec<f64>,
    cpu: Vec<f64>,
    wal: Vec<f64>,
}

pub(super) async fn run(setup: &Setup, server: &Server, aims: &mut Aims) {
    let (small, large) = (server.database(), server.database());
    let nodes = [node::start(small.url()).await, node::start(large.url()).await];
    // One of each is there to be copied.
    for node in &nodes {
        load(&node.address, PATH, 1, setup.seconds).await;
    }
    let runs = if setup.quick { 100_000 } else { 1_000_000 };
    let took = fill(&large, runs);
    let size = large.query("SELECT pg_size_pretty(pg_database_size(current_database()))");
    say(&format!(
        "growth: {runs} ended runs with 3 entries each ({size}, made in {took:.0} s), {CONNECTIONS} connections"
    ));
    let mut costs: [Costs; 2] = Default::default();
    // A round that does not count: the server's memory has what was made, not what is used.
    for round in 0..if setup.quick { 3 } else { 6 } {
        let subjects = [(&small, &nodes[0]), (&large, &nodes[1])];
        for ((database, node), costs) in subjects.into_iter().zip(&mut costs) {
            costs.measure(setup, server, database, node, round > 0).await;
        }
    }
    say("                    steps/s   database, a step: µs execution   µs CPU   bytes of WAL (medians)");
    for (name, costs) in ["from empty", "filled"].iter().zip(&costs) {
        let of = |all: &Vec<f64>| median(all.clone());
        say(&format!(
            "{name:<18} {:>8.0} {:>32.1} {:>8.1} {:>14.0}",
            of(&costs.rates),
            of(&costs.execution),
            of(&costs.cpu),
            of(&costs.wal)
        ));
    }
    let grown = small.query("SELECT count(*) FROM onward_ended");
    say(&format!("the first one has {grown} ended runs by now\n"));
    let ratio = |of: fn(&Costs) -> &Vec<f64>| median(of(&costs[1]).clone()) / median(of(&costs[0]).clone());
    aims.at_most("time of a step with the ended runs, of without", 1.2, 1.0 / ratio(|costs| &costs.rates));
    aims.at_most("the database's CPU a step with the ended runs, of without", 1.2, ratio(|costs| &costs.cpu));
}

impl Costs {
    async fn measure(&mut self, setup: &Setup, server: &Server, database: &TestDatabase, node: &Process, counts: bool) {
        let before = server.asked(database);
        let load = load(&node.address, PATH, CONNECTIONS, setup.seconds).await;
        let asked = server.asked(database).since(before);
        if counts {
            let steps = load.latency.len() as f64 * STEPS;
            self.rates.push(load.per_second * STEPS);
            self.execution.push(asked.execution_ms * 1e3 / steps);
            self.cpu.push(asked.cpu * 1e6 / steps);
            self.wal.push(asked.wal_bytes / steps);
        }
    }
}

/// Copies a run that has ended, with other ids, over the last seven days; then does what autovacuum does in time.
fn fill(database: &TestDatabase, runs: u32) -> f64 {
    let start = Instant::now();
    let since = "extract(epoch FROM now()) * 1000 - 7 * 86400000::FLOAT8";
    database.query(&format!(
        "CREATE UNLOGGED TABLE filled AS SELECT n, CAST(lpad(to_hex(CAST({since} AS INT8) + n * 500), 12, '0') \
         || substr(md5(n::TEXT), 1, 20) AS UUID) AS run_id FROM generate_series(1, {runs}) AS n; \
         CREATE UNLOGGED TABLE model AS SELECT r.*, e.status, e.finished_at, e.sweep_at, e.fence, e.outcome \
         FROM onward_runs r JOIN onward_ended e USING (run_id) WHERE e.status = 2 LIMIT 1"
    ));
    database.query(
        "INSERT INTO onward_runs (run_id, endpoint, lane, pinned, created_at, timeout_at, retention, request) \
         SELECT f.run_id, m.endpoint, m.lane, m.pinned, m.created_at, m.timeout_at, m.retention, m.request \
         FROM filled f CROSS JOIN model m ORDER BY f.n; \
         INSERT INTO onward_entries (run_id, seq, data) SELECT f.run_id, e.seq, e.data \
         FROM filled f CROSS JOIN model m JOIN onward_entries e ON e.run_id = m.run_id ORDER BY f.n, e.seq; \
         INSERT INTO onward_ended (run_id, status, finished_at, sweep_at, fence, outcome) \
         SELECT f.run_id, m.status, m.finished_at, m.sweep_at + f.n, m.fence, m.outcome \
         FROM filled f CROSS JOIN model m ORDER BY f.n; DROP TABLE filled, model",
    );
    database.query("VACUUM ANALYZE");
    database.query("CHECKPOINT");
    start.elapsed().as_secs_f64()
}
