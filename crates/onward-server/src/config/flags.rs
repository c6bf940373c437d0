//! The flags of `dev`, `start` and whoever looks at their configuration: one for each setting.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, value_parser};

use super::{
    Given,
    problem::Source,
    setting::{Kind, SETTINGS, Setting},
};

/// What the flags say.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flags {
    pub(super) config: Option<PathBuf>,
    pub(super) given: Vec<Given>,
}

/// The flag for a file of settings.
pub(super) fn config() -> Arg {
    Arg::new("config")
        .long("config")
        .value_name("FILE")
        .value_parser(value_parser!(PathBuf))
        .help("Read settings from this file; otherwise ONWARD_CONFIG, or onward.toml if there is one")
}

/// The flag of a setting.
pub(super) fn flag(setting: &'static Setting) -> Arg {
    let arg = Arg::new(setting.name).long(setting.name).value_name(setting.value).help(setting.help);
    match setting.kind {
        Kind::One => arg,
        Kind::Switch => arg.num_args(0..=1).require_equals(true).default_missing_value("true"),
        Kind::List | Kind::Secrets => arg.action(ArgAction::Append),
    }
}

/// What the flag of a setting said.
pub(super) fn given(matches: &ArgMatches, setting: &'static Setting) -> Option<Given> {
    let values = matches.get_many::<String>(setting.name)?.cloned().collect();
    Some(Given { setting, values, source: Source::Flag(setting.name) })
}

impl Args for Flags {
    fn augment_args(command: Command) -> Command {
        command.arg(config()).args(SETTINGS.iter().map(flag))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut flags = Self::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.config = matches.get_one("config").cloned();
        self.given = SETTINGS.iter().filter_map(|setting| given(matches, setting)).collect();
        Ok(())
    }
}
