//! Ops: what an endpoint says that its run did, or wants next.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    hex::{hex, unhex},
    json::{elements, is_object, literal, object, or_null, read, whole},
    request::{AiRequest, FetchRequest, InvokePayload},
    time::{InvalidTime, Until},
};

/// The key of ops about the run itself, not about a step: SHA-1 of `complete`.
pub const COMPLETE: [u8; 20] = [
    0x07, 0x37, 0xc2, 0x2d, 0x3b, 0xfa, 0xe8, 0x12, 0x33, 0x97, 0x32, 0xd1, 0x4d, 0x8c, 0x7d, 0xbd, 0x6d, 0xc4, 0xe0,
    0x9c,
];

/// The longest part of an unknown op's name that an error repeats.
const NAME_SHOWN_MAX: usize = 40;

/// One op.
#[derive(Clone, Debug)]
pub struct Op {
    /// Which step it is about: SHA-1 of the step's id, or [`COMPLETE`]. All zeros where it is about none and has no id.
    pub key: [u8; 20],
    /// The step's id as its author wrote it; else its display name, else the key in hexadecimal.
    pub id: String,
    /// Which use of the id it is, from 0.
    pub index: u32,
    /// Whether it takes part in a race: the first to end goes on without the others.
    pub is_race: bool,
    /// What it says.
    pub kind: OpKind,
}

/// What an op says.
#[derive(Clone, Debug)]
pub enum OpKind {
    /// The step ran (`StepRun`, `Step`).
    Ran {
        /// Its result; `null` where there is none.
        data: Box<RawValue>,
    },
    /// An attempt of the step failed (`StepError`, `StepFailed`); with the key [`COMPLETE`], the handler outside steps.
    Failed {
        /// The error: always a JSON object.
        error: Box<RawValue>,
        /// Whether trying again may help, as far as the SDK knows.
        retryable: bool,
    },
    /// The step is ready to run, when the engine asks for it (`StepPlanned`).
    Planned,
    /// Sleep.
    Sleep {
        /// How long.
        until: Until,
    },
    /// Wait for an event.
    WaitForEvent {
        /// The event's name.
        name: String,
        /// How long.
        timeout: Until,
        /// What must hold of the event, in CEL.
        expression: Option<String>,
    },
    /// Wait for a signal.
    WaitForSignal {
        /// The signal.
        signal: String,
        /// How long; `None` where the step does not say.
        timeout: Option<Until>,
        /// Whether it takes the place of another run that waits for it; else that is a conflict.
        replace: bool,
    },
    /// Run a function and wait for its result (`InvokeFunction`).
    Invoke {
        /// The function: its application's id, a dash, its own.
        function_id: String,
        /// What it is called with.
        payload: InvokePayload,
        /// How long; `None` where the step does not say.
        timeout: Option<Until>,
    },
    /// Make an HTTP request (`Gateway`).
    Fetch {
        /// The request.
        request: FetchRequest,
    },
    /// Ask a model (`AIGateway`).
    Ai {
        /// The request.
        request: AiRequest,
    },
    /// The run is completed (`RunComplete`, `SyncRunComplete`).
    Complete {
        /// Its result.
        data: Box<RawValue>,
    },
    /// A step asks for something that cannot be, such as a wait of 400 days: it is to fail, and not its request.
    Wrong {
        /// What is wrong with it.
        error: InvalidOp,
    },
    /// Call again at once (`DiscoveryRequest`).
    Again,
    /// There is nothing to do (`None`).
    Nothing,
    /// Known, and not for this engine (`DeferAdd`, `DeferAbort`).
    Deferred,
}

