//! How long the runs of a killed node wait for another one.

use std::time::Duration;

use onward_testing::postgres::TestDatabase;
use tokio::{io::AsyncWriteExt, net::TcpStream};

use crate::{
    Setup,
    aims::Aims,
    cluster::{database::Server, median, node},
    process::Process,
    say,
    server::micros,
};

/// The runs that the killed node holds.
const RUNS: usize = 50;
/// What nodes have by default, in seconds.
const LEASE: f64 = 10.0;

/// Two nodes of a database of their own, one of which holds runs.
struct Pair {
    database: TestDatabase,
    holds: Process,
    other: Process,
    /// What sent the runs: kept open.
    _requests: Vec<TcpStream>,
}

pub(super) async fn run(setup: &Setup, server: &Server, aims: &mut Aims) {
    let mut pairs = Vec::new();
    for _ in 0..if setup.quick { 3 } else { 9 } {
        pairs.push(Pair::start(server.database()).await);
    }
    let (mut first, mut last) = (Vec::new(), Vec::new());
    let mut killed = Vec::new();
    for Pair { database, holds, other, .. } in pairs {
        // At another moment between two heartbeats each time.
        tokio::time::sleep(Duration::from_millis(130)).await;
        let at = micros();
        drop(holds);
        killed.push((database, other, at));
    }
    for (database, other, at) in &killed {
        let executed = executed(other).await;
        assert_eq!(executed.len(), RUNS, "every run is executed once ({})", database.url());
        let since = |moment: Option<&u64>| moment.map_or(f64::NAN, |moment| (moment - at) as f64 / 1e6);
        first.push(since(executed.first()));
        last.push(since(executed.last()));
    }
    let max = last.iter().copied().fold(0.0, f64::max);
    say(&format!(
        "takeover: {} times kill -9 of a node with {RUNS} runs, lease {LEASE} s: \
         the first run goes on elsewhere after {:.2} s (median), the last one after {:.2} s (median), {max:.2} s (max)\n",
        last.len(),
        median(first),
        median(last.clone()),
    ));
    aims.at_most("s until a killed node's last run goes on elsewhere (lease + 1 s)", LEASE + 1.0, max);
}

impl Pair {
    async fn start(database: TestDatabase) -> Self {
        let other = node::start(database.url()).await;
        let holds = node::start_holding(database.url()).await;
        let mut requests = Vec::new();
        for _ in 0..RUNS {
            let mut stream = TcpStream::connect(&holds.address).await.expect("the node listens");
            stream.write_all(b"GET /hold HTTP/1.1\r\nhost: bench\r\n\r\n").await.expect("the node reads");
            requests.push(stream);
        }
        let held = || database.query("SELECT count(*) FROM onward_entries e JOIN onward_leases l USING (run_id)");
        while held() != RUNS.to_string() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Self { database, holds, other, _requests: requests }
    }
}

/// When each run went on, once all have.
async fn executed(node: &Process) -> Vec<u64> {
    for _ in 0..1_500 {
        let all: Vec<u64> = serde_json::from_value(node.json("/executed").await).unwrap_or_default();
        if all.len() >= RUNS {
            return all;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the runs of the killed node do not go on");
}
