//! What operators do to runs.

use onward_core::{
    Fence, NodeId, Payload, RunId, StepKey, StoreError, Timestamp,
    journal::{format, invoked, reset_entries},
    run::{Outcome, Status},
    store::{Control, News, Woken, record},
    waiter::{Delivery, Fact},
};
use uuid::Uuid;

use super::{
    checkpoint::{End, FORGET_WAITS, append, end},
    deliver::deliver,
    sweep::{Budget, delete_runs},
};
use crate::{
    error::{Done, corrupt, unavailable},
    held::ENTRIES_MAX,
    read, row,
    store::Inner,
    tx::Tx,
};

/// How often a run is looked for that changes hands meanwhile.
const LOOKS: usize = 8;

impl Inner {
    pub(crate) async fn control(
        &self,
        run_id: RunId,
        control: &Control,
        now: Timestamp,
    ) -> Result<Vec<Woken>, StoreError> {
        let woken = self
            .transact(|tx| async move {
                let tx = &*tx;
                match control {
                    Control::Cancel(outcome) => cancel(tx, run_id, outcome, now).await,
                    Control::TimeOut(outcome) => time_out(tx, run_id, outcome, now).await,
                    Control::Retry { step, timeout_at } => retry(tx, run_id, *step, *timeout_at, now).await,
                    Control::Delete => delete(tx, run_id).await.map(|()| Vec::new()),
                }
            })
            .await?;
        if matches!(control, Control::Cancel(_) | Control::TimeOut(_)) {
            self.known.forget(run_id);
            // Why to all: whoever executes it is to stop.
            self.news.tell(News::Ended(run_id));
        }
        self.tell_woken(&woken, NodeId(0));
        Ok(woken)
    }
}

/// The status of a run that is not where it was looked for.
async fn status(tx: &Tx, run: Uuid) -> Done<Status> {
    let found = tx
        .one(
            "SELECT e.status, l.node FROM onward_runs r \
             LEFT JOIN onward_ended e ON e.run_id = r.run_id LEFT JOIN onward_leases l ON l.run_id = r.run_id \
             WHERE r.run_id = $1",
            &[&run],
        )
        .await?
        .ok_or(StoreError::RunNotFound)?;
    let node: Option<i64> = found.try_get(1)?;
    Ok(match found.try_get::<_, Option<i64>>(0)? {
        Some(number) => row::status_of(number)?,
        None if node.is_some() => Status::Running,
        None => Status::Suspended,
    })
}

async fn cancel(tx: &Tx, run_id: RunId, outcome: &Outcome, now: Timestamp) -> Done<Vec<Woken>> {
    let run = row::uuid(run_id);
    let mut woken = Vec::new();
    for _ in 0..LOOKS {
        let held = tx.one("DELETE FROM onward_leases WHERE run_id = $1 RETURNING fence, node", &[&run]).await?;
        let fence: i64 = if let Some(held) = held {
            let node: i64 = held.try_get(1)?;
            woken.push(Woken { run_id, node: Some(NodeId(node.cast_unsigned())) });
            held.try_get(0)?
        } else {
            match tx.one("DELETE FROM onward_suspended WHERE run_id = $1 RETURNING fence", &[&run]).await? {
                Some(suspended) => suspended.try_get(0)?,
                None => match status(tx, run).await? {
                    status if status.is_final() => return Err(StoreError::WrongStatus(status).into()),
                    _ => continue,
                },
            }
        };
        end_suspended(tx, run_id, outcome, fence, now, &mut woken).await?;
        return Ok(woken);
    }
    Err(unavailable("the run changed hands again and again").into())
}

/// Ends a run that is in no lane and under no lease any more.
async fn end_suspended(
    tx: &Tx,
    run_id: RunId,
    outcome: &Outcome,
    fence: i64,
    now: Timestamp,
    woken: &mut Vec<Woken>,
) -> Done<()> {
    let made = tx.one("SELECT retention FROM onward_runs WHERE run_id = $1", &[&row::uuid(run_id)]).await?;
    let retention = made.ok_or(StoreError::RunNotFound)?.try_get(0)?;
    let encoded = Payload::from(record::encode_outcome(outcome));
    let fence = Fence(fence.cast_unsigned()).next();
    end(tx, run_id, &End { outcome, encoded: &encoded, fence, retention }, now, woken).await
}

