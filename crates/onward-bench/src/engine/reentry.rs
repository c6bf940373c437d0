//! Re-entries: how fast runs go on at an endpoint that takes no time.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::{fake, folder, start, wire};
use crate::{
    Setup,
    client::{Connection, histogram, micros_since},
    process::Process,
    say,
    wal::Wal,
};

/// How many steps a run has; the call after the last of them ends it.
const STEPS: u32 = 10;

pub(super) async fn run(setup: &Setup) {
    let folder = folder(setup, "engine-reentry");
    let wal = Wal::open(&folder.join("control.wal"));
    let engine = start(&folder, &[]).await;
    let endpoint = fake("fake-endpoint", &[]).await;
    let bare = format!("n={STEPS}&engine={}", engine.address);
    let asks = format!("{bare}&asks=true");
    drive(&engine, &endpoint, &bare, 16, setup.seconds).await;
    say(
        "re-entries                           runs  calls/s  of control  ms a call: p50, p99 of runs  µs CPU/call  bytes/call",
    );
    for runs in [1, 16, 64, 256] {
        let control = control(&endpoint, &wal, runs, setup.seconds).await;
        say(&format!("a call and an append, no engine    {runs:>6} {control:>8.0} {:>11.2}", 1.0));
        for (name, query) in [("the engine", &bare), ("the same, the state is asked for", &asks)] {
            let before = engine.usage();
            let start = Instant::now();
            let took = drive(&engine, &endpoint, query, runs, setup.seconds).await;
            let calls = took.len() as f64 * f64::from(STEPS + 1);
            let rate = calls / start.elapsed().as_secs_f64();
            let after = engine.usage();
            let ms = |percentile| took.value_at_percentile(percentile) as f64 / 1e3 / f64::from(STEPS + 1);
            say(&format!(
                "{name:<34} {runs:>6} {rate:>8.0} {:>11.2} {:>15.2} {:>12.2} {:>12.1} {:>11.0}",
                rate / control,
                ms(50.0),
                ms(99.0),
                (after.cpu - before.cpu) / calls * 1e6,
                (after.written - before.written) / calls,
            ));
        }
        say("");
    }
}

/// Runs side by side, each followed by the next when its waiting client has its outcome. How long they took.
async fn drive(engine: &Process, endpoint: &Process, query: &str, runs: usize, time: Duration) -> Histogram<u64> {
    let mut tasks = tokio::task::JoinSet::new();
    let until = Instant::now() + time;
    for _ in 0..runs {
        let (engine, endpoint, query) = (engine.address.clone(), endpoint.address.clone(), query.to_owned());
        tasks.spawn(async move {
            let mut connection = Connection::open(&engine).await;
            let mut took = histogram();
            let nap = wire::sleep("nap", "");
            while Instant::now() < until {
                let start = Instant::now();
                let run = wire::run_id();
                let first = wire::first(&run, &endpoint, "/steps", &query, &nap);
                let answer = connection.post("/v1/checkpoint", &first).await;
                assert_eq!(answer.status, 200, "{}", answer.body);
                let answer = connection.get(&wire::output_path(&run, &answer.body)).await;
                assert_eq!(answer.status, 200, "{}", answer.body);
                took.saturating_record(micros_since(start));
            }
            took
        });
    }
    let mut all = histogram();
    while let Some(took) = tasks.join_next().await {
        all.add(took.expect("a run ends")).expect("the same shape");
    }
    all
}

/// The floor: a call of the endpoint and an append that is on disk, one after the other; nothing else. Calls a second.
async fn control(endpoint: &Process, wal: &Wal, side_by_side: usize, time: Duration) -> f64 {
    let mut tasks = tokio::task::JoinSet::new();
    let start = Instant::now();
    let until = start + time;
    for _ in 0..side_by_side {
        let (endpoint, wal) = (endpoint.address.clone(), wal.clone());
        tasks.spawn(async move {
            let mut connection = Connection::open(&endpoint).await;
            let mut calls = 0_u32;
            while Instant::now() < until {
                let answer = connection.get("/steps?n=4000000000").await;
                assert_eq!(answer.status, 206, "{}", answer.body);
                wal.append(answer.body.into_bytes()).await;
                calls += 1;
            }
            calls
        });
    }
    let mut calls = 0;
    while let Some(own) = tasks.join_next().await {
        calls += own.expect("a task ends");
    }
    f64::from(calls) / start.elapsed().as_secs_f64()
}
