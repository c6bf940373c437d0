//! What is past its time goes, little by little: no transaction of a sweep takes long, however large a journal is.

use std::time::Duration;

use onward_core::{StoreError, Timestamp, store::Swept};
use uuid::Uuid;

use crate::{error::Done, store::Inner, tx::Tx};

/// How many entries and frames one transaction removes, and about how many bytes of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    rows: i64,
    bytes: i64,
}

impl Budget {
    /// Why so much: 500 runs of a few steps are within it, and it takes less than a second.
    pub(super) const FULL: Self = Self { rows: 10_000, bytes: 64 << 20 };

    const fn is_spent(self) -> bool {
        self.rows <= 0 || self.bytes <= 0
    }
}

/// How long it is kept that a node which was taken for dead lives: longer than runs stay without an entry in which they crash.
const LIVES_FOR: Duration = Duration::from_secs(30 * 24 * 3600);
/// How much longer than its events the name of an event is kept, in microseconds.
///
/// Why: whether it has events is seen as the statement begins, and one may come then. It is not older than this.
const UNUSED_FOR: i64 = 3_600_000_000;

impl Inner {
    pub(crate) async fn sweep(
        &self,
        now: Timestamp,
        events_before: Timestamp,
        limit: usize,
    ) -> Result<Swept, StoreError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut swept = self
            .transact(|tx| async move {
                let tx = &*tx;
                let mut budget = Budget::FULL;
                delete_remains(tx, limit, &mut budget).await?;
                // Runs that another node is about to remove are left to it.
                let ended = tx
                    .query(
                        "SELECT run_id FROM onward_ended WHERE sweep_at <= $1 ORDER BY sweep_at LIMIT $2 \
                         FOR UPDATE SKIP LOCKED",
                        &[&now.as_micros(), &if budget.is_spent() { 0 } else { limit }],
                    )
                    .await?;
                let runs: Vec<Uuid> = ended.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
                delete_runs(tx, &runs, &mut budget).await?;
                let events = tx
                    .execute(
                        "DELETE FROM onward_events WHERE id IN (SELECT old.id FROM onward_event_names n \
                         CROSS JOIN LATERAL (SELECT id, received_at FROM onward_events e \
                         WHERE e.name = n.name AND e.received_at < $1 ORDER BY e.received_at LIMIT $2) AS old \
                         ORDER BY old.received_at LIMIT $2)",
                        &[&events_before.as_micros(), &limit],
                    )
                    .await?;
                let (runs, events) = (runs.len(), usize::try_from(events).unwrap_or(usize::MAX));
                let is_full = |removed: usize| removed > 0 && i64::try_from(removed).unwrap_or(i64::MAX) >= limit;
                Ok(Swept { runs, events, announced: 0, more: budget.is_spent() || is_full(runs) || is_full(events) })
            })
            .await?;
        let lived_before = now.before(LIVES_FOR).as_micros();
        self.transact(|tx| async move { tx.execute("DELETE FROM onward_lives WHERE at < $1", &[&lived_before]).await })
            .await?;
        let names = self.transact(|tx| async move {
            // One that somebody has locked is in use. Who finds it gone makes it anew.
            tx.execute(
                "DELETE FROM onward_event_names WHERE name IN (SELECT n.name FROM onward_event_names n \
                 WHERE n.last_received_at < $1 \
                 AND NOT EXISTS (SELECT 1 FROM onward_events e WHERE e.name = n.name) \
                 AND NOT EXISTS (SELECT 1 FROM onward_event_waiters w WHERE w.name = n.name) \
                 LIMIT $2 FOR UPDATE SKIP LOCKED)",
                &[&events_before.as_micros().saturating_sub(UNUSED_FOR), &limit],
            )
            .await
        });
        if let Err(error) = names.await {
            tracing::debug!(error = &error as &dyn std::error::Error, "names of events were not swept");
        }
        match self.sweep_announced(limit).await {
            Ok(announced) => {
                swept.announced = announced;
                swept.more |= announced > 0 && i64::try_from(announced).unwrap_or(i64::MAX) >= limit;
            }
            Err(error) => {
                tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    "what nodes announced that are gone was not swept"
                );
            }
        }
        Ok(swept)
    }
}

