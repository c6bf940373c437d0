//! What is past its time goes.

use onward_core::{StoreError, Timestamp, store::Swept};
use uuid::Uuid;

use crate::{error::Done, store::Inner, tx::Tx};

impl Inner {
    pub(crate) async fn sweep(
        &self,
        now: Timestamp,
        events_before: Timestamp,
        limit: usize,
    ) -> Result<Swept, StoreError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.transact(|tx| async move {
            let tx = &*tx;
            // Runs that another node is about to remove are left to it.
            let ended = tx
                .query(
                    "SELECT run_id FROM onward_ended WHERE sweep_at <= $1 ORDER BY sweep_at LIMIT $2 \
                     FOR UPDATE SKIP LOCKED",
                    &[&now.as_micros(), &limit],
                )
                .await?;
            let runs: Vec<Uuid> = ended.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
            delete_runs(tx, &runs).await?;
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
            Ok(Swept { runs, events, more: is_full(runs) || is_full(events) })
        })
        .await
    }
}

/// Removes ended runs with all that belongs to them.
pub(super) async fn delete_runs(tx: &Tx, runs: &[Uuid]) -> Done<()> {
    if runs.is_empty() {
        return Ok(());
    }
    for sql in [
        "DELETE FROM onward_entries WHERE run_id = ANY($1::UUID[])",
        "DELETE FROM onward_frames WHERE run_id = ANY($1::UUID[])",
        "DELETE FROM onward_keys WHERE digest IN \
         (SELECT key_digest FROM onward_runs WHERE run_id = ANY($1::UUID[]) AND key_digest IS NOT NULL)",
        "DELETE FROM onward_event_waiters WHERE run_id = ANY($1::UUID[])",
        "DELETE FROM onward_signal_waiters WHERE run_id = ANY($1::UUID[])",
        "DELETE FROM onward_deliveries WHERE run_id = ANY($1::UUID[])",
        "DELETE FROM onward_ended WHERE run_id = ANY($1::UUID[])",
        "DELETE FROM onward_runs WHERE run_id = ANY($1::UUID[])",
    ] {
        tx.execute(sql, &[&runs]).await?;
    }
    Ok(())
}
