//! Requests of three steps: SQLite, one node on PostgreSQL, and three.

use crate::{
    Setup,
    aims::Aims,
    client::{Load, histogram, load_all},
    cluster::{CONNECTIONS, PATH, STEPS, database::Server, median, node},
    process::Process,
    say,
};

/// Some nodes on a store.
struct Subject<'a> {
    name: &'static str,
    nodes: Vec<Process>,
    /// Where it does not write by itself.
    server: Option<&'a Server>,
}

/// What rounds of one subject came to.
struct Row {
    rate: f64,
    latency: Load,
    node_us: f64,
    database_us: f64,
}

pub(super) async fn run(setup: &Setup, server: &Server, aims: &mut Aims) {
    let file = format!("sqlite:{}", setup.directory.join("cluster.db").display());
    let (one, three) = (server.database(), server.database());
    let mut nodes = Vec::new();
    for _ in 0..3 {
        nodes.push(node::start(three.url()).await);
    }
    let subjects = [
        Subject { name: "SQLite, 1 node", nodes: vec![node::start(&file).await], server: None },
        Subject { name: "PostgreSQL, 1 node", nodes: vec![node::start(one.url()).await], server: Some(server) },
        Subject { name: "PostgreSQL, 3 nodes", nodes, server: Some(server) },
    ];
    for subject in &subjects {
        load_all(&subject.addresses(), PATH, 64, setup.seconds).await;
    }
    say("3 steps              conn   req/s  steps/s  of SQLite   p50 ms   p99 ms  µs CPU/step: nodes  database");
    for connections in CONNECTIONS {
        let mut rounds: [Vec<Row>; 3] = Default::default();
        for _ in 0..if setup.quick { 1 } else { 3 } {
            for (subject, rows) in subjects.iter().zip(&mut rounds) {
                rows.push(subject.measure(setup, connections).await);
            }
        }
        let rows = rounds.map(|rounds| Row::of_rounds(&rounds));
        let sqlite = rows[0].rate;
        for (subject, row) in subjects.iter().zip(&rows) {
            row.print(subject.name, connections, sqlite);
        }
        say("");
        judge(connections, &rows, aims);
    }
}

fn judge(connections: usize, [sqlite, one, three]: &[Row; 3], aims: &mut Aims) {
    if connections == 256 {
        aims.at_least("1 node on PostgreSQL, of SQLite's steps/s at 256", 0.5, one.rate / sqlite.rate);
    }
    if connections >= 64 {
        let what = format!("3 nodes, of 1 node's steps/s at {connections}");
        aims.at_least(&what, 1.0, three.rate / one.rate);
    }
}

impl Subject<'_> {
    fn addresses(&self) -> Vec<&str> {
        self.nodes.iter().map(|node| node.address.as_str()).collect()
    }

    /// CPU seconds of the nodes, and of the database.
    fn cpu(&self) -> (f64, f64) {
        (self.nodes.iter().map(|node| node.usage().cpu).sum(), self.server.map_or(0.0, Server::cpu))
    }

    async fn measure(&self, setup: &Setup, connections: usize) -> Row {
        let before = self.cpu();
        let load = load_all(&self.addresses(), PATH, connections, setup.seconds).await;
        let after = self.cpu();
        let steps = load.latency.len() as f64 * STEPS;
        Row {
            rate: load.per_second,
            latency: load,
            node_us: (after.0 - before.0) / steps * 1e6,
            database_us: (after.1 - before.1) / steps * 1e6,
        }
    }
}

impl Row {
    /// The median of each figure; latencies of all rounds.
    fn of_rounds(rounds: &[Self]) -> Self {
        let of = |figure: fn(&Self) -> f64| median(rounds.iter().map(figure).collect());
        let mut latency = histogram();
        for round in rounds {
            latency.add(&round.latency.latency).expect("the same shape");
        }
        let rate = of(|row| row.rate);
        Self {
            rate,
            latency: Load { per_second: rate, latency },
            node_us: of(|row| row.node_us),
            database_us: of(|row| row.database_us),
        }
    }

    fn print(&self, name: &str, connections: usize, sqlite: f64) {
        say(&format!(
            "{name:<20} {connections:>4} {:>7.0} {:>8.0} {:>10.2} {:>8.2} {:>8.2} {:>19.1} {:>9.1}",
            self.rate,
            self.rate * STEPS,
            self.rate / sqlite,
            self.latency.ms(50.0),
            self.latency.ms(99.0),
            self.node_us,
            self.database_us,
        ));
    }
}
