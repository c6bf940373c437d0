//! The benchmarks.

use std::path::Path;

use crate::{
    check::cargo,
    node::{find, npm},
    postgres,
};

pub(crate) fn run(args: &[String]) -> Result<(), String> {
    let part = args.iter().find(|arg| !arg.starts_with("--")).map_or("all", String::as_str);
    if part == "all" || part.starts_with("engine") {
        engine()?;
    }
    if part.starts_with("cluster") {
        postgres::check(&[])?;
    }
    if args.iter().any(|arg| arg == "--peers") {
        peers()?;
    }
    let mut all = vec!["run", "--release", "--locked", "-p", "onward-bench", "--"];
    if args.is_empty() {
        all.push("all");
    }
    all.extend(args.iter().map(String::as_str));
    cargo(&all, &[])
}

/// What the benchmarks of the engine start beside themselves: the binary, and an endpoint in Node.
fn engine() -> Result<(), String> {
    cargo(&["build", "--release", "--locked", "-p", "onward-server"], &[])?;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../conformance/sdk");
    if folder.join("node_modules/inngest").exists() { Ok(()) } else { npm(&folder, &["ci"]) }
}

/// The other systems that the benchmarks start with `--peers`: a service for Restate, what is published at npm, and the
/// database that DBOS keeps its workflows in.
fn peers() -> Result<(), String> {
    find("node", &["nodejs", "npm"])?;
    postgres::check(&[])?;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../bench-peers");
    let (manifest, target) = (folder.join("Cargo.toml"), folder.join("target"));
    let [manifest, target] = [&manifest, &target].map(|path| path.to_string_lossy());
    cargo(&["build", "--release", "--locked", "--manifest-path", &manifest, "--target-dir", &target], &[])?;
    let folder = folder.join("npm");
    if folder.join("node_modules/@dbos-inc/dbos-sdk").exists() { Ok(()) } else { npm(&folder, &["ci"]) }
}
