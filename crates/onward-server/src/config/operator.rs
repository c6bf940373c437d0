//! What the commands for operators are told: which engine they talk to, and with what keys.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};
use reqwest::Url;

use super::{
    Environment, Flags, Raw,
    flags::{self, given},
    problem::{ConfigError, Problem, Source},
    setting::{Setting, named},
    value,
};

/// Where an engine listens if nobody says otherwise.
const URL: &str = "http://127.0.0.1:8288";

/// The flags of a command for operators.
#[derive(Clone, Debug, Default)]
pub(crate) struct OperatorFlags {
    url: Option<String>,
    flags: Flags,
    /// Whether answers are for a script.
    pub(crate) json: bool,
}

/// Which engine is talked to, and with what keys.
pub(crate) struct Operator {
    /// Where the engine is.
    pub(crate) url: Url,
    /// What a call of the run API shows.
    pub(crate) signing_key: Option<String>,
    /// What an event is sent with.
    pub(crate) event_key: Option<String>,
}

/// The keys, whose flags are the same as the engine's.
fn keys() -> impl Iterator<Item = &'static Setting> {
    ["signing-key", "event-key"].into_iter().filter_map(named)
}

impl Operator {
    /// Reads flags, the environment and a file for what is needed to talk to an engine.
    pub(crate) fn load(flags: &OperatorFlags, environment: &Environment) -> Result<Self, ConfigError> {
        let mut raw = Raw::read(&flags.flags, environment);
        let (url, source) = match (&flags.url, environment.get("ONWARD_URL")) {
            (Some(url), _) => (url.as_str(), Source::Flag("url")),
            (None, Some(url)) => (url, Source::Variable("ONWARD_URL".to_owned())),
            (None, None) => (URL, Source::Flag("url")),
        };
        let read = |text: &str| match Url::parse(text) {
            Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(url),
            _ => Err(format!("{text:?} is not a URL; give one such as {URL}")),
        };
        let url = read(url).map_err(|what| raw.problems.push(Problem::new(&source, what)));
        let signing_key = first(&mut raw, "signing-key", value::signing_key);
        let event_key = first(&mut raw, "event-key", value::event_key);
        match url {
            Ok(url) if raw.problems.is_empty() => Ok(Self { url, signing_key, event_key }),
            _ => Err(ConfigError(raw.problems)),
        }
    }
}

/// The first key of those that are set: it is the one that signs.
fn first(raw: &mut Raw, name: &str, read: impl Fn(&str) -> Result<String, String>) -> Option<String> {
    let given = raw.get(name)?;
    let source = given.source.clone();
    read(given.values.first()?).map_err(|what| raw.problems.push(Problem::new(&source, what))).ok()
}

impl Args for OperatorFlags {
    fn augment_args(command: Command) -> Command {
        let url = Arg::new("url")
            .long("url")
            .value_name("URL")
            .help(format!("Where the engine listens; otherwise ONWARD_URL, or {URL}"));
        let json = Arg::new("json").long("json").action(ArgAction::SetTrue).help("Answer in JSON, for a script");
        command.arg(url).arg(json).arg(flags::config()).args(keys().map(flags::flag))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for OperatorFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut flags = Self::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.url = matches.get_one("url").cloned();
        self.json = matches.get_flag("json");
        let config = matches.get_one::<PathBuf>("config").cloned();
        self.flags = Flags { config, given: keys().filter_map(|key| given(matches, key)).collect() };
        Ok(())
    }
}
