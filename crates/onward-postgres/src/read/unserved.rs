//! Runs that wait for a node which can execute them.

use onward_core::{
    StoreError, Timestamp,
    store::{Endpoints, Unserved, UnservedQuery},
};
use uuid::Uuid;

use crate::{
    row::{self, damaged},
    store::Inner,
};

impl Inner {
    pub(crate) async fn unserved(&self, query: &UnservedQuery) -> Result<Unserved, StoreError> {
        let Endpoints::Only(served) = &query.endpoints else { return Ok(Unserved::default()) };
        let served: Vec<i64> = served.iter().flat_map(row::lanes).collect();
        let mut lanes = self.all_lanes().await?;
        lanes.retain(|lane| !served.contains(lane));
        let (lane, due_at, run) = match query.after {
            Some((lane, due_at, run_id)) => (lane, due_at.as_micros(), row::uuid(run_id)),
            None => (i64::MIN, i64::MIN, Uuid::nil()),
        };
        let limit = i64::try_from(query.limit).unwrap_or(i64::MAX);
        let sql = "SELECT d.lane, d.due_at, d.run_id, coalesce(r.timeout_at <= $2, FALSE) \
             FROM unnest($1::INT8[]) AS l (lane) CROSS JOIN LATERAL \
             (SELECT s.lane, s.due_at, s.run_id FROM onward_suspended s \
              WHERE s.lane = l.lane AND s.due_at <= $2 AND (s.lane, s.due_at, s.run_id) > ($3, $4, $5) \
              ORDER BY s.due_at, s.run_id LIMIT $6) AS d \
             JOIN onward_runs r ON r.run_id = d.run_id ORDER BY d.lane, d.due_at, d.run_id LIMIT $6";
        let rows = self.read(sql, &[&lanes, &query.now.as_micros(), &lane, &due_at, &run, &limit]).await?;
        let mut page = Unserved::default();
        for row in &rows {
            let run_id = row::run_id(row.try_get(2).map_err(damaged)?);
            if row.try_get(3).map_err(damaged)? {
                page.timed_out.push(run_id);
            }
            if rows.len() == query.limit {
                let due_at = Timestamp::from_micros(row.try_get(1).map_err(damaged)?);
                page.next = Some((row.try_get(0).map_err(damaged)?, due_at, run_id));
            }
        }
        Ok(page)
    }
}
