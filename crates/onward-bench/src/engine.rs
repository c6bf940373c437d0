//! The engine: the release binary as it is run, with endpoints in other processes.

mod checkpoint;
pub(crate) mod fake;
mod idle;
mod overhead;
mod reentry;
mod wake;
mod wire;

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{
    Setup,
    process::{Process, free_address},
    say,
};

/// Measures all parts, or the one of that name.
pub(crate) async fn run(setup: &Setup, sync_us: (f64, f64), only: Option<&str>) {
    let is = |name| only.is_none_or(|only| only == name);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    say(&format!("the engine: {cores} cores, Node {}, the load on the same machine\n", node_version()));
    if is("overhead") {
        overhead::run(setup).await;
    }
    if is("checkpoint") {
        checkpoint::run(setup, sync_us).await;
    }
    if is("reentry") {
        reentry::run(setup).await;
    }
    if is("event") {
        wake::run(setup).await;
    }
    if is("idle") {
        idle::run(setup).await;
    }
}

fn node_version() -> String {
    let output = Command::new("node").arg("--version").output();
    output.map_or_else(|_| "is absent".to_owned(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// A new folder for a part, with its whole path.
fn folder(setup: &Setup, name: &str) -> PathBuf {
    let folder = setup.directory.join(name);
    std::fs::create_dir_all(&folder).expect("the folder can be made");
    folder.canonicalize().expect("the folder is there")
}

/// The release binary, which `cargo xtask bench` builds beside this one.
fn binary() -> PathBuf {
    let program = std::env::current_exe().expect("this program has a path").with_file_name("onward");
    assert!(program.exists(), "build the engine: cargo build --release -p onward-server");
    program
}

/// Starts the engine on the store in a folder, which need not be there yet. It need not answer yet.
fn spawn(folder: &Path, flags: &[&str]) -> Process {
    let address = free_address();
    let port = address.rsplit(':').next().unwrap_or_default();
    let store = format!("sqlite:{}", folder.join("engine.db").display());
    let mut command = Command::new(binary());
    command.args(["dev", "--host", "127.0.0.1", "--port", port, "--store", &store]).args(flags);
    // Its log lines are made, as anywhere, and go nowhere.
    command.env_clear().current_dir(folder).stderr(Stdio::null());
    Process::start(&mut command, address)
}

/// Starts the engine on the store in a folder, and waits until it takes requests.
async fn start(folder: &Path, flags: &[&str]) -> Process {
    let engine = spawn(folder, flags);
    engine.answers("/health").await;
    engine
}

/// Starts one of this program's own servers.
async fn fake(role: &str, more: &[&str]) -> Process {
    let process = Process::ours(role, more);
    process.listens().await;
    process
}
