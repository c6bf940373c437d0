//! Lists of runs, newest first.

use std::time::Duration;

use onward_core::{
    RunId, StoreError, Timestamp,
    run::{RunRecord, Status},
    store::{RunFilter, RunPage},
};
use rusqlite::{Connection, ToSql, types::Value};

use crate::{
    error::store_error,
    row::{self, LANE_RUNNING, RECORD_COLUMNS},
};

/// How far a run's id may be from the time at which it began: ids only narrow the search by time.
const ID_SLACK: Duration = Duration::from_secs(24 * 60 * 60);

pub(crate) fn runs(conn: &Connection, filter: &RunFilter) -> Result<RunPage, StoreError> {
    let mut runs = if filter.statuses.is_empty() {
        select(conn, filter, None)
    } else {
        filter.statuses.iter().try_fold(Vec::new(), |mut runs, status| {
            runs.append(&mut select(conn, filter, Some(*status))?);
            Ok(runs)
        })
    }
    .map_err(store_error)?;
    runs.sort_unstable_by_key(|run| std::cmp::Reverse(run.run_id));
    runs.dedup_by_key(|run| run.run_id);
    let more = runs.len() > filter.limit;
    runs.truncate(filter.limit);
    let next = if more { runs.last().map(|run| run.run_id) } else { None };
    Ok(RunPage { runs, next })
}

/// The newest runs that the filter lets through and that have this status: one more than the page holds.
fn select(conn: &Connection, filter: &RunFilter, status: Option<Status>) -> rusqlite::Result<Vec<RunRecord>> {
    let mut conditions = vec![match status {
        None => "TRUE".to_owned(),
        Some(Status::Running) => format!("r.lane = {LANE_RUNNING}"),
        Some(Status::Completed) => format!("r.status = {}", row::status_number(Status::Completed)),
        // Says what the partial index says, so that it can be used.
        Some(other) => format!("r.status <> 0 AND r.status <> 2 AND r.status = {}", row::status_number(other)),
    }];
    let mut values: Vec<Value> = Vec::new();
    let mut condition = |sql: &str, value: Value| {
        values.push(value);
        conditions.push(format!("{sql} ?{}", values.len()));
    };
    let id = |id: RunId| Value::Blob(id.to_bytes().to_vec());
    if let Some(before) = filter.before {
        condition("r.run_id <", id(before));
    }
    if let Some(from) = filter.created_from {
        condition("r.created_at >=", Value::Integer(from.as_micros()));
        let slack = row::micros(ID_SLACK);
        condition("r.run_id >=", id(RunId::first_at(Timestamp::from_micros(from.as_micros().saturating_sub(slack)))));
    }
    if let Some(before) = filter.created_before {
        condition("r.created_at <", Value::Integer(before.as_micros()));
        if let Some(latest) = first_at(before.after(ID_SLACK)) {
            condition("r.run_id <", id(latest));
        }
    }
    if let Some(endpoint) = &filter.endpoint {
        // One for each of its versions.
        let numbers: Vec<String> = conn
            .prepare_cached("SELECT id FROM onward_endpoints WHERE name = ?1")?
            .query_map([endpoint.as_str()], |row| row.get::<_, i64>(0).map(|number| number.to_string()))?
            .collect::<rusqlite::Result<_>>()?;
        // An endpoint that never had a run: looking at every run for one would take long.
        if numbers.is_empty() {
            return Ok(Vec::new());
        }
        conditions.push(format!("r.endpoint IN ({})", numbers.join(", ")));
    }
    let limit = i64::try_from(filter.limit.saturating_add(1)).unwrap_or(i64::MAX);
    let sql = format!(
        "SELECT {RECORD_COLUMNS} FROM onward_runs r CROSS JOIN onward_endpoints e ON e.id = r.endpoint WHERE {} \
         ORDER BY r.run_id DESC LIMIT {limit}",
        conditions.join(" AND ")
    );
    let values: Vec<&dyn ToSql> = values.iter().map(|value| value as &dyn ToSql).collect();
    let mut statement = conn.prepare(&sql)?;
    let rows = statement.query_map(values.as_slice(), |columns| row::run_record(columns).map(|(_, record)| record))?;
    rows.collect()
}

/// The smallest id from `at` on; `None` past the last millisecond that an id can name.
fn first_at(at: Timestamp) -> Option<RunId> {
    (at.as_millis() < 1 << 48).then(|| RunId::first_at(at))
}
