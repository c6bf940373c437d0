//! Handlers as the SDK runs them: replayed over the outcomes that are known, up to the steps that have none.

use std::{collections::BTreeMap, sync::Arc};

use onward_core::{BoxFuture, StepKey};
use serde_json::{Value, json};

use crate::endpoint::Doing;

/// The outcomes of steps, by their keys.
pub(crate) type Memos = BTreeMap<String, Value>;
/// A handler.
pub(crate) type Program = Arc<dyn Fn(&mut Replay<'_>) -> Play + Send + Sync>;
/// What a handler, or a part of it, comes to.
pub(crate) type Play = Result<Value, Stop>;
/// One of several parts of a handler that go on beside each other.
pub(crate) type Branch<'a> = Box<dyn FnOnce(&mut Replay<'_>) -> Play + 'a>;
/// What a step does.
pub(crate) type Work = Box<dyn FnOnce(Doing) -> BoxFuture<'static, Result<Value, Failed>> + Send>;

/// Why a handler goes no further.
pub(crate) enum Stop {
    /// Steps have no outcome yet.
    Found(Vec<Found>),
    /// It threw.
    Threw { error: Value, retryable: bool },
}

/// A step without an outcome.
pub(crate) struct Found {
    pub(crate) id: String,
    pub(crate) key: String,
    pub(crate) wanted: Wanted,
}

/// What a step wants.
pub(crate) enum Wanted {
    Work(Work),
    Op(Value),
}

/// How a step failed.
pub(crate) struct Failed {
    pub(crate) error: Value,
    pub(crate) retryable: bool,
}

/// One replay.
pub(crate) struct Replay<'a> {
    pub(crate) memos: &'a Memos,
}

/// A handler from a closure.
pub(crate) fn program(handler: impl Fn(&mut Replay<'_>) -> Play + Send + Sync + 'static) -> Program {
    Arc::new(handler)
}

/// An ordinary error.
pub(crate) fn thrown(message: &str) -> Failed {
    Failed { error: error(message), retryable: true }
}

/// An error as the SDK serialises it.
pub(crate) fn error(message: &str) -> Value {
    json!({ "name": "Error", "message": message, "stack": "Error: at handler.ts:1", "__serialized": true })
}

/// The key of a step's id.
pub(crate) fn key(id: &str) -> String {
    StepKey::of(id, 0).to_string()
}

impl Replay<'_> {
    /// `step.run`.
    pub(crate) fn run<F>(&mut self, id: &str, work: impl FnOnce(Doing) -> F + Send + 'static) -> Play
    where
        F: Future<Output = Result<Value, Failed>> + Send + 'static,
    {
        self.step(id, || Wanted::Work(Box::new(move |doing| Box::pin(work(doing)))))
    }

    /// `step.run` of something that is at hand.
    pub(crate) fn value(&mut self, id: &str, value: Value) -> Play {
        self.run(id, |_| async move { Ok(value) })
    }

    /// `step.sleep`.
    pub(crate) fn sleep(&mut self, id: &str, time: &str) -> Play {
        self.step(id, || Wanted::Op(json!({ "op": "Sleep", "name": time })))
    }

    /// `step.waitForEvent`.
    pub(crate) fn wait(&mut self, id: &str, event: &str, timeout: &str) -> Play {
        self.step(id, || Wanted::Op(json!({ "op": "WaitForEvent", "name": event, "opts": { "timeout": timeout } })))
    }

    /// `step.waitForSignal`.
    pub(crate) fn signal(&mut self, id: &str, signal: &str, timeout: &str) -> Play {
        let opts = json!({ "signal": signal, "timeout": timeout, "conflict": "fail" });
        self.step(id, || Wanted::Op(json!({ "op": "WaitForSignal", "name": signal, "opts": opts })))
    }

    /// `step.invoke`.
    pub(crate) fn invoke(&mut self, id: &str, function: &str, data: &Value) -> Play {
        let opts = json!({ "function_id": function, "payload": { "data": data } });
        self.step(id, || Wanted::Op(json!({ "op": "InvokeFunction", "opts": opts })))
    }

    /// `Promise.all`: all of it, or what none of it can go on without.
    pub(crate) fn all(&mut self, branches: Vec<Branch<'_>>) -> Play {
        let (mut values, mut found) = (Vec::new(), Vec::new());
        for branch in branches {
            match branch(self) {
                Ok(value) => values.push(value),
                Err(Stop::Found(more)) => found.extend(more),
                Err(threw) => return Err(threw),
            }
        }
        if found.is_empty() { Ok(Value::from(values)) } else { Err(Stop::Found(found)) }
    }

    fn step(&mut self, id: &str, wanted: impl FnOnce() -> Wanted) -> Play {
        let key = key(id);
        let Some(memo) = self.memos.get(&key) else {
            return Err(Stop::Found(vec![Found { id: id.to_owned(), key, wanted: wanted() }]));
        };
        if let Some(error) = memo.get("error") {
            return Err(Stop::Threw { error: error.clone(), retryable: false });
        }
        Ok(memo.get("data").cloned().unwrap_or_else(|| memo.clone()))
    }
}

impl Found {
    /// What the SDK reports of it before it has run.
    pub(crate) fn op(&self) -> Value {
        match &self.wanted {
            Wanted::Work(_) => op(&self.id, &json!({ "op": "StepPlanned", "opts": {} })),
            Wanted::Op(wanted) => op(&self.id, wanted),
        }
    }
}

/// An op about a step.
pub(crate) fn op(id: &str, what: &Value) -> Value {
    let mut op = what.clone();
    op["id"] = key(id).into();
    op["displayName"] = id.into();
    op["userland"] = json!({ "id": id });
    op["timing"] = json!({ "a": 1_795_466_164_302_000_000_u64, "b": 12_000 });
    op
}
