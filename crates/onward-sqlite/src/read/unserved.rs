//! Runs that wait for a node which can execute them.

use std::collections::BTreeSet;

use onward_core::{
    RunId, StoreError, Timestamp,
    store::{Unserved, UnservedPlace, UnservedQuery},
};
use rusqlite::{Connection, params};

use crate::{error::store_error, row};

pub(crate) fn unserved(conn: &Connection, query: &UnservedQuery) -> Result<Unserved, StoreError> {
    find(conn, query).map_err(store_error)
}

fn find(conn: &Connection, query: &UnservedQuery) -> rusqlite::Result<Unserved> {
    let (mut page, mut seen) = (Unserved::default(), 0);
    let (first, mut due_at, mut run_id) = match query.after {
        Some((lane, due_at, run_id)) => (lane, due_at.as_micros(), run_id.to_bytes().to_vec()),
        None => (i64::MIN, i64::MIN, Vec::new()),
    };
    for lane in lanes(conn, query)?.range(first..) {
        if *lane != first {
            (due_at, run_id) = (i64::MIN, Vec::new());
        }
        let mut select = conn.prepare_cached(
            "SELECT due_at, run_id, coalesce(timeout_at <= ?2, FALSE) FROM onward_runs \
             WHERE lane = ?1 AND due_at <= ?2 AND due_at >= ?3 AND (due_at, run_id) > (?3, ?4) \
             ORDER BY due_at, run_id LIMIT ?5",
        )?;
        let limit = i64::try_from(query.limit - seen).unwrap_or(i64::MAX);
        let mut rows = select.query(params![lane, query.now.as_micros(), due_at, run_id, limit])?;
        while let Some(columns) = rows.next()? {
            let found: UnservedPlace =
                (*lane, Timestamp::from_micros(columns.get(0)?), RunId::from_bytes(columns.get(1)?));
            if columns.get(2)? {
                page.timed_out.push(found.2);
            }
            seen += 1;
            if seen == query.limit {
                page.next = Some(found);
                return Ok(page);
            }
        }
    }
    Ok(page)
}

/// The lanes of the endpoints, and of the versions to which runs are pinned, that the query does not name.
fn lanes(conn: &Connection, query: &UnservedQuery) -> rusqlite::Result<BTreeSet<i64>> {
    let mut select = conn.prepare_cached("SELECT lane, name, version, pinned FROM onward_endpoints")?;
    let mut rows = select.query([])?;
    let mut lanes = BTreeSet::new();
    while let Some(columns) = rows.next()? {
        let (endpoint, version) = (row::endpoint_id(columns, 1)?, row::version(columns, 2)?);
        if !query.endpoints.contains(&endpoint, version.as_ref(), columns.get(3)?) {
            lanes.insert(columns.get(0)?);
        }
    }
    Ok(lanes)
}
