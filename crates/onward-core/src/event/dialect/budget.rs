//! How much an expression may do.

use std::sync::atomic::{AtomicUsize, Ordering};

use cel::{
    ExecutionError,
    common::{
        types::{CelBytes, CelList, CelMap, CelString},
        value::Val,
    },
};
use serde_json::Value;

/// The most units that one evaluation may take: about a tenth of a second of work, and memory in proportion.
pub(super) const UNITS_MAX: usize = 1_000_000;
/// So many bytes of text are a unit.
const BYTES_PER_UNIT: usize = 64;

/// What an evaluation has taken so far.
///
/// Only loops and regular expressions can make an expression of 4,096 bytes work long, and only loops can grow values
/// large. Each loop is charged before it runs for what it walks, all of it, times the size of its body; what its
/// variables stand for is charged whenever they are named, as is what a path leads to: more no operator takes or makes.
#[derive(Debug, Default)]
pub(super) struct Budget(AtomicUsize);

impl Budget {
    /// Takes units, or fails where too many are taken. An operator may swallow that and go on: what has failed once
    /// fails from then on at once, without counting units again.
    pub(super) fn take(&self, units: impl FnOnce() -> usize) -> Result<(), ExecutionError> {
        if self.0.load(Ordering::Relaxed) <= UNITS_MAX {
            let units = units();
            let add = |taken: usize| Some(taken.saturating_add(units));
            let taken = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).unwrap_or_else(|taken| taken);
            if taken.saturating_add(units) <= UNITS_MAX {
                return Ok(());
            }
        }
        Err(ExecutionError::function_error("loop", "it takes too long"))
    }
}

/// How large a value is, in units.
pub(super) fn size(value: &dyn Val) -> usize {
    if let Some(list) = value.downcast_ref::<CelList<'_>>() {
        return list.inner().iter().map(|item| size(&**item)).fold(1, usize::saturating_add);
    }
    if let Some(map) = value.downcast_ref::<CelMap<'_>>() {
        return map
            .inner()
            .iter()
            .map(|(key, value)| size(key.inner()) + size(&**value))
            .fold(1, usize::saturating_add);
    }
    let bytes = value
        .downcast_ref::<CelString<'_>>()
        .map(|text| text.inner().len())
        .or_else(|| value.downcast_ref::<CelBytes<'_>>().map(|bytes| bytes.inner().len()));
    1 + bytes.unwrap_or(0) / BYTES_PER_UNIT
}

/// How large a value will be once it is CEL's, in units.
pub(super) fn json_size(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(json_size).sum::<usize>(),
        Value::Object(fields) => {
            1 + fields.iter().map(|(name, value)| 1 + name.len() / BYTES_PER_UNIT + json_size(value)).sum::<usize>()
        }
        Value::String(text) => 1 + text.len() / BYTES_PER_UNIT,
        Value::Null | Value::Bool(_) | Value::Number(_) => 1,
    }
}
