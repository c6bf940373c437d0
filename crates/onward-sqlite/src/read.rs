//! What is read: one run with its journal, or a page of many.

mod page;
mod unserved;

use onward_core::{
    NodeId, Payload, RunId, Seq, StoreError, Timestamp,
    journal::{Entry, format},
    run::{CrashRecord, Crashes, Outcome, RunRecord},
    store::{Loaded, record},
    stream::{self, Frame, Place},
    waiter::Delivery,
};
use rusqlite::{Connection, OptionalExtension, types::Type};

pub(crate) use self::{page::runs, unserved::unserved};
use crate::{
    error::store_error,
    row::{self, RECORD_COLUMNS, Slot},
};

/// About how many bytes of frames are read at once, however many are asked for: readers may be many, and slow.
const FRAMES_BYTES: usize = 512 * 1024;

/// A run's rows of entries.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    pub(crate) request: Payload,
    pub(crate) entries: Vec<Entry>,
    pub(crate) outcome: Option<Outcome>,
}

pub(crate) fn journal(conn: &Connection, key: i64) -> rusqlite::Result<Journal> {
    let mut select =
        conn.prepare_cached("SELECT place, data FROM onward_entries WHERE place >= ?1 AND place <= ?2 ORDER BY place")?;
    let mut rows = select.query([row::request_place(key), row::outcome_place(key)])?;
    let mut journal = Journal::default();
    while let Some(columns) = rows.next()? {
        let data = columns.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?;
        match row::slot(columns.get(0)?) {
            Slot::Request => journal.request = Payload::from(data.to_vec()),
            Slot::Entry(seq) => {
                if usize::try_from(seq.0) != Ok(journal.entries.len()) {
                    return Err(row::damaged(Type::Integer, "the journal has a gap"));
                }
                let entry = format::decode(seq, data)
                    .map_err(|error| rusqlite::Error::FromSqlConversionFailure(1, Type::Blob, Box::new(error)))?;
                journal.entries.push(entry);
            }
            Slot::Outcome => journal.outcome = Some(record::decode_outcome(data).map_err(row::damaged_record)?),
        }
    }
    Ok(journal)
}

fn record(conn: &Connection, run_id: RunId) -> rusqlite::Result<Option<(i64, RunRecord)>> {
    let sql = format!(
        "SELECT {RECORD_COLUMNS} FROM onward_runs r JOIN onward_endpoints e ON e.id = r.endpoint WHERE r.run_id = ?1"
    );
    conn.prepare_cached(&sql)?.query_row([run_id.to_bytes()], row::run_record).optional()
}

pub(crate) fn load(conn: &Connection, run_id: RunId) -> Result<Option<Loaded>, StoreError> {
    let Some((key, mut record)) = record(conn, run_id).map_err(store_error)? else { return Ok(None) };
    let journal = journal(conn, key).map_err(store_error)?;
    record.request = journal.request;
    record.outcome = journal.outcome.or(record.outcome);
    let deliveries = deliveries_of(conn, key).map_err(store_error)?;
    let streamed = streamed(conn, key).map_err(store_error)?;
    let next = journal.entries.last().map_or(Seq(0), |entry| entry.seq.next());
    let crashes = crash_record(conn, key).map_err(store_error)?;
    let crashes = crashes.map_or_else(Crashes::default, |record| record.crashes(next));
    Ok(Some(Loaded { record, journal: journal.entries, deliveries, streamed, crashes }))
}

/// What is stored of a run's crashes.
pub(crate) fn crash_record(conn: &Connection, key: i64) -> rusqlite::Result<Option<CrashRecord>> {
    let mut select = conn.prepare_cached("SELECT next, count, last_at, node FROM onward_crashes WHERE run = ?1")?;
    let record = select.query_row([key], |columns| {
        Ok(CrashRecord {
            next: Seq(columns.get(0)?),
            count: columns.get(1)?,
            last_at: Timestamp::from_micros(columns.get(2)?),
            node: NodeId(columns.get::<_, i64>(3)?.cast_unsigned()),
        })
    });
    record.optional()
}

/// The place of a run's last frame.
pub(crate) fn streamed(conn: &Connection, key: i64) -> rusqlite::Result<Place> {
    let mut select = conn.prepare_cached(
        "SELECT place + count - 1 FROM onward_frames WHERE place > ?1 AND place < ?2 ORDER BY place DESC LIMIT 1",
    )?;
    let last = select.query_row([row::request_place(key), row::request_place(key + 1)], |row| row.get(0)).optional()?;
    Ok(last.map_or(Place(0), row::first_frame))
}

