//! Checkpoints: what an endpoint waits for after each step, against the disk alone.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde_json::Value;

use super::{fake, folder, start, wire};
use crate::{
    Setup,
    client::{Connection, histogram, micros_since},
    disk,
    process::Process,
    say,
};

const CONNECTIONS: [usize; 3] = [1, 16, 64];

pub(super) async fn run(setup: &Setup, sync_us: (f64, f64)) {
    let folder = folder(setup, "engine-checkpoint");
    let none = fake("fake-engine", &[&folder.to_string_lossy()]).await;
    let engine = start(&folder, &[]).await;
    drive(&engine, "", 16, setup.seconds).await;
    say(
        "checkpoints          conn calls/s  of wal   first: p50, p99 ms   /steps: p50, p99 ms  µs CPU/call  bytes/call",
    );
    let (mut alone, mut floor) = (f64::NAN, f64::NAN);
    for connections in CONNECTIONS {
        measure(setup, ("stores nothing", &none, ""), connections, f64::NAN).await;
        floor = measure(setup, ("control-wal", &none, "/wal"), connections, f64::NAN).await.0;
        let (_, p50) = measure(setup, ("the engine", &engine, ""), connections, floor).await;
        if connections == 1 {
            alone = p50;
        }
        say("");
    }
    drop(engine);
    let quiet_folder = folder.join("quiet");
    std::fs::create_dir_all(&quiet_folder).expect("the folder can be made");
    let quiet = start(&quiet_folder, &["--log", "warn"]).await;
    drive(&quiet, "", 16, setup.seconds).await;
    measure(setup, ("with --log warn", &quiet, ""), 64, floor).await;
    let after = disk::fdatasync(setup);
    say(&format!(
        "fdatasync: p50 {:.0} µs, p99 {:.0} µs before; p50 {:.0} µs, p99 {:.0} µs after; \
         a later checkpoint at 1 connection is {:.1} fdatasyncs (p50)\n",
        sync_us.0,
        sync_us.1,
        after.0,
        after.1,
        alone * 2e3 / (sync_us.0 + after.0),
    ));
}

/// Loads a target and prints its line. Its calls a second, and the p50 of later checkpoints in milliseconds.
async fn measure(
    setup: &Setup,
    (name, target, prefix): (&str, &Process, &str),
    connections: usize,
    floor: f64,
) -> (f64, f64) {
    let before = target.usage();
    let start = Instant::now();
    let [first, later] = drive(target, prefix, connections, setup.seconds).await;
    let seconds = start.elapsed().as_secs_f64();
    let after = target.usage();
    let calls = (first.len() + later.len()) as f64;
    let rate = calls / seconds;
    let of = if floor.is_nan() { "-".to_owned() } else { format!("{:.2}", rate / floor) };
    let ms = |of: &Histogram<u64>, percentile| of.value_at_percentile(percentile) as f64 / 1e3;
    say(&format!(
        "{name:<18} {connections:>6} {rate:>7.0} {of:>7} {:>13.2} {:>8.2} {:>14.2} {:>8.2} {:>12.1} {:>11.0}",
        ms(&first, 50.0),
        ms(&first, 99.0),
        ms(&later, 50.0),
        ms(&later, 99.0),
        (after.cpu - before.cpu) / calls * 1e6,
        (after.written - before.written) / calls,
    ));
    (rate, ms(&later, 50.0))
}

/// Runs of three steps, one after the other on each connection, as the SDK reports them. How long the first checkpoints
/// and the later ones took.
async fn drive(target: &Process, prefix: &str, connections: usize, time: Duration) -> [Histogram<u64>; 2] {
    let mut tasks = tokio::task::JoinSet::new();
    let until = Instant::now() + time;
    let end = wire::complete(&Value::Null);
    let ops = ["step-1", "step-2", "step-3"].map(wire::ran_at_first);
    for _ in 0..connections {
        let (address, prefix, ops, end) = (target.address.clone(), prefix.to_owned(), ops.clone(), end.clone());
        tasks.spawn(async move {
            let mut connection = Connection::open(&address).await;
            let mut took = [histogram(), histogram()];
            while Instant::now() < until {
                let run = wire::run_id();
                let later = format!("{prefix}/v1/checkpoint/{run}/steps");
                for (nth, op) in ops.iter().chain([&end]).enumerate() {
                    let (path, body) = if nth == 0 {
                        (format!("{prefix}/v1/checkpoint"), wire::first(&run, "127.0.0.1:9", "/steps", "", op))
                    } else {
                        (later.clone(), wire::later(&run, op))
                    };
                    let start = Instant::now();
                    let answer = connection.post(&path, &body).await;
                    took[nth.min(1)].saturating_record(micros_since(start));
                    assert_eq!(answer.status, 200, "{}", answer.body);
                }
            }
            took
        });
    }
    let mut all = [histogram(), histogram()];
    while let Some(took) = tasks.join_next().await {
        for (all, took) in all.iter_mut().zip(took.expect("a connection ends")) {
            all.add(took).expect("the same shape");
        }
    }
    all
}
