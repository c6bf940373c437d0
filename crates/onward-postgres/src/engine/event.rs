//! Events: accepted in one order for each name, and given to who waits for them.

use std::{borrow::Cow, collections::BTreeSet};

use onward_core::{
    Payload, RunId, StepKey, StoreError, Timestamp,
    event::{
        Event, Matcher,
        matching::{lookup, text_of},
    },
    store::{Woken, record},
    waiter::{Delivery, Fact},
};
use serde_json::Value;
use tokio_postgres::Row;

use super::{TRIES, deliver::deliver};
use crate::{
    error::{Done, corrupt, unavailable},
    row,
    store::Inner,
    tx::Tx,
};

/// How many earlier events are read at once.
const PAGE: i64 = 200;

impl Inner {
    pub(crate) async fn send_events(&self, events: &[Event], now: Timestamp) -> Result<Vec<Woken>, StoreError> {
        let names: Vec<&str> = events.iter().map(|event| event.name.as_str()).collect();
        let names = &names;
        let woken = self
            .transact(|tx| async move {
                let tx = &*tx;
                lock_names(tx, names).await?;
                let mut woken = Vec::new();
                accept(self, tx, events, now, &mut woken).await?;
                Ok(woken)
            })
            .await?;
        self.tell_woken(&woken, onward_core::NodeId(0));
        Ok(woken)
    }
}

/// Waits until nobody else accepts events of these names, or looks for earlier ones.
pub(super) async fn lock_names(tx: &Tx, names: &[&str]) -> Done<()> {
    let names: Vec<Cow<'_, str>> =
        names.iter().map(|name| row::text(name)).collect::<BTreeSet<_>>().into_iter().collect();
    if names.is_empty() {
        return Ok(());
    }
    // Why again: one that nobody uses may be swept between the two.
    for _ in 0..TRIES {
        tx.execute(
            "INSERT INTO onward_event_names (name, last_received_at) \
             SELECT n.name, 0 FROM unnest($1::TEXT[]) AS n (name) \
             WHERE NOT EXISTS (SELECT 1 FROM onward_event_names o WHERE o.name = n.name) ON CONFLICT (name) DO NOTHING",
            &[&names],
        )
        .await?;
        let sql = "SELECT name FROM onward_event_names WHERE name = ANY($1::TEXT[]) ORDER BY name FOR UPDATE";
        if tx.query(sql, &[&names]).await?.len() == names.len() {
            return Ok(());
        }
    }
    Err(unavailable("the names of events were swept again and again").into())
}

/// Stores events that are not known, and gives each to the waiters that it matches. Their names are locked.
pub(super) async fn accept(
    inner: &Inner,
    tx: &Tx,
    events: &[Event],
    now: Timestamp,
    woken: &mut Vec<Woken>,
) -> Done<()> {
    for event in events {
        accept_one(inner, tx, event, now, woken).await?;
    }
    Ok(())
}

