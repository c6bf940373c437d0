//! What outer middleware put into a request, carried to the run's resumptions.

use http::Extensions;
use serde::{Serialize, de::DeserializeOwned};

/// How values of one type are taken from a request's extensions and put back.
#[derive(Clone, Copy)]
pub(crate) struct Carried {
    pub(crate) name: &'static str,
    take: fn(&Extensions) -> serde_json::Result<Option<Vec<u8>>>,
    put: fn(&[u8], &mut Extensions) -> bool,
}

/// A value that cannot be kept with its run: it does not become JSON.
#[derive(Debug, thiserror::Error)]
#[error("a request's {name} cannot be carried")]
pub(crate) struct NotCarried {
    name: &'static str,
    #[source]
    error: serde_json::Error,
}

impl std::fmt::Debug for Carried {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Carried").field(&self.name).finish()
    }
}

impl Carried {
    pub(crate) fn of<T>() -> Self
    where
        T: Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
    {
        Self {
            name: std::any::type_name::<T>(),
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

    /// The values as they are kept with the run, of those that the request has.
    pub(crate) fn take_all(all: &[Self], extensions: &Extensions) -> Result<Vec<(String, Vec<u8>)>, NotCarried> {
        let take = |carried: &Self| match (carried.take)(extensions) {
            Ok(bytes) => bytes.map(|bytes| Ok((carried.name.to_owned(), bytes))),
            Err(error) => Some(Err(NotCarried { name: carried.name, error })),
        };
        all.iter().filter_map(take).collect()
    }

    /// Puts the kept value back. Whether it could be read.
    pub(crate) fn put(&self, kept: &[(String, Vec<u8>)], extensions: &mut Extensions) -> bool {
        kept.iter().find(|(name, _)| name == self.name).is_none_or(|(_, bytes)| (self.put)(bytes, extensions))
    }
}
