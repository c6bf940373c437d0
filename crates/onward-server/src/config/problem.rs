//! Why a configuration cannot be used: each problem says where it comes from and what to do.

use std::{fmt, path::PathBuf};

use onward_server::options::Mode;

/// Where a value comes from.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// A flag, without its dashes.
    Flag(&'static str),
    /// An environment variable.
    Variable(String),
    /// A key in a file.
    File {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The key.
        key: String,
    },
    /// Nobody said anything.
    Default(Mode),
}

impl Source {
    /// How it outranks others.
    pub(super) const fn rank(&self) -> u8 {
        match self {
            Self::Default(_) => 0,
            Self::File { .. } => 1,
            Self::Variable(_) => 2,
            Self::Flag(_) => 3,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(name) => write!(f, "flag --{name}"),
            Self::Variable(name) => write!(f, "variable {name}"),
            Self::File { path, line, key } => write!(f, "{} line {line}, {key}", path.display()),
            Self::Default(mode) => write!(f, "default of {}", super::mode_name(*mode)),
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug)]
pub(crate) struct Problem(String);

impl Problem {
    /// Something is wrong with what a source says.
    pub(super) fn new(source: &impl fmt::Display, what: impl fmt::Display) -> Self {
        Self(format!("{source}: {what}"))
    }

    /// Something was not said at all.
    pub(super) fn missing(what: impl Into<String>) -> Self {
        Self(what.into())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// All that is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
pub(crate) struct ConfigError(pub(crate) Vec<Problem>);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the configuration cannot be used")?;
        self.0.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}
