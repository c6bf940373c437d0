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
        let (first, mut due_at, mut run) = match query.after {
            Some((lane, due_at, run_id)) => (lane, due_at.as_micros(), row::uuid(run_id)),
            None => (i64::MIN, i64::MIN, Uuid::nil()),
        };
        let mut lanes = self.all_lanes().await?;
        lanes.retain(|lane| *lane >= first && !served.contains(lane));
        let (mut page, mut seen) = (Unserved::default(), 0);
        for lane in self.due_lanes(&lanes, query.now).await? {
            if lane != first {
                (due_at, run) = (i64::MIN, Uuid::nil());
            }
            let limit = i64::try_from(query.limit - seen).unwrap_or(i64::MAX);
            let sql = "SELECT d.due_at, d.run_id, coalesce(r.timeout_at <= $2, FALSE) FROM \
                 (SELECT s.due_at, s.run_id FROM onward_suspended s \
                  WHERE s.lane = $1 AND s.due_at <= $2 AND s.due_at >= $3 AND (s.due_at, s.run_id) > ($3, $4) \
                  ORDER BY s.due_at, s.run_id LIMIT $5) AS d \
                 LEFT JOIN onward_runs r ON r.run_id = d.run_id ORDER BY d.due_at, d.run_id";
            let rows = self.read(sql, &[&lane, &query.now.as_micros(), &due_at, &run, &limit]).await?;
            for row in &rows {
                let run_id = row::run_id(row.try_get(1).map_err(damaged)?);
                if row.try_get(2).map_err(damaged)? {
                    page.timed_out.push(run_id);
                }
                seen += 1;
                if seen == query.limit {
                    let due_at = Timestamp::from_micros(row.try_get(0).map_err(damaged)?);
                    page.next = Some((lane, due_at, run_id));
                    return Ok(page);
                }
            }
        }
        Ok(page)
    }

    /// Finds the lanes that have a due run, in order.
    async fn due_lanes(&self, lanes: &[i64], now: Timestamp) -> Result<Vec<i64>, StoreError> {
        if lanes.is_empty() {
            return Ok(Vec::new());
        }
        // A lateral subquery in place of EXISTS, because the planner may answer that from all due rows of all lanes.
        let sql = "SELECT l.lane FROM unnest($1::INT8[]) AS l (lane) CROSS JOIN LATERAL \
             (SELECT s.lane FROM onward_suspended s WHERE s.lane = l.lane AND s.due_at <= $2 LIMIT 1) AS d \
             ORDER BY l.lane";
        let rows = self.read(sql, &[&lanes, &now.as_micros()]).await?;
        rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>().map_err(damaged)
    }
}
