//! What is past its time goes.

use onward_core::{Timestamp, store::Swept};
use rusqlite::params;

use crate::{engine::Engine, error::Done, row::LANE_ENDED};

impl Engine<'_> {
    pub(crate) fn sweep(&mut self, now: Timestamp, events_before: Timestamp, limit: usize) -> Done<Swept> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let ended = self
            .conn
            .prepare_cached(
                "SELECT key, key_digest FROM onward_runs WHERE lane = ?1 AND due_at <= ?2 ORDER BY due_at LIMIT ?3",
            )?
            .query_map(params![LANE_ENDED, now.as_micros(), limit], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<rusqlite::Result<Vec<(i64, Option<[u8; 32]>)>>>()?;
        for (key, digest) in &ended {
            self.delete_run(*key, *digest)?;
        }
        let events = self
            .conn
            .prepare_cached(
                "DELETE FROM onward_events WHERE received_at IN \
                 (SELECT received_at FROM onward_events WHERE received_at < ?1 ORDER BY received_at LIMIT ?2)",
            )?
            .execute(params![events_before.as_micros(), limit])?;
        Ok(Swept { runs: ended.len(), events })
    }
}
