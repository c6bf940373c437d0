//! Signals: given to the one who waits for their name.

use onward_core::{
    RunId, StepKey, StoreError, Timestamp,
    store::Woken,
    waiter::{Delivery, Fact, Signal},
};

use super::deliver::deliver;
use crate::{error::Done, row, store::Inner, tx::Tx};

impl Inner {
    pub(crate) async fn send_signal(&self, signal: &Signal, now: Timestamp) -> Result<Option<Woken>, StoreError> {
        let woken = self
            .transact(|tx| async move {
                let tx = &*tx;
                let mut woken = Vec::new();
                send(tx, signal, now, &mut woken).await?;
                Ok(woken)
            })
            .await?;
        self.tell_woken(&woken, onward_core::NodeId(0));
        Ok(woken.into_iter().next_back())
    }
}

/// Gives a signal to who waits for it.
pub(super) async fn send(tx: &Tx, signal: &Signal, now: Timestamp, woken: &mut Vec<Woken>) -> Done<Option<RunId>> {
    let waiter = tx
        .one("DELETE FROM onward_signal_waiters WHERE name = $1 RETURNING run_id, step", &[&row::text(&signal.name)])
        .await?;
    let Some(waiter) = waiter else { return Ok(None) };
    let (run_id, step) = (row::run_id(waiter.try_get(0)?), row::step(waiter.try_get(1)?)?);
    let delivery = Delivery { step, at: now, fact: Fact::Signal(signal.data.clone()) };
    deliver(tx, vec![(run_id, delivery)], now, woken).await?;
    Ok(Some(run_id))
}

/// Registers the waiter of a name, or tells it, or the one before, that the name is taken.
pub(super) async fn wait(
    tx: &Tx,
    run_id: RunId,
    step: StepKey,
    name: &str,
    replace: bool,
    now: Timestamp,
    woken: &mut Vec<Woken>,
) -> Done<()> {
    let taken = |step| Delivery { step, at: now, fact: Fact::SignalTaken };
    let (run, bytes) = (row::uuid(run_id), step.to_bytes().to_vec());
    // Whoever comes at the same time waits here for the first, and finds it.
    let first = tx
        .execute(
            "INSERT INTO onward_signal_waiters (name, run_id, step) VALUES ($1, $2, $3) ON CONFLICT (name) DO NOTHING",
            &[&name, &run, &bytes],
        )
        .await?;
    if first > 0 {
        return Ok(());
    }
    let other = tx.one("SELECT run_id, step FROM onward_signal_waiters WHERE name = $1 FOR UPDATE", &[&name]).await?;
    if let Some(other) = other {
        let (other, other_step) = (row::run_id(other.try_get(0)?), row::step(other.try_get(1)?)?);
        if (other, other_step) == (run_id, step) {
            return Ok(());
        }
        if !replace {
            return deliver(tx, vec![(run_id, taken(step))], now, woken).await;
        }
        deliver(tx, vec![(other, taken(other_step))], now, woken).await?;
    }
    tx.execute(
        "INSERT INTO onward_signal_waiters (name, run_id, step) VALUES ($1, $2, $3) \
         ON CONFLICT (name) DO UPDATE SET run_id = excluded.run_id, step = excluded.step",
        &[&name, &run, &bytes],
    )
    .await?;
    Ok(())
}
