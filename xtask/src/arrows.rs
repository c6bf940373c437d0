//! The architecture as a check: every arrow between crates is allowed, and nothing banned is reachable.

use std::{collections::BTreeSet, process::Command};

use serde_json::Value;

/// Every published crate of ours, and all it may name of ours. `docs/ARCHITECTURE.md` says why.
const ALLOWED: &[(&str, &[&str])] = &[
    ("onward-core", &[]),
    ("onward-protocol", &[]),
    ("onward-scheduler", &["onward-core"]),
    ("onward-sqlite", &["onward-core"]),
    ("onward-postgres", &["onward-core"]),
    ("onward-testing", &["onward-core"]),
    ("onward-client", &["onward-protocol"]),
    ("onward-host", &["onward-core", "onward-protocol", "onward-scheduler"]),
    (
        "onward",
        &["onward-core", "onward-protocol", "onward-scheduler", "onward-host", "onward-sqlite", "onward-postgres"],
    ),
    (
        "onward-server",
        &["onward-core", "onward-protocol", "onward-scheduler", "onward-host", "onward-sqlite", "onward-postgres"],
    ),
];

/// Crates that nobody of ours may reach from these.
const BANNED: &[(&str, &[&str])] = &[
    ("onward-core", &["tokio", "axum", "hyper", "http", "rusqlite", "tokio-postgres", "rand", "getrandom", "chrono"]),
    ("onward-protocol", &["tokio", "axum", "hyper", "rusqlite", "tokio-postgres", "onward-core"]),
    ("onward-scheduler", &["axum", "hyper", "http", "rusqlite", "tokio-postgres", "onward-protocol"]),
    ("onward-host", &["axum", "rusqlite", "tokio-postgres"]),
    ("onward-sqlite", &["axum", "hyper", "http", "tokio-postgres", "onward-scheduler", "onward-protocol"]),
    ("onward-postgres", &["axum", "hyper", "http", "rusqlite", "onward-scheduler", "onward-protocol"]),
    ("onward-testing", &["axum", "hyper", "rusqlite", "tokio-postgres", "onward-scheduler"]),
    ("onward-client", &["axum", "rusqlite", "tokio-postgres", "onward-core", "onward-scheduler"]),
];

/// Crates whose own sources must not name these: the compiler would not notice.
const UNNAMED: &[(&str, &[&str])] =
    &[("onward-core", &["std::fs", "std::net", "std::env", "SystemTime::now", "Instant::now"])];

pub(crate) fn check(_: &[String]) -> Result<(), String> {
    let metadata = metadata()?;
    let mut wrong = Vec::new();
    arrows(&metadata, &mut wrong);
    reachable(&mut wrong)?;
    named(&mut wrong)?;
    if wrong.is_empty() { Ok(()) } else { Err(format!("the architecture is broken:\n  {}", wrong.join("\n  "))) }
}

fn metadata() -> Result<Value, String> {
    let output = Command::new("cargo").args(["metadata", "--format-version", "1", "--locked"]).output();
    let output = output.map_err(|error| format!("cargo metadata: {error}"))?;
    serde_json::from_slice(&output.stdout).map_err(|error| format!("cargo metadata: {error}"))
}

fn packages(metadata: &Value) -> impl Iterator<Item = &Value> {
    metadata["packages"].as_array().into_iter().flatten()
}

/// Normal dependencies between crates of ours.
fn arrows(metadata: &Value, wrong: &mut Vec<String>) {
    let ours: BTreeSet<_> =
        packages(metadata).filter(|package| package["source"].is_null()).filter_map(|p| p["name"].as_str()).collect();
    for package in packages(metadata) {
        let name = package["name"].as_str().unwrap_or_default();
        let Some((_, allowed)) = ALLOWED.iter().find(|(own, _)| *own == name) else {
            let unpublished = package["publish"].as_array().is_some_and(Vec::is_empty);
            if ours.contains(name) && !unpublished {
                wrong.push(format!("{name} is published and not in the list of arrows"));
            }
            continue;
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let to = dependency["name"].as_str().unwrap_or_default();
            if dependency["kind"].is_null() && ours.contains(to) && !allowed.contains(&to) {
                wrong.push(format!("{name} must not depend on {to}"));
            }
        }
    }
}

fn reachable(wrong: &mut Vec<String>) -> Result<(), String> {
    for (name, banned) in BANNED {
        let output = Command::new("cargo")
            .args(["tree", "--locked", "--edges", "normal", "--prefix", "none", "--format", "{p}", "--package", name])
            .output()
            .map_err(|error| format!("cargo tree: {error}"))?;
        if !output.status.success() {
            return Err(format!("cargo tree: {}", String::from_utf8_lossy(&output.stderr)));
        }
        let tree = String::from_utf8_lossy(&output.stdout).into_owned();
        let reached: BTreeSet<_> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
        for each in banned.iter().filter(|each| reached.contains(**each)) {
            wrong.push(format!("{name} must not reach {each}"));
        }
    }
    Ok(())
}

fn named(wrong: &mut Vec<String>) -> Result<(), String> {
    for (name, texts) in UNNAMED {
        for file in crate::tidy::sources(&format!("crates/{name}/src"))? {
            let text = std::fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
            for each in texts.iter().filter(|each| text.contains(**each)) {
                wrong.push(format!("{} must not name {each}", file.display()));
            }
        }
    }
    Ok(())
}
