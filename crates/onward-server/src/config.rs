//! What the engine is told: by flags, environment variables and a file, of which the first that speaks is heard.
//!
//! All is read as text with its source, then checked at once, so every problem is told together and names where it
//! comes from. Nothing else reads the environment.

mod environment;
mod file;
mod flags;
mod operator;
mod problem;
mod resolve;
mod setting;
mod show;
mod value;

use std::{collections::BTreeMap, path::PathBuf};

use onward_server::{Options, observe::LogFormat, options::Mode};

pub(crate) use self::{
    environment::Environment,
    flags::Flags,
    operator::{Operator, OperatorFlags},
    problem::{ConfigError, Problem},
};
use self::{
    problem::Source,
    setting::{SETTINGS, Setting},
};

/// The file that is read where none is named.
const FILE: &str = "onward.toml";

/// All that the binary is told, checked.
pub(crate) struct Config {
    /// What the engine is told.
    pub(crate) options: Options,
    /// How log lines look.
    pub(crate) log_format: LogFormat,
    /// Which log lines are written.
    pub(crate) log: String,
    /// Where traces go.
    pub(crate) otlp_endpoint: Option<String>,
    /// The file that was read.
    pub(crate) file: Option<PathBuf>,
    sources: BTreeMap<&'static str, Source>,
}

/// Values of one setting, from one source.
#[derive(Clone, Debug)]
pub(crate) struct Given {
    setting: &'static Setting,
    values: Vec<String>,
    source: Source,
}

/// All that was given, a later one outranking an earlier one, and the file that was read.
#[derive(Default)]
struct Raw {
    given: Vec<Given>,
    file: Option<PathBuf>,
    problems: Vec<Problem>,
}

impl Raw {
    fn read(flags: &Flags, environment: &Environment) -> Self {
        let mut raw = Self::default();
        let named = flags.config.clone().map(|path| (path, Source::Flag("config")));
        let named = named.or_else(|| {
            let path = environment.get("ONWARD_CONFIG")?;
            Some((PathBuf::from(path), Source::Variable("ONWARD_CONFIG".to_owned())))
        });
        match named {
            Some((path, source)) => file::read(&path, Some(source), &mut raw),
            None => file::read(FILE.as_ref(), None, &mut raw),
        }
        raw.given.extend(SETTINGS.iter().filter_map(|setting| environment.given(setting)));
        raw.given.extend(flags.given.iter().cloned());
        raw
    }

    /// What is heard of a setting.
    fn get(&self, name: &str) -> Option<&Given> {
        self.given.iter().rev().find(|given| given.setting.name == name)
    }
}

impl Config {
    /// Reads and checks everything.
    pub(crate) fn load(mode: Mode, flags: &Flags, environment: &Environment) -> Result<Self, ConfigError> {
        resolve::resolve(mode, Raw::read(flags, environment))
    }

    /// The effective configuration as TOML, with the source of each line.
    pub(crate) fn show(&self) -> String {
        show::show(self)
    }
}

/// The defaults of a mode. Each has its own store, so that trying things out never meets users' runs.
fn defaults(mode: Mode) -> Options {
    let mut options = Options::new(mode);
    if mode == Mode::Dev {
        "sqlite:onward-dev.db".clone_into(&mut options.store);
    }
    options
}

/// The word for a mode: its command.
const fn mode_name(mode: Mode) -> &'static str {
    match mode {
        Mode::Dev => "dev",
        Mode::Start => "start",
    }
}

#[cfg(test)]
mod tests;
