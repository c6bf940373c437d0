//! The schema and its versions.

use onward_core::StoreError;
use rusqlite::Connection;

use crate::error::{corrupt, misconfigured, store_error};

/// Each brings the schema from the version before to its own, which is its place, from 1.
const MIGRATIONS: [&str; 5] = [
    include_str!("../migrations/0001_init.sql"),
    include_str!("../migrations/0002_engine.sql"),
    include_str!("../migrations/0003_versions.sql"),
    include_str!("../migrations/0004_crashes.sql"),
    include_str!("../migrations/0005_announced.sql"),
];

/// "onwd": tells `file` and us whose database it is.
const APPLICATION_ID: i64 = 0x6f6e_7764;

/// The version of this release's schema.
fn newest() -> i64 {
    i64::try_from(MIGRATIONS.len()).expect("there are few migrations")
}

/// The version of a database's schema, 0 where it has none.
fn version(conn: &Connection) -> Result<i64, StoreError> {
    let pragma = |name: &str| conn.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).map_err(store_error);
    let version = pragma("user_version")?;
    match pragma("application_id")? {
        APPLICATION_ID => Ok(version),
        0 if version == 0 => Ok(version),
        _ => Err(misconfigured("the file is a database of another application")),
    }
}

/// Refuses a database whose schema is not this release's, and changes nothing.
pub(crate) fn check(conn: &Connection) -> Result<(), StoreError> {
    let (version, own) = (version(conn)?, newest());
    match version {
        _ if version == own => Ok(()),
        0 => Err(misconfigured(
            "there is no store of Onward in the file: give the file that the app has, or start the app first",
        )),
        _ => Err(misconfigured(format!(
            "the store has schema {version}, this release ({}) has schema {own}: use the `onward` of the app's release",
            env!("CARGO_PKG_VERSION")
        ))),
    }
}

/// Brings the schema of a database to the newest version.
pub(crate) fn migrate(conn: &Connection) -> Result<(), StoreError> {
    let (version, newest) = (version(conn)?, newest());
    if version > newest {
        let why = format!("the database has schema {version}, this release knows up to {newest}: use a newer release");
        return Err(misconfigured(why));
    }
    let done = usize::try_from(version).map_err(|_| corrupt("the database has a negative schema version"))?;
    for (place, sql) in MIGRATIONS.iter().enumerate().skip(done) {
        let version = place + 1;
        let batch = format!(
            "BEGIN IMMEDIATE; {sql} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {version}; COMMIT;"
        );
        conn.execute_batch(&batch).map_err(store_error)?;
    }
    Ok(())
}
