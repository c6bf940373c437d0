//! What outer middleware put into a request, carried to the run's resumptions.

use std::{collections::BTreeSet, sync::Arc};

use http::Extensions;
use onward_core::{check_name, journal::BlockedBy};
use serde::{Serialize, de::DeserializeOwned};

use crate::{Error, context::blocked::Missing};

/// How values of one name are taken from a request's extensions and put back.
#[derive(Clone)]
pub(crate) struct Carried {
    pub(crate) name: Arc<str>,
    take: fn(&Extensions) -> serde_json::Result<Option<Vec<u8>>>,
    put: fn(&[u8], &mut Extensions) -> bool,
}

/// A value that cannot be kept with its run: it does not become JSON.
#[derive(Debug, thiserror::Error)]
#[error("a request's {name:?} cannot be carried")]
pub(crate) struct NotCarried {
    name: Arc<str>,
    #[source]
    error: serde_json::Error,
}

impl std::fmt::Debug for Carried {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Carried").field(&self.name).finish()
    }
}

impl Carried {
    pub(crate) fn of<T>(name: &str) -> Self
    where
        T: Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
    {
        Self {
            name: Arc::from(name),
            take: |extensions| extensions.get::<T>().map(serde_json::to_vec).transpose(),
            put: |bytes, extensions| match serde_json::from_slice::<T>(bytes) {
                Ok(value) => {
                    extensions.insert(value);
                    true
                }
                Err(_) => false,
            },
        }
    }

    /// A name that is carried no more, and whose kept values the handler does not need.
    pub(crate) fn retired(name: &str) -> Self {
        Self { name: Arc::from(name), take: |_| Ok(None), put: |_, _| true }
    }

    /// Checks the names of one endpoint: each is valid, and no two are equal.
    pub(crate) fn check(all: &[Self]) -> Result<(), Error> {
        let mut names = BTreeSet::new();
        for Self { name, .. } in all {
            check_name("name of a carried value", name).map_err(|error| Error::config(error.to_string()))?;
            if !names.insert(name) {
                return Err(Error::config(format!("two values are carried as {name:?}: give each a name of its own")));
            }
        }
        Ok(())
    }

    /// The values as they are kept with the run, of those that the request has.
    pub(crate) fn take_all(all: &[Self], extensions: &Extensions) -> Result<Vec<(String, Vec<u8>)>, NotCarried> {
        let take = |carried: &Self| match (carried.take)(extensions) {
            Ok(bytes) => bytes.map(|bytes| Ok((carried.name.to_string(), bytes))),
            Err(error) => Some(Err(NotCarried { name: Arc::clone(&carried.name), error })),
        };
        all.iter().filter_map(take).collect()
    }

    /// Puts every kept value back, or returns the one that blocks the run.
    pub(crate) fn put_all(
        all: &[Self],
        kept: &[(String, Vec<u8>)],
        extensions: &mut Extensions,
    ) -> Result<(), Missing> {
        for (name, bytes) in kept {
            let cause = match all.iter().find(|carried| *carried.name == **name) {
                Some(carried) if (carried.put)(bytes, extensions) => continue,
                Some(_) => BlockedBy::CarriedUnreadable,
                None => BlockedBy::NotCarried,
            };
            return Err(Missing { step: name.clone(), cause });
        }
        Ok(())
    }
}
