//! The location of a database, as a URL tells it.

use std::path::PathBuf;

use onward_core::StoreError;

use crate::error::misconfigured;

/// The location of a database.
///
/// `sqlite:PATH` and `sqlite://PATH` name a file, which is made where there is none. `sqlite::memory:` is a database in
/// memory. The parameter `mode` is `rwc` (as without it), `rw` (the file must be there) or `memory`, as elsewhere; there are
/// no others.
///
/// ```
/// use onward_sqlite::Location;
///
/// let file = |path: &str, make| Location::File { path: path.into(), make };
/// assert_eq!(Location::parse("sqlite:data/app.db")?, file("data/app.db", true));
/// assert_eq!(Location::parse("sqlite:///var/app.db?mode=rw")?, file("/var/app.db", false));
/// assert_eq!(Location::parse("sqlite::memory:")?, Location::Memory);
/// assert!(Location::parse("sqlite:app.db?cache=shared").is_err());
/// # Ok::<(), onward_core::StoreError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// In memory, for as long as the store is open.
    Memory,
    /// In a file.
    File {
        /// The file.
        path: PathBuf,
        /// Whether it is made where there is none.
        make: bool,
    },
}

impl Location {
    /// Reads a URL.
    ///
    /// # Errors
    /// [`StoreError::Misconfigured`], which names what is wrong: another scheme, no path, an unknown parameter, or a mode
    /// in which the store cannot work.
    pub fn parse(url: &str) -> Result<Self, StoreError> {
        let rest = url.strip_prefix("sqlite:").ok_or_else(|| misconfigured("the URL does not begin with sqlite:"))?;
        let rest = rest.strip_prefix("//").unwrap_or(rest);
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut mode = "rwc";
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("mode", given)) => mode = given,
                _ => {
                    let name = pair.split('=').next().unwrap_or(pair);
                    let why = format!("the URL has the parameter {name:?}, which is not known: mode is the only one");
                    return Err(misconfigured(why));
                }
            }
        }
        let file = |make| match path {
            "" => Err(misconfigured("the URL has no path: give sqlite:PATH, such as sqlite:onward.db")),
            path => Ok(Self::File { path: path.into(), make }),
        };
        match mode {
            _ if path == ":memory:" => Ok(Self::Memory),
            "memory" => Ok(Self::Memory),
            "rwc" => file(true),
            "rw" => file(false),
            "ro" => Err(misconfigured("the URL has mode=ro, but the store writes: take it out")),
            mode => Err(misconfigured(format!("the URL has mode={mode}: it is rwc, rw or memory"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::Location;

    #[test]
    fn what_is_wrong_with_a_url_is_named() {
        for (url, why) in [
            ("sqlite:", "no path"),
            ("sqlite:?mode=rwc", "no path"),
            ("sqlite:a.db?mode=ro", "mode=ro"),
            ("sqlite:a.db?mode=fast", "mode=fast"),
            ("sqlite:a.db?mode=rwc&journal=off", "\"journal\""),
            ("sqlite:a.db?vacuum", "\"vacuum\""),
            ("mysql:a.db", "sqlite:"),
        ] {
            let error = Location::parse(url).unwrap_err();
            let said = error.source().unwrap().to_string();
            assert!(said.contains(why), "{url}: {said}");
        }
        assert_eq!(Location::parse("sqlite:x?mode=memory").unwrap(), Location::Memory);
    }
}
