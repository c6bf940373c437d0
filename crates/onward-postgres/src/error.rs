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

/// Whether the database refuses a value for what it is, whenever it comes: data exceptions (class 22) and limits of the
/// program (class 54), such as an index entry that is too large.
fn is_never_written(error: &(dyn std::error::Error + 'static)) -> bool {
    let code = error.downcast_ref::<tokio_postgres::Error>().and_then(tokio_postgres::Error::code);
    code.is_some_and(|code| ["22", "54"].iter().any(|class| code.code().starts_with(class)))
}

impl From<Abort> for StoreError {
    fn from(abort: Abort) -> Self {
        match abort {
            Abort::Refused(error) => error,
            Abort::Conflict(error) => Self::Unavailable(error.into()),
            Abort::Failed(error) if is_never_written(&*error) => Self::Rejected(error),
            Abort::Failed(error) => Self::Unavailable(error),
        }
    }
}

/// Tells a permanent error of opening a store from one that passes.
pub(crate) fn at_opening(error: StoreError) -> StoreError {
    match error {
        StoreError::Unavailable(why) if is_permanent(&*why) => StoreError::Misconfigured(why),
        error => error,
    }
}

/// Whether a database refuses what it will refuse again: a password, a role, a database or a right that is missing, or a
/// certificate that is not trusted.
fn is_permanent(why: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(why);
    while let Some(error) = cause {
        if error.is::<rustls::Error>() {
            return true;
        }
        if let Some(error) = error.downcast_ref::<tokio_postgres::Error>() {
            match error.code() {
                // Invalid authorisation (class 28), and what the server does not have or allow.
                Some(code) => {
                    let wrong = [
                        SqlState::INVALID_CATALOG_NAME,
                        SqlState::INVALID_SCHEMA_NAME,
                        SqlState::INSUFFICIENT_PRIVILEGE,
                    ];
                    return code.code().starts_with("28") || wrong.contains(code);
                }
                // The driver has no other word for a password that is missing from the URL.
                None if error.to_string().starts_with("invalid configuration") => return true,
                None => {}
            }
        }
        // A TLS error is inside an I/O error, which does not give it as its source.
        if let Some(inner) = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref)
            && inner.is::<rustls::Error>()
        {
            return true;
        }
        cause = error.source();
    }
    false
}

pub(crate) fn misconfigured(why: impl Into<BoxError>) -> StoreError {
    StoreError::Misconfigured(why.into())
}

pub(crate) fn unavailable(why: impl Into<BoxError>) -> StoreError {
    StoreError::Unavailable(why.into())
}

pub(crate) fn rejected(why: impl Into<BoxError>) -> StoreError {
    StoreError::Rejected(why.into())
}

pub(crate) fn corrupt(why: impl Into<BoxError>) -> StoreError {
    StoreError::Corrupt(why.into())
}
