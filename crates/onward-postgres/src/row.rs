//! Numbers and keys as columns hold them.

use std::{borrow::Cow, time::Duration};

use onward_core::{
    EndpointId, Fence, NodeId, Payload, RunId, Seq, StepKey, StoreError, Timestamp, Version,
    event::Matcher,
    run::{NewRun, Outcome, Parent, RunRecord, Status},
    store::Served,
    stream::Place,
};
use sha2::{Digest, Sha256};
use tokio_postgres::Row;
use uuid::Uuid;

use crate::error::corrupt;

pub(crate) fn uuid(run_id: RunId) -> Uuid {
    Uuid::from_bytes(run_id.to_bytes())
}

pub(crate) fn run_id(uuid: Uuid) -> RunId {
    RunId::from_bytes(uuid.into_bytes())
}

pub(crate) fn node(node: NodeId) -> i64 {
    node.0.cast_signed()
}

pub(crate) fn fence(fence: Fence) -> i64 {
    fence.0.cast_signed()
}

pub(crate) fn step(bytes: &[u8]) -> Result<StepKey, StoreError> {
    bytes.try_into().map(StepKey::from_bytes).map_err(|_| corrupt("a step's key has not 20 bytes"))
}

pub(crate) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

pub(crate) fn retention(micros: i64) -> Duration {
    if micros == i64::MAX { Duration::MAX } else { Duration::from_micros(u64::try_from(micros).unwrap_or(0)) }
}

/// When an ended run goes.
pub(crate) fn sweep_at(now: Timestamp, kept: i64) -> i64 {
    now.after(retention(kept)).as_micros()
}

/// When a run is due that is suspended until a time: by its timeout at the latest.
pub(crate) fn due_at(at: Timestamp, timeout_at: Option<i64>) -> i64 {
    at.as_micros().min(timeout_at.unwrap_or(i64::MAX))
}

pub(crate) fn never_is_null(at: Timestamp) -> Option<i64> {
    (at != Timestamp::NEVER).then_some(at.as_micros())
}

/// The number of an endpoint, or of one version of it: a digest.
fn number(endpoint: &EndpointId, version: Option<&str>) -> i64 {
    let mut digest = Sha256::new();
    digest.update(endpoint.as_str().as_bytes());
    if let Some(version) = version {
        digest.update([0]);
        digest.update(version.as_bytes());
    }
    let digest = digest.finalize();
    i64::from_be_bytes(digest[..8].try_into().expect("a digest has 32 bytes"))
}

/// What names the version of a handler that has none, where a run is pinned to it.
const NO_VERSION: &str = "";

fn version_text(version: Option<&Version>) -> &str {
    version.map_or(NO_VERSION, Version::as_str)
}

/// The endpoint of a run as it is made, with its version.
pub(crate) fn endpoint(new: &NewRun) -> i64 {
    number(&new.endpoint, new.version.as_ref().map(Version::as_str))
}

/// Where a run as it is made waits to be claimed.
pub(crate) fn lane(new: &NewRun) -> i64 {
    number(&new.endpoint, new.pinned.then(|| version_text(new.version.as_ref())))
}

/// Where the runs wait that one who serves this may claim.
pub(crate) fn lanes(served: &Served) -> [i64; 2] {
    [number(&served.endpoint, None), number(&served.endpoint, Some(version_text(served.version.as_ref())))]
}

/// What must be known of the endpoint of a run as it is made: numbers, each with its version.
pub(crate) fn endpoint_rows(new: &NewRun) -> [(i64, Option<&str>); 2] {
    let version = new.version.as_ref().map(Version::as_str);
    let pinned = new.pinned.then(|| version_text(new.version.as_ref()));
    [(endpoint(new), version), (lane(new), pinned)]
}

pub(crate) fn status_of(number: i64) -> Result<Status, StoreError> {
    u8::try_from(number).ok().and_then(Status::from_number).ok_or_else(|| corrupt("no such status"))
}

pub(crate) fn payload(bytes: Vec<u8>) -> Payload {
    Payload::from(bytes)
}

pub(crate) fn parent(run: Option<Uuid>, of: Option<&[u8]>) -> Result<Option<Parent>, StoreError> {
    let Some(run) = run else { return Ok(None) };
    let of = of.ok_or_else(|| corrupt("a run has a parent without a step"))?;
    Ok(Some(Parent { run_id: run_id(run), step: step(of)? }))
}

/// The columns that [`run_record`] reads, and where they are from.
pub(crate) const RECORD_COLUMNS: &str = "r.run_id, p.name, p.version, r.pinned, r.created_at, r.timeout_at, r.retention, r.parent_run, r.parent_step, l.node, \
     coalesce(l.fence, s.fence, e.fence) AS fence, s.due_at, e.status, e.finished_at";

