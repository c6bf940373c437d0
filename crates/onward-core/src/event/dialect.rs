//! What CEL means here: what is missing is null, unlike things compare, and no expression runs away.
//!
//! Events come from anywhere, so an expression often names what an event does not have. By CEL's own rules that is an
//! error. Here, as with the expressions that the npm package `inngest` takes:
//!
//! - a field or an element that is missing is null, and so is one of a value that has none;
//! - `==` between null and anything else is false, and `null == null` is true;
//! - `<`, `<=`, `>` and `>=` are false where the two have no order, such as null and a number;
//! - numbers compare as numbers, whatever their types;
//! - `&&`, `||`, `!` and `?:` take any value: null, `false`, 0 and what is empty text are false, all else is true.
//!
//! An expression is parsed once and rewritten, so that CEL's own evaluation gives all this.

mod budget;
mod functions;
mod patterns;
mod rewrite;
mod values;

use std::{panic::AssertUnwindSafe, sync::Arc};

use cel::{IdedExpr, parser::PrattParser};
use serde_json::Value;

use self::{budget::Budget, rewrite::Rewriter, values::Facts};
use super::fields::Named;

/// How deep brackets may nest. Parentheses alone do not count.
const NESTING_MAX: u16 = 32;
/// How many question marks an expression may have: the parser goes deeper with each.
const QUESTION_MARKS_MAX: usize = 64;

/// How many signs an expression may have with each of which its tree can grow deeper: who walks or drops the tree goes
/// as deep.
const SIGNS_MAX: usize = 512;
const SIGNS: [char; 12] = ['.', '[', '(', '+', '-', '*', '/', '%', '=', '<', '>', '!'];

/// An expression that can be evaluated.
#[derive(Debug)]
pub(super) struct Program {
    expression: IdedExpr,
    paths: Vec<Path>,
    named: Named,
}

/// A place in the run's own request or in the event that came.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Path {
    root: Root,
    parts: Vec<Part>,
}

/// What an expression can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Root {
    /// `event`: the run's own request.
    Event,
    /// `async`: the event that came.
    Async,
}

/// One step into a value.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Field(String),
    Item(i64),
}

impl Program {
    /// Checks an expression and makes it ready; the error says what is wrong with it.
    pub(super) fn compile(text: &str) -> Result<Self, String> {
        if text.matches('?').count() > QUESTION_MARKS_MAX {
            return Err(format!("it has more than {QUESTION_MARKS_MAX} question marks"));
        }
        if text.matches(SIGNS).count() > SIGNS_MAX {
            return Err(format!("it has more than {SIGNS_MAX} operators, dots and brackets"));
        }
        let parser = PrattParser::new().max_recursion_depth(NESTING_MAX);
        // Why: who sends an expression must not be able to end the process.
        let parsed = std::panic::catch_unwind(AssertUnwindSafe(|| parser.parse(text)));
        let parsed = parsed.map_err(|_| "it does not parse".to_owned())?;
        let original = parsed.map_err(|errors| {
            let first = errors.to_string().lines().next().map(str::to_owned);
            first.unwrap_or_else(|| "it does not parse".to_owned())
        })?;
        let (expression, paths) = Rewriter::rewrite(&original)?;
        Ok(Self { named: Named::of(&original), expression, paths })
    }

    /// What it names of the run's own request.
    pub(super) const fn named(&self) -> &Named {
        &self.named
    }

    /// Whether it is true. One that fails, takes too long or is not a boolean is not.
    pub(super) fn holds(&self, event: &Value, came: &Value) -> bool {
        let budget = Arc::new(Budget::default());
        let facts = Facts { paths: &self.paths, event, came, budget: &budget };
        // Why: one expression must not take the store down with it.
        let executed = std::panic::catch_unwind(AssertUnwindSafe(|| {
            let context = functions::context(&facts, &budget)?;
            cel::Value::resolve(&self.expression, &context)
        }));
        matches!(executed, Ok(Ok(cel::Value::Bool(true))))
    }
}

impl Root {
    /// What an identifier stands for, where it is one of the two. A leading dot says that no loop's variable is meant.
    fn of(name: &str) -> Option<Self> {
        match name.strip_prefix('.').unwrap_or(name) {
            "event" => Some(Self::Event),
            "async" => Some(Self::Async),
            _ => None,
        }
    }
}

/// Whether an identifier stands for the run's own request.
pub(super) fn is_event(name: &str) -> bool {
    Root::of(name) == Some(Root::Event)
}

#[cfg(test)]
mod tests;