pub(crate) fn frames(conn: &Connection, run_id: RunId, after: Place, limit: usize) -> Result<Vec<Frame>, StoreError> {
    let Some(key) = key_of(conn, run_id)? else { return Ok(Vec::new()) };
    frames_of(conn, key, after, limit).map_err(store_error)
}

fn frames_of(conn: &Connection, key: i64, after: Place, limit: usize) -> rusqlite::Result<Vec<Frame>> {
    // The row that holds the frame after it begins there or before.
    let mut select = conn.prepare_cached(
        "SELECT place, data FROM onward_frames WHERE place >= coalesce((SELECT max(place) FROM onward_frames \
         WHERE place > ?1 AND place <= ?2), ?1) AND place < ?3 ORDER BY place",
    )?;
    let first = row::request_place(key);
    let mut rows = select.query([first, row::frame_place(key, after.next()), row::request_place(key + 1)])?;
    let (mut frames, mut bytes) = (Vec::new(), 0);
    while let Some(columns) = rows.next()? {
        let data = columns.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?;
        bytes += data.len();
        let piece = stream::format::decode(row::first_frame(columns.get(0)?), data)
            .map_err(|error| rusqlite::Error::FromSqlConversionFailure(1, Type::Blob, Box::new(error)))?;
        frames.extend(piece.into_iter().filter(|frame| frame.place > after));
        if frames.len() >= limit || bytes >= FRAMES_BYTES {
            break;
        }
    }
    Ok(frames)
}

fn key_of(conn: &Connection, run_id: RunId) -> Result<Option<i64>, StoreError> {
    conn.prepare_cached("SELECT key FROM onward_runs WHERE run_id = ?1")
        .and_then(|mut select| select.query_row([run_id.to_bytes()], |row| row.get(0)).optional())
        .map_err(store_error)
}

pub(crate) fn run(conn: &Connection, run_id: RunId) -> Result<Option<RunRecord>, StoreError> {
    let Some((key, mut record)) = record(conn, run_id).map_err(store_error)? else { return Ok(None) };
    let mut select = conn.prepare_cached("SELECT data FROM onward_entries WHERE place = ?1").map_err(store_error)?;
    let mut data =
        |place: i64| select.query_row([place], |row| row.get::<_, Vec<u8>>(0)).optional().map_err(store_error);
    record.request = data(row::request_place(key))?.map(Payload::from).unwrap_or_default();
    if record.status.is_final()
        && let Some(data) = data(row::outcome_place(key))?
    {
        let outcome = record::decode_outcome(&data).map_err(row::damaged_record).map_err(store_error)?;
        record.outcome = Some(outcome);
    }
    Ok(Some(record))
}

pub(crate) fn registrations(conn: &Connection) -> Result<Vec<(String, Payload)>, StoreError> {
    let select = || -> rusqlite::Result<_> {
        let mut select = conn.prepare_cached("SELECT name, value FROM onward_registrations ORDER BY name")?;
        let rows = select.query_map([], |row| Ok((row.get(0)?, Payload::from(row.get::<_, Vec<u8>>(1)?))))?;
        rows.collect()
    };
    select().map_err(store_error)
}

pub(crate) fn deliveries(conn: &Connection, run_id: RunId) -> Result<Vec<Delivery>, StoreError> {
    key_of(conn, run_id)?.map_or(Ok(Vec::new()), |key| deliveries_of(conn, key).map_err(store_error))
}

fn deliveries_of(conn: &Connection, key: i64) -> rusqlite::Result<Vec<Delivery>> {
    let mut select = conn.prepare_cached("SELECT step, at, fact FROM onward_deliveries WHERE run = ?1 ORDER BY id")?;
    let rows = select.query_map([key], |columns| {
        let fact = columns.get_ref(2)?.as_blob().map_err(rusqlite::Error::from)?;
        Ok(Delivery {
            step: row::step_key(columns, 0)?,
            at: Timestamp::from_micros(columns.get(1)?),
            fact: record::decode_fact(fact).map_err(row::damaged_record)?,
        })
    })?;
    rows.collect()
}
