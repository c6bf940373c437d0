//! The TypeScript client, the conformance cases and the pages, with Node and a browser.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use crate::{check::cargo, say};

/// Where Debian puts it.
const CHROMIUM: &str = "/usr/bin/chromium";

/// What has tests of its own, with what is published at npm.
const FOLDERS: [&str; 6] = [
    "conformance/npm",
    "examples/assistant",
    "conformance/sdk",
    "examples/typescript/node",
    "examples/typescript/bun",
    "examples/typescript/nextjs",
];

pub(crate) fn check(_: &[String]) -> Result<(), String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    find("node", &["nodejs", "npm"])?;
    find("npm", &["npm"])?;
    if !Path::new(CHROMIUM).exists() && std::env::var_os("CHROMIUM").is_none() {
        install(&["chromium"])?;
    }
    let programs = ["-p", "conformance-server", "-p", "example-assistant", "-p", "onward-server"];
    cargo(&[&["build", "--locked"], programs.as_slice()].concat(), &[])?;
    let client = root.join("clients/typescript");
    npm(&client, &["ci"])?;
    for script in ["check", "test", "test:browser"] {
        npm(&client, &["run", script])?;
    }
    for folder in FOLDERS {
        let folder = root.join(folder);
        npm(&folder, &["ci"])?;
        npm(&folder, &["test"])?;
    }
    Ok(())
}

/// Makes sure that a program is there.
pub(crate) fn find(program: &str, packages: &[&str]) -> Result<(), String> {
    let found = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if found.is_ok_and(|status| status.success()) { Ok(()) } else { install(packages) }
}

/// Installs Debian packages, where that may be done.
pub(crate) fn install(packages: &[&str]) -> Result<(), String> {
    let names = packages.join(" ");
    say(&format!("installing {names}"));
    let apt = |args: &[&str]| {
        let command = Command::new("apt-get").args(args).env("DEBIAN_FRONTEND", "noninteractive").status();
        command.is_ok_and(|status| status.success())
    };
    let install = [&["install", "-y", "-qq", "--no-install-recommends"], packages].concat();
    if apt(&["update", "-qq"]) && apt(&install) {
        Ok(())
    } else {
        Err(format!("{names} must be installed: `apt-get install {names}` as root"))
    }
}

pub(crate) fn npm(folder: &Path, args: &[&str]) -> Result<(), String> {
    say(&format!("-- {}: npm {}", folder.display(), args.join(" ")));
    let status = Command::new("npm").args(args).current_dir(folder).stdin(Stdio::null()).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("npm {} in {} ended with {status}", args.join(" "), folder.display())),
        Err(error) => Err(format!("npm: {error}")),
    }
}
