//! Facts for waiting steps: stored, and their runs woken.

use std::collections::BTreeMap;

use onward_core::{
    NodeId, RunId, StoreError, Timestamp,
    store::{Woken, record},
    waiter::Delivery,
};
use uuid::Uuid;

use crate::{error::Done, row, tx::Tx};

/// How often runs are looked for that change hands meanwhile.
const LOOKS: usize = 8;

/// Stores facts for steps of runs and wakes the runs. A run that has ended gets nothing.
///
/// A run's row in `onward_leases` or `onward_suspended` is changed first: that is the lock which whoever suspends or
/// claims the run at the same time waits for, and what it says (`pending`, `due_at`) goes with the row.
pub(super) async fn deliver(
    tx: &Tx,
    mut deliveries: Vec<(RunId, Delivery)>,
    now: Timestamp,
    woken: &mut Vec<Woken>,
) -> Done<()> {
    deliveries.sort_by_key(|(run_id, _)| *run_id);
    for _ in 0..LOOKS {
        deliveries = new(tx, deliveries).await?;
        if deliveries.is_empty() {
            return Ok(());
        }
        let mut counts: BTreeMap<Uuid, i64> = BTreeMap::new();
        for (run_id, _) in &deliveries {
            *counts.entry(row::uuid(*run_id)).or_default() += 1;
        }
        let runs: Vec<Uuid> = counts.keys().copied().collect();
        let counts: Vec<i64> = counts.values().copied().collect();
        let held = tx
            .query(
                "WITH locked AS (SELECT run_id FROM onward_leases WHERE run_id = ANY($1::UUID[]) ORDER BY run_id FOR NO KEY UPDATE) \
                 UPDATE onward_leases l SET pending = l.pending + n.more \
                 FROM unnest($1::UUID[], $2::INT8[]) AS n (run_id, more) JOIN locked ON locked.run_id = n.run_id \
                 WHERE l.run_id = n.run_id RETURNING l.run_id, l.node",
                &[&runs, &counts],
            )
            .await?;
        let mut found: BTreeMap<RunId, Option<NodeId>> = BTreeMap::new();
        for row in &held {
            let node: i64 = row.try_get(1)?;
            found.insert(row::run_id(row.try_get(0)?), Some(NodeId(node.cast_unsigned())));
        }
        let suspended = tx
            .query(
                "WITH locked AS (SELECT run_id FROM onward_suspended WHERE run_id = ANY($1::UUID[]) ORDER BY run_id FOR UPDATE) \
                 UPDATE onward_suspended s SET pending = s.pending + n.more, due_at = least(s.due_at, $3) \
                 FROM unnest($1::UUID[], $2::INT8[]) AS n (run_id, more) JOIN locked ON locked.run_id = n.run_id \
                 WHERE s.run_id = n.run_id RETURNING s.run_id",
                &[&runs, &counts, &now.as_micros()],
            )
            .await?;
        for row in &suspended {
            found.insert(row::run_id(row.try_get(0)?), None);
        }
        let (reached, left): (Vec<_>, Vec<_>) =
            deliveries.into_iter().partition(|(run_id, _)| found.contains_key(run_id));
        insert(tx, &reached).await?;
        for (run_id, node) in found {
            if woken.iter().all(|woken| woken.run_id != run_id) {
                woken.push(Woken { run_id, node });
            }
        }
        deliveries = alive(tx, left).await?;
        if deliveries.is_empty() {
            return Ok(());
        }
    }
    Err(StoreError::Unavailable("a run changed hands again and again".into()).into())
}

/// Those for steps for which nothing has come yet.
async fn new(tx: &Tx, deliveries: Vec<(RunId, Delivery)>) -> Done<Vec<(RunId, Delivery)>> {
    let runs: Vec<Uuid> = deliveries.iter().map(|(run_id, _)| row::uuid(*run_id)).collect();
    let known = tx.query("SELECT run_id, step FROM onward_deliveries WHERE run_id = ANY($1::UUID[])", &[&runs]).await?;
    let mut seen = Vec::new();
    for row in &known {
        seen.push((row::run_id(row.try_get(0)?), row::step(row.try_get(1)?)?));
    }
    let mut kept: Vec<(RunId, Delivery)> = Vec::new();
    for (run_id, delivery) in deliveries {
        if !seen.contains(&(run_id, delivery.step)) {
            seen.push((run_id, delivery.step));
            kept.push((run_id, delivery));
        }
    }
    Ok(kept)
}

/// Those whose run is there and has not ended: it has changed hands since it was looked for. One that has ended stays so
/// until the end of the transaction: who retries it at the same moment waits, and then finds what is stored here.
async fn alive(tx: &Tx, left: Vec<(RunId, Delivery)>) -> Done<Vec<(RunId, Delivery)>> {
    if left.is_empty() {
        return Ok(left);
    }
    let runs: Vec<Uuid> = left.iter().map(|(run_id, _)| row::uuid(*run_id)).collect();
    let lock = "SELECT run_id FROM onward_runs WHERE run_id = ANY($1::UUID[]) ORDER BY run_id FOR SHARE";
    tx.query(lock, &[&runs]).await?;
    let rows = tx
        .query(
            "SELECT r.run_id FROM onward_runs r WHERE r.run_id = ANY($1::UUID[]) \
             AND NOT EXISTS (SELECT 1 FROM onward_ended e WHERE e.run_id = r.run_id)",
            &[&runs],
        )
        .await?;
    let mut alive = Vec::new();
    for row in &rows {
        alive.push(row::run_id(row.try_get(0)?));
    }
    Ok(left.into_iter().filter(|(run_id, _)| alive.contains(run_id)).collect())
}

async fn insert(tx: &Tx, deliveries: &[(RunId, Delivery)]) -> Done<()> {
    if deliveries.is_empty() {
        return Ok(());
    }
    let runs: Vec<Uuid> = deliveries.iter().map(|(run_id, _)| row::uuid(*run_id)).collect();
    let steps: Vec<Vec<u8>> = deliveries.iter().map(|(_, delivery)| delivery.step.to_bytes().to_vec()).collect();
    let at: Vec<i64> = deliveries.iter().map(|(_, delivery)| delivery.at.as_micros()).collect();
    let facts: Vec<Vec<u8>> = deliveries.iter().map(|(_, delivery)| record::encode_fact(&delivery.fact)).collect();
    let places: Vec<i64> = (0_i64..).take(deliveries.len()).collect();
    tx.execute(
        "INSERT INTO onward_deliveries (run_id, step, place, at, fact) \
         SELECT d.run_id, d.step, d.place + 1 + coalesce((SELECT max(o.place) FROM onward_deliveries o \
         WHERE o.run_id = d.run_id), 0), d.at, d.fact \
         FROM unnest($1::UUID[], $2::BYTEA[], $3::INT8[], $4::INT8[], $5::BYTEA[]) AS d (run_id, step, place, at, fact)",
        &[&runs, &steps, &places, &at, &facts],
    )
    .await?;
    Ok(())
}
