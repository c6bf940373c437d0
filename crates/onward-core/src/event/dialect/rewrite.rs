//! Rewrites a parsed expression, so that CEL's own evaluation means what is meant here.

use cel::{
    IdedExpr,
    common::{
        ast::{
            CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedEntryExpr, ListExpr, LiteralValue, MapEntryExpr, MapExpr,
            SelectExpr, StructExpr, StructFieldExpr, operators,
        },
        types::{CelInt, CelString},
    },
};

use super::{
    Part, Path, Root,
    functions::{GET, GREATER, GREATER_EQUALS, LESS, LESS_EQUALS, LOOP, MATCHES, PRESENT, READ, TRUTHY},
    values::{presence_name, value_name},
};

/// How deep an expression may nest once it is rewritten: evaluating it takes stack for each level.
const DEPTH_MAX: usize = 24;
/// How many steps a path may have; no request and no event nests deeper.
const STEPS_MAX: usize = 128;

type Rewritten = Result<IdedExpr, String>;

/// Rewrites one expression.
#[derive(Default)]
pub(super) struct Rewriter {
    paths: Vec<Path>,
    /// The variables of the loops around the place that is being rewritten.
    bound: Vec<String>,
    depth: usize,
}

impl Rewriter {
    /// The rewritten expression, and the paths that its variables stand for.
    pub(super) fn rewrite(expression: &IdedExpr) -> Result<(IdedExpr, Vec<Path>), String> {
        let mut rewriter = Self::default();
        let rewritten = rewriter.expression(expression)?;
        Ok((rewritten, rewriter.paths))
    }

    fn expression(&mut self, from: &IdedExpr) -> Rewritten {
        self.deeper(|this| {
            if let Some(path) = this.path(from) {
                return Ok(variable(value_name(this.place_of(path))));
            }
            Ok(IdedExpr { id: from.id, expr: this.parts(&from.expr)? })
        })
    }

    /// Every level of the rewritten expression is made in here.
    fn deeper(&mut self, make: impl FnOnce(&mut Self) -> Rewritten) -> Rewritten {
        if self.depth >= DEPTH_MAX {
            return Err("it nests too deep".to_owned());
        }
        self.depth += 1;
        let made = make(self);
        self.depth -= 1;
        made
    }

    fn parts(&mut self, from: &Expr) -> Result<Expr, String> {
        Ok(match from {
            Expr::Unspecified => return Err("it is empty".to_owned()),
            // A loop's accumulator must stay as it is, and no expression names it.
            Expr::Ident(name) if self.bound.contains(name) && !name.starts_with('@') => {
                call(READ, vec![self.deeper(|_| Ok(variable(name.clone())))?])
            }
            Expr::Ident(_) | Expr::Literal(_) => from.clone(),
            Expr::Select(select) => self.select(select)?,
            Expr::Call(call) => self.call(call)?,
            Expr::Comprehension(all) => Expr::Comprehension(Box::new(self.comprehension(all)?)),
            Expr::List(list) => Expr::List(ListExpr {
                elements: self.each(&list.elements)?,
                optional_indices: list.optional_indices.clone(),
            }),
            Expr::Map(map) => Expr::Map(MapExpr { entries: self.entries(&map.entries)? }),
            Expr::Struct(made) => {
                Expr::Struct(StructExpr { type_name: made.type_name.clone(), entries: self.entries(&made.entries)? })
            }
        })
    }

    fn each(&mut self, from: &[IdedExpr]) -> Result<Vec<IdedExpr>, String> {
        from.iter().map(|each| self.expression(each)).collect()
    }

    fn entries(&mut self, from: &[IdedEntryExpr]) -> Result<Vec<IdedEntryExpr>, String> {
        let entry = |entry: &IdedEntryExpr| {
            let expr = match &entry.expr {
                EntryExpr::StructField(field) => EntryExpr::StructField(StructFieldExpr {
                    field: field.field.clone(),
                    value: self.expression(&field.value)?,
                    optional: field.optional,
                }),
                EntryExpr::MapEntry(entry) => EntryExpr::MapEntry(MapEntryExpr {
                    key: self.expression(&entry.key)?,
                    value: self.expression(&entry.value)?,
                    optional: entry.optional,
                }),
            };
            Ok(IdedEntryExpr { id: entry.id, expr })
        };
        from.iter().map(entry).collect()
    }

    /// `value.field`, or `has(value.field)`.
    fn select(&mut self, from: &SelectExpr) -> Result<Expr, String> {
        if from.test
            && let Some(mut path) = self.path(&from.operand)
        {
            path.parts.push(Part::Field(from.field.clone()));
            return Ok(variable(presence_name(self.place_of(path))).expr);
        }
        let operand = self.expression(&from.operand)?;
        let field = literal(LiteralValue::String(CelString::from(from.field.clone())));
        Ok(call(if from.test { PRESENT } else { GET }, vec![operand, field]))
    }

    fn call(&mut self, from: &CallExpr) -> Result<Expr, String> {
        let name = match (from.func_name.as_str(), from.args.len()) {
            (operators::LOGICAL_AND | operators::LOGICAL_OR | operators::LOGICAL_NOT, _) => {
                let conditions = from.args.iter().map(|arg| self.condition(arg)).collect::<Result<_, _>>()?;
                return Ok(call(&from.func_name, conditions));
            }
            (operators::CONDITIONAL, 3) => {
                let args = vec![
                    self.condition(&from.args[0])?,
                    self.expression(&from.args[1])?,
                    self.expression(&from.args[2])?,
                ];
                return Ok(call(operators::CONDITIONAL, args));
            }
            (operators::INDEX, 2) => GET,
            (operators::LESS, 2) => LESS,
            (operators::LESS_EQUALS, 2) => LESS_EQUALS,
            (operators::GREATER, 2) => GREATER,
            (operators::GREATER_EQUALS, 2) => GREATER_EQUALS,
            ("matches", _) => {
                let given = from.target.as_deref().into_iter().chain(&from.args);
                return Ok(call(MATCHES, given.map(|each| self.expression(each)).collect::<Result<_, _>>()?));
            }
            (other, _) => other,
        };
        let target = from.target.as_deref().map(|target| self.expression(target)).transpose()?.map(Box::new);
        Ok(Expr::Call(CallExpr { func_name: name.to_owned(), target, args: self.each(&from.args)? }))
    }

