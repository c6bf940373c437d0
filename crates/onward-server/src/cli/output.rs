//! What a person or a script reads: data on standard output, words on standard error.

use std::{
    error::Error,
    fmt::Write as _,
    io::{Write as _, stderr, stdout},
    process::ExitCode,
};

pub(super) use onward_server::observe::plain;
use serde_json::Value;

use crate::config::ConfigError;

/// Why a command came to nothing.
#[derive(Debug)]
pub(super) enum Failure {
    /// It was told something that cannot be.
    Usage(String),
    /// It was tried and did not work.
    Failed(String),
    /// It has said why.
    Told,
}

impl Failure {
    /// A failure with all that led to it.
    pub(super) fn failed(error: &dyn Error) -> Self {
        Self::Failed(chain(error))
    }

    /// Says why, and gives the exit code: 2 for what only another command line mends, else 1.
    pub(super) fn tell(&self) -> ExitCode {
        let (code, text) = match self {
            Self::Usage(text) => (2, text),
            Self::Failed(text) => (1, text),
            Self::Told => return ExitCode::from(1),
        };
        note(&format!("onward: {text}"));
        ExitCode::from(code)
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::Usage(error.to_string())
    }
}

/// An error and its causes in one line.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // Some errors repeat their cause.
        if !text.ends_with(&cause_text) {
            let _ = write!(text, ": {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// Gives data. Who no longer reads it, as `head`, is no failure.
pub(super) fn say(text: &str) {
    let end = if text.ends_with('\n') { "" } else { "\n" };
    let _ = write!(stdout().lock(), "{text}{end}");
}

/// Gives data to a script.
pub(super) fn say_json(value: &Value) {
    say(&format!("{value:#}"));
}

/// Says something to a person.
pub(super) fn note(text: &str) {
    let _ = writeln!(stderr().lock(), "{text}");
}
