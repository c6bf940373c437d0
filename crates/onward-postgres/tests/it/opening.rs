//! Opening: migrations from many nodes, newer schemas, passwords, what is no database.

use std::{
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use onward_core::{Clock, Store, StoreError, Timestamp, run::Status};
use onward_postgres::{Options, PostgresStore};
use onward_testing::postgres::{PostgresOptions, PostgresServer, TestDatabase};
use tokio::task::JoinSet;

use crate::support::*;

#[tokio::test]
async fn a_node_that_cannot_have_all_connections_for_checkpoints_says_so_as_it_is_opened() {
    let server = PostgresServer::start(&PostgresOptions::new().max_connections(5));
    let refused = PostgresStore::open(&server.url(), Options::new()).await.unwrap_err();
    assert!(
        matches!(refused, StoreError::Unavailable(_)) && format!("{refused:?}").contains("too many"),
        "{refused:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_come_at_once_make_the_schema_once() {
    let database = TestDatabase::create();
    let url = database.url().to_owned();
    let mut opening = JoinSet::new();
    for _ in 0..8 {
        let url = url.clone();
        opening.spawn(async move { PostgresStore::open(&url, Options::new().connections(1)).await });
    }
    while let Some(opened) = opening.join_next().await {
        let store = opened.unwrap().expect("each node opens it");
        join(&store).await;
        store.close().await;
    }
    assert_eq!(database.query("SELECT count(*), max(version) FROM onward_schema").trim(), "1|4");
    assert_eq!(database.query("SELECT count(*) FROM onward_nodes WHERE part = 0").trim(), "8");
}

#[tokio::test]
async fn what_is_stored_is_there_when_it_is_opened_again() {
    let first = TestStore::open().await;
    let node = join(&first).await;
    let lease = start(&first, node, 1).await;
    first.checkpoint(appending(lease, 0, "a")).await.unwrap();
    first.store.close().await;
    let again = open(first.database.url()).await;
    assert_eq!(entries(&again, 1).await, 1);
}

#[tokio::test]
async fn a_newer_schema_is_refused_and_left_alone() {
    let store = TestStore::open().await;
    store.database.query("UPDATE onward_schema SET version = 99");
    let refused = PostgresStore::open(store.database.url(), Options::new()).await;
    let text = std::error::Error::source(&refused.unwrap_err()).unwrap().to_string();
    assert!(text.contains("schema 99") && text.contains("newer release"), "{text}");
    assert_eq!(store.database.query("SELECT version FROM onward_schema").trim(), "99");
}

#[tokio::test]
async fn a_store_is_opened_with_its_schema_unchanged_or_refused() {
    let database = TestDatabase::create();
    let refused = async || {
        let opened = PostgresStore::open(database.url(), Options::new().schema_unchanged()).await;
        match opened.map(drop) {
            Err(StoreError::Misconfigured(why)) => why.to_string(),
            other => panic!("it is refused: {other:?}"),
        }
    };
    let text = refused().await;
    assert!(text.contains("there is no store of Onward in the database"), "{text}");
    let tables = "SELECT count(*) FROM information_schema.tables WHERE table_name LIKE 'onward%'";
    assert_eq!(database.query(tables).trim(), "0");

    let store = open(database.url()).await;
    let node = join(&store).await;
    start(&store, node, 1).await;
    let beside = PostgresStore::open(database.url(), Options::new().schema_unchanged()).await.expect("it is the same");
    assert_eq!(status(&beside, 1).await, Status::Running);
    for version in [3, 99] {
        database.query(&format!("UPDATE onward_schema SET version = {version}"));
        let text = refused().await;
        assert!(text.contains(&format!("has schema {version}, this release")), "{text}");
        assert!(text.contains("use the `onward` of the app's release"), "{text}");
        assert_eq!(database.query("SELECT version FROM onward_schema").trim(), version.to_string());
    }
}

#[tokio::test]
async fn what_cannot_be_reached_is_unavailable_and_says_no_password() {
    let url = "postgres://app:hunter2@127.0.0.1:1/app";
    let refused = PostgresStore::open(url, Options::new().timeout(Duration::from_millis(500))).await;
    assert!(is_unavailable(&refused));
    let text = format!("{:?}", refused.unwrap_err());
    assert!(!text.contains("hunter2"), "{text}");
}

/// Why a store is misconfigured, with all causes.
async fn misconfigured(url: &str) -> String {
    match PostgresStore::open(url, Options::new().connections(1)).await {
        Err(error @ StoreError::Misconfigured(_)) => format!("{error}: {error:?}"),
        other => panic!("{url}: {other:?}"),
    }
}

#[tokio::test]
async fn what_no_retry_helps_is_misconfigured_and_says_what_is_wrong() {
    for (url, why) in [
        ("postgres://app:hunter2@127.0.0.1:port/app", "expected postgres://USER:PASSWORD@HOST:PORT/DATABASE"),
        ("postgres://app:hunter2@127.0.0.1:1/app?sslmode=require&conect_timeout=3", "parameter \\\"conect_timeout\\\""),
        ("postgres://app:hunter2@127.0.0.1:1/app?sslrootcert=/no/such/file&sslmode=verify-ca", "/no/such/file"),
    ] {
        let text = misconfigured(url).await;
        assert!(text.contains(why) && !text.contains("hunter2"), "{text}");
    }
    let server = PostgresServer::start(&PostgresOptions::new().password("right"));
    let url = server.url();
    for (url, why) in [
        (url.replace(":right@", ":hunter2@"), "password authentication failed"),
        (url.replace("/postgres:right@", "/nobody:hunter2@"), "nobody"),
        (url.replace("/postgres:right@", "/postgres@"), "password missing"),
        (url.replace(&url[url.len() - "/postgres".len()..], "/nothing"), "nothing"),
    ] {
        let text = misconfigured(&url).await;
        assert!(text.contains(why) && !text.contains("hunter2"), "{text}");
    }
    server.query("CREATE ROLE reader LOGIN PASSWORD 'right'");
    let text = misconfigured(&url.replace("/postgres:", "/reader:")).await;
    assert!(text.contains("permission denied"), "{text}");
}

#[tokio::test]
async fn each_connection_asks_for_its_password() {
    let server = PostgresServer::start(&PostgresOptions::new().password("first"));
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let password = Arc::new(parking_lot::Mutex::new("first".to_owned()));
    let newest = Arc::clone(&password);
    let options = Options::new().connections(1).notifications(false).password(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        let password = newest.lock().clone();
        async move { Ok(password) }
    });
    let without = server.url().replace(":first@", "@");
    let store = PostgresStore::open(&without, options.clone()).await.expect("the password is asked for");
    let node = join(&store).await;
    let before = asked.load(Ordering::Relaxed);
    assert!(before >= 1);

    // The token is replaced, and the server breaks all connections: the next ones come with the new one.
    server.query("ALTER ROLE CURRENT_USER PASSWORD 'second'");
    *password.lock() = "second".to_owned();
    server.restart_immediate();
    let mut beat = store.heartbeat(node, at(1), LEASE).await;
    for _ in 0..50 {
        if beat.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        beat = store.heartbeat(node, at(1), LEASE).await;
    }
    beat.expect("it comes back by itself");
    assert!(asked.load(Ordering::Relaxed) > before);
    misconfigured(&without).await;
}

#[tokio::test]
async fn connections_are_encrypted_and_verified_as_the_url_says() {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = (folder.path().join("server.crt"), folder.path().join("server.key"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"])
        .args(["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output()
        .expect("openssl is there");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let server = PostgresServer::start(&PostgresOptions::new().tls(&certificate, &key));
    let plain = server.url();
    let base = plain.split('?').next().unwrap().to_owned();
    let root = certificate.to_str().unwrap().replace('/', "%2F");
    let open =
        async |query: String| PostgresStore::open(&format!("{base}?{query}"), Options::new().connections(1)).await;

    let is_misconfigured = |opened| matches!(opened, Err(StoreError::Misconfigured(_)));
    assert!(is_misconfigured(open("sslmode=disable".to_owned()).await), "the server wants TLS");
    open("sslmode=require".to_owned()).await.expect("any certificate is believed");
    assert!(is_misconfigured(open("sslmode=verify-full".to_owned()).await), "nobody known vouches for it");
    let store = open(format!("sslmode=verify-full&sslrootcert={root}")).await.expect("its authority is known");
    join(&store).await;
    let encrypted = server.query(
        "SELECT bool_or(ssl) FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid)
         WHERE a.application_name = 'onward'",
    );
    assert_eq!(encrypted.trim(), "t");
}

#[tokio::test]
async fn the_clock_is_that_of_the_database() {
    let store = TestStore::open().await;
    let micros = "SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS INT8)";
    let before: i64 = store.database.query(micros).trim().parse().unwrap();
    let now = store.clock().now();
    let after: i64 = store.database.query(micros).trim().parse().unwrap();
    let slack = 50_000;
    assert!(Timestamp::from_micros(before - slack) <= now && now <= Timestamp::from_micros(after + slack));
}

#[tokio::test]
async fn a_role_that_may_change_no_schema_opens_one_that_needs_no_change() {
    let server = PostgresServer::start(&PostgresOptions::new().password("right"));
    let url = server.url();
    drop(PostgresStore::open(&url, Options::new()).await.expect("its owner makes the schema"));
    server.query("CREATE ROLE runtime LOGIN PASSWORD 'right'");
    server.query("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO runtime");
    server.query("REVOKE CREATE ON SCHEMA public FROM PUBLIC");
    let store = PostgresStore::open(&url.replace("/postgres:", "/runtime:"), Options::new()).await;
    let store = store.expect("it needs no change");
    let node = join(&store).await;
    store.checkpoint(starting(node, 1)).await.expect("it writes");
    store.close().await;
}
