//! The binary `onward`.

mod cli;
mod config;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main(&config::Environment::of_process())
}
