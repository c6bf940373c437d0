//! The binary, what it costs, and raw requests to it.

use std::{fmt::Write, net::SocketAddr, process::Stdio, time::Duration};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    process::{Child, Command},
    task::JoinSet,
};

/// How long anything may take: machines that test have much else to do.
const PATIENCE: Duration = Duration::from_secs(30);

/// The binary, serving in a folder of its own.
pub(crate) struct Engine {
    pub(crate) address: SocketAddr,
    pub(crate) folder: TempDir,
    child: Child,
    _log: JoinSet<()>,
}

/// The cost of a process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    /// The most MiB that it has had at once.
    pub(crate) peak_mib: usize,
    pub(crate) descriptors: usize,
}

impl Engine {
    pub(crate) async fn start(args: &[&str]) -> Self {
        Self::start_in(&[], args).await
    }

    /// With variables of the environment.
    pub(crate) async fn start_in(variables: &[(&str, &str)], args: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_onward"));
        command.args(args).args(["--port", "0"]).env_clear().envs(variables.iter().copied()).current_dir(folder.path());
        command.stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = loop {
            let line = lines.next_line().await.unwrap().expect("the engine starts");
            if let Some(url) = line.trim().strip_prefix("engine  ") {
                break url.rsplit('/').next().unwrap().parse().unwrap();
            }
        };
        let mut log = JoinSet::new();
        log.spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self { address, folder, child, _log: log }
    }

    pub(crate) fn cost(&self) -> Cost {
        let process = format!("/proc/{}", self.child.id().unwrap());
        let status = std::fs::read_to_string(format!("{process}/status")).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        let kib: usize = peak.trim().strip_suffix(" kB").unwrap().parse().unwrap();
        Cost { peak_mib: kib / 1024, descriptors: std::fs::read_dir(format!("{process}/fd")).unwrap().count() }
    }

    /// A connection on which bytes were sent.
    pub(crate) async fn connect(&self, bytes: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream
    }

    /// The whole answer to bytes that are a request, which ends with its connection.
    pub(crate) async fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect(bytes).await;
        let mut answer = Vec::new();
        let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
        read.expect("the engine answers").unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// The status and body of an answer.
    pub(crate) async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> (u16, Value) {
        let mut head = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
        if !headers.iter().any(|(name, _)| *name == "host") {
            write!(head, "host: {}\r\n", self.address).unwrap();
        }
        for (name, value) in headers {
            write!(head, "{name}: {value}\r\n").unwrap();
        }
        let answer = self.raw(format!("{head}\r\n{body}").as_bytes()).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer:?}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap_or_else(|_| json!(body)))
    }

    pub(crate) async fn send(&self, event: &Value) -> (u16, Value) {
        self.ask("POST", "/e/key", &[], &event.to_string()).await
    }

    /// Registers functions by their ids, each with the event that starts it and where it is.
    pub(crate) async fn register(&self, functions: &[(&str, &str, String)]) -> (u16, Value) {
        let functions = functions.iter().map(|(id, event, url)| {
            json!({
                "id": id, "name": id, "triggers": [{ "event": event }],
                "steps": { "step": { "id": "step", "name": "step", "retries": { "attempts": 1 },
                    "runtime": { "type": "http", "url": format!("{url}/api?fnId={id}&stepId=step") } } },
            })
        });
        let functions: Vec<_> = functions.collect();
        let body = json!({ "appName": "app", "functions": functions, "deployType": "ping", "sdk": "js:v4.24.0" });
        self.ask("POST", "/fn/register", &[], &body.to_string()).await
    }

    /// A figure of the engine's.
    pub(crate) async fn measured(&self, name: &str) -> usize {
        let (_, metrics) = self.ask("GET", "/metrics", &[], "").await;
        let metrics = metrics.as_str().unwrap().to_owned();
        let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("{metrics}")).parse().unwrap()
    }

    /// Waits until the process has as many descriptors as before a wave, or a few more.
    pub(crate) async fn settles(&self, before: Cost) {
        eventually("descriptors return", async || self.cost().descriptors <= before.descriptors + 4).await;
    }
}

/// Waits until something holds.
pub(crate) async fn eventually(what: &str, holds: impl AsyncFn() -> bool) {
    let until = tokio::time::Instant::now() + PATIENCE;
    while !holds().await {
        assert!(tokio::time::Instant::now() < until, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
