//! What outer middleware put into a request, carried to the run's resumptions.

use http::Extensions;
use serde::{Serialize, de::DeserializeOwned};

/// How values of one type are taken from a request's extensions and put back.
#[derive(Clone, Copy)]
pub(crate) struct Carried {
    pub(crate) name: &'static str,
    take: fn(&Extensions) -> Option<Vec<u8>>,
    put: fn(&[u8], &mut Extensions) -> bool,
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
            take: |extensions| serde_json::to_vec(extensions.get::<T>()?).ok(),
            put: |bytes, extensions| match serde_json::from_slice::<T>(bytes) {
                Ok(value) => {
                    extensions.insert(value);
                    true
                }
                Err(_) => false,
            },
        }
    }

    /// The value as it is kept with the run, if the request has one.
    pub(crate) fn take(&self, extensions: &Extensions) -> Option<(String, Vec<u8>)> {
        (self.take)(extensions).map(|bytes| (self.name.to_owned(), bytes))
    }

    /// Puts the kept value back. Whether it could be read.
    pub(crate) fn put(&self, kept: &[(String, Vec<u8>)], extensions: &mut Extensions) -> bool {
        kept.iter().find(|(name, _)| name == self.name).is_none_or(|(_, bytes)| (self.put)(bytes, extensions))
    }
}
