//! The benchmarks.

use std::path::Path;

use crate::{check::cargo, node::npm};

pub(crate) fn run(args: &[String]) -> Result<(), String> {
    let part = args.iter().find(|arg| !arg.starts_with("--")).map_or("all", String::as_str);
    if part == "all" || part.starts_with("engine") {
        engine()?;
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
