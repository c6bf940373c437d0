//! Files that can be opened, and those that must not be.

use std::error::Error as _;

use onward_core::{
    StepKey, Store, StoreError, Version,
    event::Matcher,
    run::NewRun,
    store::{Checkpoint, Then},
    waiter::{Fact, Subject, Waiter},
};
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
fn a_url_says_whether_the_file_must_be_there() {
    let place = Place::new();
    let url = |mode: &str| format!("sqlite:{}?mode={mode}", place.path().display());
    let error = SqliteStore::open_url(&url("rw"), Options::new()).unwrap_err();
    assert!(told(&error).contains("there is no file") && matches!(error, StoreError::Misconfigured(_)), "{error:?}");
    drop(SqliteStore::open_url(&url("rwc"), Options::new()).unwrap());
    drop(SqliteStore::open_url(&url("rw"), Options::new()).unwrap());
    drop(SqliteStore::open_url("sqlite::memory:", Options::new()).unwrap());
}

/// Rows in a file that nobody can reach any more are lost with the process.
#[cfg(unix)]
#[tokio::test]
async fn a_file_that_was_removed_or_replaced_is_noticed_and_written_no_more() {
    for replaced in [false, true] {
        let place = Place::new();
        let store = place.open();
        let node = join(&store).await;
        store.checkpoint(starting(lease(node, 1), 1)).await.unwrap();
        store.heartbeat(node, at(1), std::time::Duration::from_secs(10)).await.unwrap();
        std::fs::remove_file(place.path()).unwrap();
        if replaced {
            std::fs::write(place.path(), "").unwrap();
        }
        store.heartbeat(node, at(2), std::time::Duration::from_secs(10)).await.expect("one look proves nothing");
        let error = store.heartbeat(node, at(3), std::time::Duration::from_secs(10)).await.unwrap_err();
        assert!(told(&error).contains("was removed or replaced"), "{error:?}");
        let error = store.checkpoint(starting(lease(node, 2), 2)).await.unwrap_err();
        assert!(told(&error).contains("was removed or replaced"), "{error:?}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn only_their_owner_reads_the_files() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    let store = place.open();
    store.setting("token_key", Some("secret".into())).await.unwrap();
    let entries = std::fs::read_dir(place.path().parent().unwrap()).unwrap();
    let modes: Vec<_> = entries
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name(), entry.metadata().unwrap().permissions().mode() & 0o777))
        .collect();
    assert!(modes.len() >= 3, "the database, its log and its lock: {modes:?}");
    assert!(modes.iter().all(|(_, mode)| *mode == 0o600), "{modes:?}");
}

#[test]
fn a_second_handle_is_told_that_the_database_is_in_use() {
    let place = Place::new();
    let store = place.open();
    let error = refused(&place);
    assert!(matches!(error, StoreError::Unavailable(_)));
    assert!(told(&error).starts_with("store is unavailable: database is in use by another process: "));
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
    let error = refused(&place);
    assert!(matches!(error, StoreError::Misconfigured(_)), "{error:?}");
    assert!(told(&error).contains(&place.path().display().to_string()), "{}", told(&error));
}

#[test]
fn a_newer_schema_is_refused_and_left_alone() {
    let place = Place::new();
    drop(place.open());
    let conn = Connection::open(place.path()).unwrap();
    conn.pragma_update(None, "user_version", 1_000).unwrap();
    drop(conn);
    let error = refused(&place);
    assert!(matches!(error, StoreError::Misconfigured(_)));
    assert!(told(&error).contains("schema 1000"), "{}", told(&error));
    let conn = Connection::open(place.path()).unwrap();
    let version: i64 = conn.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    assert_eq!(version, 1_000);
}

/// Why a store is refused whose schema may not be changed.
fn refused_unchanged(place: &Place) -> String {
    match SqliteStore::open(place.path(), Options::new().schema_unchanged()) {
        Err(error @ StoreError::Misconfigured(_)) => told(&error),
        other => panic!("it is refused: {other:?}"),
    }
}

#[tokio::test]
async fn a_store_is_opened_with_its_schema_unchanged_or_refused() {
    let place = Place::new();
    assert!(refused_unchanged(&place).contains("there is no file"));
    assert_eq!(std::fs::read_dir(place.dir()).unwrap().count(), 0, "nothing is made");
    let conn = Connection::open(place.path()).unwrap();
    conn.execute_batch("CREATE TABLE theirs (x)").unwrap();
    let before = std::fs::read(place.path()).unwrap();
    assert!(refused_unchanged(&place).contains("there is no store of Onward in the file"));
    assert_eq!(std::fs::read(place.path()).unwrap(), before);
    drop(conn);

    let store = place.open();
    let node = join(&store).await;
    start(&store, node, 1).await;
    store.close().await;
    let store = place.open_with(Options::new().schema_unchanged());
    assert_eq!(load(&store, 1).await.unwrap().record.run_id, run_id(1));
    store.close().await;
}

