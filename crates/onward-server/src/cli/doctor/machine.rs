//! Checks of the machine: the store's folder, the clock, the port.

use std::{
    fs,
    io::ErrorKind,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
};

use onward_core::{Clock, Timestamp};
use onward_postgres::PostgresStore;
use onward_scheduler::SystemClock;
use onward_server::Options;
use onward_sqlite::Location;
use reqwest::Url;

use super::Finding;
use crate::cli::api;

/// Less free space than this is worth a word.
const SPACE_LOW: u64 = 1024 * 1024 * 1024;
/// With less than this an engine would soon refuse to write.
const SPACE_LEAST: u64 = 64 * 1024 * 1024;
/// 2026-01-01: this program is not older.
const BORN: Timestamp = Timestamp::from_micros(1_767_225_600_000_000);

/// The store's file, where it has one, and the folder it is in.
fn file(store: &str) -> Option<(PathBuf, PathBuf)> {
    let Ok(Location::File { path, .. }) = Location::parse(store) else { return None };
    let path = std::path::absolute(path).ok()?;
    let folder = path.parent().unwrap_or(Path::new("/")).to_owned();
    Some((path, folder))
}

/// Whether the database answers.
pub(super) async fn database(options: &Options) -> Finding {
    let shown = options.shown_store();
    match PostgresStore::check(&options.store, &onward_postgres::Options::new()).await {
        Ok(version) => Finding::good("store", format!("{shown} answers: {version}")),
        Err(error) => {
            let why = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            Finding::bad("store", format!("{shown} does not answer ({why}); see that it runs and the URL is right"))
        }
    }
}

/// Whether the store can be written, and has room.
pub(super) fn store(store: &str) -> Vec<Finding> {
    let Some((path, folder)) = file(store) else {
        return vec![Finding::good("store", "in memory: runs are lost when the engine stops")];
    };
    if !folder.is_dir() {
        return vec![Finding::bad("store", format!("{0} is not a folder; make it: mkdir -p {0}", folder.display()))];
    }
    let probe = folder.join(format!(".onward-doctor-{}", std::process::id()));
    let written = fs::OpenOptions::new().write(true).create_new(true).open(&probe);
    let written = written.and_then(|_| fs::remove_file(&probe));
    // A store that is there is opened for writing; nothing is written.
    let written = written
        .and_then(|()| if path.exists() { fs::File::options().append(true).open(&path).map(drop) } else { Ok(()) });
    let writable = match written {
        Ok(()) => Finding::good("store", format!("{} can be written", path.display())),
        Err(error) => {
            let what =
                format!("{} cannot be written ({error}); give its folder to who runs the engine, or", path.display());
            Finding::bad("store", format!("{what} choose another place with --store"))
        }
    };
    [Some(writable), permissions(&path), space(&folder)].into_iter().flatten().collect()
}

/// Whether others on this machine can read what is stored: requests, outputs, and the key of run tokens.
#[cfg(unix)]
fn permissions(path: &Path) -> Option<Finding> {
    use std::os::unix::fs::PermissionsExt;
    let mode = fs::metadata(path).ok()?.permissions().mode() & 0o777;
    (mode & 0o077 != 0).then(|| {
        let shown = path.display();
        Finding::warning("store", format!("others can read {shown} (mode {mode:03o}): chmod 600 {shown}*"))
    })
}

#[cfg(not(unix))]
fn permissions(_: &Path) -> Option<Finding> {
    None
}

#[cfg(unix)]
fn space(folder: &Path) -> Option<Finding> {
    let disk = nix::sys::statvfs::statvfs(folder).ok()?;
    #[allow(clippy::useless_conversion, reason = "the width of a block count differs by system")]
    let free = u64::from(disk.blocks_available()).saturating_mul(u64::from(disk.fragment_size()));
    let text = format!("{} MiB are free in {}", free / 1024 / 1024, folder.display());
    Some(match free {
        ..SPACE_LEAST => Finding::bad("disk", format!("{text}; make room, or choose another disk with --store")),
        SPACE_LEAST..SPACE_LOW => Finding::warning("disk", format!("{text}; that is little")),
        _ => Finding::good("disk", text),
    })
}

#[cfg(not(unix))]
fn space(_: &Path) -> Option<Finding> {
    None
}

/// Whether the clock can be right: timers and tokens go by it.
pub(super) fn clock(store: &str) -> Finding {
    let modified = file(store).and_then(|(path, _)| fs::metadata(path).ok()?.modified().ok());
    let modified = modified.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
    sane(SystemClock::default().now(), modified.map(|since| Timestamp::EPOCH.after(since)))
}

fn sane(now: Timestamp, store_written: Option<Timestamp>) -> Finding {
    const SET_IT: &str = "set it, best by NTP: timers and tokens go by it";
    if now < BORN {
        return Finding::bad("clock", format!("it is before 2026; {SET_IT}"));
    }
    match store_written {
        // A second's difference comes from coarse file times.
        Some(written) if written.since(now).as_secs() > 1 => {
            let seconds = written.since(now).as_secs();
            Finding::bad("clock", format!("it is {seconds} s before the store was last written; {SET_IT}"))
        }
        _ => Finding::good("clock", "it can be right"),
    }
}

/// Whether the engine can listen, or does already.
pub(super) async fn port(address: SocketAddr) -> Finding {
    match TcpListener::bind(address) {
        Ok(_) => Finding::good("port", format!("{address} is free")),
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            if is_engine(address).await {
                return Finding::good("port", format!("an engine answers at {address}"));
            }
            Finding::bad(
                "port",
                format!("another program listens at {address}; stop it, or choose another with --port"),
            )
        }
        Err(error) => Finding::bad(
            "port",
            format!("{address} cannot be listened on ({error}); choose others with --host and --port"),
        ),
    }
}

async fn is_engine(address: SocketAddr) -> bool {
    let ip = if address.ip().is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { address.ip() };
    let url = format!("http://{}/health", SocketAddr::new(ip, address.port()));
    let Ok(url) = url.parse::<Url>() else { return false };
    let Ok(client) = api::client(&url) else { return false };
    client.get(url).send().await.is_ok_and(|response| response.status().is_success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_before_this_program_or_its_store_is_wrong() {
        let is_good = |now, written| sane(now, written).word() == "ok";
        let now = BORN.after(std::time::Duration::from_secs(100));
        assert!(is_good(now, None));
        assert!(is_good(now, Some(BORN)));
        assert!(!is_good(Timestamp::EPOCH, None));
        assert!(!is_good(BORN, Some(now)));
    }
}
