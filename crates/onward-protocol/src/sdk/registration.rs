//! Functions that an application registers, so that steps can invoke them, and how one is called.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json, value::RawValue};

use super::{
    checkpoint::RETRIES_MAX,
    json::{elements, object, read, whole},
    memo::Memos,
    request::InvokePayload,
    signing::canonical,
};

/// The name of the event that starts an invoked function.
pub const INVOKED: &str = "inngest/function.invoked";
/// How often a function is tried again that does not say.
const RETRIES: u32 = 4;
/// The most functions that an application has.
const FUNCTIONS_MAX: usize = 10_000;

/// The functions of an application.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// The application's id.
    pub app: String,
    /// Its functions.
    pub functions: Vec<Function>,
}

/// A registered function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Function {
    /// Its id: the application's, a dash, its own.
    pub id: String,
    /// Its name, for humans.
    pub name: String,
    /// Where it is called.
    pub url: String,
    /// How often a failed attempt is tried again.
    pub retries: u32,
    /// What starts it.
    pub triggers: Vec<Trigger>,
}

/// What starts a function: an event, or a time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Trigger {
    /// The name of the event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
    /// What must hold of the event, in CEL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expression: Option<String>,
    /// When, as cron has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
}

/// What is no registration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidRegistration {
    /// It is no JSON object.
    #[error("the registration is not a JSON object")]
    NotAnObject,
    /// It lacks something of its own.
    #[error("the registration has no {0}")]
    Missing(&'static str),
    /// It has too many functions.
    #[error("the registration has more than {FUNCTIONS_MAX} functions")]
    TooMany,
    /// One of its functions is wrong.
    #[error("function {index} of the registration {wrong}")]
    Function {
        /// Which one, from 0.
        index: usize,
        /// What is wrong with it.
        wrong: &'static str,
    },
}

impl Registration {
    /// Reads the body of `POST /fn/register`, or what an application answers when it is asked for the same in band.
    ///
    /// # Example
    ///
    /// ```
    /// use onward_protocol::sdk::Registration;
    ///
    /// let json = br#"{"appName":"app","functions":[{"id":"app-fn","triggers":[{"event":"app/a"}],
    ///     "steps":{"step":{"runtime":{"type":"http","url":"http://x/api?fnId=app-fn&stepId=step"}}}}]}"#;
    /// let registration = Registration::parse(json)?;
    /// assert_eq!(registration.functions[0].retries, 4);
    /// # Ok::<(), onward_protocol::sdk::InvalidRegistration>(())
    /// ```
    pub fn parse(json: &[u8]) -> Result<Self, InvalidRegistration> {
        #[derive(Deserialize)]
        struct Wire<'a> {
            #[serde(borrow, rename = "appName")]
            app_name: Option<&'a RawValue>,
            #[serde(borrow)]
            app_id: Option<&'a RawValue>,
            #[serde(borrow)]
            functions: Option<&'a RawValue>,
        }
        let wire: Wire<'_> = object(whole(json)).ok_or(InvalidRegistration::NotAnObject)?;
        let app = given(wire.app_name).or_else(|| given(wire.app_id));
        let app = app.ok_or(InvalidRegistration::Missing("appName"))?;
        let list = wire.functions.and_then(|list| elements(list, FUNCTIONS_MAX));
        let list = list.ok_or(InvalidRegistration::Missing("list of functions"))?;
        if list.len() > FUNCTIONS_MAX {
            return Err(InvalidRegistration::TooMany);
        }
        let one = |(index, value)| function(value).map_err(|wrong| InvalidRegistration::Function { index, wrong });
        let functions: Vec<_> = list.into_iter().enumerate().map(one).collect::<Result<_, _>>()?;
        Ok(Self { app, functions })
    }
}

fn function(value: &RawValue) -> Result<Function, &'static str> {
    #[derive(Deserialize)]
    struct Wire<'a> {
        #[serde(borrow)]
        id: Option<&'a RawValue>,
        #[serde(borrow)]
        name: Option<&'a RawValue>,
        #[serde(borrow)]
        triggers: Option<&'a RawValue>,
        #[serde(borrow)]
        steps: Option<&'a RawValue>,
    }
    #[derive(Deserialize)]
    struct Step {
        runtime: Runtime,
        retries: Option<Retries>,
    }
    #[derive(Deserialize)]
    struct Runtime {
        url: String,
    }
    #[derive(Deserialize)]
    struct Retries {
        attempts: Option<u32>,
    }
    let wire: Wire<'_> = object(Some(value)).ok_or("is not an object")?;
    let id = given(wire.id).ok_or("has no id")?;
    let steps: BTreeMap<String, &RawValue> = object(wire.steps).ok_or("has no steps")?;
    let step: Step = object(steps.get("step").or_else(|| steps.values().next()).copied())
        .ok_or("has no step with the URL of its runtime")?;
    if step.runtime.url.is_empty() {
        return Err("has no step with the URL of its runtime");
    }
    let triggers = match wire.triggers {
        None => Vec::new(),
        Some(triggers) => read(Some(triggers)).ok_or("has triggers that are none")?,
    };
    let retries = step.retries.and_then(|retries| retries.attempts).unwrap_or(RETRIES).min(RETRIES_MAX);
    Ok(Function { name: given(wire.name).unwrap_or_else(|| id.clone()), id, url: step.runtime.url, retries, triggers })
}

