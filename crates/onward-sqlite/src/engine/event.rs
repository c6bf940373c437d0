//! Events and signals: accepted, and given to who waits for them.

use onward_core::{
    Payload, RunId, StepKey, Timestamp,
    event::{
        Event, Matcher,
        matching::{lookup, text_of},
    },
    store::{Woken, record},
    waiter::{Delivery, Fact, Signal},
};
use rusqlite::{OptionalExtension, params};
use serde_json::Value;

use crate::{engine::Engine, error::Done, row};

impl Engine<'_> {
    pub(crate) fn send_events(&mut self, events: &[Event], now: Timestamp) -> Done<Vec<Woken>> {
        let mut woken = Vec::new();
        for event in events {
            self.accept(event, now, &mut woken)?;
        }
        Ok(woken)
    }

    pub(crate) fn send_signal(&mut self, signal: &Signal, now: Timestamp) -> Done<Option<Woken>> {
        let mut woken = Vec::new();
        self.signal(signal, now, &mut woken)?;
        Ok(woken.pop())
    }

    /// Stores an event, unless it is known, and gives it to each waiter that it matches.
    pub(super) fn accept(&mut self, event: &Event, now: Timestamp, woken: &mut Vec<Woken>) -> Done<()> {
        let after_last = self.known.last_received_at.map(|last| last.saturating_add(1));
        let received_at = after_last.map_or(now.as_micros(), |after_last| now.as_micros().max(after_last));
        let stored = self
            .conn
            .prepare_cached(
                "INSERT INTO onward_events (received_at, id, name, ts, data, more) VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
                 ON CONFLICT (id) DO NOTHING",
            )?
            .execute(params![
                received_at,
                event.id,
                event.name,
                event.ts.as_micros(),
                event.data.as_ref(),
                event.more.as_ref()
            ])?;
        if stored == 0 {
            return Ok(());
        }
        self.known.last_received_at = Some(received_at);
        let mut paths = self.waited_path(&event.name, None)?;
        if paths.is_none() {
            return Ok(());
        }
        let json = event.to_json();
        let mut waiting = Vec::new();
        while let Some(path) = paths {
            let text = if path.is_empty() { Some(String::new()) } else { lookup(&json, &path).and_then(text_of) };
            if let Some(text) = text {
                waiting.append(&mut self.matching(&json, &event.name, &path, &text)?);
            }
            paths = self.waited_path(&event.name, Some(&path))?;
        }
        waiting.sort_unstable();
        let fact = Fact::Event(Payload::from(json.to_string()));
        let at = Timestamp::from_micros(received_at);
        for (key, step) in waiting {
            self.conn
                .prepare_cached("DELETE FROM onward_event_waiters WHERE run = ?1 AND step = ?2")?
                .execute(params![key, step.to_bytes()])?;
            self.deliver(key, &Delivery { step, at, fact: fact.clone() }, now, woken)?;
        }
        Ok(())
    }

    /// The next of the paths that waiters for events of a name compare.
    fn waited_path(&self, name: &str, after: Option<&str>) -> Done<Option<String>> {
        let found = match after {
            None => self
                .conn
                .prepare_cached("SELECT min(path) FROM onward_event_waiters WHERE name = ?1")?
                .query_row([name], |row| row.get(0)),
            Some(after) => self
                .conn
                .prepare_cached("SELECT min(path) FROM onward_event_waiters WHERE name = ?1 AND path > ?2")?
                .query_row([name, after], |row| row.get(0)),
        };
        Ok(found?)
    }

    fn matching(&self, event: &Value, name: &str, path: &str, text: &str) -> Done<Vec<(i64, StepKey)>> {
        let mut select = self.conn.prepare_cached(
            "SELECT run, step, matcher FROM onward_event_waiters WHERE name = ?1 AND path = ?2 AND digest = ?3",
        )?;
        let mut rows = select.query(params![name, path, record::text_digest(text)])?;
        let mut found = Vec::new();
        while let Some(columns) = rows.next()? {
            let matcher = record::decode_matcher(columns.get_ref(2)?.as_blob().map_err(rusqlite::Error::from)?)
                .map_err(row::damaged_record)?;
            if matcher.matches(event) {
                found.push((columns.get(0)?, row::step_key(columns, 1)?));
            }
        }
        Ok(found)
    }

    /// The earliest event received from `since` on that matches, as waiters get it.
    pub(super) fn event_since(&self, matcher: &Matcher, since: Timestamp) -> Done<Option<(Timestamp, Payload)>> {
        let mut select = self.conn.prepare_cached(
            "SELECT id, ts, data, more, received_at FROM onward_events WHERE name = ?1 AND received_at >= ?2 \
             ORDER BY received_at",
        )?;
        let mut rows = select.query(params![matcher.name, since.as_micros()])?;
        while let Some(columns) = rows.next()? {
            let event = Event {
                id: columns.get(0)?,
                name: matcher.name.clone(),
                data: Payload::from(columns.get::<_, Vec<u8>>(2)?),
                ts: Timestamp::from_micros(columns.get(1)?),
                more: Payload::from(columns.get::<_, Vec<u8>>(3)?),
            };
            let json = event.to_json();
            if matcher.matches(&json) {
                let received_at = Timestamp::from_micros(columns.get(4)?);
                return Ok(Some((received_at, Payload::from(json.to_string()))));
            }
        }
        Ok(None)
    }

    /// Gives a signal to who waits for it.
    pub(super) fn signal(&mut self, signal: &Signal, now: Timestamp, woken: &mut Vec<Woken>) -> Done<Option<RunId>> {
        let Some((key, step)) = self.signal_waiter(&signal.name)? else { return Ok(None) };
        self.remove_signal_waiter(&signal.name)?;
        self.deliver(key, &Delivery { step, at: now, fact: Fact::Signal(signal.data.clone()) }, now, woken)?;
        let mut select = self.conn.prepare_cached("SELECT run_id FROM onward_runs WHERE key = ?1")?;
        Ok(select.query_row([key], |row| row::run_id(row, 0)).optional()?)
    }
}
