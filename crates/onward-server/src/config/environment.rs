//! Environment variables: read here and nowhere else.

use std::collections::BTreeMap;

use super::{Given, problem::Source, setting::Setting};

/// The variables of a process; a test gives its own.
#[derive(Clone, Debug, Default)]
pub(crate) struct Environment(BTreeMap<String, String>);

impl Environment {
    /// This process's own.
    pub(crate) fn of_process() -> Self {
        let read = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.to_string_lossy().into_owned()))
        };
        Self(std::env::vars_os().filter_map(read).collect())
    }

    /// The value of a variable. An empty one counts as not set, as is usual.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// What it says of a setting; a list is separated by commas.
    pub(super) fn given(&self, setting: &'static Setting) -> Option<Given> {
        let own = setting.variable();
        let names = [Some(own.as_str()), setting.variable_of_others];
        let (name, value) = names.into_iter().flatten().find_map(|name| Some((name, self.get(name)?)))?;
        let values = if setting.is_list() {
            value.split(',').map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
        } else {
            vec![value.to_owned()]
        };
        Some(Given { setting, values, source: Source::Variable(name.to_owned()) })
    }
}

#[cfg(test)]
impl<const N: usize> From<[(&str, &str); N]> for Environment {
    fn from(variables: [(&str, &str); N]) -> Self {
        Self(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }
}
