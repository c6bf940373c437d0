//! `onward dev` and `onward start`: run the engine.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
};

use onward_server::{
    Engine,
    observe::{LogFormat, Observe},
    options::{Mode, Options},
};
use onward_sqlite::Location;
use tokio::sync::oneshot;

use super::{
    output::{Failure, note},
    shutdown::Signals,
};
use crate::config::{Config, Environment, Flags};

pub(super) fn serve(mode: Mode, flags: &Flags, environment: &Environment) -> Result<(), Failure> {
    let config = Config::load(mode, flags, environment)?;
    let observe = Observe::init(config.log_format, &config.log, config.otlp_endpoint.as_deref());
    let observe = observe.map_err(|error| Failure::failed(&error))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::failed(&error))?;
    let ended = runtime.block_on(run(config));
    drop(runtime);
    // Last, so that what the end itself told is sent, too.
    observe.shutdown();
    ended
}

async fn run(config: Config) -> Result<(), Failure> {
    // Before anything is opened, so that a signal never meets a half-open engine.
    let mut signals = Signals::listen().map_err(|error| Failure::failed(&error))?;
    let options = config.options.clone();
    let engine = tokio::select! {
        engine = Box::pin(Engine::open(options)) => engine.map_err(|error| Failure::failed(&error))?,
        _ = signals.next() => return Ok(()), // it has begun nothing
    };
    tell(&config, engine.listen_address());
    let (stop, stopped) = oneshot::channel();
    let until = async {
        let _ = stopped.await;
    };
    tokio::select! {
        ended = Box::pin(engine.serve(until)) => ended.map_err(|error| Failure::failed(&error)),
        never = signals.watch(stop) => match never {},
    }
}

/// Says where things are.
fn tell(config: &Config, address: SocketAddr) {
    let options = &config.options;
    let url = format!("http://{}", reachable(address));
    let store = place(options);
    if config.log_format == LogFormat::Json {
        let version = env!("CARGO_PKG_VERSION");
        tracing::info!(target: "onward::start", version, %address, store, "the engine listens");
    } else {
        let mode = if options.mode == Mode::Dev { " dev" } else { "" };
        let mut lines = vec![format!("onward {}{mode}", env!("CARGO_PKG_VERSION")), format!("  engine  {url}")];
        lines.push(format!("  store   {store}"));
        lines.push(format!("  keys    {}", keys(options)));
        if let Some(file) = &config.file {
            lines.push(format!("  config  {}", absolute(file)));
        }
        if options.mode == Mode::Dev {
            lines.push(format!("  start your app with INNGEST_DEV={url}"));
        }
        note(&(lines.join("\n") + "\n"));
    }
    if options.mode == Mode::Dev && !address.ip().is_loopback() {
        tracing::warn!(target: "onward::start", %address, "whoever reaches this address may use it: dev is for one machine");
    }
    if options.mode == Mode::Start && options.origins.any {
        tracing::warn!(
            target: "onward::start",
            "--allow-origin '*' allows every origin: whoever reaches an endpoint with a Host header of his own chooses \
             where signed calls go; name the origins that have endpoints"
        );
    }
    if options.mode == Mode::Start && options.store == "memory:" {
        tracing::warn!(target: "onward::start", "the store is in memory: runs are lost when the engine stops");
    }
}

/// The address at which this machine reaches a listener: not one that stands for all.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = if address.ip().is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { address.ip() };
    SocketAddr::new(ip, address.port())
}

fn place(options: &Options) -> String {
    match Location::parse(&options.store) {
        Ok(Location::File { path, .. }) => absolute(&path),
        _ if options.store.starts_with("postgres") => options.shown_store(),
        _ => "in memory, until the engine stops".to_owned(),
    }
}

fn absolute(path: &Path) -> String {
    std::path::absolute(path).as_deref().unwrap_or(path).display().to_string()
}

fn keys(options: &Options) -> String {
    let count = |number: usize, kind: &str| format!("{number} {kind} {}", if number == 1 { "key" } else { "keys" });
    if options.signing_keys.is_empty() && options.event_keys.is_empty() {
        return "none needed".to_owned();
    }
    format!("{}, {}", count(options.signing_keys.len(), "signing"), count(options.event_keys.len(), "event"))
}
