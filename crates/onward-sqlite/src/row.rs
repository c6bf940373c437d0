//! Numbers and keys as columns hold them.

use std::time::Duration;

use onward_core::{
    EndpointId, Fence, NodeId, Payload, RunId, Seq, StepKey, Timestamp, Version,
    run::{Outcome, Parent, RunRecord, Status},
    store::record,
    stream::Place,
};
use rusqlite::{Row, types::Type};

/// The lane of running runs.
pub(crate) const LANE_RUNNING: i64 = -1;
/// The lane of ended runs; lanes of endpoints count from 1.
pub(crate) const LANE_ENDED: i64 = 0;

const SLOT_BITS: u32 = 20;
const SLOT_OUTCOME: i64 = (1 << SLOT_BITS) - 1;

/// The most entries that a run's journal can have.
pub(crate) const ENTRIES_MAX: u32 = (1 << SLOT_BITS) - 2;

/// Where a run's request is kept.
pub(crate) const fn request_place(key: i64) -> i64 {
    key << SLOT_BITS
}

/// Where a run's entry is kept.
pub(crate) const fn entry_place(key: i64, seq: Seq) -> i64 {
    (key << SLOT_BITS) + seq.0 as i64 + 1
}

/// Where a run's outcome is kept: the last of its rows.
pub(crate) const fn outcome_place(key: i64) -> i64 {
    (key << SLOT_BITS) + SLOT_OUTCOME
}

/// Where a run's frames from this one on are kept.
pub(crate) const fn frame_place(key: i64, place: Place) -> i64 {
    (key << SLOT_BITS) + place.0 as i64
}

/// Which frame the row at this place begins with.
pub(crate) fn first_frame(place: i64) -> Place {
    Place(u32::try_from(place & SLOT_OUTCOME).expect("a slot has 20 bits"))
}

/// What a row of a run's entries is.
pub(crate) enum Slot {
    Request,
    Entry(Seq),
    Outcome,
}

/// What the row at this place is.
pub(crate) fn slot(place: i64) -> Slot {
    match place & SLOT_OUTCOME {
        0 => Slot::Request,
        SLOT_OUTCOME => Slot::Outcome,
        slot => Slot::Entry(Seq(u32::try_from(slot - 1).expect("a slot has 20 bits"))),
    }
}

pub(crate) fn status_number(status: Status) -> i64 {
    i64::from(status.number())
}

pub(crate) fn status(number: i64) -> rusqlite::Result<Status> {
    u8::try_from(number).ok().and_then(Status::from_number).ok_or_else(|| damaged(Type::Integer, "no such status"))
}

/// `NEVER` is stored as NULL.
pub(crate) fn never_is_null(at: Timestamp) -> Option<i64> {
    (at != Timestamp::NEVER).then_some(at.as_micros())
}

pub(crate) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

pub(crate) fn retention(micros: i64) -> Duration {
    if micros == i64::MAX { Duration::MAX } else { Duration::from_micros(u64::try_from(micros).unwrap_or(0)) }
}

pub(crate) fn damaged(kind: Type, why: &'static str) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, kind, why.into())
}

pub(crate) fn damaged_record(error: record::InvalidRecord) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, Type::Blob, Box::new(error))
}

pub(crate) fn run_id(row: &Row<'_>, column: usize) -> rusqlite::Result<RunId> {
    Ok(RunId::from_bytes(row.get(column)?))
}

pub(crate) fn endpoint_id(row: &Row<'_>, column: usize) -> rusqlite::Result<EndpointId> {
    EndpointId::try_new(row.get::<_, String>(column)?).map_err(|_| damaged(Type::Text, "invalid endpoint id"))
}

/// `None` is stored as an empty text.
pub(crate) fn version(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Version>> {
    let text: String = row.get(column)?;
    let version = (!text.is_empty()).then(|| Version::try_new(text)).transpose();
    version.map_err(|_| damaged(Type::Text, "invalid version"))
}

pub(crate) fn step_key(row: &Row<'_>, column: usize) -> rusqlite::Result<StepKey> {
    Ok(StepKey::from_bytes(row.get(column)?))
}

pub(crate) fn parent(row: &Row<'_>, run: usize, step: usize) -> rusqlite::Result<Option<Parent>> {
    let Some(run_id) = row.get::<_, Option<[u8; 16]>>(run)? else { return Ok(None) };
    Ok(Some(Parent { run_id: RunId::from_bytes(run_id), step: step_key(row, step)? }))
}

/// The columns that [`run_record`] reads.
pub(crate) const RECORD_COLUMNS: &str = "r.key, r.run_id, e.name, r.status, r.created_at, r.finished_at, r.due_at, \
     r.timeout_at, r.retention, r.fence, r.node, r.parent_run, r.parent_step, e.version, e.pinned";

/// A run's key and its record, without request and responses.
pub(crate) fn run_record(row: &Row<'_>) -> rusqlite::Result<(i64, RunRecord)> {
    let status = status(row.get(3)?)?;
    let due_at = row.get::<_, Option<i64>>(6)?.filter(|_| status == Status::Suspended);
    let record = RunRecord {
        run_id: run_id(row, 1)?,
        endpoint: endpoint_id(row, 2)?,
        version: version(row, 13)?,
        pinned: row.get(14)?,
        status,
        created_at: Timestamp::from_micros(row.get(4)?),
        finished_at: row.get::<_, Option<i64>>(5)?.map(Timestamp::from_micros),
        due_at: due_at.map_or(Timestamp::NEVER, Timestamp::from_micros),
        timeout_at: row.get::<_, Option<i64>>(7)?.map(Timestamp::from_micros),
        retention: retention(row.get(8)?),
        fence: Fence(row.get::<_, i64>(9)?.cast_unsigned()),
        node: row.get::<_, Option<i64>>(10)?.map(|node| NodeId(node.cast_unsigned())),
        parent: parent(row, 11, 12)?,
        request: Payload::default(),
        outcome: status.is_final().then(|| Outcome { status, response: Payload::default(), error: Payload::default() }),
    };
    Ok((row.get(0)?, record))
}
