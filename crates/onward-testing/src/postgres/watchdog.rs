//! Cleans up after processes that were killed.

use std::{
    ffi::OsStr,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

/// Waits for a lock, in a process of its own. It needs nothing of ours: we may be killed at any time.
const SCRIPT: &str = include_str!("watchdog.sh");

/// Who may still use a server, and what to do when nobody does.
#[derive(Debug)]
pub(super) struct Watchdog<'a> {
    /// Those who use the server hold a shared or an exclusive lock on it.
    pub(super) lock: &'a Path,
    /// For how long others may still come.
    pub(super) linger: Duration,
    /// The file that tells others of the server; it is removed first.
    pub(super) told: Option<&'a Path>,
}

impl Watchdog<'_> {
    /// Starts it for the server in this folder. The lock must be held by now.
    pub(super) fn start(&self, folder: &Path) -> Result<Child, String> {
        let told = self.told.map_or(OsStr::new(""), Path::as_os_str);
        Command::new("sh")
            .args(["-c", SCRIPT, "onward-postgres-watchdog"])
            .args([self.lock.as_os_str(), folder.as_os_str()])
            .arg(self.linger.as_secs().to_string())
            .arg(told)
            // Not in our group: what ends that one, such as Ctrl-C, shall not end it.
            .process_group(0)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("sh: {error}"))
    }
}
