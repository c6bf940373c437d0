//! Crashes of runs: counted as a process finds what the one before it has left.

use onward_core::{NodeId, Timestamp, run::CrashRecord};
use rusqlite::params;

use crate::{engine::Engine, error::Done, read};

impl Engine<'_> {
    /// Counts a crash of each run that is running.
    pub(super) fn count_crashes(&self, now: Timestamp) -> Done<()> {
        let mut insert = self.conn.prepare_cached(
            "INSERT OR REPLACE INTO onward_crashes (run, next, count, last_at, node) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?;
        for live in self.known.live.values() {
            let before = read::crash_record(self.conn, live.key)?;
            let CrashRecord { next, count, last_at, node } = CrashRecord::after(before, live.next, live.node, now);
            insert.execute(params![live.key, next.0, count, last_at.as_micros(), node.0.cast_signed()])?;
        }
        Ok(())
    }

    pub(crate) fn uncount_crashes(&self, node: NodeId) -> Done<()> {
        self.conn
            .prepare_cached("UPDATE onward_crashes SET count = max(count - 1, 0), node = 0 WHERE node = ?1")?
            .execute([node.0.cast_signed()])?;
        Ok(())
    }

    /// Forgets the crashes of a run.
    pub(super) fn forget_crashes(&self, key: i64) -> Done<()> {
        self.conn.prepare_cached("DELETE FROM onward_crashes WHERE run = ?1")?.execute([key])?;
        Ok(())
    }
}