/// A run's record, without request and responses.
pub(crate) fn run_record(row: &Row) -> Result<RunRecord, StoreError> {
    let status = match row.try_get::<_, Option<i64>>("status").map_err(damaged)? {
        Some(number) => status_of(number)?,
        None if row.try_get::<_, Option<i64>>("node").map_err(damaged)?.is_some() => Status::Running,
        None => Status::Suspended,
    };
    let name: String = row.try_get("name").map_err(damaged)?;
    let version: Option<String> = row.try_get("version").map_err(damaged)?;
    let due_at = row.try_get::<_, Option<i64>>("due_at").map_err(damaged)?.filter(|_| status == Status::Suspended);
    Ok(RunRecord {
        run_id: run_id(row.try_get("run_id").map_err(damaged)?),
        endpoint: EndpointId::try_new(name).map_err(|_| corrupt("invalid endpoint id"))?,
        version: version.map(Version::try_new).transpose().map_err(|_| corrupt("invalid version"))?,
        pinned: row.try_get("pinned").map_err(damaged)?,
        status,
        created_at: Timestamp::from_micros(row.try_get("created_at").map_err(damaged)?),
        finished_at: row.try_get::<_, Option<i64>>("finished_at").map_err(damaged)?.map(Timestamp::from_micros),
        due_at: due_at.map_or(Timestamp::NEVER, Timestamp::from_micros),
        timeout_at: row.try_get::<_, Option<i64>>("timeout_at").map_err(damaged)?.map(Timestamp::from_micros),
        retention: retention(row.try_get("retention").map_err(damaged)?),
        fence: Fence(row.try_get::<_, i64>("fence").map_err(damaged)?.cast_unsigned()),
        node: row.try_get::<_, Option<i64>>("node").map_err(damaged)?.map(|node| NodeId(node.cast_unsigned())),
        parent: parent(row.try_get("parent_run").map_err(damaged)?, row.try_get("parent_step").map_err(damaged)?)?,
        request: Payload::default(),
        outcome: status.is_final().then(|| Outcome { status, response: Payload::default(), error: Payload::default() }),
    })
}

pub(crate) fn damaged(error: tokio_postgres::Error) -> StoreError {
    StoreError::Corrupt(error.into())
}

/// The place after the last entry.
pub(crate) fn next(last: Option<i64>) -> Result<Seq, StoreError> {
    let next = last.map_or(Ok(0), |last| u32::try_from(last + 1));
    next.map(Seq).map_err(|_| corrupt("an entry has no place"))
}

/// The place of the last frame.
pub(crate) fn place(last: Option<i64>) -> Result<Place, StoreError> {
    u32::try_from(last.unwrap_or(0)).map(Place).map_err(|_| corrupt("a frame has no place"))
}

/// The longest path of a field by which waiters are found: an entry of an index has 2,700 bytes at most.
const PATH_BYTES_MAX: usize = 512;

/// The field that a matcher compares, and the text that it must have; empty where it compares none, or one that cannot
/// be looked for: the matcher itself decides.
pub(crate) fn compared(matcher: &Matcher) -> (&str, &str) {
    let value = matcher.value.as_ref().filter(|value| value.path.len() <= PATH_BYTES_MAX && !value.path.contains('\0'));
    value.map_or(("", ""), |value| (value.path.as_str(), value.text.as_str()))
}

/// What stands for itself, and for NUL, in [`text`].
const ESCAPE: char = '\u{1}';

/// A name as a column has it. The database's text has no NUL, so that is written in two characters.
pub(crate) fn text(name: &str) -> Cow<'_, str> {
    if !name.contains(['\0', ESCAPE]) {
        return Cow::Borrowed(name);
    }
    let mut text = String::with_capacity(name.len() + 8);
    for char in name.chars() {
        match char {
            '\0' => text.extend([ESCAPE, '0']),
            ESCAPE => text.extend([ESCAPE, ESCAPE]),
            char => text.push(char),
        }
    }
    Cow::Owned(text)
}

/// The name that a column has.
pub(crate) fn name(text: String) -> String {
    if !text.contains(ESCAPE) {
        return text;
    }
    let (mut name, mut chars) = (String::with_capacity(text.len()), text.chars());
    while let Some(char) = chars.next() {
        match char {
            ESCAPE => name.push(chars.next().filter(|char| *char == ESCAPE).unwrap_or('\0')),
            char => name.push(char),
        }
    }
    name
}
