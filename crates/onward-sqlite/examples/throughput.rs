//! Prints how many steps a second the store commits: N tasks, each inserts a run (600 B), takes three steps (150 B
//! each, awaited), and finishes it (200 B).
//!
//! `cargo run --release -p onward-sqlite --example throughput -- [seconds] [directory] [full|normal|off] [tasks]…`
#![expect(clippy::print_stdout, reason = "printing is what it is for")]
#![expect(clippy::disallowed_methods, reason = "it measures real time on its own tasks")]
#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "figures for people"
)]

use std::{
    io::{Seek, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use onward_core::{
    Attempt, EndpointId, Fence, NodeId, Payload, RunId, Seq, Store, Timestamp,
    journal::{Change, Entry},
    run::{NewRun, Outcome, Status},
    step::{StepId, StepKind},
    store::{Checkpoint, Lease, Then},
};
use onward_sqlite::{Durability, Options, SqliteStore};

type AnyError = Box<dyn std::error::Error + Send + Sync>;

fn now() -> Timestamp {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    Timestamp::EPOCH.after(since)
}

fn entry(seq: u32) -> Result<Entry, AnyError> {
    Ok(Entry {
        seq: Seq(seq),
        at: now(),
        step: StepId::try_new(format!("step-{seq}"), 0)?,
        kind: StepKind::Run,
        change: Change::Succeeded { attempt: Attempt::FIRST, output: vec![b'x'; 120].into() },
    })
}

struct Load {
    store: SqliteStore,
    node: NodeId,
    endpoint: EndpointId,
    draws: AtomicU64,
    stop: AtomicBool,
}

/// One task: runs until told to stop; gives the latency of each step in microseconds.
async fn task(load: Arc<Load>) -> Result<Vec<u32>, AnyError> {
    let mut latencies = Vec::new();
    while !load.stop.load(Ordering::Relaxed) {
        let draw = u128::from(load.draws.fetch_add(1, Ordering::Relaxed)) << 40;
        let lease = Lease { run_id: RunId::new(now(), draw), fence: Fence::FIRST, node: load.node };
        for seq in 0..3 {
            let mut checkpoint = Checkpoint::new(lease, now());
            checkpoint.start = (seq == 0).then(|| NewRun {
                run_id: lease.run_id,
                endpoint: load.endpoint.clone(),
                version: None,
                pinned: false,
                created_at: now(),
                request: vec![b'r'; 600].into(),
                timeout_at: None,
                retention: Duration::from_secs(86_400),
                key: None,
                parent: None,
            });
            checkpoint.entries.push(entry(seq)?);
            let begun = Instant::now();
            load.store.checkpoint(checkpoint).await?;
            latencies.push(u32::try_from(begun.elapsed().as_micros())?);
        }
        let mut checkpoint = Checkpoint::new(lease, now());
        let response = Payload::from(vec![b'o'; 200]);
        checkpoint.then = Then::Finish(Outcome { status: Status::Completed, response, error: Payload::default() });
        // The outcome is recorded without delaying the response.
        drop(load.store.checkpoint(checkpoint));
    }
    Ok(latencies)
}

async fn measure(dir: &Path, tasks: usize, seconds: u64, durability: Durability) -> Result<(), AnyError> {
    let path = dir.join(format!("throughput-{tasks}.db"));
    let store = SqliteStore::open(&path, Options::new().durability(durability))?;
    let node = store.join(now(), Duration::from_secs(60)).await?;
    let load = Arc::new(Load {
        store: store.clone(),
        node,
        endpoint: EndpointId::try_new("POST /checkout")?,
        draws: AtomicU64::new(1),
        stop: AtomicBool::new(false),
    });
    let (cpu_before, written_before) = (cpu_seconds(), bytes_written());
    let begun = Instant::now();
    let handles: Vec<_> = (0..tasks).map(|_| tokio::spawn(task(Arc::clone(&load)))).collect();
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    load.stop.store(true, Ordering::Relaxed);
    let mut latencies = Vec::new();
    for handle in handles {
        latencies.append(&mut handle.await??);
    }
    let elapsed = begun.elapsed().as_secs_f64();
    let cpu = cpu_seconds() - cpu_before;
    let written = bytes_written() - written_before;
    latencies.sort_unstable();
    let at = |share: f64| f64::from(latencies[((latencies.len() - 1) as f64 * share) as usize]) / 1000.0;
    let rate = latencies.len() as f64 / elapsed;
    let log = std::fs::metadata(path.with_extension("db-wal")).map_or(0, |log| log.len()) / 1_000_000;
    println!(
        "{durability:?} N = {tasks:4}: {rate:7.0} steps/s, p50 {:6.2} ms, p99 {:6.2}, p99.9 {:6.2}, max {:6.2}, \
         cpu {:5.1} us/step, written {:4.0} B/step, log {log} MB",
        at(0.5),
        at(0.99),
        at(0.999),
        at(1.0),
        cpu * 1e6 / latencies.len() as f64,
        written / latencies.len() as f64,
    );
    store.close().await;
    for suffix in ["", "-wal", "-shm", "-lock"] {
        let _ = std::fs::remove_file(format!("{}{suffix}", path.display()));
    }
    Ok(())
}

fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let ticks = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    ticks.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// All that this process has passed to `write`.
fn bytes_written() -> f64 {
    let io = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
    let line = io.lines().find_map(|line| line.strip_prefix("wchar: "));
    line.and_then(|bytes| bytes.parse().ok()).unwrap_or_default()
}

/// What the disk alone takes: 4 KiB appended or overwritten, then `fdatasync`.
fn disk(dir: &Path) -> Result<(), AnyError> {
    let path = dir.join("disk.bin");
    let mut file = std::fs::File::create(&path)?;
    for what in ["append", "overwrite"] {
        let mut times = Vec::new();
        file.rewind()?;
        for _ in 0..1000 {
            let begun = Instant::now();
            file.write_all(&[7; 4096])?;
            file.sync_data()?;
            times.push(begun.elapsed().as_micros());
        }
        times.sort_unstable();
        println!("fdatasync after {what} of 4 KiB: p50 {} us, p99 {} us", times[500], times[990]);
    }
    std::fs::remove_file(path)?;
    Ok(())
}

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<(), AnyError> {
    let mut arguments = std::env::args().skip(1);
    let seconds = arguments.next().map_or(Ok(3), |text| text.parse())?;
    let dir = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    disk(&dir)?;
    let durability = match arguments.next().as_deref() {
        None | Some("full") => Durability::Full,
        Some("normal") => Durability::Normal,
        Some("off") => Durability::Off,
        Some(other) => return Err(format!("no such durability: {other}").into()),
    };
    let mut tasks = arguments.map(|text| text.parse()).collect::<Result<Vec<usize>, _>>()?;
    if tasks.is_empty() {
        tasks = vec![1, 64, 256];
    }
    for tasks in tasks {
        measure(&dir, tasks, seconds, durability).await?;
    }
    Ok(())
}
