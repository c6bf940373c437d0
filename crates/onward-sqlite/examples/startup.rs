//! Prints how long a store takes to open and to join with many runs in it: ended ones, sleeping ones, and a few that
//! were running when the process before died.
//!
//! `cargo run --release -p onward-sqlite --example startup -- [ended] [sleeping]`
#![expect(clippy::print_stdout, reason = "printing is what it is for")]
#![expect(clippy::disallowed_methods, reason = "it measures real time")]

use std::time::{Duration, Instant};

use onward_core::{
    EndpointId, Store, Timestamp,
    store::{ClaimRequest, Endpoints},
};
use onward_sqlite::{Options, SqliteStore, rusqlite::Connection};

type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// Rows as the store writes them; `?1` to `?2` are their keys.
const FILL: &str = "WITH RECURSIVE k(key) AS (SELECT ?1 UNION ALL SELECT key + 1 FROM k WHERE key < ?2) \
    INSERT INTO onward_runs (key, run_id, status, lane, due_at, endpoint, created_at, finished_at, retention, fence, \
    node) SELECT key, unhex(printf('%032x', key)), ?3, ?4, 1700000000000000 + key, 1, 1700000000000000, ?5, \
    86400000000, 1, ?6 FROM k";
const ENTRIES: &str = "WITH RECURSIVE k(key) AS (SELECT 1 UNION ALL SELECT key + 1 FROM k WHERE key < ?1) \
    INSERT INTO onward_entries (place, data) SELECT (key << 20) + slot, zeroblob(150) \
    FROM k, (SELECT 0 AS slot UNION ALL SELECT 1048575)";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), AnyError> {
    let mut arguments = std::env::args().skip(1);
    let ended: i64 = arguments.next().map_or(Ok(1_000_000), |text| text.parse())?;
    let sleeping: i64 = arguments.next().map_or(Ok(100_000), |text| text.parse())?;
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("startup.db");
    SqliteStore::open(&path, Options::new())?.close().await;

    let conn = Connection::open(&path)?;
    conn.execute_batch(
        "PRAGMA synchronous = OFF; BEGIN; INSERT INTO onward_endpoints VALUES (1, 'POST /checkout', '', 0, 1)",
    )?;
    let lane = Some(0_i64);
    conn.execute(FILL, (1, ended, 2, lane, Some(1_i64), None::<i64>))?;
    conn.execute(FILL, (ended + 1, ended + sleeping, 1, Some(1_i64), None::<i64>, None::<i64>))?;
    conn.execute(FILL, (ended + sleeping + 1, ended + sleeping + 100, 0, Some(-1_i64), None::<i64>, Some(1_i64)))?;
    conn.execute("UPDATE onward_runs SET due_at = NULL WHERE lane = -1", [])?;
    conn.execute(ENTRIES, [ended + sleeping])?;
    conn.execute_batch("COMMIT")?;
    drop(conn);
    let size = std::fs::metadata(&path)?.len() / 1_000_000;
    println!("{ended} ended, {sleeping} sleeping, 100 running: {size} MB");

    let begun = Instant::now();
    let store = SqliteStore::open(&path, Options::new())?;
    let opened = begun.elapsed();
    let now = Timestamp::from_micros(1_600_000_000_000_000);
    let node = store.join(now, Duration::from_secs(60)).await?;
    let joined = begun.elapsed();
    let endpoints = Endpoints::Only(vec![EndpointId::try_new("POST /checkout")?.into()]);
    let claims = store.claim(ClaimRequest { node, now, limit: 1_000, endpoints }).await?;
    let claimed = begun.elapsed();
    println!("opened after {opened:?}, joined after {joined:?}, claimed {} after {claimed:?}", claims.leases.len());
    store.close().await;
    Ok(())
}