    /// An operand of which only the truth counts.
    fn condition(&mut self, from: &IdedExpr) -> Rewritten {
        if is_boolean(from) {
            return self.expression(from);
        }
        self.deeper(|this| Ok(IdedExpr { id: from.id, expr: call(TRUTHY, vec![this.expression(from)?]) }))
    }

    fn comprehension(&mut self, from: &ComprehensionExpr) -> Result<ComprehensionExpr, String> {
        let accu_init = self.expression(&from.accu_init)?;
        let before = self.bound.len();
        self.bound.extend([from.iter_var.clone(), from.accu_var.clone()]);
        self.bound.extend(from.iter_var2.clone());
        let loop_cond = self.expression(&from.loop_cond);
        let loop_step = self.expression(&from.loop_step);
        let result = self.expression(&from.result);
        self.bound.truncate(before);
        let (loop_cond, loop_step, result) = (loop_cond?, loop_step?, result?);
        let body = i64::try_from(count(&loop_cond) + count(&loop_step)).unwrap_or(i64::MAX);
        let iter_range = self.deeper(|this| {
            let range = this.expression(&from.iter_range)?;
            let body = literal(LiteralValue::Int(CelInt::from(body)));
            Ok(IdedExpr { id: from.iter_range.id, expr: call(LOOP, vec![range, body]) })
        })?;
        Ok(ComprehensionExpr {
            iter_range,
            iter_var: from.iter_var.clone(),
            iter_var2: from.iter_var2.clone(),
            accu_var: from.accu_var.clone(),
            accu_init,
            loop_cond,
            loop_step,
            result,
        })
    }

    /// The path that a chain of fields and constant indexes spells, if it begins at `event` or `async`.
    fn path(&self, mut from: &IdedExpr) -> Option<Path> {
        let mut parts = Vec::new();
        while parts.len() <= STEPS_MAX {
            from = match &from.expr {
                Expr::Ident(name) if !self.bound.contains(name) => {
                    parts.reverse();
                    return Root::of(name).map(|root| Path { root, parts });
                }
                Expr::Select(select) if !select.test => {
                    parts.push(Part::Field(select.field.clone()));
                    &select.operand
                }
                Expr::Call(call) if call.func_name == operators::INDEX => {
                    let [operand, key] = call.args.as_slice() else { return None };
                    parts.push(match &key.expr {
                        Expr::Literal(LiteralValue::String(field)) => Part::Field(field.inner().to_owned()),
                        Expr::Literal(LiteralValue::Int(place)) => Part::Item(*place.inner()),
                        _ => return None,
                    });
                    operand
                }
                _ => return None,
            };
        }
        None
    }

    fn place_of(&mut self, path: Path) -> usize {
        let place = self.paths.iter().position(|known| *known == path);
        place.unwrap_or_else(|| {
            self.paths.push(path);
            self.paths.len() - 1
        })
    }
}

fn call(name: &str, args: Vec<IdedExpr>) -> Expr {
    Expr::Call(CallExpr { func_name: name.to_owned(), target: None, args })
}

fn literal(value: LiteralValue) -> IdedExpr {
    IdedExpr { id: 0, expr: Expr::Literal(value) }
}

fn variable(name: String) -> IdedExpr {
    IdedExpr { id: 0, expr: Expr::Ident(name) }
}

/// Whether an expression gives a boolean, if anything.
fn is_boolean(expression: &IdedExpr) -> bool {
    match &expression.expr {
        Expr::Literal(LiteralValue::Boolean(_)) => true,
        // A loop's accumulator where it is a condition. CEL knows its own loops by how they treat it, so it must stay.
        Expr::Ident(name) => name.starts_with('@'),
        Expr::Select(select) => select.test,
        Expr::Call(call) => matches!(
            call.func_name.as_str(),
            operators::LOGICAL_AND
                | operators::LOGICAL_OR
                | operators::LOGICAL_NOT
                | operators::NOT_STRICTLY_FALSE
                | operators::EQUALS
                | operators::NOT_EQUALS
                | operators::LESS
                | operators::LESS_EQUALS
                | operators::GREATER
                | operators::GREATER_EQUALS
                | operators::IN
        ),
        _ => false,
    }
}

/// How many parts an expression has.
fn count(expression: &IdedExpr) -> usize {
    let all = |parts: &[IdedExpr]| parts.iter().map(count).sum::<usize>();
    let entry = |entry: &IdedEntryExpr| match &entry.expr {
        EntryExpr::StructField(field) => count(&field.value),
        EntryExpr::MapEntry(entry) => count(&entry.key) + count(&entry.value),
    };
    1 + match &expression.expr {
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => 0,
        Expr::Select(select) => count(&select.operand),
        Expr::Call(call) => call.target.as_deref().map_or(0, count) + all(&call.args),
        Expr::List(list) => all(&list.elements),
        Expr::Map(map) => map.entries.iter().map(entry).sum(),
        Expr::Struct(made) => made.entries.iter().map(entry).sum(),
        Expr::Comprehension(all) => {
            [&all.iter_range, &all.accu_init, &all.loop_cond, &all.loop_step, &all.result].into_iter().map(count).sum()
        }
    }
}