#[test]
fn an_older_or_newer_schema_is_not_changed_where_it_may_not_be() {
    for version in [1, 1_000] {
        let place = Place::new();
        let conn = Connection::open(place.path()).unwrap();
        conn.execute_batch(include_str!("../../migrations/0001_init.sql")).unwrap();
        conn.execute_batch(&format!("PRAGMA application_id = 0x6f6e7764; PRAGMA user_version = {version};")).unwrap();
        drop(conn);
        let text = refused_unchanged(&place);
        assert!(text.contains(&format!("has schema {version}, this release")), "{text}");
        assert!(text.contains("use the `onward` of the app's release"), "{text}");
        let conn = Connection::open(place.path()).unwrap();
        let kept: i64 = conn.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
        assert_eq!(kept, version);
    }
}

#[tokio::test]
async fn a_database_of_the_first_schema_goes_on_with_all_that_it_holds() {
    let place = Place::new();
    let conn = Connection::open(place.path()).unwrap();
    conn.execute_batch(include_str!("../../migrations/0001_init.sql")).unwrap();
    conn.execute_batch(
        "PRAGMA application_id = 0x6f6e7764; PRAGMA user_version = 1;
         INSERT INTO onward_settings VALUES ('colour', x'01');
         INSERT INTO onward_events VALUES (1767225601000000, '1', 'come', 0, x'7b7d');",
    )
    .unwrap();
    drop(conn);
    let store = place.open();
    assert_eq!(store.setting("colour", None).await.unwrap(), Some(vec![1].into()));
    assert_eq!(store.registrations().await.unwrap(), []);
    let node = join(&store).await;
    let lease = start(&store, node, 1).await;
    let matcher = Matcher { name: "come".to_owned(), value: None, when: None };
    let waiter = Waiter { step: StepKey::of("w", 0), subject: Subject::Event { matcher, since: Some(at(0)) } };
    store.checkpoint(Checkpoint { waiters: vec![waiter], ..Checkpoint::new(lease, at(2)) }).await.unwrap();
    let deliveries = store.deliveries(run_id(1)).await.unwrap();
    let event = r#"{"data":{},"id":"1","name":"come","ts":0}"#;
    assert_eq!(deliveries.into_iter().map(|delivery| delivery.fact).collect::<Vec<_>>(), [Fact::Event(event.into())]);
}

#[tokio::test]
async fn runs_of_before_there_were_versions_have_none_and_go_on() {
    let place = Place::new();
    let conn = Connection::open(place.path()).unwrap();
    for sql in [include_str!("../../migrations/0001_init.sql"), include_str!("../../migrations/0002_engine.sql")] {
        conn.execute_batch(sql).unwrap();
    }
    conn.execute_batch(
        "PRAGMA application_id = 0x6f6e7764; PRAGMA user_version = 2;
         INSERT INTO onward_endpoints VALUES (3, 'GET /other'), (7, 'POST /checkout');",
    )
    .unwrap();
    for (number, status, lane, due_at, node) in
        [(1, 1, Some(7), Some(at(5).as_micros()), None), (2, 0, Some(-1), None, Some(1)), (3, 1, None, None, None)]
    {
        conn.execute(
            "INSERT INTO onward_runs VALUES (?1, ?2, ?3, ?4, ?5, 7, ?6, NULL, NULL, 60, 1, ?7, NULL, NULL, NULL)",
            (i64::try_from(number).unwrap(), run_id(number).to_bytes(), status, lane, due_at, at(0).as_micros(), node),
        )
        .unwrap();
    }
    drop(conn);

    let store = place.open();
    let node = join(&store).await;
    let waiting = load(&store, 3).await.unwrap().record;
    assert_eq!((waiting.endpoint, waiting.version, waiting.pinned), (endpoint(), None, false));
    let claims = claim(&store, node, at(5)).await;
    assert_eq!(claims.leases.iter().map(|(lease, _)| lease.run_id).collect::<Vec<_>>(), [run_id(2), run_id(1)]);

    let version = Some(Version::try_new("2").unwrap());
    for (number, pinned) in [(4, true), (5, false)] {
        let lease = lease(node, number);
        let new = NewRun { version: version.clone(), pinned, ..new_run(number) };
        let then = Then::Suspend { due_at: at(6) };
        store.checkpoint(Checkpoint { start: Some(new), then, ..Checkpoint::new(lease, at(5)) }).await.unwrap();
    }
    drop(store);
    let store = place.open();
    let node = join(&store).await;
    let pinned = load(&store, 4).await.unwrap().record;
    assert_eq!((pinned.endpoint, pinned.version, pinned.pinned), (endpoint(), version, true));
    let mut claimed: Vec<_> = claim(&store, node, at(6)).await.leases.iter().map(|(lease, _)| lease.run_id).collect();
    claimed.sort_unstable();
    assert_eq!(claimed, [1, 2, 5].map(run_id), "the pinned one is not for who serves no version");
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
