//! The fuzz targets: built for coverage with the stable compiler, and run for a while each.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Mutex,
};

use serde_json::Value;

use crate::{node, say};

/// What makes a program tell the fuzzer which of its branches it took. It has to be built without a sanitizer: those are
/// not in the stable compiler.
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 --cfg fuzzing";
/// How many run at the same time.
const AT_ONCE: usize = 2;
/// How long each runs where nobody says.
const SECONDS: u32 = 60;
/// Where each begins in a check of a change, so that what it finds comes from the change. A search begins anywhere.
pub(crate) const SEED: &str = "1";
/// How much is shown of what a target said before it failed.
const LINES_SHOWN: usize = 60;

pub(crate) fn run(args: &[String]) -> Result<(), String> {
    let (seconds, seed, mut targets) = read(args)?;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
    node::find("g++", &["g++"])?;
    let built = build(&folder)?;
    if targets.is_empty() {
        targets = built.iter().map(|(name, _)| name.clone()).collect();
    }
    let mut programs = Vec::new();
    for target in targets {
        let known = || built.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
        let found = built.iter().find(|(name, _)| *name == target);
        programs.push(found.ok_or_else(|| format!("there is no target {target}, but {}", known()))?);
    }

    let (queue, failed) = (Mutex::new(programs.into_iter()), Mutex::new(Vec::new()));
    let next = || queue.lock().ok()?.next();
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some((target, program)) = next() {
                    match fuzz(&folder, target, program, seconds, seed) {
                        Ok(done) => say(&format!("{target:<12} {done}")),
                        Err(error) => failed.lock().into_iter().for_each(|mut failed| failed.push(error.clone())),
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap_or_default();
    if failed.is_empty() { Ok(()) } else { Err(failed.join("\n\n")) }
}

/// How long, from which seed (0: any), and which targets.
fn read(args: &[String]) -> Result<(u32, u32, Vec<String>), String> {
    let (mut seconds, mut seed, mut targets, mut args) = (SECONDS, 0, Vec::new(), args.iter());
    while let Some(arg) = args.next() {
        let number = match arg.as_str() {
            "--seconds" => &mut seconds,
            "--seed" => &mut seed,
            _ => {
                targets.push(arg.clone());
                continue;
            }
        };
        let given = args.next().and_then(|text| text.parse().ok()).filter(|number| *number > 0);
        *number = given.ok_or_else(|| format!("{arg} wants a number above 0"))?;
    }
    Ok((seconds, seed, targets))
}

/// Builds the targets; gives their names and programs.
fn build(folder: &Path) -> Result<Vec<(String, PathBuf)>, String> {
    // Why a target is named, though it is this machine: the flags are then not for build scripts.
    let host = Command::new("rustc").arg("-vV").output().map_err(|error| format!("rustc: {error}"))?;
    let host = String::from_utf8_lossy(&host.stdout).into_owned();
    let host = host.lines().find_map(|line| line.strip_prefix("host: ")).ok_or("rustc does not tell its host")?;
    let output = Command::new("cargo")
        .args(["build", "--locked", "--release", "--bins", "--message-format", "json-render-diagnostics"])
        .args(["--target", host])
        .env("RUSTFLAGS", FLAGS)
        .current_dir(folder)
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("cargo build: {error}"))?;
    if !output.status.success() {
        return Err("the fuzz targets do not build".to_owned());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let messages = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut built: Vec<_> = messages
        .filter_map(|message| {
            let program = message["executable"].as_str()?;
            Some((message["target"]["name"].as_str()?.to_owned(), PathBuf::from(program)))
        })
        .collect();
    built.sort();
    Ok(built)
}

/// Runs a target on a copy of its seeds; gives what it did, or how it failed and with which input.
fn fuzz(folder: &Path, target: &str, program: &Path, seconds: u32, seed: u32) -> Result<String, String> {
    let seeds = folder.join("corpus-seeds");
    let artifacts = folder.join("artifacts").join(target);
    // It remains after a failure only, so that the failure can be looked at.
    let corpus = artifacts.join("corpus");
    fresh(&corpus, &artifacts).map_err(|error| format!("{}: {error}", corpus.display()))?;
    let output = Command::new(program)
        .args([format!("-max_total_time={seconds}"), format!("-seed={seed}")])
        .args(["-rss_limit_mb=2048", "-timeout=10", "-max_len=4096", "-print_final_stats=1"])
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .arg(format!("-dict={}", seeds.join(format!("{target}.dict")).display()))
        .args([&corpus, &seeds.join(target)])
        .current_dir(&artifacts)
        .output()
        .map_err(|error| format!("{}: {error}", program.display()))?;
    let text = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        let lines: Vec<_> = text.lines().collect();
        let shown = lines[lines.len().saturating_sub(LINES_SHOWN)..].join("\n");
        return Err(format!("{shown}\n{target} ended with {}: {}", output.status, inputs(&artifacts, program)));
    }
    let executions = text.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
    let mut words = text.lines().rev().find(|line| line.contains(" cov: ")).unwrap_or_default().split_whitespace();
    let covered = words.find(|word| *word == "cov:").and_then(|_| words.next());
    let (Some(executions), Some(covered)) = (executions, covered) else {
        return Err(format!("{text}\n{target} does not say what it did"));
    };
    fs::remove_dir_all(&artifacts).map_err(|error| format!("{}: {error}", artifacts.display()))?;
    Ok(format!("{:>9} executions, {covered:>5} edges covered", executions.trim()))
}

fn fresh(corpus: &Path, artifacts: &Path) -> std::io::Result<()> {
    if artifacts.exists() {
        fs::remove_dir_all(artifacts)?;
    }
    fs::create_dir_all(corpus)
}

/// Where the input is that made a target fail. Where nobody could write it down any more, the last one that was begun.
fn inputs(artifacts: &Path, program: &Path) -> String {
    let entries = fs::read_dir(artifacts).into_iter().flatten().flatten().map(|entry| entry.path());
    let (last, written): (Vec<_>, Vec<_>) =
        entries.filter(|path| path.is_file()).partition(|path| path.ends_with("last-input"));
    match written.first().or(last.first()) {
        Some(input) => format!("again with\n  {} {}", program.display(), input.display()),
        None => "its input is not known".to_owned(),
    }
}
