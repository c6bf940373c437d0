//! Restate: its server on one node, and a service of its Rust SDK.

use std::{
    env::consts::{ARCH, OS},
    fs::File,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};

use super::{Subject, eventually, programs};
use crate::{
    client::Connection,
    process::{Process, free_address, listens},
};

pub(super) struct Restate {
    server: Process,
    service: Process,
    sdk: String,
}

impl Restate {
    pub(super) async fn start(folder: &Path) -> Self {
        let address = free_address();
        let program = programs().join("target/release/onward-bench-peers");
        let service = Process::start(Command::new(program).arg(&address), address);
        service.listens().await;
        let (ingress, admin) = (free_address(), free_address());
        let mut command = Command::new(program_of_server());
        command.args(["--node-name", "bench", "--no-logo", "--listen-mode", "tcp", "--base-dir"]).arg(folder);
        command.env_clear().current_dir(folder);
        command.env("RESTATE_INGRESS__BIND_ADDRESS", &ingress).env("RESTATE_ADMIN__BIND_ADDRESS", &admin);
        command.env("RESTATE_BIND_ADDRESS", free_address());
        // All else is its default, but a benchmark tells nobody of itself.
        command.env("RESTATE_DISABLE_TELEMETRY", "true");
        // It says much, among it that it cannot ask for a newer version of itself.
        command.stderr(File::create(folder.join("log")).expect("the folder can be written to"));
        let server = Process::start(&mut command, ingress);
        let sdk = register(&admin, &service.address).await;
        server.answers("/Bench/steps").await;
        Self { server, service, sdk }
    }

    pub(super) fn subject(&self) -> Subject {
        let said = |argument: &str| {
            let output = Command::new(program_of_server()).arg(argument).env_clear().output();
            String::from_utf8_lossy(&output.expect("Restate's server runs").stdout).into_owned()
        };
        let version = said("--version");
        let version = version.split_whitespace().last().unwrap_or("?").to_owned();
        let config = said("--dump-config");
        let replication = setting(&config, "", "default-replication");
        let fsync_off = setting(&config, "log-server", "rocksdb-disable-wal-fsync");
        Subject {
            system: format!("Restate {version}, Rust SDK {}", self.sdk),
            durability: format!(
                "one node: log-server.rocksdb-disable-wal-fsync = {fsync_off}, default-replication = {replication}"
            ),
            address: self.server.address.clone(),
            path: "/Bench/steps",
            pids: vec![self.server.pid(), self.service.pid()],
        }
    }
}

/// The program itself: what npm puts before it is a script that would outlive it.
fn program_of_server() -> PathBuf {
    let os = if OS == "macos" { "darwin" } else { OS };
    let arch = if ARCH == "aarch64" { "arm64" } else { "x64" };
    let package = format!("npm/node_modules/@restatedev/restate-server-{os}-{arch}");
    programs().join(package).join("bin/restate-server")
}

/// Tells the server of the service; gives the version of its SDK.
async fn register(admin: &str, service: &str) -> String {
    listens(admin).await;
    let body = json!({ "uri": format!("http://{service}") }).to_string();
    let answer = eventually("Restate does not take the service", async || {
        let answer = Connection::open(admin).await.post("/deployments", &body).await;
        if answer.status == 201 { Ok(answer.body) } else { Err(answer.body) }
    });
    let answer: Value = serde_json::from_str(&answer.await).unwrap_or_default();
    let sdk = answer["sdk_version"].as_str().unwrap_or("?");
    sdk.rsplit('/').next().unwrap_or(sdk).to_owned()
}

/// A value of a section in what the server says of its configuration, as it stands there.
fn setting(config: &str, section: &str, key: &str) -> String {
    let mut here = "";
    for line in config.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            here = name;
        } else if let Some((name, value)) = line.split_once('=')
            && here == section
            && name.trim() == key
        {
            return value.trim().to_owned();
        }
    }
    "?".to_owned()
}
