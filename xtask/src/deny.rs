//! Licences and sources of dependencies, and bans, as `deny.toml` says. Known vulnerabilities are not looked up, as
//! their list is in a repository that a build does not reach.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

use crate::say;

const VERSION: &str = "0.20.2";
const TOOLS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/tools");

pub(crate) fn check(_: &[String]) -> Result<(), String> {
    let program = installed()?;
    for manifest in ["Cargo.toml", "fuzz/Cargo.toml", "bench-peers/Cargo.toml"] {
        let status = Command::new(&program)
            .args(["--locked", "--config", "deny.toml", "--manifest-path", manifest, "check", "--hide-inclusion-graph"])
            .args(["licenses", "sources", "bans"])
            .status()
            .map_err(|error| format!("cargo-deny: {error}"))?;
        if !status.success() {
            return Err(format!("{manifest} depends on what deny.toml does not allow"));
        }
    }
    Ok(())
}

/// The program, which is built where there is none of this version.
fn installed() -> Result<PathBuf, String> {
    let own = PathBuf::from(TOOLS).join("bin/cargo-deny");
    for program in [PathBuf::from("cargo-deny"), own.clone()] {
        let version = Command::new(&program).arg("--version").stderr(Stdio::null()).output();
        if version.is_ok_and(|version| String::from_utf8_lossy(&version.stdout).trim().ends_with(VERSION)) {
            return Ok(program);
        }
    }
    say(&format!("cargo-deny {VERSION} is built, which takes some minutes"));
    let built = Command::new("cargo")
        .args(["install", "cargo-deny", "--version", VERSION, "--locked", "--no-default-features", "--root", TOOLS])
        .status();
    match built {
        Ok(status) if status.success() => Ok(own),
        Ok(status) => Err(format!("cargo install cargo-deny ended with {status}")),
        Err(error) => Err(format!("cargo install cargo-deny: {error}")),
    }
}
