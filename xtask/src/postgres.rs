//! The PostgreSQL that tests start by themselves, or the one that they are given.

use std::{env, fs, path::PathBuf, process::Command};

use crate::{
    node::{find, install},
    say,
};

/// Makes sure that tests find a server, and says which.
///
/// Debian's package also makes a cluster of its own and starts it where there is an init system. That one is left
/// as it is: it listens on port 5432 of this machine alone, which no test uses, and whether the package makes it is a
/// setting in `/etc`, which is not ours to change.
pub(crate) fn check(_: &[String]) -> Result<(), String> {
    if env::var_os("DATABASE_URL").is_some_and(|url| !url.is_empty()) {
        // What the URL says is not shown: it may hold a password.
        say("PostgreSQL: the server that DATABASE_URL names");
        return find("psql", &["postgresql-client"]);
    }
    if server().is_none() {
        install(&["postgresql"])?;
    }
    let (version, program) = server().ok_or("there is no PostgreSQL server, though Debian's package is installed")?;
    say(&format!("PostgreSQL: {version}, of {}, started by the tests", program.display()));
    Ok(())
}

/// Makes sure that the nodes of `onward-sim` can have wrong clocks.
pub(crate) fn faketime(_: &[String]) -> Result<(), String> {
    find("faketime", &["faketime"])
}

/// The first on the `PATH`, or the newest of Debian's, as in `onward_testing::postgres`.
fn server() -> Option<(String, PathBuf)> {
    let path = env::var_os("PATH").unwrap_or_default();
    let entries = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let version = |entry: &fs::DirEntry| entry.file_name().to_str()?.parse::<u32>().ok();
    let mut debian: Vec<_> = entries.filter_map(|entry| Some((version(&entry)?, entry.path().join("bin")))).collect();
    debian.sort();
    let folders = env::split_paths(&path).chain(debian.into_iter().rev().map(|(_, folder)| folder));
    let mut programs = folders.filter(|folder| folder.join("initdb").exists()).map(|folder| folder.join("postgres"));
    programs.find_map(|program| {
        let output = Command::new(&program).arg("--version").output().ok().filter(|output| output.status.success())?;
        let text = String::from_utf8_lossy(&output.stdout);
        // "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"
        Some((text.split_whitespace().nth(2)?.to_owned(), program.canonicalize().ok()?))
    })
}
