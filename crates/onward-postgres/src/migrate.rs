//! The schema and its versions.

use deadpool::managed::Pool;
use onward_core::StoreError;
use tokio_postgres::error::SqlState;

use crate::{
    connect::{self, Conn, Connector},
    error::{Abort, corrupt, misconfigured},
    tx::Tx,
};

/// Each brings the schema from the version before to its own, which is its place, from 1.
const MIGRATIONS: [&str; 4] = [
    include_str!("../migrations/0001_init.sql"),
    include_str!("../migrations/0002_remains.sql"),
    include_str!("../migrations/0003_crashes.sql"),
    include_str!("../migrations/0004_announced.sql"),
];

/// What makes it quicker and not different, and what not every database knows: each is tried, once.
const TUNING: [&str; 9] = [
    // Rows that come and go with each run: what is dead is taken away early.
    "ALTER TABLE onward_leases SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000)",
    "ALTER TABLE onward_suspended SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000)",
    "ALTER TABLE onward_deliveries SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000)",
    "ALTER TABLE onward_event_waiters SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000)",
    // Updated in place: room for the next version in the same page.
    "ALTER TABLE onward_leases SET (fillfactor = 70)",
    "ALTER TABLE onward_nodes SET (fillfactor = 50)",
    "ALTER TABLE onward_event_names SET (fillfactor = 50)",
    // Outputs are often JSON that was compressed before or is short.
    "ALTER TABLE onward_entries ALTER COLUMN data SET COMPRESSION lz4",
    "ALTER TABLE onward_ended ALTER COLUMN outcome SET COMPRESSION lz4",
];

/// How often it is tried where another node is at it.
const TRIES: u32 = 50;

/// Brings the schema to the newest version. Of nodes that come at once, one does it and the others wait for it.
pub(crate) async fn migrate(pool: &Pool<Connector>) -> Result<(), StoreError> {
    let mut tries = 0;
    let fresh = loop {
        match attempt(connect::get(pool).await?).await {
            Ok(fresh) => break fresh,
            Err(Abort::Refused(error)) => return Err(error),
            Err(abort) => {
                tries += 1;
                if tries >= TRIES || !is_other_node(&abort) {
                    return Err(abort.into());
                }
                tokio::time::sleep(std::time::Duration::from_millis(20 * u64::from(tries))).await;
            }
        }
    };
    if fresh {
        let conn = connect::get(pool).await?;
        for sql in TUNING {
            if let Err(error) = conn.batch_execute(sql).await {
                tracing::debug!(sql, error = &error as &dyn std::error::Error, "the database goes without");
            }
        }
    }
    Ok(())
}

/// Refuses a database whose schema is not this release's, and changes nothing.
pub(crate) async fn check(pool: &Pool<Connector>) -> Result<(), StoreError> {
    let own = newest();
    match version(&connect::get(pool).await?).await? {
        Some(version) if version == own => Ok(()),
        Some(version) if version > 0 => Err(misconfigured(format!(
            "the store has schema {version}, this release ({}) has schema {own}: use the `onward` of the app's release",
            env!("CARGO_PKG_VERSION")
        ))),
        _ => Err(misconfigured(
            "there is no store of Onward in the database: give the URL that the app has, or start the app first",
        )),
    }
}

/// Whether another node made the same table, or changed the schema, at the same time.
fn is_other_node(abort: &Abort) -> bool {
    match abort {
        Abort::Conflict(_) => true,
        Abort::Refused(_) => false,
        Abort::Failed(error) => {
            let code = error.downcast_ref::<tokio_postgres::Error>().and_then(tokio_postgres::Error::code);
            code.is_some_and(|code| {
                [
                    SqlState::UNIQUE_VIOLATION,
                    SqlState::DUPLICATE_TABLE,
                    SqlState::DUPLICATE_OBJECT,
                    SqlState::INTERNAL_ERROR,
                ]
                .contains(code)
            })
        }
    }
}

/// The version of the schema, where there is one: read by a role that has no right to change it.
async fn version(conn: &Conn) -> Result<Option<i64>, Abort> {
    // Why in the first schema alone: that is where the tables would be made.
    let own = "SELECT to_regclass(format('%I.onward_schema', current_schema())) IS NOT NULL";
    let is_there: bool = conn.query_one(own, &[]).await?.try_get(0)?;
    if !is_there {
        return Ok(None);
    }
    let row = conn.query_opt("SELECT version FROM onward_schema WHERE id = 1", &[]).await?;
    Ok(row.map(|row| row.try_get(0)).transpose()?)
}

fn newer(version: i64, newest: i64) -> StoreError {
    misconfigured(format!("the database has schema {version}, this release knows up to {newest}: use a newer release"))
}

/// The version of this release's schema.
fn newest() -> i64 {
    i64::try_from(MIGRATIONS.len()).expect("there are few migrations")
}

/// Whether it did anything.
async fn attempt(conn: Conn) -> Result<bool, Abort> {
    let newest = newest();
    match version(&conn).await? {
        Some(version) if version == newest => return Ok(false), // a role that may not make tables can open it
        Some(version) if version > newest => return Err(newer(version, newest).into()),
        _ => {}
    }
    conn.batch_execute(
        "CREATE TABLE IF NOT EXISTS onward_schema (id INT8 PRIMARY KEY, version INT8 NOT NULL); \
         INSERT INTO onward_schema (id, version) VALUES (1, 0) ON CONFLICT (id) DO NOTHING",
    )
    .await?;
    let tx = Tx::begin(conn).await?;
    let row = tx.one("SELECT version FROM onward_schema WHERE id = 1 FOR UPDATE", &[]).await?;
    let version: i64 = row.ok_or_else(|| corrupt("onward_schema has no row"))?.try_get(0)?;
    if version > newest {
        tx.rollback().await?;
        return Err(newer(version, newest).into());
    }
    let done = usize::try_from(version).map_err(|_| corrupt("the database has a negative schema version"))?;
    for sql in &MIGRATIONS[done..] {
        tx.conn().batch_execute(sql).await?;
    }
    tx.execute("UPDATE onward_schema SET version = $1 WHERE id = 1", &[&newest]).await?;
    tx.commit().await?;
    Ok(done < MIGRATIONS.len())
}
