//! What an expression names, found in the request and the event and given to CEL when it asks.

use cel::{
    common::{
        types::{CelBool, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString, CelUInt},
        value::{CowVal, Val},
    },
    context::VariableResolver,
};
use serde_json::{Map, Number, Value};

use super::{
    Part, Path, Root,
    budget::{Budget, json_size},
};

/// The name of the variable that stands for a path's value. No expression can name it by itself.
pub(super) fn value_name(place: usize) -> String {
    format!("@value{place}")
}

/// The name of the variable that tells whether there is something at a path.
pub(super) fn presence_name(place: usize) -> String {
    format!("@has{place}")
}

/// Gives CEL what an expression names, and no more than that.
pub(super) struct Facts<'a> {
    pub(super) paths: &'a [Path],
    pub(super) event: &'a Value,
    pub(super) came: &'a Value,
    pub(super) budget: &'a Budget,
}

impl Facts<'_> {
    /// The path at a place in the list.
    fn path(&self, place: &str) -> Option<&Path> {
        self.paths.get(place.parse::<usize>().ok()?)
    }

    /// What is at a path.
    fn find(&self, path: &Path) -> Option<&Value> {
        let root = match path.root {
            Root::Event => self.event,
            Root::Async => self.came,
        };
        path.parts.iter().try_fold(root, |value, part| match part {
            Part::Field(name) => value.as_object()?.get(name),
            Part::Item(place) => value.as_array()?.get(usize::try_from(*place).ok()?),
        })
    }
}

impl VariableResolver for Facts<'_> {
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        if let Some(place) = variable.strip_prefix("@value") {
            let found = self.find(self.path(place)?).unwrap_or(&Value::Null);
            self.budget.take(|| json_size(found)).ok()?;
            return Some(CowVal::Owned(value(found)));
        }
        let path = self.path(variable.strip_prefix("@has")?)?;
        Some(CowVal::owned(CelBool::from(self.find(path).is_some())))
    }
}

fn value(json: &Value) -> Box<dyn Val + '_> {
    match json {
        Value::Null => Box::new(CelNull),
        Value::Bool(flag) => Box::new(CelBool::from(*flag)),
        Value::Number(number) => self::number(number),
        Value::String(text) => Box::new(CelString::from(text.as_str())),
        Value::Array(items) => Box::new(CelList::from(items.iter().map(value).collect::<Vec<_>>())),
        Value::Object(fields) => Box::new(object(fields)),
    }
}

#[expect(clippy::disallowed_types, reason = "CEL's maps are made of it; in which order it walks one is free")]
fn object(fields: &Map<String, Value>) -> CelMap<'_> {
    let fields = fields.iter().map(|(name, field)| (CelMapKey::from(name.as_str()), value(field)));
    CelMap::from(fields.collect::<std::collections::HashMap<_, _>>())
}

fn number(number: &Number) -> Box<dyn Val> {
    if let Some(number) = number.as_i64() {
        return Box::new(CelInt::from(number));
    }
    match number.as_u64() {
        Some(number) => Box::new(CelUInt::from(number)),
        None => Box::new(CelDouble::from(number.as_f64().unwrap_or(f64::NAN))),
    }
}
