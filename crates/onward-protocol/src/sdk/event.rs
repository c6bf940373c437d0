//! Events that an application sends to the engine.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::{Map, Value, value::RawValue};
use ulid::Ulid;

use super::json::{elements, is_object, object, or_empty, read, whole};

/// How events begin that only the engine sends.
pub const RESERVED: &str = "inngest/";
/// The first and the last instant that an event may have: the years 1980 to 2100.
const TS: std::ops::Range<i64> = 315_532_800_000..4_133_980_800_000;

/// How much may be sent at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventLimits {
    /// How many events.
    pub count: usize,
    /// The bytes of each.
    pub event_bytes: usize,
    /// The bytes of a name, and of an id.
    pub name_bytes: usize,
}

impl Default for EventLimits {
    fn default() -> Self {
        Self { count: 5_000, event_bytes: 512 * 1_024, name_bytes: 1_024 }
    }
}

/// An event that was sent.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// By what it is known, if it is sent again; `None` where its sender gave none.
    pub id: Option<String>,
    /// Its name.
    pub name: String,
    /// Its data: always a JSON object.
    pub data: Box<RawValue>,
    /// When it happened, in milliseconds since the Unix epoch; `None` where its sender did not say.
    pub ts: Option<i64>,
    /// What else it has: `user`, `v` and `meta`.
    pub more: Map<String, Value>,
}

/// Events that are not taken: none of them is. It repeats nothing of what they say.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidEvents {
    /// It is no JSON.
    #[error("the events are not JSON")]
    NotJson,
    /// It is JSON of another shape.
    #[error("the events are neither an object nor a list of objects")]
    NotEvents,
    /// There are too many.
    #[error("there are more than {max} events")]
    TooMany {
        /// How many there may be.
        max: usize,
    },
    /// One is too large.
    #[error("event {index} is larger than {max} bytes")]
    TooLarge {
        /// Which one, from 0.
        index: usize,
        /// How large it may be.
        max: usize,
    },
    /// One is wrong.
    #[error("event {index}: {wrong}")]
    Event {
        /// Which one, from 0.
        index: usize,
        /// What is wrong with it.
        wrong: &'static str,
    },
}

/// Reads a list of events, or one event alone.
///
/// # Example
///
/// ```
/// use onward_protocol::sdk::{EventLimits, parse_events};
///
/// let events = parse_events(br#"[{"name":"app/a","data":{"q":1}}]"#, EventLimits::default())?;
/// assert_eq!((events[0].name.as_str(), events[0].data.get()), ("app/a", r#"{"q":1}"#));
/// assert!(parse_events(br#"{"name":"inngest/function.finished"}"#, EventLimits::default()).is_err());
/// # Ok::<(), onward_protocol::sdk::InvalidEvents>(())
/// ```
pub fn parse_events(json: &[u8], limits: EventLimits) -> Result<Vec<NewEvent>, InvalidEvents> {
    let value = whole(json).ok_or(InvalidEvents::NotJson)?;
    let list =
        if is_object(value) { vec![value] } else { elements(value, limits.count).ok_or(InvalidEvents::NotEvents)? };
    if list.len() > limits.count {
        return Err(InvalidEvents::TooMany { max: limits.count });
    }
    list.into_iter().enumerate().map(|(index, event)| one(index, event, limits)).collect()
}

fn one(index: usize, event: &RawValue, limits: EventLimits) -> Result<NewEvent, InvalidEvents> {
    if event.get().len() > limits.event_bytes {
        return Err(InvalidEvents::TooLarge { index, max: limits.event_bytes });
    }
    if !is_object(event) {
        return Err(InvalidEvents::NotEvents);
    }
    checked(event, limits).map_err(|wrong| InvalidEvents::Event { index, wrong })
}

