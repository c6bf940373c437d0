//! What is past its time goes, a little at a time: everybody's writes wait for a sweep.

use onward_core::{Timestamp, store::Swept};
use rusqlite::params;

use crate::{
    engine::Engine,
    error::Done,
    row::{self, LANE_ENDED},
};

/// How much of runs one sweep removes, in rows and pages of what they hold: a few milliseconds of work.
const BUDGET: i64 = 4_000;
/// A page of the database; a row takes about one more for each that its data fills.
const PAGE_BYTES: i64 = 4096;

impl Engine<'_> {
    pub(crate) fn sweep(&mut self, now: Timestamp, events_before: Timestamp, limit: usize) -> Done<Swept> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut budget = BUDGET;
        let mut swept = Swept::default();
        let remains: Vec<i64> = self
            .conn
            .prepare_cached("SELECT key FROM onward_remains LIMIT ?1")?
            .query_map([limit], |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        for key in remains {
            if self.delete_entries(key, &mut budget)? {
                self.conn.prepare_cached("DELETE FROM onward_remains WHERE key = ?1")?.execute([key])?;
            }
        }
        let ended = self
            .conn
            .prepare_cached(
                "SELECT key, key_digest FROM onward_runs WHERE lane = ?1 AND due_at <= ?2 ORDER BY due_at LIMIT ?3",
            )?
            .query_map(params![LANE_ENDED, now.as_micros(), limit], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<rusqlite::Result<Vec<(i64, Option<[u8; 32]>)>>>()?;
        for (key, digest) in &ended {
            if budget <= 0 {
                break;
            }
            self.delete_run(*key, *digest, &mut budget)?;
            swept.runs += 1;
        }
        swept.events = self
            .conn
            .prepare_cached(
                "DELETE FROM onward_events WHERE received_at IN \
                 (SELECT received_at FROM onward_events WHERE received_at < ?1 ORDER BY received_at LIMIT ?2)",
            )?
            .execute(params![events_before.as_micros(), limit])?;
        swept.announced = self.sweep_announced(limit)?;
        let is_full = |removed: usize| removed > 0 && i64::try_from(removed).unwrap_or(i64::MAX) >= limit;
        swept.more = budget <= 0 || is_full(swept.runs) || is_full(swept.events) || is_full(swept.announced);
        Ok(swept)
    }

    /// Removes an ended run. What its journal has beyond the budget remains for sweeps to come.
    pub(super) fn delete_run(&mut self, key: i64, key_digest: Option<[u8; 32]>, budget: &mut i64) -> Done<()> {
        self.rows.flush()?;
        if !self.delete_entries(key, budget)? {
            self.conn.prepare_cached("INSERT INTO onward_remains (key) VALUES (?1)")?.execute([key])?;
        }
        if let Some(digest) = key_digest {
            self.conn.prepare_cached("DELETE FROM onward_keys WHERE digest = ?1")?.execute([digest])?;
        }
        self.forget_waits(key)?;
        self.forget_crashes(key)?;
        self.conn.prepare_cached("DELETE FROM onward_runs WHERE key = ?1")?.execute([key])?;
        Ok(())
    }

    /// Removes an operator's run at once, as far as a sweep would.
    pub(super) fn delete_now(&mut self, key: i64, key_digest: Option<[u8; 32]>) -> Done<()> {
        self.delete_run(key, key_digest, &mut BUDGET.clone())
    }

    /// Removes a run's frames and entries while the budget lasts. Whether all are gone.
    fn delete_entries(&self, key: i64, budget: &mut i64) -> Done<bool> {
        Ok(self.delete_rows("onward_frames", key, budget)? && self.delete_rows("onward_entries", key, budget)?)
    }

    fn delete_rows(&self, table: &'static str, key: i64, budget: &mut i64) -> Done<bool> {
        let (first, last) = (row::request_place(key), row::outcome_place(key));
        let mut select = self.conn.prepare_cached(&format!(
            "SELECT place, length(data) FROM {table} WHERE place >= ?1 AND place <= ?2 ORDER BY place"
        ))?;
        let mut rows = select.query([first, last])?;
        let mut end = last;
        while let Some(columns) = rows.next()? {
            if *budget <= 0 {
                end = columns.get::<_, i64>(0)? - 1;
                break;
            }
            *budget -= 1 + columns.get::<_, i64>(1)? / PAGE_BYTES;
        }
        drop(rows);
        self.conn
            .prepare_cached(&format!("DELETE FROM {table} WHERE place >= ?1 AND place <= ?2"))?
            .execute([first, end])?;
        Ok(end == last)
    }
}