async fn accept_one(inner: &Inner, tx: &Tx, event: &Event, now: Timestamp, woken: &mut Vec<Woken>) -> Done<()> {
    let (first, name) = (inner.receive_at(now), row::text(&event.name));
    let stored = tx
        .one(
            "INSERT INTO onward_events (id, name, received_at, ts, data, more) \
             SELECT $1, $2, greatest($3, n.last_received_at + 1), $4, $5, $6 \
             FROM onward_event_names n WHERE n.name = $2 ON CONFLICT (id) DO NOTHING RETURNING received_at",
            &[
                &row::text(&event.id),
                &name,
                &first.as_micros(),
                &event.ts.as_micros(),
                &event.data.as_ref(),
                &event.more.as_ref(),
            ],
        )
        .await?;
    let Some(stored) = stored else { return Ok(()) };
    let received_at: i64 = stored.try_get(0)?;
    inner.received(Timestamp::from_micros(received_at));
    tx.execute("UPDATE onward_event_names SET last_received_at = $2 WHERE name = $1", &[&name, &received_at]).await?;
    let paths =
        tx.query("SELECT DISTINCT path FROM onward_event_waiters WHERE name = $1 ORDER BY path", &[&name]).await?;
    if paths.is_empty() {
        return Ok(());
    }
    let json = event.to_json();
    let mut waiting = Vec::new();
    for path in &paths {
        let path: &str = path.try_get(0)?;
        let text = if path.is_empty() { Some(String::new()) } else { lookup(&json, path).and_then(text_of) };
        if let Some(text) = text {
            waiting.append(&mut matching(tx, &json, &name, path, &text).await?);
        }
    }
    if waiting.is_empty() {
        return Ok(());
    }
    waiting.sort_unstable();
    let runs: Vec<uuid::Uuid> = waiting.iter().map(|(run_id, _)| row::uuid(*run_id)).collect();
    let steps: Vec<Vec<u8>> = waiting.iter().map(|(_, step)| step.to_bytes().to_vec()).collect();
    // Those that wait no longer have been settled, or were ended, meanwhile.
    let gone = tx
        .query(
            "DELETE FROM onward_event_waiters w USING unnest($1::UUID[], $2::BYTEA[]) AS d (run_id, step) \
             WHERE w.run_id = d.run_id AND w.step = d.step RETURNING w.run_id, w.step",
            &[&runs, &steps],
        )
        .await?;
    let fact = Fact::Event(Payload::from(json.to_string()));
    let at = Timestamp::from_micros(received_at);
    let mut deliveries = Vec::with_capacity(gone.len());
    for row in &gone {
        let (run_id, step) = (row::run_id(row.try_get(0)?), row::step(row.try_get(1)?)?);
        deliveries.push((run_id, Delivery { step, at, fact: fact.clone() }));
    }
    deliveries.sort_by_key(|(run_id, delivery)| (*run_id, delivery.step));
    deliver(tx, deliveries, now, woken).await
}

async fn matching(tx: &Tx, event: &Value, name: &str, path: &str, text: &str) -> Done<Vec<(RunId, StepKey)>> {
    let rows = tx
        .query(
            "SELECT run_id, step, matcher FROM onward_event_waiters WHERE name = $1 AND path = $2 AND digest = $3",
            &[&name, &path, &record::text_digest(text)],
        )
        .await?;
    let mut found = Vec::new();
    for row in &rows {
        let matcher = record::decode_matcher(row.try_get(2)?).map_err(corrupt)?;
        if matcher.matches(event) {
            found.push((row::run_id(row.try_get(0)?), row::step(row.try_get(1)?)?));
        }
    }
    Ok(found)
}

/// The earliest event received from `since` on that matches, as waiters get it. Its name is locked.
pub(super) async fn since(tx: &Tx, matcher: &Matcher, since: Timestamp) -> Done<Option<(Timestamp, Payload)>> {
    let mut from = since.as_micros();
    loop {
        let rows = tx
            .query(
                "SELECT id, ts, data, more, received_at FROM onward_events WHERE name = $1 AND received_at >= $2 \
                 ORDER BY received_at LIMIT $3",
                &[&row::text(&matcher.name), &from, &PAGE],
            )
            .await?;
        for row in &rows {
            let (received_at, json) = stored_event(&matcher.name, row)?;
            if matcher.matches(&json) {
                return Ok(Some((Timestamp::from_micros(received_at), Payload::from(json.to_string()))));
            }
            from = received_at.saturating_add(1);
        }
        if i64::try_from(rows.len()).unwrap_or(0) < PAGE {
            return Ok(None);
        }
    }
}

fn stored_event(name: &str, row: &Row) -> Done<(i64, Value)> {
    let event = Event {
        id: row::name(row.try_get(0)?),
        name: name.to_owned(),
        data: row::payload(row.try_get(2)?),
        ts: Timestamp::from_micros(row.try_get(1)?),
        more: row::payload(row.try_get(3)?),
    };
    Ok((row.try_get(4)?, event.to_json()))
}
