//! Facts from outside, and which of them a wait is for.

mod fields;
pub mod matching;

pub use self::matching::{InvalidExpression, MatchValue, Matcher};

use crate::{Payload, Timestamp};

/// The longest event name, in bytes.
pub const EVENT_NAME_BYTES_MAX: usize = 256;

/// An event as it was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What names this one event: the sender's, or made for it. A second event with the id is the same event.
    pub id: String,
    /// What kind of event it is, such as `approval/received`.
    pub name: String,
    /// What it says, as JSON.
    pub data: Payload,
    /// When it happened, as its sender says.
    pub ts: Timestamp,
}

impl Event {
    /// The event as waiters get it, and as expressions see it: `{"id","name","data","ts"}`, `ts` in milliseconds.
    pub fn to_json(&self) -> serde_json::Value {
        let data: serde_json::Value = serde_json::from_slice(self.data.as_ref()).unwrap_or_default();
        serde_json::json!({ "id": self.id, "name": self.name, "data": data, "ts": self.ts.as_millis() })
    }
}
