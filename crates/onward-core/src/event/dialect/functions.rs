//! The functions that a rewritten expression calls. No expression can call them by itself: `@` begins no name.

use std::{
    cmp::Ordering,
    sync::{Arc, LazyLock},
};

use cel::{
    Context, DeclarationError, Env, ExecutionError, FunctionContext,
    common::{
        types::{CelBool, CelBytes, CelDouble, CelInt, CelNull, CelString, CelUInt},
        value::{CowVal, Val},
    },
};

use super::{
    budget::{self, Budget},
    patterns::Patterns,
    values::Facts,
};

/// `@get(value, key)`: the field or element, or null where there is none.
pub(super) const GET: &str = "@get";
/// `@present(value, key)`: whether there is such a field or element.
pub(super) const PRESENT: &str = "@present";
/// `@truthy(value)`: the value as a condition.
pub(super) const TRUTHY: &str = "@truthy";
/// `@loop(value, size of the body)`: the value, once the loop over it has been charged for.
pub(super) const LOOP: &str = "@loop";
/// `@read(value)`: what a loop's variable stands for, once it has been charged for.
pub(super) const READ: &str = "@read";
/// `@matches(text, pattern)`: whether there is something in the text that the pattern describes.
pub(super) const MATCHES: &str = "@matches";
/// The comparisons: false where the two have no order.
pub(super) const LESS: &str = "@less";
pub(super) const LESS_EQUALS: &str = "@less_equals";
pub(super) const GREATER: &str = "@greater";
pub(super) const GREATER_EQUALS: &str = "@greater_equals";

type Answer<'b, 'v> = Result<CowVal<'b, 'v>, ExecutionError>;
type Function = Box<dyn for<'b, 'v> Fn(&mut FunctionContext<'b, 'v>) -> Answer<'b, 'v> + Send + Sync>;

/// What evaluates an expression: CEL's own library, these functions, and the facts.
pub(super) fn context<'a>(facts: &'a Facts<'a>, budget: &Arc<Budget>) -> Result<Context<'a, 'a>, ExecutionError> {
    static LIBRARY: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib()));
    let mut context = Context::with_env(Arc::clone(&LIBRARY));
    let budget = Arc::clone(budget);
    declare(&mut context, budget).map_err(|error| ExecutionError::function_error("declare", error))?;
    context.set_variable_resolver(facts);
    Ok(context)
}

fn declare(context: &mut Context<'_, '_>, budget: Arc<Budget>) -> Result<(), DeclarationError> {
    context.add_function(GET, boxed(get))?;
    context.add_function(PRESENT, boxed(present))?;
    context.add_function(TRUTHY, boxed(|call| Ok(bool(is_truthy(argument(call, 0)?.as_ref())))))?;
    context.add_function(LESS, boxed(|call| compare(call, Ordering::is_lt)))?;
    context.add_function(LESS_EQUALS, boxed(|call| compare(call, Ordering::is_le)))?;
    context.add_function(GREATER, boxed(|call| compare(call, Ordering::is_gt)))?;
    context.add_function(GREATER_EQUALS, boxed(|call| compare(call, Ordering::is_ge)))?;
    let (reads, matches, patterns) = (Arc::clone(&budget), Arc::clone(&budget), Patterns::default());
    context.add_function(READ, boxed(move |call| read(call, &reads)))?;
    context.add_function(MATCHES, boxed(move |call| find(call, &patterns, &matches)))?;
    context.add_function(LOOP, boxed(move |call| enter_loop(call, &budget)))
}

fn boxed(
    function: impl for<'b, 'v> Fn(&mut FunctionContext<'b, 'v>) -> Answer<'b, 'v> + Send + Sync + 'static,
) -> Function {
    Box::new(function)
}

fn argument<'c, 'b, 'v>(call: &'c FunctionContext<'b, 'v>, place: usize) -> Result<&'c CowVal<'b, 'v>, ExecutionError> {
    call.args.get(place).ok_or_else(|| ExecutionError::invalid_argument_count(place + 1, call.args.len()))
}

fn bool<'b, 'v>(flag: bool) -> CowVal<'b, 'v> {
    CowVal::owned(CelBool::from(flag))
}

fn get<'b, 'v>(call: &mut FunctionContext<'b, 'v>) -> Answer<'b, 'v> {
    let (value, key) = (argument(call, 0)?, argument(call, 1)?);
    let found = value.as_indexer().and_then(|indexer| indexer.get(key.as_ref()).ok());
    Ok(found.map_or_else(|| CowVal::owned(CelNull), |found| CowVal::Owned(found.into_owned())))
}

fn present<'b, 'v>(call: &mut FunctionContext<'b, 'v>) -> Answer<'b, 'v> {
    let (value, key) = (argument(call, 0)?, argument(call, 1)?);
    Ok(bool(value.as_indexer().is_some_and(|indexer| indexer.get(key.as_ref()).is_ok())))
}

fn compare<'b, 'v>(call: &FunctionContext<'b, 'v>, holds: fn(Ordering) -> bool) -> Answer<'b, 'v> {
    let (left, right) = (argument(call, 0)?, argument(call, 1)?);
    let order = left.as_comparer().and_then(|comparer| comparer.compare(right.as_ref()).ok());
    Ok(bool(order.is_some_and(holds)))
}

fn enter_loop<'b, 'v>(call: &mut FunctionContext<'b, 'v>, budget: &Budget) -> Answer<'b, 'v> {
    let body =
        argument(call, 1)?.downcast_ref::<CelInt>().map_or(1, |body| usize::try_from(*body.inner()).unwrap_or(1));
    let range = argument(call, 0)?;
    budget.take(|| budget::size(range.as_ref()).saturating_mul(body))?;
    Ok(call.args.swap_remove(0))
}

fn read<'b, 'v>(call: &mut FunctionContext<'b, 'v>, budget: &Budget) -> Answer<'b, 'v> {
    let value = argument(call, 0)?;
    budget.take(|| budget::size(value.as_ref()))?;
    Ok(call.args.swap_remove(0))
}

fn find<'b, 'v>(call: &FunctionContext<'b, 'v>, patterns: &Patterns, budget: &Budget) -> Answer<'b, 'v> {
    let (text, pattern) = (argument(call, 0)?, argument(call, 1)?);
    let texts = (text.downcast_ref::<CelString<'_>>(), pattern.downcast_ref::<CelString<'_>>());
    let ((Some(text), Some(pattern)), 2) = (texts, call.args.len()) else {
        return Err(ExecutionError::function_error("matches", "it takes a text and a pattern"));
    };
    Ok(bool(patterns.find(pattern.inner(), text.inner(), budget)?))
}

fn is_truthy(value: &dyn Val) -> bool {
    if value.downcast_ref::<CelNull>().is_some() {
        return false;
    }
    let flag = value.downcast_ref::<CelBool>().map(|flag| *flag.inner());
    let int = || value.downcast_ref::<CelInt>().map(|number| *number.inner() != 0);
    let uint = || value.downcast_ref::<CelUInt>().map(|number| *number.inner() != 0);
    let double = || value.downcast_ref::<CelDouble>().map(|number| !number.inner().is_nan() && *number.inner() != 0.0);
    let text = || value.downcast_ref::<CelString<'_>>().map(|text| !text.inner().is_empty());
    let bytes = || value.downcast_ref::<CelBytes<'_>>().map(|bytes| !bytes.inner().is_empty());
    flag.or_else(int).or_else(uint).or_else(double).or_else(text).or_else(bytes).unwrap_or(true)
}
