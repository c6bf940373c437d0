//! Nodes come and go, and claim what is due.

use onward_core::{
    NodeId, StoreError, Timestamp,
    store::{ClaimRequest, Claims, Lease},
};
use rusqlite::{OptionalExtension, ToSql, params};

use crate::{
    engine::{Engine, Live, endpoint::Lanes, run::Position},
    error::Done,
    row::LANE_RUNNING,
};

impl Engine<'_> {
    /// Makes the newest node. The process owns the database, so the ones before are gone.
    pub(crate) fn join(&mut self, now: Timestamp) -> Done<NodeId> {
        self.count_crashes(now)?;
        self.suspend_all(now)?;
        self.conn.prepare_cached("INSERT INTO onward_nodes (joined_at) VALUES (?1)")?.execute([now.as_micros()])?;
        let id = self.conn.last_insert_rowid();
        self.conn.prepare_cached("DELETE FROM onward_nodes WHERE id < ?1")?.execute([id])?;
        let node = NodeId(id.cast_unsigned());
        self.node = Some(node);
        Ok(node)
    }

    /// Nobody else could take a node's runs, so a late heartbeat is as good as one in time.
    pub(crate) fn heartbeat(&self, node: NodeId) -> Done<()> {
        if self.is_here(node) { Ok(()) } else { Err(StoreError::LeaseLost.into()) }
    }

    pub(crate) fn leave(&mut self, node: NodeId, now: Timestamp) -> Done<()> {
        if self.is_here(node) {
            self.suspend_all(now)?;
            self.node = None;
        }
        Ok(())
    }

    /// Only rows of the running lane are touched, however many others there are.
    fn suspend_all(&mut self, now: Timestamp) -> Done<()> {
        self.conn
            .prepare_cached(
                "UPDATE onward_runs SET status = 1, \
                 lane = (SELECT e.lane FROM onward_endpoints e WHERE e.id = onward_runs.endpoint), \
                 due_at = min(?2, coalesce(timeout_at, ?2)), node = NULL WHERE lane = ?1",
            )?
            .execute([LANE_RUNNING, now.as_micros()])?;
        self.known.live.clear();
        self.known.nudged.clear();
        Ok(())
    }

    pub(crate) fn claim(&mut self, request: &ClaimRequest) -> Done<Claims> {
        if !self.is_here(request.node) {
            return Err(StoreError::LeaseLost.into());
        }
        let nudged = self.known.nudged.iter().copied().collect();
        let lanes = self.lanes(&request.endpoints)?;
        let mut due = self.due(&lanes, request)?;
        due.sort_unstable();
        due.truncate(request.limit);
        let mut leases = Vec::with_capacity(due.len());
        for (_, key) in due {
            let (run_id, mut live) = Live::read(self.conn, key)?;
            live.fence = live.fence.next();
            live.node = request.node;
            self.place(key, &Position::running(live.fence, live.node))?;
            let lease = Lease { run_id, fence: live.fence, node: live.node };
            leases.push((lease, self.endpoint_id(live.of.endpoint)?));
            self.known.insert(run_id, live);
        }
        let next_due_at = self.next_due_at(&lanes)?.map(Timestamp::from_micros);
        Ok(Claims { leases, nudged, next_due_at })
    }

    /// When it is due, and its key, of each run that may be claimed.
    fn due(&self, lanes: &Lanes, request: &ClaimRequest) -> Done<Vec<(i64, i64)>> {
        let (now, limit) = (request.now.as_micros(), i64::try_from(request.limit).unwrap_or(i64::MAX));
        let mut due = Vec::new();
        let mut read = |sql: &str, params: &[&dyn ToSql]| -> Done<()> {
            let mut select = self.conn.prepare_cached(sql)?;
            for row in select.query_map(params, |row| Ok((row.get(0)?, row.get(1)?)))? {
                due.push(row?);
            }
            Ok(())
        };
        match lanes {
            Lanes::These(lanes) => {
                let sql = "SELECT due_at, key FROM onward_runs WHERE lane = ?1 AND due_at <= ?2 \
                     ORDER BY due_at, key LIMIT ?3";
                lanes.iter().try_for_each(|lane| read(sql, params![lane, now, limit]))?;
            }
            Lanes::All => {
                let sql = "SELECT due_at, key FROM onward_runs INDEXED BY onward_runs_due \
                     WHERE lane > 0 AND due_at <= ?1 ORDER BY due_at, key LIMIT ?2";
                read(sql, params![now, limit])?;
            }
        }
        Ok(due)
    }

    /// When the next run of some lanes is due.
    fn next_due_at(&self, lanes: &Lanes) -> Done<Option<i64>> {
        match lanes {
            Lanes::These(lanes) => {
                let mut select = self
                    .conn
                    .prepare_cached("SELECT due_at FROM onward_runs WHERE lane = ?1 ORDER BY due_at LIMIT 1")?;
                let mut next_due_at: Option<i64> = None;
                for lane in lanes {
                    let next: Option<i64> = select.query_row([lane], |row| row.get(0)).optional()?;
                    next_due_at = next_due_at.into_iter().chain(next).min();
                }
                Ok(next_due_at)
            }
            Lanes::All => {
                let mut select = self.conn.prepare_cached(
                    "SELECT due_at FROM onward_runs INDEXED BY onward_runs_due WHERE lane > 0 \
                     ORDER BY due_at LIMIT 1",
                )?;
                Ok(select.query_row([], |row| row.get(0)).optional()?)
            }
        }
    }
}