async fn time_out(tx: &Tx, run_id: RunId, outcome: &Outcome, now: Timestamp) -> Done<Vec<Woken>> {
    let run = row::uuid(run_id);
    let sql = "DELETE FROM onward_suspended s USING onward_runs r \
               WHERE s.run_id = $1 AND r.run_id = s.run_id AND r.timeout_at <= $2 RETURNING s.fence";
    let Some(suspended) = tx.one(sql, &[&run, &now.as_micros()]).await? else {
        return Err(StoreError::WrongStatus(status(tx, run).await?).into());
    };
    let mut woken = Vec::new();
    end_suspended(tx, run_id, outcome, suspended.try_get(0)?, now, &mut woken).await?;
    Ok(woken)
}

async fn retry(
    tx: &Tx,
    run_id: RunId,
    step: Option<StepKey>,
    timeout_at: Option<Timestamp>,
    now: Timestamp,
) -> Done<Vec<Woken>> {
    let run = row::uuid(run_id);
    let ended = tx
        .one(
            "DELETE FROM onward_ended WHERE run_id = $1 AND status = $2 RETURNING fence",
            &[&run, &i64::from(Status::Failed.number())],
        )
        .await?;
    let Some(ended) = ended else { return Err(StoreError::WrongStatus(status(tx, run).await?).into()) };
    // What came until it ended, and was not taken. A run that waited for nothing, as far as its node knew, left it.
    for sql in FORGET_WAITS {
        tx.execute(sql, &[&run]).await?;
    }
    let journal = read::entries(
        &tx.query("SELECT seq, data FROM onward_entries WHERE run_id = $1 ORDER BY seq", &[&run]).await?,
    )?;
    let reset: Vec<_> = reset_entries(&journal, step, now)
        .iter()
        .map(|entry| (entry.seq, Payload::from(format::encode(entry))))
        .collect();
    if reset.last().is_some_and(|(seq, _)| seq.0 >= ENTRIES_MAX) {
        return Err(corrupt("the journal is full").into());
    }
    append(tx, run_id, &reset).await?;
    tx.execute("DELETE FROM onward_crashes WHERE run_id = $1", &[&run]).await?;
    let timeout_at = timeout_at.and_then(row::never_is_null);
    let lane: i64 = tx
        .one("UPDATE onward_runs SET timeout_at = $2 WHERE run_id = $1 RETURNING lane", &[&run, &timeout_at])
        .await?
        .ok_or(StoreError::RunNotFound)?
        .try_get(0)?;
    tx.execute(
        "INSERT INTO onward_suspended (run_id, lane, due_at, fence, pending) VALUES ($1, $2, $3, $4, 0)",
        &[&run, &lane, &row::due_at(now, timeout_at), &ended.try_get::<_, i64>(0)?],
    )
    .await?;
    let mut woken = vec![Woken { run_id, node: None }];
    for (step, child) in invoked(&journal) {
        let outcome = tx.one("SELECT outcome FROM onward_ended WHERE run_id = $1", &[&row::uuid(child)]).await?;
        if let Some(outcome) = outcome {
            let outcome = record::decode_outcome(outcome.try_get(0)?).map_err(corrupt)?;
            let told = Delivery { step, at: now, fact: Fact::Outcome(outcome) };
            deliver(tx, vec![(run_id, told)], now, &mut woken).await?;
        }
    }
    Ok(woken)
}

async fn delete(tx: &Tx, run_id: RunId) -> Done<()> {
    let run = row::uuid(run_id);
    let ended = tx.one("SELECT run_id FROM onward_ended WHERE run_id = $1 FOR UPDATE", &[&run]).await?;
    if ended.is_none() {
        return Err(StoreError::WrongStatus(status(tx, run).await?).into());
    }
    delete_runs(tx, &[run], &mut Budget::FULL.clone()).await
}
