//! From SQLite's errors to the store's.

use onward_core::{StoreError, store::BoxError};
use rusqlite::ErrorCode;

/// Why an operation came to nothing.
#[derive(Debug)]
pub(crate) enum Abort {
    /// It was refused before it wrote anything.
    Refused(StoreError),
    /// What it met cannot be read; what it wrote must be undone.
    Damaged(StoreError),
    /// SQLite failed: the whole group must be undone.
    Failed(rusqlite::Error),
}

pub(crate) type Done<T> = Result<T, Abort>;

impl From<StoreError> for Abort {
    fn from(error: StoreError) -> Self {
        Self::Refused(error)
    }
}

impl From<rusqlite::Error> for Abort {
    fn from(error: rusqlite::Error) -> Self {
        match error {
            rusqlite::Error::SqliteFailure(..) => Self::Failed(error),
            other => Self::Damaged(StoreError::Corrupt(other.into())),
        }
    }
}

/// The error of opening a database. An obstacle in the file system stays there until a person changes it.
pub(crate) fn opening_error(path: &std::path::Path, error: rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied | ErrorCode::ReadOnly) => {
            misconfigured(format!("cannot open {}: {error}", path.display()))
        }
        _ => store_error(error),
    }
}

/// The error as callers of the store see it.
pub(crate) fn store_error(error: rusqlite::Error) -> StoreError {
    match &error {
        rusqlite::Error::SqliteFailure(cause, _) => match cause.code {
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => StoreError::Corrupt(error.into()),
            _ => StoreError::Unavailable(error.into()),
        },
        _ => StoreError::Corrupt(error.into()),
    }
}

/// The same failure for each of a group.
pub(crate) fn failed_commit(error: &rusqlite::Error) -> StoreError {
    let text: BoxError = error.to_string().into();
    match (error, error.sqlite_error_code()) {
        (_, Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
        | (rusqlite::Error::ToSqlConversionFailure(_), _) => StoreError::Corrupt(text),
        _ => StoreError::Unavailable(text),
    }
}

pub(crate) fn unavailable(why: impl Into<BoxError>) -> StoreError {
    StoreError::Unavailable(why.into())
}

pub(crate) fn misconfigured(why: impl Into<BoxError>) -> StoreError {
    StoreError::Misconfigured(why.into())
}

pub(crate) fn rejected(why: impl Into<BoxError>) -> StoreError {
    StoreError::Rejected(why.into())
}

pub(crate) fn corrupt(why: impl Into<BoxError>) -> StoreError {
    StoreError::Corrupt(why.into())
}
