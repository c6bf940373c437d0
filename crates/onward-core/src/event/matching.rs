//! Whether an event is the one that a step waits for.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use serde_json::Value;

use super::dialect::Program;

/// Which events a waiter waits for: those of a name whose field has a value and for which an expression holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Matcher {
    /// The name of the event.
    pub name: String,
    /// The field that must have a value, where one was asked for.
    pub value: Option<MatchValue>,
    /// The CEL expression that must hold, where one was asked for.
    pub when: Option<When>,
}

/// A field of the event and the value that it must have.
///
/// Values compare by their text, so that `42` in a JSON body matches `"42"` from a query string.
#[derive(Clone, PartialEq, Eq)]
pub struct MatchValue {
    /// The dotted path of the field within the event, such as `data.requestId`.
    pub path: String,
    /// The text that the field must have.
    pub text: String,
}

/// A CEL expression with what it may compare against.
///
/// What is missing is null, and null equals null only: `async.data.a == event.data.a` holds where neither has an `a`.
/// `<`, `<=`, `>` and `>=` are false where the two have no order, and numbers compare as numbers, whatever their types.
/// `&&`, `||`, `!` and `?:` take any value: null, `false`, 0 and empty text are false, all else is true. An expression
/// that fails, takes too long or is not a boolean in the end is not true.
#[derive(Clone, PartialEq)]
pub struct When {
    /// The expression; `event` is the run's own request, `async` the event that came.
    pub expression: String,
    /// Of the run's own request, what the expression names; `Null` where it does not name `event`.
    pub event: Value,
}

impl std::fmt::Debug for MatchValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MatchValue").field("path", &self.path).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for When {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("When").field("expression", &self.expression).finish_non_exhaustive()
    }
}

/// An expression that is not CEL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid CEL expression {expression:?}: {reason}")]
pub struct InvalidExpression {
    expression: String,
    reason: String,
}

/// The longest expression, in bytes.
pub const EXPRESSION_BYTES_MAX: usize = 4096;

impl When {
    /// Checks an expression. `event` is the run's own request; of it is kept what the expression names.
    pub fn try_new(expression: impl Into<String>, event: Value) -> Result<Self, InvalidExpression> {
        let expression = expression.into();
        let invalid = |expression: String, reason: String| InvalidExpression { expression, reason };
        if expression.len() > EXPRESSION_BYTES_MAX {
            let shown = expression.chars().take(64).collect();
            return Err(invalid(shown, "it is longer than 4,096 bytes".to_owned()));
        }
        match Program::compile(&expression) {
            Ok(program) => {
                let named = program.named();
                let event = if named.is_nothing() { Value::Null } else { named.keep(event) };
                Ok(Self { expression, event })
            }
            Err(reason) => Err(invalid(expression, reason)),
        }
    }

    /// Whether the whole request is kept: where the expression names more of `event` than fields of `event.data`.
    pub fn keeps_whole(&self) -> bool {
        compiled(&self.expression).is_some_and(|program| program.named().is_whole())
    }

    /// Whether the expression is true of an event. One that fails, takes too long or is not a boolean is not.
    pub fn holds(&self, event: &Value) -> bool {
        compiled(&self.expression).is_some_and(|program| program.holds(&self.event, event))
    }
}

impl Matcher {
    /// Whether an event, in the form of [`Event::to_json`](super::Event::to_json), is one of those waited for.
    pub fn matches(&self, event: &Value) -> bool {
        event.get("name").and_then(Value::as_str) == Some(&self.name)
            && self
                .value
                .as_ref()
                .is_none_or(|value| lookup(event, &value.path).and_then(text_of).is_some_and(|text| text == value.text))
            && self.when.as_ref().is_none_or(|when| when.holds(event))
    }
}

/// The value at a dotted path: `data.items.0.id`.
pub fn lookup<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(value, |value, part| match value {
        Value::Array(items) => items.get(part.parse::<usize>().ok()?),
        other => other.get(part),
    })
}

/// The text by which a scalar is compared; `None` for null, arrays and objects.
pub fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// How many compiled expressions a thread keeps.
const COMPILED_MAX: usize = 256;

/// The compiled form of an expression, kept by the thread: an event may meet thousands of waiters with the same one.
fn compiled(expression: &str) -> Option<Rc<Program>> {
    thread_local! {
        static COMPILED: RefCell<BTreeMap<String, Rc<Program>>> = const { RefCell::new(BTreeMap::new()) };
    }
    COMPILED.with_borrow_mut(|programs| {
        if let Some(program) = programs.get(expression) {
            return Some(Rc::clone(program));
        }
        let program = Rc::new(Program::compile(expression).ok()?);
        if programs.len() >= COMPILED_MAX {
            programs.clear();
        }
        programs.insert(expression.to_owned(), Rc::clone(&program));
        Some(program)
    })
}

#[cfg(test)]
mod tests;
