//! Facts from outside, and which of them a wait is for.

mod dialect;
mod fields;
pub mod matching;

pub use self::matching::{InvalidExpression, MatchValue, Matcher};

use serde_json::{Map, Value};

use crate::{Payload, Timestamp};

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
    /// Further members as a JSON object, such as `user`, `v` and `meta`; empty where there are none.
    pub more: Payload,
}

impl Event {
    /// The event as waiters get it, and as expressions see it: `{"id","name","data","ts"}`, `ts` in milliseconds, with
    /// its further members. None of those takes the place of one of the four.
    pub fn to_json(&self) -> Value {
        let mut members: Map<String, Value> = serde_json::from_slice(self.more.as_ref()).unwrap_or_default();
        let data: Value = serde_json::from_slice(self.data.as_ref()).unwrap_or_default();
        members.insert("id".to_owned(), self.id.as_str().into());
        members.insert("name".to_owned(), self.name.as_str().into());
        members.insert("data".to_owned(), data);
        members.insert("ts".to_owned(), self.ts.as_millis().into());
        Value::Object(members)
    }
}

#[cfg(test)]
mod tests {
    use super::{Event, Timestamp};

    #[test]
    fn numbers_stay_as_they_are() {
        for number in
            ["31.245270191439438", "0.1", "1e-7", "5e-324", "1.7976931348623157e308", "2.2250738585072011e-308"]
        {
            let data = format!("[{number}]").into();
            let event = Event {
                id: String::new(),
                name: String::new(),
                data,
                ts: Timestamp::from_micros(0),
                more: String::new().into(),
            };
            let exact: f64 = number.parse().unwrap();
            assert_eq!(event.to_json()["data"][0].as_f64().unwrap().to_bits(), exact.to_bits(), "{number}");
        }
    }

    #[test]
    fn further_members_stand_beside_the_four_and_never_in_their_place() {
        let json = |more: &'static str| {
            let (id, name) = ("1".to_owned(), "come".to_owned());
            let event =
                Event { id, name, data: r#"{"a":1}"#.into(), ts: Timestamp::from_micros(2_000), more: more.into() };
            event.to_json().to_string()
        };
        let bare = r#"{"data":{"a":1},"id":"1","name":"come","ts":2}"#;
        for more in ["", "{}", "null", "[1]", "not JSON", r#"{"id":"x","name":"x","data":"x","ts":"x"}"#] {
            assert_eq!(json(more), bare, "{more:?}");
        }
        let full = r#"{"data":{"a":1},"id":"1","name":"come","ts":2,"user":{"b":[2]},"v":"3"}"#;
        assert_eq!(json(r#"{"v":"3","user":{"b":[2]}}"#), full);
    }
}
