//! What nodes write down of themselves: a line for each thing that a handler did, in the order of one clock.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write as _},
    path::Path,
    sync::Arc,
    time::Duration,
};

use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// Microseconds of the machine's stopwatch: all processes read the same, whatever their clocks say.
pub(crate) fn stopwatch() -> u64 {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("every machine has it");
    u64::try_from(Duration::from(time).as_micros()).expect("it began when the machine did")
}

/// One thing that a handler did.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Line {
    /// When, by the [stopwatch].
    pub(crate) at: u64,
    /// The life of a node in which it happened, such as `n1.3`.
    pub(crate) process: String,
    /// Which call of the handler did it; unique in the process.
    pub(crate) execution: u64,
    pub(crate) run: String,
    pub(crate) op: String,
    pub(crate) what: What,
}

/// What it did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum What {
    /// The handler was called.
    Enter,
    /// The body of a step began. Steps are named in the order of the handler: `0-first`, `1-second`, …
    Start { step: String, attempt: u32, key: String },
    /// The body ended well, and gave this.
    End { step: String, attempt: u32, nonce: String },
    /// The handler got this as the step's output.
    Got { step: String, nonce: String },
}

/// Where a process writes its lines. Each is one write to a file that only grows, so a kill loses none before it.
#[derive(Clone, Debug)]
pub(crate) struct Journal {
    file: Arc<File>,
    process: Arc<str>,
}

impl Journal {
    pub(crate) fn open(path: &Path, process: &str) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(Self { file: Arc::new(file), process: process.into() })
    }

    pub(crate) fn process(&self) -> &str {
        &self.process
    }

    /// Writes a line; gives its time.
    pub(crate) fn write(&self, execution: u64, run: &str, op: &str, what: What) -> u64 {
        let at = stopwatch();
        let (process, run, op) = (self.process.to_string(), run.to_owned(), op.to_owned());
        let line = Line { at, process, execution, run, op, what };
        let mut text = serde_json::to_vec(&line).expect("it is plain");
        text.push(b'\n');
        (&*self.file).write_all(&text).expect("the disk takes the log");
        at
    }
}

/// Reads the lines of all processes, the earliest first. A last line that a kill cut off is left out.
pub(crate) fn read(folder: &Path) -> io::Result<Vec<Line>> {
    let mut lines = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "journal") {
            let text = std::fs::read_to_string(&path)?;
            lines.extend(text.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok()));
        }
    }
    lines.sort_by_key(|line| line.at);
    Ok(lines)
}

/// Returns lines of the processes' logs that no fault explains: executions that hung, and panics.
pub(crate) fn complaints(folder: &Path) -> impl Iterator<Item = String> {
    logged(folder, |line| line.contains("execution hung") || line.contains("panicked"))
}

/// Returns some lines of the processes' logs, as what is wrong.
fn logged(folder: &Path, is_wrong: fn(&str) -> bool) -> impl Iterator<Item = String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|extension| extension == "log") {
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            found.extend(text.lines().filter(|line| is_wrong(line)).map(|line| format!("P1: {name}: {line}")));
        }
    }
    found.into_iter()
}

/// Returns lines that tell of a node which lost its lease, or was about to.
pub(crate) fn lost_leases(folder: &Path) -> impl Iterator<Item = String> {
    logged(folder, |line| line.contains("could not renew its lease") || line.contains("lost its lease"))
}
