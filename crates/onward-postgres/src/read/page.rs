//! Lists of runs, newest first.

use std::time::Duration;

use onward_core::{
    RunId, StoreError, Timestamp,
    run::{RunRecord, Status},
    store::{RunFilter, RunPage},
};
use tokio_postgres::types::ToSql;

use super::STATE;
use crate::{row, store::Inner, tx::Param};

/// How far a run's id may be from the time at which it began: ids only narrow the search by time.
const ID_SLACK: Duration = Duration::from_secs(24 * 60 * 60);

impl Inner {
    pub(crate) async fn runs(&self, filter: &RunFilter) -> Result<RunPage, StoreError> {
        let mut runs = Vec::new();
        if filter.statuses.is_empty() {
            runs = self.select(filter, None).await?;
        }
        for status in &filter.statuses {
            runs.append(&mut self.select(filter, Some(*status)).await?);
        }
        runs.sort_unstable_by_key(|run| std::cmp::Reverse(run.run_id));
        runs.dedup_by_key(|run| run.run_id);
        let more = runs.len() > filter.limit;
        runs.truncate(filter.limit);
        let next = if more { runs.last().map(|run| run.run_id) } else { None };
        Ok(RunPage { runs, next })
    }

    /// The newest runs that the filter lets through and that have this status: one more than the page holds.
    async fn select(&self, filter: &RunFilter, status: Option<Status>) -> Result<Vec<RunRecord>, StoreError> {
        // The table that has a row for each of them, so that no other run is looked at.
        let (from, id) = match status {
            None => (format!("onward_runs r {STATE}"), "r.run_id"),
            Some(Status::Running) => (
                "onward_leases l JOIN onward_runs r ON r.run_id = l.run_id \
                 LEFT JOIN onward_suspended s ON FALSE LEFT JOIN onward_ended e ON FALSE"
                    .to_owned(),
                "l.run_id",
            ),
            Some(Status::Suspended) => (
                "onward_suspended s JOIN onward_runs r ON r.run_id = s.run_id \
                 LEFT JOIN onward_leases l ON FALSE LEFT JOIN onward_ended e ON FALSE"
                    .to_owned(),
                "s.run_id",
            ),
            Some(_) => (
                "onward_ended e JOIN onward_runs r ON r.run_id = e.run_id \
                 LEFT JOIN onward_leases l ON FALSE LEFT JOIN onward_suspended s ON FALSE"
                    .to_owned(),
                "e.run_id",
            ),
        };
        let mut conditions = vec![match status {
            None | Some(Status::Running | Status::Suspended) => "TRUE".to_owned(),
            Some(Status::Completed) => format!("e.status = {}", Status::Completed.number()),
            // Says what the partial index says, so that it can be used.
            Some(other) => format!("e.status <> {} AND e.status = {}", Status::Completed.number(), other.number()),
        }];
        let mut values: Vec<Box<dyn ToSql + Sync + Send>> = Vec::new();
        let mut condition = |sql: String, value: Box<dyn ToSql + Sync + Send>| {
            values.push(value);
            conditions.push(format!("{sql} ${}", values.len()));
        };
        let uuid = |run_id: RunId| Box::new(row::uuid(run_id));
        if let Some(before) = filter.before {
            condition(format!("{id} <"), uuid(before));
        }
        if let Some(from) = filter.created_from {
            condition("r.created_at >=".to_owned(), Box::new(from.as_micros()));
            let slack = from.as_micros().saturating_sub(row::micros(ID_SLACK));
            condition(format!("{id} >="), uuid(RunId::first_at(Timestamp::from_micros(slack))));
        }
        if let Some(before) = filter.created_before {
            condition("r.created_at <".to_owned(), Box::new(before.as_micros()));
            if let Some(latest) = first_at(before.after(ID_SLACK)) {
                condition(format!("{id} <"), uuid(latest));
            }
        }
        if let Some(endpoint) = &filter.endpoint {
            let numbers = self.read("SELECT id FROM onward_endpoints WHERE name = $1", &[&endpoint.as_str()]).await?;
            let numbers: Vec<i64> =
                numbers.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>().map_err(row::damaged)?;
            // An endpoint that never had a run: looking at every run for one would take long.
            if numbers.is_empty() {
                return Ok(Vec::new());
            }
            values.push(Box::new(numbers));
            conditions.push(format!("r.endpoint = ANY(${}::INT8[])", values.len()));
        }
        let limit = i64::try_from(filter.limit.saturating_add(1)).unwrap_or(i64::MAX);
        // Not in the text: each text is kept as a statement of its own, for as long as its connection.
        values.push(Box::new(limit));
        let sql = format!(
            "SELECT {columns} FROM {from} JOIN onward_endpoints p ON p.id = r.endpoint WHERE {conditions} \
             ORDER BY {id} DESC LIMIT ${last}",
            last = values.len(),
            columns = row::RECORD_COLUMNS,
            conditions = conditions.join(" AND ")
        );
        let values: Vec<Param<'_>> = values.iter().map(|value| &**value as Param<'_>).collect();
        let rows = self.read(&sql, &values).await?;
        rows.iter().map(row::run_record).collect()
    }
}

/// The smallest id from `at` on; `None` past the last millisecond that an id can name.
fn first_at(at: Timestamp) -> Option<RunId> {
    (at.as_millis() < 1 << 48).then(|| RunId::first_at(at))
}
