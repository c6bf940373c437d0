//! What the engine takes while nothing happens, and how soon it takes requests.

use std::{
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{binary, folder, spawn, start, wire};
use crate::{Setup, client::Connection, process::Process, say};

pub(super) async fn run(setup: &Setup) {
    let folder = folder(setup, "engine-idle");
    let times = if setup.quick { 5 } else { 20 };
    let mut took: Vec<_> = (0..times).map(|_| version()).collect();
    tell("`onward --version` alone", &mut took);
    let mut took = Vec::new();
    for nth in 0..times {
        let fresh = folder.join(format!("fresh-{nth}"));
        std::fs::create_dir_all(&fresh).expect("the folder can be made");
        took.push(timed(&fresh).await.1);
    }
    tell("start until /health is 200, no store yet", &mut took);
    let engine = start(&folder, &[]).await;
    say(&format!("memory, idle, empty store: {:.1} MiB", rss(&engine).await));
    let (ended, waiting) = if setup.quick { (10_000, 1_000) } else { (200_000, 20_000) };
    use_it(&engine, ended, waiting).await;
    say(&format!("memory, idle, after {ended} runs of 3 steps and {waiting} that wait: {:.1} MiB", rss(&engine).await));
    // Killed: what it had in its log on disk is still to be read.
    drop(engine);
    let size = std::fs::read_dir(&folder).expect("the folder is there").filter_map(Result::ok);
    let size: u64 = size.filter_map(|file| file.metadata().ok()).map(|meta| meta.len()).sum();
    let (engine, first) = timed(&folder).await;
    say(&format!("start until /health is 200, the same store after kill -9 ({} MiB): {first:.1} ms", size / (1 << 20)));
    say(&format!("memory, idle, that store: {:.1} MiB", rss(&engine).await));
    drop(engine);
    let mut took = Vec::new();
    for _ in 0..times {
        took.push(timed(&folder).await.1);
    }
    tell("start until /health is 200, the same store again", &mut took);
    say("");
}

fn tell(what: &str, took: &mut [f64]) {
    took.sort_by(f64::total_cmp);
    say(&format!("{what}: p50 {:.1} ms, at most {:.1} ms", took[took.len() / 2], took[took.len() - 1]));
}

/// How long the program takes to do nothing, in milliseconds.
fn version() -> f64 {
    let start = Instant::now();
    let done = Command::new(binary()).arg("--version").stdout(Stdio::null()).status();
    assert!(done.is_ok_and(|status| status.success()), "it tells its version");
    start.elapsed().as_secs_f64() * 1e3
}

/// Starts the engine. The milliseconds until it takes requests.
async fn timed(folder: &Path) -> (Process, f64) {
    let start = Instant::now();
    let engine = spawn(folder, &[]);
    engine.answers("/health").await;
    (engine, start.elapsed().as_secs_f64() * 1e3)
}

/// Resident MiB, once it has come to rest.
async fn rss(engine: &Process) -> f64 {
    tokio::time::sleep(Duration::from_secs(3)).await;
    engine.usage().rss_kib / 1024.0
}

/// Runs that end in their client's own request, and runs that wait for long.
async fn use_it(engine: &Process, ended: usize, waiting: usize) {
    let connections = 16;
    let steps = ["step-1", "step-2", "step-3"].map(wire::ran_at_first).join(",");
    let whole = format!("{steps},{}", wire::complete(&Value::Null));
    let nap = wire::sleep("nap", "1d");
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..connections {
        let (address, steps, whole, nap) = (engine.address.clone(), steps.clone(), whole.clone(), nap.clone());
        tasks.spawn(async move {
            let mut connection = Connection::open(&address).await;
            for nth in 0..(ended + waiting) / connections {
                let run = wire::run_id();
                let ends = nth < ended / connections;
                let first = wire::first(&run, "127.0.0.1:9", "/steps", "", if ends { &whole } else { &steps });
                let mut answers = vec![connection.post("/v1/checkpoint", &first).await];
                if !ends {
                    let path = format!("/v1/checkpoint/{run}/steps");
                    answers.push(connection.post(&path, &wire::later(&run, &nap)).await);
                }
                assert!(answers.iter().all(|answer| answer.status == 200), "a checkpoint is taken");
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.expect("a connection ends");
    }
}
