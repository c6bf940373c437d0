//! Programs that are measured, each in a process of its own.

use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::Value;

use crate::client::Connection;

/// A program that serves, in a process of its own; killed when it is dropped.
pub(crate) struct Process {
    child: Child,
    pub(crate) address: String,
}

/// What a process has used so far.
#[derive(Clone, Copy)]
pub(crate) struct Usage {
    pub(crate) cpu: f64,
    pub(crate) written: f64,
    pub(crate) rss_kib: f64,
}

/// An address that nobody listens on.
pub(crate) fn free_address() -> String {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
    free.expect("a port is free").to_string()
}

/// Waits until something listens there.
pub(crate) async fn listens(address: &str) {
    for _ in 0..20_000 {
        if tokio::net::TcpStream::connect(address).await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("nothing listens on {address}");
}

/// CPU seconds of a process and all below it; of those that ended, once they were waited for.
pub(crate) fn cpu_of_tree(root: u32) -> f64 {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let all: Vec<_> = pids.filter_map(|pid| Some((pid, parent_and_cpu(pid)?))).collect();
    let (mut tree, mut next) = (vec![root], 0);
    while let Some(&above) = tree.get(next) {
        tree.extend(all.iter().filter(|(_, (parent, _))| *parent == above).map(|(pid, _)| *pid));
        next += 1;
    }
    all.iter().filter(|(pid, _)| tree.contains(pid)).map(|(_, (_, cpu))| cpu).sum()
}

fn parent_and_cpu(pid: u32) -> Option<(u32, f64)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<_> = stat.rsplit(')').next()?.split_whitespace().collect();
    let ticks: f64 = fields.get(11..15)?.iter().filter_map(|ticks| ticks.parse::<f64>().ok()).sum();
    Some((fields.get(1)?.parse().ok()?, ticks / 100.0))
}

impl Process {
    /// Starts a program that is about to listen there.
    pub(crate) fn start(command: &mut Command, address: String) -> Self {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        let program = command.get_program();
        Self { child: child.unwrap_or_else(|error| panic!("{}: {error}", program.display())), address }
    }

    /// Starts this program in one of its other roles, which takes its address and more.
    pub(crate) fn ours(role: &str, more: &[&str]) -> Self {
        let address = free_address();
        let program = std::env::current_exe().expect("this program has a path");
        Self::start(Command::new(program).arg(role).arg(&address).args(more), address)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it listens.
    pub(crate) async fn listens(&self) {
        listens(&self.address).await;
    }

    /// Waits until it answers a path with 200.
    pub(crate) async fn answers(&self, path: &str) {
        self.listens().await;
        let mut connection = Connection::open(&self.address).await;
        while connection.get(path).await.status != 200 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    pub(crate) async fn json(&self, path: &str) -> Value {
        let answer = Connection::open(&self.address).await.get(path).await;
        serde_json::from_str(&answer.body).unwrap_or_default()
    }

    /// CPU seconds, bytes written to disk, and resident KiB.
    pub(crate) fn usage(&self) -> Usage {
        let read =
            |name: &str| std::fs::read_to_string(format!("/proc/{}/{name}", self.child.id())).unwrap_or_default();
        let stat = read("stat");
        let fields = stat.rsplit(')').next().unwrap_or("").split_whitespace();
        let ticks: f64 = fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum();
        let field = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap_or("");
            line.split_whitespace().nth(1).and_then(|number| number.parse::<f64>().ok()).unwrap_or(0.0)
        };
        Usage {
            cpu: ticks / 100.0,
            written: field(&read("io"), "write_bytes:"),
            rss_kib: field(&read("status"), "VmRSS:"),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
