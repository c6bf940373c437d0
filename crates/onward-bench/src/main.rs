//! Benchmarks with controls of the same run: `onward-bench [all | http | store | event | sleep | stream | startup | engine] [--quick]`.
//! With `--peers`, other systems, too. `cluster` is measured where it is asked for, as it wants PostgreSQL.
//! One part of those of the engine: `engine-overhead`, `engine-checkpoint`, `engine-reentry`, `engine-event`, `engine-idle`;
//! of those of the cluster: `cluster-rates`, `cluster-cost`, `cluster-takeover`, `cluster-growth`.
//!
//! The server runs in a process of its own, so that its CPU time and writes are its own; the load comes from this one,
//! on the same machine.

#![expect(
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    reason = "it measures real time on tasks of its own, and rounds what it prints"
)]

mod aims;
mod client;
mod cluster;
mod disk;
mod engine;
mod event;
mod http;
mod peers;
mod process;
mod server;
mod sleep;
mod startup;
mod store;
mod stream;
mod wal;

use std::{path::PathBuf, time::Duration};

use crate::aims::Aims;

/// What every part is told.
pub(crate) struct Setup {
    pub(crate) seconds: Duration,
    pub(crate) quick: bool,
    pub(crate) directory: PathBuf,
}

#[expect(clippy::print_stdout, reason = "it prints figures")]
pub(crate) fn say(text: &str) {
    println!("{text}");
}

fn main() {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime starts");
    match args.first().map(String::as_str) {
        Some("serve") => return runtime.block_on(server::serve(&args[1], &args[2])),
        Some("serve-node") => return runtime.block_on(cluster::node::serve(&args[1], &args[2], args.len() > 3)),
        Some("fake-engine") => return runtime.block_on(engine::fake::engine(&args[1], &args[2])),
        Some("fake-endpoint") => return runtime.block_on(engine::fake::endpoint(&args[1])),
        _ => {}
    }
    let quick = args.iter().any(|arg| arg == "--quick");
    let part = args.iter().find(|arg| !arg.starts_with("--")).map_or("all", String::as_str);
    let directory = tempfile::tempdir_in(".").expect("this folder can be written to");
    let setup = Setup {
        seconds: Duration::from_millis(if quick { 1_000 } else { 3_000 }),
        quick,
        directory: directory.path().to_owned(),
    };
    let mut aims = Aims::default();
    let is = |name| part == "all" || part == name;
    runtime.block_on(async {
        let sync = disk::fdatasync(&setup);
        say(&format!("fdatasync after a 4 KiB append: p50 {:.0} µs, p99 {:.0} µs\n", sync.0, sync.1));
        let alone = if is("http") || is("store") { store::alone(&setup).await } else { Vec::new() };
        if is("http") {
            http::run(&setup, sync.0, &alone, &mut aims).await;
        }
        if is("event") {
            event::run(&setup, sync.0, &mut aims).await;
        }
        if is("sleep") {
            sleep::run(&setup, &mut aims).await;
        }
        if is("stream") {
            stream::run(&setup, &mut aims).await;
        }
        if is("startup") {
            startup::run(&setup, &mut aims).await;
        }
        if is("engine") || part.starts_with("engine-") {
            engine::run(&setup, sync, part.strip_prefix("engine-")).await;
        }
        if part.starts_with("cluster") {
            cluster::run(&setup, part.strip_prefix("cluster-"), &mut aims).await;
        }
        if args.iter().any(|arg| arg == "--peers") {
            peers::run(&setup).await;
        }
    });
    aims.print();
}
