//! The commands of the binary.

mod api;
mod doctor;
mod events;
mod output;
mod runs;
mod serve;
mod shutdown;
mod table;

use std::{future::Future, process::ExitCode};

use clap::{Parser, Subcommand, ValueEnum};
use onward_server::options::Mode;

use self::output::{Failure, say};
use crate::config::{Config, Environment, Flags};

/// Durable endpoints of the official TypeScript SDK, on an engine that is one file.
#[derive(Debug, Parser)]
#[command(name = "onward", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the engine on a developer's machine: no keys are needed.
    Dev(Flags),
    /// Runs the engine for users' requests: keys are required.
    Start(Flags),
    /// Looks at runs and steers them.
    #[command(subcommand)]
    Runs(runs::Runs),
    /// Sends events.
    #[command(subcommand)]
    Events(events::Events),
    /// Checks that an engine can work here, and says what to do where it cannot.
    Doctor(doctor::Doctor),
    /// Looks at the configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Prints the effective configuration as TOML, and where each value comes from.
    Show {
        /// Whose defaults hold.
        #[arg(long, value_enum, default_value_t = ModeName::Dev)]
        mode: ModeName,
        #[command(flatten)]
        flags: Flags,
    },
}

/// A mode as it is named on the command line.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum ModeName {
    Dev,
    Start,
}

impl From<ModeName> for Mode {
    fn from(name: ModeName) -> Self {
        match name {
            ModeName::Dev => Self::Dev,
            ModeName::Start => Self::Start,
        }
    }
}

/// Carries out what the command line says.
pub(crate) fn main(environment: &Environment) -> ExitCode {
    let command = Cli::parse().command;
    let done = match command {
        Command::Dev(flags) => serve::serve(Mode::Dev, &flags, environment),
        Command::Start(flags) => serve::serve(Mode::Start, &flags, environment),
        Command::Runs(runs) => wait(runs.run(environment)),
        Command::Events(events) => wait(events.run(environment)),
        Command::Doctor(doctor) => wait(doctor.run(environment)),
        Command::Config(ConfigCommand::Show { mode, flags }) => show(mode.into(), &flags, environment),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.tell(),
    }
}

fn show(mode: Mode, flags: &Flags, environment: &Environment) -> Result<(), Failure> {
    say(&Config::load(mode, flags, environment)?.show());
    Ok(())
}

/// Waits for a command that talks to an engine.
fn wait(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failure::failed(&error))?.block_on(work)
}
