//! Reading parts of a JSON text without building the whole of it.

use std::fmt;

use serde::{
    Deserialize,
    de::{DeserializeSeed, Deserializer, IgnoredAny, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

/// The whole text as one value, unread; `None` where it is no JSON.
pub(super) fn whole(json: &[u8]) -> Option<&RawValue> {
    serde_json::from_str(std::str::from_utf8(json).ok()?).ok()
}

/// The value as a `T`; `None` where it is absent, or something else.
pub(super) fn read<'a, T: Deserialize<'a>>(value: Option<&'a RawValue>) -> Option<T> {
    serde_json::from_str(value?.get()).ok()
}

/// The same, for what is an object only: a `struct` would otherwise be read from a list, too.
pub(super) fn object<'a, T: Deserialize<'a>>(value: Option<&'a RawValue>) -> Option<T> {
    read(value.filter(|value| is_object(value)))
}

/// Whether the value is an object.
pub(super) fn is_object(value: &RawValue) -> bool {
    value.get().starts_with('{')
}

/// A copy of the value, or `null`.
pub(super) fn or_null(value: Option<&RawValue>) -> Box<RawValue> {
    value.unwrap_or(RawValue::NULL).to_owned()
}

/// A copy of the value, or `{}`.
pub(super) fn or_empty(value: Option<&RawValue>) -> Box<RawValue> {
    value.map_or_else(|| literal("{}"), ToOwned::to_owned)
}

/// A value that the program itself has written.
pub(super) fn literal(json: &str) -> Box<RawValue> {
    RawValue::from_string(json.to_owned()).expect("it is JSON as written")
}

/// The elements of a list, unread; at most one more than `max`, so that whoever asks sees that there are too many.
pub(super) fn elements(list: &RawValue, max: usize) -> Option<Vec<&RawValue>> {
    let mut reader = serde_json::Deserializer::from_str(list.get());
    Elements { max }.deserialize(&mut reader).ok()
}

struct Elements {
    max: usize,
}

impl<'de> DeserializeSeed<'de> for Elements {
    type Value = Vec<&'de RawValue>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Elements {
    type Value = Vec<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut found = Vec::new();
        while found.len() <= self.max {
            let Some(element) = list.next_element()? else { return Ok(found) };
            found.push(element);
        }
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(found)
    }
}
