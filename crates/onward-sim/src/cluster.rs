//! The nodes' processes, and what is done to them.

use std::{
    fs::OpenOptions,
    io,
    net::SocketAddr,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};

use crate::{
    node::Arguments,
    plan::{LEASE, NODES},
    proxy::{Proxy, Way},
    record::stopwatch,
};

/// Debian's library that makes the clock of a process wrong, where it is installed.
pub(crate) fn faketime() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").ok()?.flatten().map(|entry| entry.path().join("faketime"));
    folders.map(|folder| folder.join("libfaketimeMT.so.1")).find(|library| library.exists())
}

/// What was done to processes, for the checkers: which one, and when.
#[derive(Clone, Debug, Default)]
pub(crate) struct Done {
    pub(crate) killed: Vec<(String, u64)>,
    /// SIGCONT after a SIGSTOP.
    pub(crate) continued: Vec<(String, u64)>,
}

/// Where nodes are reached by clients; `None` while one is down.
pub(crate) type Addresses = Arc<Mutex<[Option<SocketAddr>; NODES]>>;

/// The nodes of one database.
#[derive(Debug)]
pub(crate) struct Cluster {
    folder: PathBuf,
    /// The database's URL, with the address of a node's proxy left to be put in.
    url: (String, String),
    faketime: Option<PathBuf>,
    nodes: Vec<Node>,
    pub(crate) addresses: Addresses,
    pub(crate) done: Done,
}

#[derive(Debug)]
struct Node {
    proxy: Proxy,
    life: u32,
    process: Option<Child>,
}

impl Cluster {
    /// Starts all nodes on a database.
    pub(crate) async fn start(url: &str, folder: &Path, skews: [i64; NODES]) -> io::Result<Self> {
        let (before, address, after) = parts(url).ok_or_else(|| io::Error::other("the database's URL has no port"))?;
        let mut nodes = Vec::new();
        for _ in 0..NODES {
            nodes.push(Node { proxy: Proxy::start(address).await?, life: 0, process: None });
        }
        let url = (before.to_owned(), after.to_owned());
        let (folder, addresses) = (folder.to_owned(), Addresses::default());
        let mut cluster = Self { folder, url, faketime: faketime(), nodes, addresses, done: Done::default() };
        for (node, skew) in skews.into_iter().enumerate() {
            cluster.begin(node, skew)?;
        }
        Ok(cluster)
    }

    /// Starts a node that is down.
    pub(crate) fn begin(&mut self, number: usize, skew: i64) -> io::Result<()> {
        let node = &mut self.nodes[number];
        if node.process.is_some() {
            return Ok(());
        }
        node.life += 1;
        let process = format!("n{number}.{}", node.life);
        let url = format!("{}{}{}", self.url.0, node.proxy.address(), self.url.1);
        let journal = self.folder.join(format!("{process}.journal"));
        let log = OpenOptions::new().create(true).append(true).open(self.folder.join(format!("{process}.log")))?;
        let arguments = Arguments { url, process, journal, lease: LEASE };
        let mut command = Command::new(std::env::current_exe()?);
        command.args(arguments.to_args()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).kill_on_drop(true);
        if let Some(library) = &self.faketime {
            command.env("LD_PRELOAD", library).env("FAKETIME", format!("{skew:+}s"));
            command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("FAKETIME_DISABLE_SHM", "1");
        }
        let mut child = command.spawn()?;
        let told = child.stdout.take().map(BufReader::new);
        node.process = Some(child);
        if let Some(told) = told {
            listen(told, number, Arc::clone(&self.addresses));
        }
        Ok(())
    }

    /// `kill -9`.
    pub(crate) async fn kill(&mut self, number: usize) -> io::Result<()> {
        self.addresses.lock()[number] = None;
        let node = &mut self.nodes[number];
        if let Some(mut process) = node.process.take() {
            process.kill().await?;
            self.done.killed.push((format!("n{number}.{}", node.life), stopwatch()));
        }
        Ok(())
    }

    /// Asks a node to end, and waits until it has.
    pub(crate) async fn end(&mut self, number: usize) -> io::Result<()> {
        self.signal(number, Signal::SIGTERM)?;
        self.addresses.lock()[number] = None;
        let Some(mut process) = self.nodes[number].process.take() else { return Ok(()) };
        // Where it cannot reach the database it may take long: then it is killed.
        if tokio::time::timeout(Duration::from_secs(8), process.wait()).await.is_err() {
            process.kill().await?;
        }
        Ok(())
    }

    pub(crate) fn stop(&self, number: usize) -> io::Result<()> {
        self.signal(number, Signal::SIGSTOP)
    }

    pub(crate) fn go(&mut self, number: usize) -> io::Result<()> {
        self.signal(number, Signal::SIGCONT)?;
        self.done.continued.push((format!("n{number}.{}", self.nodes[number].life), stopwatch()));
        Ok(())
    }

    /// Starts nodes again that a step took down.
    pub(crate) fn revive(&mut self) -> io::Result<()> {
        for number in 0..NODES {
            let node = &mut self.nodes[number];
            let Some(process) = &mut node.process else { continue };
            if process.try_wait()?.is_some_and(|status| status.signal() == Some(Signal::SIGABRT as i32)) {
                self.addresses.lock()[number] = None;
                node.process = None;
                self.done.killed.push((format!("n{number}.{}", node.life), stopwatch()));
                self.begin(number, 0)?;
            }
        }
        Ok(())
    }

    /// The lives that ended though nobody asked them to.
    pub(crate) fn ended_by_themselves(&mut self) -> impl Iterator<Item = String> {
        self.nodes.iter_mut().enumerate().filter_map(|(number, node)| {
            let status = node.process.as_mut()?.try_wait().ok()??;
            Some(format!("n{number}.{} ({status})", node.life))
        })
    }

    pub(crate) fn network(&self, number: usize, way: Way) {
        self.nodes[number].proxy.set(way);
    }

    fn signal(&self, number: usize, signal: Signal) -> io::Result<()> {
        let process = self.nodes[number].process.as_ref();
        match process.and_then(Child::id).and_then(|id| i32::try_from(id).ok()) {
            Some(id) => Ok(kill(Pid::from_raw(id), signal)?),
            None => Ok(()),
        }
    }
}

/// Makes a node known to clients once it tells where it listens.
fn listen(mut told: BufReader<tokio::process::ChildStdout>, number: usize, addresses: Addresses) {
    #[expect(clippy::disallowed_methods, reason = "it ends with the node")]
    tokio::spawn(async move {
        let mut line = String::new();
        if told.read_line(&mut line).await.is_ok()
            && let Ok(address) = line.trim().parse()
        {
            addresses.lock()[number] = Some(address);
        }
    });
}

/// What is before the address of a URL, the address, and what is after.
fn parts(url: &str) -> Option<(&str, SocketAddr, &str)> {
    let from = url.find('@').map(|at| at + 1)?;
    let to = from + url[from..].find('/')?;
    let address = url[from..to].replace("localhost", "127.0.0.1").parse().ok()?;
    Some((&url[..from], address, &url[to..]))
}