fn given(value: Option<&RawValue>) -> Option<String> {
    read::<String>(value).filter(|text| !text.is_empty())
}

/// A call of a registered function.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// The event that started it.
    pub event: &'a RawValue,
    /// What became of its steps so far.
    pub memos: &'a Memos,
    /// The run's id.
    pub run_id: &'a str,
    /// Which attempt it is, from 0.
    pub attempt: u32,
    /// How many there are at most.
    pub attempts_max: u32,
    /// Whether steps are planned only, because others are still running.
    pub force_plan: bool,
}

/// JSON that nobody can sign, because it is nested too deeply or has a number beyond all measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the call has JSON that is nested too deeply, or a number that is too large")]
pub struct Unsignable;

/// Writes the body of a call. It is canonical (RFC 8785), so its bytes are what is signed, whoever checks. The run has
/// no function id in it: with one, the SDK would checkpoint instead of answering with one step a call.
///
/// ```
/// # use onward_protocol::sdk::{Call, Memos, call_body};
/// # use serde_json::value::RawValue;
/// let event = RawValue::from_string(r#"{"name":"app/a","data":{}}"#.to_owned())?;
/// let memos = Memos::default();
/// let call = Call { event: &event, memos: &memos, run_id: "01M8", attempt: 0, attempts_max: 5, force_plan: false };
/// assert!(call_body(call)?.starts_with(r#"{"ctx":{"attempt":0,"#));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn call_body(call: Call<'_>) -> Result<String, Unsignable> {
    let event: Value = read(Some(call.event)).ok_or(Unsignable)?;
    let steps: Value = serde_json::from_str(&call.memos.to_json()).map_err(|_| Unsignable)?;
    let stack: Vec<_> = call.memos.keys().collect();
    let body = json!({
        "version": -1,
        "use_api": false,
        "event": event,
        "events": [event],
        "steps": steps,
        "ctx": {
            "run_id": call.run_id,
            "attempt": call.attempt,
            "max_attempts": call.attempts_max,
            "disable_immediate_execution": call.force_plan,
            "use_api": false,
            "stack": { "current": stack.len(), "stack": stack },
        },
    });
    canonical(&body).and_then(|body| String::from_utf8(body).ok()).ok_or(Unsignable)
}

impl InvokePayload {
    /// The event that starts an invoked function. `correlation_id` says who waits: the run's id, a dot, the step's key.
    ///
    /// ```
    /// # use onward_protocol::sdk::{OpKind, parse_ops};
    /// let ops = parse_ops(br#"{"op":"InvokeFunction","id":"86f7e437faa5a7fce15d1ddcb9eaeaea377667b8",
    ///     "opts":{"function_id":"app-fn","payload":{"data":{"x":1}}}}"#, 1)?;
    /// let OpKind::Invoke { payload, .. } = &ops[0].kind else { panic!() };
    /// let event = payload.to_event_json("01A", 7, "app-fn", "01M8.86f7");
    /// assert_eq!((&event["data"]["x"], &event["data"]["_inngest"]["fn_id"]), (&1.into(), &"app-fn".into()));
    /// # Ok::<(), onward_protocol::sdk::InvalidOp>(())
    /// ```
    pub fn to_event_json(&self, id: &str, ts_ms: i64, function_id: &str, correlation_id: &str) -> Value {
        let mut data = match serde_json::from_str(self.data.get()) {
            Ok(Value::Object(data)) => data,
            _ => serde_json::Map::new(),
        };
        data.insert("_inngest".to_owned(), json!({ "fn_id": function_id, "correlation_id": correlation_id }));
        let mut event = json!({ "name": INVOKED, "id": id, "ts": ts_ms });
        event["data"] = Value::Object(data);
        if let Some(v) = &self.v {
            event["v"] = json!(v);
        }
        if let Some(meta) = self.meta.as_deref().and_then(|meta| read(Some(meta))) {
            event["meta"] = meta;
        }
        event
    }
}

#[cfg(test)]
mod tests;