fn checked(event: &RawValue, limits: EventLimits) -> Result<NewEvent, &'static str> {
    #[derive(Deserialize)]
    struct Wire<'a> {
        #[serde(borrow)]
        id: Option<&'a RawValue>,
        #[serde(borrow)]
        name: Option<&'a RawValue>,
        #[serde(borrow)]
        data: Option<&'a RawValue>,
        #[serde(borrow)]
        ts: Option<&'a RawValue>,
        #[serde(borrow)]
        user: Option<&'a RawValue>,
        #[serde(borrow)]
        v: Option<&'a RawValue>,
        #[serde(borrow)]
        meta: Option<&'a RawValue>,
    }
    let wire: Wire<'_> = object(Some(event)).ok_or("it has a member twice")?;
    let mut more = Map::new();
    for (key, value, wrong) in [
        ("user", wire.user, "its user is not an object"),
        ("v", wire.v, "its v is not a string"),
        ("meta", wire.meta, "its meta is not an object"),
    ] {
        let Some(value) = value else { continue };
        let value: Value = read(Some(value)).ok_or("it is nested too deeply, or has a number that is too large")?;
        if !(if key == "v" { value.is_string() } else { value.is_object() }) {
            return Err(wrong);
        }
        more.insert(key.to_owned(), value);
    }
    if wire.data.is_some_and(|data| !is_object(data)) {
        return Err("its data is not an object");
    }
    // Why: who gets the event reads its data. What cannot be read would be lost where nobody is told.
    if wire.data.is_some_and(|data| read::<Value>(Some(data)).is_none()) {
        return Err("its data is nested too deeply, or has a number that is too large");
    }
    Ok(NewEvent {
        id: wire
            .id
            .map(|id| read::<String>(Some(id)).ok_or("its id is not a string"))
            .transpose()?
            .filter(|id| !id.is_empty())
            .map(|id| id_of(id, limits.name_bytes))
            .transpose()?,
        name: name(wire.name, limits.name_bytes)?,
        data: or_empty(wire.data),
        ts: wire.ts.map(ts).transpose()?.flatten(),
        more,
    })
}

fn id_of(id: String, bytes_max: usize) -> Result<String, &'static str> {
    if id.len() > bytes_max {
        return Err("its id is too long");
    }
    if id.chars().any(char::is_control) {
        return Err("its id has a control character");
    }
    Ok(id)
}

fn name(name: Option<&RawValue>, bytes_max: usize) -> Result<String, &'static str> {
    let name: String = read(name).ok_or("it has no name that is a string")?;
    if name.trim().is_empty() {
        return Err("its name is empty");
    }
    if name.len() > bytes_max {
        return Err("its name is too long");
    }
    if name.chars().any(char::is_control) {
        return Err("its name has a control character");
    }
    if name.starts_with(RESERVED) {
        return Err("its name begins with inngest/, as only those of the engine do");
    }
    Ok(name)
}

/// Zero is what SDKs send that have no instant.
fn ts(value: &RawValue) -> Result<Option<i64>, &'static str> {
    let ts: i64 = read(Some(value)).ok_or("its ts is not a whole number of milliseconds")?;
    match ts {
        0 => Ok(None),
        ts if TS.contains(&ts) => Ok(Some(ts)),
        _ => Err("its ts is before 1980 or after 2100"),
    }
}

/// An id for each of `count` events. With a seed (the header `x-inngest-event-id-seed`: milliseconds, a comma, and ten
/// bytes in base64), sending the same events again gives the same ids; without one, or with one that is none, they are
/// made of the time and a random draw.
///
/// # Example
///
/// ```
/// use onward_protocol::sdk::event_ids;
///
/// let seed = Some("1795466247032,AAECAwQFBgcICQ==");
/// assert_eq!(event_ids(seed, 2, 1, 7), event_ids(seed, 2, 2, 8));
/// assert_ne!(event_ids(None, 1, 1, 7), event_ids(None, 1, 1, 8));
/// ```
pub fn event_ids(seed: Option<&str>, count: usize, now_ms: i64, draw: u128) -> Vec<String> {
    let (ms, entropy) = seed.and_then(read_seed).unwrap_or_else(|| {
        let mut entropy = [0; 10];
        entropy.copy_from_slice(&draw.to_be_bytes()[6..]);
        (u64::try_from(now_ms).unwrap_or(0), entropy)
    });
    let mut random = [0; 16];
    random[6..].copy_from_slice(&entropy);
    let high = u128::from_be_bytes(random) >> 32 << 32;
    let low = u32::from_be_bytes([random[12], random[13], random[14], random[15]]);
    // Counted from 1, and within the last four bytes, as the Go server does.
    let id = |low| Ulid::from_parts(ms, high | u128::from(low)).to_string();
    std::iter::successors(Some(low.wrapping_add(1)), |low| Some(low.wrapping_add(1))).take(count).map(id).collect()
}

fn read_seed(seed: &str) -> Option<(u64, [u8; 10])> {
    let (ms, entropy) = seed.split_once(',')?;
    let ms: u64 = ms.trim().parse().ok().filter(|ms| *ms < 1 << 48)?;
    Some((ms, STANDARD.decode(entropy.trim()).ok()?.try_into().ok()?))
}

#[cfg(test)]
mod tests;
