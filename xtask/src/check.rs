//! What CI runs: one command, timed step by step.

use std::{process::Command, time::Duration};

use crate::say;

/// The fuzz targets are a workspace of their own.
const FUZZ: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/Cargo.toml");
/// So is what the benchmarks need of other systems, which is not built here.
const PEERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../bench-peers/Cargo.toml");

pub(crate) fn all(_: &[String]) -> Result<(), String> {
    let nextest =
        Command::new("cargo").args(["nextest", "--version"]).output().is_ok_and(|output| output.status.success());
    let mut took = Vec::new();
    step(&mut took, "arrows", || crate::arrows::check(&[]))?;
    step(&mut took, "dependencies", || crate::deny::check(&[]))?;
    step(&mut took, "tidy", || crate::tidy::check(&[]))?;
    step(&mut took, "format", || {
        cargo(&["fmt", "--all", "--check"], &[])?;
        cargo(&["fmt", "--manifest-path", PEERS, "--all", "--check"], &[])
    })?;
    step(&mut took, "lints", || {
        cargo(&["clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"], &[])
    })?;
    for features in ["", "axum", "sqlite", "postgres", "fetch"] {
        step(&mut took, &format!("features [{features}]"), || {
            let args = [
                "clippy",
                "--locked",
                "-p",
                "onward",
                "--no-default-features",
                "--features",
                features,
                "--",
                "-D",
                "warnings",
            ];
            cargo(&args, &[])
        })?;
    }
    step(&mut took, "postgres", || crate::postgres::check(&[]))?;
    step(&mut took, "faketime", || crate::postgres::faketime(&[]))?;
    step(&mut took, "tests", || {
        if nextest {
            cargo(&["nextest", "run", "--locked", "--workspace", "--profile", "ci"], &[])
        } else {
            cargo(&["test", "--locked", "--workspace", "--lib", "--bins", "--tests"], &[])
        }
    })?;
    step(&mut took, "documentation tests", || cargo(&["test", "--locked", "--workspace", "--doc"], &[]))?;
    step(&mut took, "fuzz", || {
        cargo(&["fmt", "--manifest-path", FUZZ, "--all", "--check"], &[])?;
        cargo(&["clippy", "--locked", "--manifest-path", FUZZ, "--all-targets", "--", "-D", "warnings"], &[])?;
        cargo(&["test", "--locked", "--manifest-path", FUZZ, "--doc"], &[])?;
        crate::fuzz::run(&["--seed".to_owned(), crate::fuzz::SEED.to_owned()])
    })?;
    step(&mut took, "node", || crate::node::check(&[]))?;
    step(&mut took, "documentation", || {
        cargo(&["doc", "--locked", "--workspace", "--no-deps"], &[("RUSTDOCFLAGS", "-D warnings")])
    })?;
    for (name, time) in &took {
        say(&format!("{:>7.1} s  {name}", time.as_secs_f64()));
    }
    Ok(())
}

fn step(
    took: &mut Vec<(String, Duration)>,
    name: &str,
    run: impl FnOnce() -> Result<(), String>,
) -> Result<(), String> {
    say(&format!("== {name}"));
    #[expect(clippy::disallowed_methods, reason = "a person waits for it")]
    let start = std::time::Instant::now();
    run()?;
    took.push((name.to_owned(), start.elapsed()));
    Ok(())
}

pub(crate) fn cargo(args: &[&str], env: &[(&str, &str)]) -> Result<(), String> {
    let status = Command::new("cargo").args(args).envs(env.iter().copied()).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("cargo {} ended with {status}", args.join(" "))),
        Err(error) => Err(format!("cargo {}: {error}", args.join(" "))),
    }
}
