//! How late sleeps end, and what sleeping runs cost in memory.

use std::time::Duration;

use crate::{Setup, aims::Aims, client::Connection, process::Process, say, server};

pub(crate) async fn run(setup: &Setup, aims: &mut Aims) {
    for sleepers in [1_u32, 1_000, 10_000] {
        let folder = setup.directory.join(format!("sleep-{sleepers}"));
        std::fs::create_dir_all(&folder).expect("the folder can be made");
        let server = server::start(&folder).await;
        let rounds = if sleepers == 1 { 5 } else { 1 };
        for _ in 0..rounds {
            start(&server, sleepers, 1_000, 64).await;
            tokio::time::sleep(Duration::from_millis(1_500)).await;
        }
        let mut late = server.json("/late").await;
        let (p50, p99) = (number(&mut late, 1), number(&mut late, 2));
        say(&format!("{sleepers:>6} runs that sleep 1 s: late by p50 {p50:.1} ms, p99 {p99:.1} ms ({} woke)", late[0]));
        if sleepers == 10_000 {
            aims.at_most("ms late of 10,000 sleepers, p99", 25.0, p99);
        }
    }
    memory(setup, aims).await;
}

fn number(late: &mut serde_json::Value, place: usize) -> f64 {
    late[place].as_f64().unwrap_or(f64::NAN) / 1e3
}

/// Starts runs that sleep, over this many connections.
async fn start(server: &Process, runs: u32, ms: u64, connections: u32) {
    let mut set = tokio::task::JoinSet::new();
    for part in 0..connections.min(runs) {
        let address = server.address.clone();
        let own = runs / connections.min(runs) + u32::from(part < runs % connections.min(runs));
        set.spawn(async move {
            let mut connection = Connection::open(&address).await;
            for _ in 0..own {
                let answer = connection.get(&format!("/sleep?ms={ms}")).await;
                assert_eq!(answer.status, 302, "{}", answer.body);
            }
        });
    }
    while let Some(done) = set.join_next().await {
        done.expect("a connection ends");
    }
}

/// Parked runs (their sleep ends within the time for which handlers are parked) against those that are not.
async fn memory(setup: &Setup, aims: &mut Aims) {
    let runs = 10_000_u32;
    for (what, ms) in [("parked", 50_000), ("not parked", 3_600_000)] {
        let folder = setup.directory.join(format!("memory-{ms}"));
        std::fs::create_dir_all(&folder).expect("the folder can be made");
        let server = server::start(&folder).await;
        start(&server, 2_000, 3_600_000, 64).await;
        let before = server.usage().rss_kib;
        start(&server, runs, ms, 64).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        let each = (server.usage().rss_kib - before) / f64::from(runs);
        say(&format!("memory of a sleeping run that is {what}: {each:.2} KiB"));
        if what == "parked" {
            aims.at_most("KiB of a parked run, the user's future included", 8.0, each);
        }
    }
    say("");
}