/// What is not a list of ops. It tells what is wrong, and repeats nothing of what users wrote.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidOp {
    /// It is no JSON.
    #[error("the ops are not JSON")]
    NotJson,
    /// It is JSON of another shape.
    #[error("the ops are neither an object nor a list of objects")]
    NotOps,
    /// There are too many.
    #[error("there are more than {max} ops")]
    TooMany {
        /// How many there may be.
        max: usize,
    },
    /// An op that is not known. A newer SDK may have it: better refused than lost.
    #[error("the op {op:?} is not known")]
    Unknown {
        /// The beginning of its name.
        op: String,
    },
    /// The id is not SHA-1 in hexadecimal.
    #[error("the id of the op {op} is not 40 hexadecimal digits")]
    Id {
        /// The op's name.
        op: String,
    },
    /// Something that the op needs is absent, or not of its type.
    #[error("the op {op} has no {field}")]
    Missing {
        /// The op's name.
        op: &'static str,
        /// What is absent.
        field: &'static str,
    },
    /// A time is none, or too far away.
    #[error("the {field} of the op {op} is not valid: {source}")]
    Time {
        /// The op's name.
        op: &'static str,
        /// Where the time is.
        field: &'static str,
        /// What is wrong with it.
        source: InvalidTime,
    },
}

/// Reads a list of ops, or one op alone.
///
/// # Example
///
/// ```
/// use onward_protocol::sdk::{OpKind, parse_ops};
///
/// let json = br#"[{"op":"StepRun","id":"86f7e437faa5a7fce15d1ddcb9eaeaea377667b8","data":1,"userland":{"id":"a"}}]"#;
/// let ops = parse_ops(json, 100)?;
/// assert_eq!(ops[0].id, "a");
/// assert!(matches!(&ops[0].kind, OpKind::Ran { data } if data.get() == "1"));
/// # Ok::<(), onward_protocol::sdk::InvalidOp>(())
/// ```
pub fn parse_ops(json: &[u8], ops_max: usize) -> Result<Vec<Op>, InvalidOp> {
    ops(whole(json).ok_or(InvalidOp::NotJson)?, ops_max)
}

pub(super) fn ops(value: &RawValue, max: usize) -> Result<Vec<Op>, InvalidOp> {
    let list = if is_object(value) { vec![value] } else { elements(value, max).ok_or(InvalidOp::NotOps)? };
    if list.len() > max {
        return Err(InvalidOp::TooMany { max });
    }
    list.into_iter().map(op).collect()
}

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow, default)]
    op: Cow<'a, str>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    name: Option<&'a RawValue>,
    #[serde(borrow, rename = "displayName")]
    display_name: Option<&'a RawValue>,
    #[serde(borrow)]
    opts: Option<&'a RawValue>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    #[serde(borrow)]
    userland: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Userland<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    index: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Opts<'a> {
    #[serde(borrow)]
    timeout: Option<&'a RawValue>,
    #[serde(borrow, rename = "if")]
    expression: Option<&'a RawValue>,
    #[serde(borrow)]
    signal: Option<&'a RawValue>,
    #[serde(borrow)]
    conflict: Option<&'a RawValue>,
    #[serde(borrow)]
    function_id: Option<&'a RawValue>,
    #[serde(borrow)]
    payload: Option<&'a RawValue>,
    #[serde(borrow, rename = "parallelMode")]
    parallel_mode: Option<&'a RawValue>,
}

fn op(value: &RawValue) -> Result<Op, InvalidOp> {
    let wire: Wire<'_> = object(Some(value)).ok_or(InvalidOp::NotOps)?;
    let opts: Opts<'_> = object(wire.opts).unwrap_or_default();
    let kind = match kind(&wire, &opts) {
        Err(error @ (InvalidOp::Time { .. } | InvalidOp::Missing { .. })) => OpKind::Wrong { error },
        kind => kind?,
    };
    let key = key(&wire, &kind)?;
    let userland: Userland<'_> = object(wire.userland).unwrap_or_default();
    let id = given(userland.id).or_else(|| given(wire.display_name)).unwrap_or_else(|| hex(&key));
    let is_race = read::<Cow<'_, str>>(opts.parallel_mode).is_some_and(|mode| mode == "race");
    Ok(Op { key, id, index: read(userland.index).unwrap_or(0), is_race, kind })
}

