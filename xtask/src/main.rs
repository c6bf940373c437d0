//! The project's own commands: `cargo xtask` lists them.

mod arrows;
mod bench;
mod check;
mod deny;
mod dist;
mod fuzz;
mod node;
mod postgres;
mod tidy;

use std::process::ExitCode;

/// A command: its name, what it does, and how.
type Task = (&'static str, &'static str, fn(&[String]) -> Result<(), String>);

const TASKS: &[Task] = &[
    ("test", "format, lints, arrows, every test, docs: what CI runs", check::all),
    ("arrows", "which crate may depend on which", arrows::check),
    ("deny", "licences and sources of what is depended on, and what is banned: deny.toml", deny::check),
    ("tidy", "sizes of files, and their first lines", tidy::check),
    ("node", "the TypeScript client, the conformance cases and the pages", node::check),
    ("postgres", "the PostgreSQL that tests use: found, or installed", postgres::check),
    ("dist", "the engine as one static binary", dist::build),
    ("fuzz", "the fuzz targets: [--seconds 60] [--seed N] [TARGET…]", fuzz::run),
    ("bench", "the benchmarks, with ratios against controls of the same run", bench::run),
];

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let Some((_, _, task)) = TASKS.iter().find(|(name, _, _)| args.first().is_some_and(|arg| arg == name)) else {
        for (name, what, _) in TASKS {
            say(&format!("cargo xtask {name:<8} {what}"));
        }
        return if args.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    };
    match task(&args[1..]) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stderr, reason = "it is a command")]
fn say(text: &str) {
    eprintln!("{text}");
}
