//! The server's process.

use std::{
    fs::{self, OpenOptions},
    io,
    net::TcpListener,
    os::unix::process::CommandExt as _,
    path::Path,
    process::Child,
    thread,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::folder::Folder;
use crate::postgres::draw;

/// How often to look whether the server has started or ended.
const LOOK: Duration = Duration::from_millis(5);
/// For how long to look: a recovery, or the last checkpoint of a large database, may take its time.
const LOOKS_MAX: u32 = 12_000;

/// A server that accepts connections. It runs on when this is dropped.
pub(super) struct Process {
    child: Child,
}

impl Process {
    pub(super) fn start(folder: &Folder, port: u16, arguments: &[String]) -> Result<Self, String> {
        let log = OpenOptions::new().create(true).append(true).open(folder.log());
        let log = log.and_then(|log| Ok((log.try_clone()?, log)));
        let (out, err) = log.map_err(|error| format!("{}: {error}", folder.log().display()))?;
        let mut command = folder.command("postgres");
        command.arg("-D").arg(folder.data()).arg("-k").arg(folder.path());
        command.args(["-h", "127.0.0.1", "-p", &port.to_string()]).args(arguments);
        // Not in our group: it ends when we say, and not with Ctrl-C, on which it would wait for its connections.
        let child = command.process_group(0).stdout(out).stderr(err).spawn();
        let mut process = Self { child: child.map_err(|error| format!("postgres: {error}"))? };
        match process.wait_until_ready(&folder.data().join("postmaster.pid")) {
            Ok(()) => Ok(process),
            Err(error) => {
                process.end(Signal::SIGQUIT);
                let log = fs::read_to_string(folder.log()).unwrap_or_default();
                let lines: Vec<_> = log.lines().collect();
                Err(format!("{error}; its log ends with:\n{}", lines[lines.len().saturating_sub(15)..].join("\n")))
            }
        }
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Signals and waits; where it does not end, it is killed.
    pub(super) fn end(mut self, signal: Signal) {
        self.send(signal);
        if !self.ended_in_time() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }

    fn send(&self, signal: Signal) {
        if let Ok(pid) = i32::try_from(self.child.id()) {
            // It is our child and not waited for, so the number is still its own.
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }

    fn ended_in_time(&mut self) -> bool {
        for _ in 0..LOOKS_MAX {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return true;
            }
            thread::sleep(LOOK);
        }
        false
    }

    /// The server says in a file of its data how far it is.
    fn wait_until_ready(&mut self, file: &Path) -> Result<(), String> {
        let pid = self.child.id().to_string();
        for _ in 0..LOOKS_MAX {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(format!("postgres ended with {status}"));
            }
            let text = fs::read_to_string(file).unwrap_or_default();
            let lines: Vec<_> = text.lines().map(str::trim).collect();
            if lines.first() == Some(&pid.as_str()) && lines.get(7) == Some(&"ready") {
                return Ok(());
            }
            thread::sleep(LOOK);
        }
        Err("postgres does not accept connections".to_owned())
    }
}

/// A port that nobody listens on, below those that the system gives to connections: so it is still free when the
/// server comes back after a stop.
pub(super) fn free_port() -> Result<u16, String> {
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..100 {
        let port = 20_000 + u16::try_from(draw() % 12_000).expect("below 12000");
        match TcpListener::bind(("127.0.0.1", port)) {
            Ok(_) => return Ok(port),
            Err(error) => last = error,
        }
    }
    Err(format!("no free port: {last}"))
}
