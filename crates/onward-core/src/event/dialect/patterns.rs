//! Regular expressions: made once an evaluation, and charged for.

use std::{collections::BTreeMap, sync::Mutex};

use cel::ExecutionError;
use regex::{Regex, RegexBuilder};

use super::budget::Budget;

/// How large a pattern may be once it is made: `\w{16}` and less.
const BYTES_MAX: usize = 1_024 * 1_024;
/// What making one of that size takes, in units.
const UNITS_TO_MAKE: usize = 64_000;
/// So many bytes of text are a unit when they are searched: few, for there are patterns that take long for each.
const BYTES_PER_UNIT: usize = 2;

/// The patterns of an evaluation. A loop would else make the same one again and again.
#[derive(Debug, Default)]
pub(super) struct Patterns(Mutex<BTreeMap<String, Regex>>);

impl Patterns {
    /// Whether a pattern describes something in the text.
    pub(super) fn find(&self, pattern: &str, text: &str, budget: &Budget) -> Result<bool, ExecutionError> {
        budget.take(|| 1 + (text.len() + pattern.len()) / BYTES_PER_UNIT)?;
        let wrong = |reason: &str| ExecutionError::function_error("matches", reason);
        let mut made = self.0.lock().map_err(|_| wrong("a pattern could not be made"))?;
        if let Some(regex) = made.get(pattern) {
            return Ok(regex.is_match(text));
        }
        budget.take(|| UNITS_TO_MAKE)?;
        let regex = RegexBuilder::new(pattern).size_limit(BYTES_MAX).build();
        let regex = regex.map_err(|_| wrong("the pattern is not a regular expression, or too large"))?;
        let found = regex.is_match(text);
        made.insert(pattern.to_owned(), regex);
        Ok(found)
    }
}
