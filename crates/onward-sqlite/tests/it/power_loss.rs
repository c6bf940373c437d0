//! What a power cut leaves: a child process writes while all that it does to its files is recorded; from the record,
//! the files are made as they could be after a cut at any moment, and the store is opened on them.
#![cfg(target_os = "linux")]

mod image;
mod trace;
mod workload;

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Command,
};

use onward_sqlite::Durability;

use self::{image::Draws, trace::Trace};

/// Set where this is the child: the directory of the database, and the durability.
const CHILD: &str = "ONWARD_POWER_LOSS_CHILD";
const RELAXED: &str = "ONWARD_POWER_LOSS_RELAXED";

#[expect(clippy::disallowed_methods, reason = "the child is this test with a variable set")]
fn variable(name: &str) -> Option<PathBuf> {
    std::env::var(name).ok().map(PathBuf::from)
}

#[test]
fn whatever_was_acknowledged_survives_a_power_cut_and_nothing_is_half_done() {
    if let Some(dir) = variable(CHILD) {
        let durability = if variable(RELAXED).is_some() { Durability::Normal } else { Durability::Full };
        return workload::run(&dir, durability);
    }
    let name = "whatever_was_acknowledged_survives_a_power_cut_and_nothing_is_half_done";
    let trace = record(name, Durability::Full);
    let acknowledged = cut_everywhere(&trace, Durability::Full);
    assert!(acknowledged > 100, "the child did too little: {acknowledged} acknowledged");
}

#[test]
fn relaxed_durability_may_lose_the_newest_but_nothing_is_half_done() {
    let name = "whatever_was_acknowledged_survives_a_power_cut_and_nothing_is_half_done";
    let trace = record(name, Durability::Normal);
    cut_everywhere(&trace, Durability::Normal);
}

/// Runs the child with its I/O recorded.
fn record(test: &str, durability: Durability) -> Trace {
    let dir = tempfile::tempdir().expect("a directory can be made");
    let shim = build_shim(dir.path());
    let (traced, data) = (dir.path().join("trace"), dir.path().join("data"));
    std::fs::create_dir(&data).expect("a directory can be made");
    let data = data.canonicalize().expect("it was made above");
    let mut child = Command::new(std::env::current_exe().expect("a test has a file"));
    child
        .args(["--exact", &format!("power_loss::{test}"), "--nocapture", "--test-threads=1"])
        .env(CHILD, &data)
        .env("LD_PRELOAD", &shim)
        .env("ONWARD_TRACE", &traced)
        .env("ONWARD_TRACE_DIR", &data);
    if durability == Durability::Normal {
        child.env(RELAXED, "1");
    }
    let output = child.output().expect("the child starts");
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(workload::DONE), "the child failed: {told}");
    Trace::read(&traced, &data)
}

fn build_shim(dir: &Path) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/record_io.c");
    let shim = dir.join("record_io.so");
    let arguments: [&OsStr; 7] = [
        "-shared".as_ref(),
        "-fPIC".as_ref(),
        "-O1".as_ref(),
        "-o".as_ref(),
        shim.as_ref(),
        source.as_ref(),
        "-ldl".as_ref(),
    ];
    let built = Command::new("cc").args(arguments).status().expect("a C compiler is needed, as for SQLite itself");
    assert!(built.success(), "the recorder must compile");
    shim
}

/// Cuts after every sync, within every second, and at seeded moments between; gives how much was acknowledged in the end.
fn cut_everywhere(trace: &Trace, durability: Durability) -> usize {
    let mut draws = Draws::new(7);
    let mut cuts = trace.sync_ends();
    cuts.extend((0..60).map(|_| draws.below(trace.len()) + 1));
    for (number, cut) in cuts.into_iter().enumerate() {
        // Nothing that was not brought to disk survives; or some of it does, some of it torn.
        let kept = [0, 50, 90][number % 3];
        let dir = tempfile::tempdir().expect("a directory can be made");
        let mut draws = Draws::new(u64::try_from(number).expect("it is small"));
        image::make(trace, cut, kept, &mut draws, dir.path());
        let context = format!("cut {number} after record {cut} of {}, {kept} % kept", trace.len());
        workload::check(dir.path(), &trace.acknowledged(cut), durability, &context);
    }
    trace.acknowledged(trace.len()).len()
}
