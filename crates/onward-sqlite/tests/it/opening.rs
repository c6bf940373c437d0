//! Files that can be opened, and those that must not be.

use std::error::Error as _;

use onward_core::StoreError;
use onward_sqlite::{Options, SqliteStore, rusqlite::Connection};

use crate::support::*;

fn refused(place: &Place) -> StoreError {
    SqliteStore::open(place.path(), Options::new()).expect_err("it must not open")
}

/// The error and what is below it.
fn told(error: &StoreError) -> String {
    let below = error.source().map(ToString::to_string).unwrap_or_default();
    format!("{error}: {below}")
}

#[test]
fn missing_directories_are_made() {
    let place = Place::new();
    let path = place.dir().join("a/b/onward.db");
    SqliteStore::open(&path, Options::new()).unwrap();
    assert!(path.exists());
}

#[test]
fn a_second_handle_is_told_that_the_database_is_in_use() {
    let place = Place::new();
    let store = place.open();
    let error = refused(&place);
    assert!(matches!(error, StoreError::Unavailable(_)));
    assert_eq!(told(&error), "store is unavailable: database is in use by another process");
    drop(store);
    drop(place.open());
}

#[test]
fn a_file_that_is_no_database_is_corrupt() {
    let place = Place::new();
    std::fs::write(place.path(), "not a database, but long enough to be read as the header of one. ".repeat(20))
        .unwrap();
    assert!(matches!(refused(&place), StoreError::Corrupt(_)));
}

#[test]
fn a_database_whose_pages_are_damaged_is_corrupt() {
    let place = Place::new();
    drop(place.open());
    let mut bytes = std::fs::read(place.path()).unwrap();
    bytes[100..].fill(0x5a);
    std::fs::write(place.path(), bytes).unwrap();
    assert!(matches!(refused(&place), StoreError::Corrupt(_)));
}

#[test]
fn a_directory_is_not_a_database() {
    let place = Place::new();
    std::fs::create_dir(place.path()).unwrap();
    assert!(matches!(refused(&place), StoreError::Unavailable(_)));
}

#[test]
fn a_newer_schema_is_refused_and_left_alone() {
    let place = Place::new();
    drop(place.open());
    let conn = Connection::open(place.path()).unwrap();
    conn.pragma_update(None, "user_version", 1_000).unwrap();
    drop(conn);
    let error = refused(&place);
    assert!(matches!(error, StoreError::Unavailable(_)));
    assert!(told(&error).contains("schema 1000"), "{}", told(&error));
    let conn = Connection::open(place.path()).unwrap();
    let version: i64 = conn.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    assert_eq!(version, 1_000);
}

#[test]
fn the_database_of_another_application_is_refused() {
    let place = Place::new();
    let conn = Connection::open(place.path()).unwrap();
    conn.execute_batch("PRAGMA application_id = 7; CREATE TABLE theirs (x)").unwrap();
    drop(conn);
    assert!(told(&refused(&place)).contains("another application"));
}

#[test]
fn tables_that_are_there_already_stay() {
    let place = Place::new();
    let conn = Connection::open(place.path()).unwrap();
    conn.execute_batch("CREATE TABLE theirs (x); INSERT INTO theirs VALUES (7)").unwrap();
    drop(conn);
    drop(place.open());
    let conn = Connection::open(place.path()).unwrap();
    let kept: i64 = conn.query_row("SELECT x FROM theirs", [], |row| row.get(0)).unwrap();
    assert_eq!(kept, 7);
}
