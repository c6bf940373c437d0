//! Processes that keep the machine busy, so that timing is bad on purpose.

use std::{io, process::Stdio};

use nix::unistd::getppid;
use tokio::process::{Child, Command};

use crate::pace::task;

/// Starts so many; they end as they are dropped.
pub(crate) fn start(processes: usize) -> io::Result<Vec<Child>> {
    let one = |_| {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("busy").stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true).spawn()
    };
    (0..processes).map(one).collect()
}

/// Is busy until its parent is gone.
pub(crate) fn be() {
    let parent = getppid();
    while getppid() == parent {
        std::hint::black_box(task(100_000));
    }
}
