//! Finds PostgreSQL's programs on this machine, and runs `psql`.

use std::{
    cmp::Reverse,
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Debian puts the programs of a server here, in a folder a version and not on the `PATH`.
const DEBIAN: &str = "/usr/lib/postgresql";

/// The folder with the server's programs.
pub(super) fn server() -> Result<PathBuf, String> {
    let folders = on_path().into_iter().chain(of_debian());
    let mut found = folders.filter(|folder| folder.join("initdb").exists()).map(|folder| folder.join("postgres"));
    // A link on the `PATH` leads to where the others are.
    let folder = found.find_map(|program| program.canonicalize().ok()?.parent().map(Path::to_path_buf));
    folder.ok_or_else(|| {
        format!(
            "no PostgreSQL server on this machine: there is no `postgres` with `initdb` on the PATH or in \
             {DEBIAN}/*/bin. Install one (`apt-get install postgresql`), or set DATABASE_URL to a server on which \
             databases may be created"
        )
    })
}

/// Runs SQL and returns what it gives: a line a row, with `|` between columns.
pub(super) fn psql(url: &str, sql: &str) -> Result<String, String> {
    // Debian's programs first: its `psql` on the `PATH` is a wrapper in Perl, slower than what it wraps.
    let folder = of_debian().into_iter().chain(on_path()).find(|folder| folder.join("psql").exists());
    let folder = folder.ok_or("no `psql` on this machine: `apt-get install postgresql-client`")?;
    let output = Command::new(folder.join("psql"))
        .args(["--no-psqlrc", "--no-password", "--quiet", "--tuples-only", "--no-align"])
        .args(["--set=ON_ERROR_STOP=1", "--command", sql, "--dbname", url])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("psql: {error}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).trim_end().to_owned())
    }
}

fn on_path() -> Vec<PathBuf> {
    env::var_os("PATH").map(|path| env::split_paths(&path).collect()).unwrap_or_default()
}

/// The newest first.
fn of_debian() -> Vec<PathBuf> {
    let entries = fs::read_dir(DEBIAN).into_iter().flatten().flatten();
    let version = |name: &str| name.parse::<u32>().ok();
    let mut found: Vec<_> =
        entries.filter_map(|entry| Some((version(entry.file_name().to_str()?)?, entry.path().join("bin")))).collect();
    found.sort_by_key(|(version, _)| Reverse(*version));
    found.into_iter().map(|(_, folder)| folder).collect()
}
