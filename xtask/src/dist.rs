//! The engine as one static binary, that runs on any Linux of the machine's kind.

use std::{path::Path, process::Command};

use crate::{check::cargo, say};

/// Builds it and makes sure that it needs no library of the machine it runs on.
pub(crate) fn build(_: &[String]) -> Result<(), String> {
    let target = host()?;
    let flags = [("RUSTFLAGS", "-C target-feature=+crt-static -C strip=symbols")];
    cargo(&["build", "--release", "--locked", "-p", "onward-server", "--target", &target], &flags)?;
    let folder = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), std::path::PathBuf::from);
    let binary = folder.join(&target).join("release/onward");
    let size = std::fs::metadata(&binary).map_err(|error| format!("{}: {error}", binary.display()))?.len();
    check(&binary)?;
    say(&format!("{} ({:.1} MiB, static)", binary.display(), size_mib(size)));
    Ok(())
}

/// The loader that a binary asks for is named in it; a static one asks for none.
fn check(binary: &Path) -> Result<(), String> {
    let output = Command::new("ldd").arg(binary).output().map_err(|error| format!("ldd: {error}"))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    let is_static = said.contains("statically linked") || said.contains("not a dynamic executable");
    if is_static { Ok(()) } else { Err(format!("the binary needs libraries:\n{said}")) }
}

fn host() -> Result<String, String> {
    let output = Command::new("rustc").arg("-vV").output().map_err(|error| format!("rustc: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| "rustc does not say its host".to_owned())
}

#[expect(clippy::cast_precision_loss, reason = "it is shown with one decimal")]
fn size_mib(bytes: u64) -> f64 {
    bytes as f64 / (1024.0 * 1024.0)
}
