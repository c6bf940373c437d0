//! From the driver's errors to the store's.

use onward_core::{StoreError, store::BoxError};
use tokio_postgres::error::SqlState;

/// Why an operation came to nothing.
#[derive(Debug)]
pub(crate) enum Abort {
    /// It is refused, and what it did is undone.
    Refused(StoreError),
    /// It met another transaction and may be tried again.
    Conflict(tokio_postgres::Error),
    /// The database or the way to it failed; what became of a commit under way is not known.
    Failed(BoxError),
}

pub(crate) type Done<T> = Result<T, Abort>;

impl From<StoreError> for Abort {
    fn from(error: StoreError) -> Self {
        Self::Refused(error)
    }
}

impl From<tokio_postgres::Error> for Abort {
    fn from(error: tokio_postgres::Error) -> Self {
        match error.code() {
            Some(code) if *code == SqlState::T_R_SERIALIZATION_FAILURE || *code == SqlState::T_R_DEADLOCK_DETECTED => {
                Self::Conflict(error)
            }
            Some(code) if *code == SqlState::DATA_CORRUPTED || *code == SqlState::INDEX_CORRUPTED => {
                Self::Refused(StoreError::Corrupt(error.into()))
            }
            _ => Self::Failed(error.into()),
        }
    }
}

impl Abort {
    /// Whether the database refused a statement for what one of its rows is, and undid it: without that row, the
    /// others may be written.
    pub(crate) fn is_of_one_row(&self) -> bool {
        let Self::Failed(error) = self else { return false };
        let code = error.downcast_ref::<tokio_postgres::Error>().and_then(tokio_postgres::Error::code);
        // Data exceptions, violated constraints, limits of the program.
        code.is_some_and(|code| ["22", "23", "54"].iter().any(|class| code.code().starts_with(class)))
    }
}

impl From<Abort> for StoreError {
    fn from(abort: Abort) -> Self {
        match abort {
            Abort::Refused(error) => error,
            Abort::Conflict(error) => Self::Unavailable(error.into()),
            Abort::Failed(error) => Self::Unavailable(error),
        }
    }
}

pub(crate) fn unavailable(why: impl Into<BoxError>) -> StoreError {
    StoreError::Unavailable(why.into())
}

pub(crate) fn corrupt(why: impl Into<BoxError>) -> StoreError {
    StoreError::Corrupt(why.into())
}
