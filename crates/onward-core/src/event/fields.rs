//! Which fields of its run's own request an expression names: no others need be kept with a wait.

use std::collections::BTreeSet;

use cel::{
    IdedExpr,
    common::ast::{EntryExpr, Expr, LiteralValue, operators},
};
use serde_json::{Map, Value};

use super::dialect::is_event;

/// What an expression names of `event`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Named {
    /// The fields of `event.data`.
    fields: BTreeSet<String>,
    /// More than fields of `event.data`, such as `event.data` itself.
    whole: bool,
    /// Anything of it at all.
    any: bool,
}

impl Named {
    /// What an expression names.
    pub(super) fn of(expression: &IdedExpr) -> Self {
        let mut named = Self::default();
        named.walk(expression);
        named
    }

    /// Whether nothing of the request need be kept.
    pub(super) const fn is_nothing(&self) -> bool {
        !self.any
    }

    /// Whether the whole request must be kept.
    pub(super) const fn is_whole(&self) -> bool {
        self.whole
    }

    /// What must be kept of a request for the expression to see what it names.
    pub(super) fn keep(&self, event: Value) -> Value {
        if self.whole {
            return event;
        }
        let Value::Object(mut event) = event else { return Value::Null };
        let Some(Value::Object(data)) = event.remove("data") else { return Value::Null };
        let data: Map<_, _> = data.into_iter().filter(|(name, _)| self.fields.contains(name)).collect();
        event.insert("data".to_owned(), Value::Object(data));
        Value::Object(event)
    }

    fn walk(&mut self, expression: &IdedExpr) {
        match &expression.expr {
            Expr::Ident(_) | Expr::Select(_) => self.path(expression, Vec::new()),
            Expr::Call(call) => {
                let indexes = call.func_name == operators::INDEX || call.func_name == operators::OPT_INDEX;
                if let ([operand, key], true) = (call.args.as_slice(), indexes)
                    && let Expr::Literal(LiteralValue::String(key)) = &key.expr
                {
                    return self.path(operand, vec![key.to_string()]);
                }
                call.target.iter().for_each(|target| self.walk(target));
                call.args.iter().for_each(|arg| self.walk(arg));
            }
            Expr::List(list) => list.elements.iter().for_each(|element| self.walk(element)),
            Expr::Map(map) => map.entries.iter().for_each(|entry| self.entry(&entry.expr)),
            Expr::Struct(fields) => fields.entries.iter().for_each(|entry| self.entry(&entry.expr)),
            Expr::Comprehension(all) => {
                for part in [&all.iter_range, &all.accu_init, &all.loop_cond, &all.loop_step, &all.result] {
                    self.walk(part);
                }
            }
            Expr::Literal(_) | Expr::Unspecified => {}
        }
    }

    /// A chain of fields, the last first.
    fn path(&mut self, mut from: &IdedExpr, mut fields: Vec<String>) {
        while let Expr::Select(select) = &from.expr {
            fields.push(select.field.clone());
            from = &select.operand;
        }
        match &from.expr {
            Expr::Ident(name) if is_event(name) => {
                self.any = true;
                match fields.as_slice() {
                    [.., field, data] if data == "data" => drop(self.fields.insert(field.clone())),
                    [.., name] if name == "name" => {}
                    _ => self.whole = true,
                }
            }
            Expr::Ident(_) => {}
            _ => self.walk(from),
        }
    }

    fn entry(&mut self, entry: &EntryExpr) {
        match entry {
            EntryExpr::StructField(field) => self.walk(&field.value),
            EntryExpr::MapEntry(entry) => {
                self.walk(&entry.key);
                self.walk(&entry.value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use cel::parser::PrattParser;
    use serde_json::json;

    use super::Named;

    fn kept(expression: &str) -> String {
        let parsed = PrattParser::new().parse(expression).unwrap();
        let event = json!({ "name": "n", "data": { "a": 1, "b": { "c": 2 }, "secret": 3 } });
        Named::of(&parsed).keep(event).to_string()
    }

    #[test]
    fn only_the_fields_that_are_named_are_kept() {
        let a = r#"{"data":{"a":1},"name":"n"}"#;
        assert_eq!(kept("async.data.x == event.data.a"), a);
        assert_eq!(kept("async.data.x == event.data['a']"), a);
        assert_eq!(kept("event.name == 'n' && has(event.data.a)"), a);
        assert_eq!(kept("[1, 2].exists(n, n == event.data.a) || {'k': event.data.a} == async"), a);
        assert_eq!(kept("event.data.b.c > 1"), r#"{"data":{"b":{"c":2}},"name":"n"}"#);
        assert_eq!(kept("async.data.event == 1"), r#"{"data":{},"name":"n"}"#);
    }

    #[test]
    fn what_cannot_be_told_apart_is_kept_whole() {
        for expression in [
            "event == async",
            ".event == async",
            "event.data == async.data",
            "event.data[async.key] == 1",
            "event['data'] == 1",
        ] {
            assert!(kept(expression).contains("secret"), "{expression}");
        }
    }
}