fn kind(wire: &Wire<'_>, opts: &Opts<'_>) -> Result<OpKind, InvalidOp> {
    Ok(match &*wire.op {
        "StepRun" | "Step" => OpKind::Ran { data: or_null(wire.data) },
        "StepError" => OpKind::Failed { error: error(wire.error), retryable: true },
        "StepFailed" => OpKind::Failed { error: error(wire.error), retryable: false },
        "StepPlanned" => OpKind::Planned,
        "Sleep" => OpKind::Sleep { until: time(wire.name, "Sleep", "name")?.unwrap_or(Until::NOW) },
        "WaitForEvent" => OpKind::WaitForEvent {
            name: given(wire.name).ok_or(InvalidOp::Missing { op: "WaitForEvent", field: "name" })?,
            timeout: time(opts.timeout, "WaitForEvent", "timeout")?.unwrap_or(Until::NOW),
            expression: given(opts.expression),
        },
        "WaitForSignal" => OpKind::WaitForSignal {
            signal: given(opts.signal)
                .or_else(|| given(wire.name))
                .ok_or(InvalidOp::Missing { op: "WaitForSignal", field: "signal" })?,
            timeout: time(opts.timeout, "WaitForSignal", "timeout")?,
            replace: given(opts.conflict).is_some_and(|conflict| conflict == "replace"),
        },
        "InvokeFunction" => OpKind::Invoke {
            function_id: given(opts.function_id)
                .ok_or(InvalidOp::Missing { op: "InvokeFunction", field: "function_id" })?,
            payload: InvokePayload::read(opts.payload),
            timeout: time(opts.timeout, "InvokeFunction", "timeout")?,
        },
        "Gateway" => OpKind::Fetch {
            request: wire
                .opts
                .and_then(FetchRequest::read)
                .ok_or(InvalidOp::Missing { op: "Gateway", field: "url" })?,
        },
        "AIGateway" => OpKind::Ai {
            request: wire.opts.and_then(AiRequest::read).ok_or(InvalidOp::Missing { op: "AIGateway", field: "url" })?,
        },
        "RunComplete" => OpKind::Complete { data: or_null(wire.data) },
        "SyncRunComplete" => OpKind::Complete { data: or_null(inner(wire.data)) },
        "DiscoveryRequest" => OpKind::Again,
        "None" => OpKind::Nothing,
        "DeferAdd" | "DeferAbort" => OpKind::Deferred,
        other => return Err(InvalidOp::Unknown { op: shown(other) }),
    })
}

/// An op about no step needs no id; one that is there must be right all the same.
fn key(wire: &Wire<'_>, kind: &OpKind) -> Result<[u8; 20], InvalidOp> {
    let wrong = || InvalidOp::Id { op: shown(&wire.op) };
    match (wire.id.map(|id| read::<Cow<'_, str>>(Some(id)).ok_or_else(wrong)).transpose()?, kind) {
        (Some(id), _) if !id.is_empty() => unhex(&id).and_then(|key| key.try_into().ok()).ok_or_else(wrong),
        (_, OpKind::Complete { .. }) => Ok(COMPLETE),
        (_, OpKind::Again | OpKind::Nothing | OpKind::Deferred) => Ok([0; 20]),
        _ => Err(wrong()),
    }
}

/// `None` where there is no time, or an empty one.
fn time(value: Option<&RawValue>, op: &'static str, field: &'static str) -> Result<Option<Until>, InvalidOp> {
    let Some(value) = value else { return Ok(None) };
    let invalid = |source| InvalidOp::Time { op, field, source };
    let text: Cow<'_, str> = read(Some(value)).ok_or_else(|| invalid(InvalidTime::Malformed))?;
    if text.is_empty() { Ok(None) } else { Until::parse(&text).map(Some).map_err(invalid) }
}

/// What is thrown need not be an error, and the error of a handler can be lost on its way.
fn error(value: Option<&RawValue>) -> Box<RawValue> {
    value
        .filter(|value| is_object(value))
        .map_or_else(|| literal(r#"{"name":"Error","message":"Unknown error"}"#), ToOwned::to_owned)
}

/// The Go SDK wraps its result.
fn inner(data: Option<&RawValue>) -> Option<&RawValue> {
    #[derive(Deserialize)]
    struct Wrapped<'a> {
        #[serde(borrow)]
        data: Option<&'a RawValue>,
    }
    match object::<Wrapped<'_>>(data) {
        Some(Wrapped { data: Some(inner) }) => Some(inner),
        _ => data,
    }
}

fn given(value: Option<&RawValue>) -> Option<String> {
    read::<String>(value).filter(|text| !text.is_empty())
}

fn shown(name: &str) -> String {
    name.chars().take(NAME_SHOWN_MAX).collect()
}

#[cfg(test)]
mod tests;