/// Removes ended runs with all that belongs to them. What their entries and frames have beyond the budget remains for
/// sweeps to come.
pub(super) async fn delete_runs(tx: &Tx, runs: &[Uuid], budget: &mut Budget) -> Done<()> {
    if runs.is_empty() {
        return Ok(());
    }
    for sql in [
        "DELETE FROM onward_keys WHERE digest IN \
         (SELECT key_digest FROM onward_runs WHERE run_id = ANY($1::UUID[]) AND key_digest IS NOT NULL)",
        "DELETE FROM onward_event_waiters WHERE run_id = ANY($1::UUID[])",
        "DELETE FROM onward_signal_waiters WHERE run_id = ANY($1::UUID[])",
        "DELETE FROM onward_deliveries WHERE run_id = ANY($1::UUID[])",
        "DELETE FROM onward_crashes WHERE run_id = ANY($1::UUID[])",
        "DELETE FROM onward_ended WHERE run_id = ANY($1::UUID[])",
        "DELETE FROM onward_runs WHERE run_id = ANY($1::UUID[])",
    ] {
        tx.execute(sql, &[&runs]).await?;
    }
    delete_rows(tx, runs, budget).await?;
    if budget.is_spent() {
        tx.execute(
            "INSERT INTO onward_remains (run_id) SELECT g.run_id FROM unnest($1::UUID[]) AS g (run_id) \
             WHERE EXISTS (SELECT 1 FROM onward_entries e WHERE e.run_id = g.run_id) \
             OR EXISTS (SELECT 1 FROM onward_frames f WHERE f.run_id = g.run_id) ON CONFLICT (run_id) DO NOTHING",
            &[&runs],
        )
        .await?;
    }
    Ok(())
}

/// Goes on removing what is left of runs that are gone.
async fn delete_remains(tx: &Tx, limit: i64, budget: &mut Budget) -> Done<()> {
    let left = tx
        .query("SELECT run_id FROM onward_remains ORDER BY run_id LIMIT $1 FOR UPDATE SKIP LOCKED", &[&limit])
        .await?;
    let runs: Vec<Uuid> = left.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
    if runs.is_empty() {
        return Ok(());
    }
    delete_rows(tx, &runs, budget).await?;
    tx.execute(
        "DELETE FROM onward_remains WHERE run_id = ANY($1::UUID[]) \
         AND NOT EXISTS (SELECT 1 FROM onward_entries e WHERE e.run_id = onward_remains.run_id) \
         AND NOT EXISTS (SELECT 1 FROM onward_frames f WHERE f.run_id = onward_remains.run_id)",
        &[&runs],
    )
    .await?;
    Ok(())
}

/// Removes rows of runs while a budget lasts: at least one. How many there were, and how long.
macro_rules! delete_rows {
    ($table:literal, $place:literal) => {
        // The length of a value is known without reading it, unless it is short.
        concat!(
            "WITH first AS (SELECT run_id, ",
            $place,
            " AS place, octet_length(data) AS len FROM ",
            $table,
            " WHERE run_id = ANY($1::UUID[]) ORDER BY run_id, place LIMIT $2), \
             summed AS (SELECT run_id, place, len, CAST(sum(len) OVER (ORDER BY run_id, place) AS INT8) AS up_to \
                 FROM first), \
             gone AS (DELETE FROM ",
            $table,
            " t USING summed s WHERE t.run_id = s.run_id AND t.",
            $place,
            " = s.place AND s.up_to - s.len < $3 RETURNING s.len) \
             SELECT count(*), CAST(coalesce(sum(len), 0) AS INT8) FROM gone"
        )
    };
}

/// Removes entries and frames of runs while the budget lasts.
async fn delete_rows(tx: &Tx, runs: &[Uuid], budget: &mut Budget) -> Done<()> {
    for sql in [delete_rows!("onward_entries", "seq"), delete_rows!("onward_frames", "place")] {
        if budget.is_spent() {
            return Ok(());
        }
        if let Some(gone) = tx.one(sql, &[&runs, &budget.rows, &budget.bytes]).await? {
            budget.rows -= gone.try_get::<_, i64>(0)?;
            budget.bytes -= gone.try_get::<_, i64>(1)?;
        }
    }
    Ok(())
}
