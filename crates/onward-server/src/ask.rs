//! From what an endpoint says on the wire to what its run asks for.

use std::time::Duration;

use onward_core::{
    Payload, RunId, Timestamp, check_name,
    event::{
        MatchValue, Matcher,
        matching::{When, lookup, text_of},
    },
    run::{NewRun, Parent},
    step::StepKind,
    waiter::Subject,
};
use onward_protocol::sdk::{
    op::{COMPLETE, Op, OpKind},
    request::InvokePayload,
    time::Until,
};
use serde_json::{Value, value::RawValue};

use crate::{
    functions::Functions,
    plan::{Ask, Asked, Failure, error, step_id},
    record::Origin,
};

/// How long a step waits that does not say.
const WAIT_DEFAULT: Duration = Duration::from_secs(365 * 24 * 3600);

/// What is known where ops are read.
pub(crate) struct Reading<'a> {
    pub(crate) run_id: RunId,
    pub(crate) origin: &'a Origin,
    pub(crate) functions: &'a Functions,
    pub(crate) now: Timestamp,
    pub(crate) retention: Duration,
    /// How long to wait before the next attempt, where the endpoint has said so.
    pub(crate) retry_after: Option<Duration>,
    /// Whether a failure that the SDK calls final may be tried again: in the first request it counts one attempt too few.
    pub(crate) forgives: bool,
    /// From when on events count.
    pub(crate) since: Timestamp,
}

/// What ops say together.
#[derive(Debug, Default)]
pub(crate) struct Said {
    /// What is asked for, of which steps.
    pub(crate) asked: Vec<Asked>,
    /// The handler failed outside of its steps.
    pub(crate) failed: Option<Failure>,
    /// The run is completed, with this.
    pub(crate) completed: Option<Box<RawValue>>,
    /// The endpoint wants to be called again.
    pub(crate) again: bool,
    /// It was not reached, or something else answered.
    pub(crate) unanswered: Option<Payload>,
    /// Its answer cannot be taken.
    pub(crate) refused: Option<Payload>,
}

/// Reads ops. Waits for events come first, so that nothing which happens in the same answer is missed.
pub(crate) fn read(ops: Vec<Op>, reading: &Reading<'_>) -> Said {
    let mut said = Said::default();
    let (waits, others): (Vec<_>, Vec<_>) =
        ops.into_iter().partition(|op| matches!(op.kind, OpKind::WaitForEvent { .. } | OpKind::WaitForSignal { .. }));
    for op in waits.into_iter().chain(others) {
        match op.kind {
            OpKind::Complete { data } => said.completed = Some(data),
            OpKind::Failed { error, retryable } if op.key == COMPLETE => {
                said.failed = Some(reading.failure(&error, retryable));
            }
            OpKind::Again => said.again = true,
            OpKind::Nothing | OpKind::Deferred => {}
            kind => {
                // Why it cannot fail: a key in hex is an id.
                let Ok(id) = step_id(&op.id, op.index, op.key) else { continue };
                let ask = reading.ask(kind, id.key());
                said.asked.push(Asked { id, is_race: op.is_race, ask });
            }
        }
    }
    said
}

impl Reading<'_> {
    fn failure(&self, error: &RawValue, retryable: bool) -> Failure {
        let retryable = retryable || (self.forgives && name_of(error) != "NonRetriableError");
        Failure { error: payload(error), retryable, retry_after: self.retry_after }
    }

    fn ask(&self, kind: OpKind, key: onward_core::StepKey) -> Ask {
        match kind {
            OpKind::Ran { data } => Ask::Ran(payload(&data)),
            OpKind::Failed { error, retryable } => {
                let Failure { error, retryable, retry_after } = self.failure(&error, retryable);
                Ask::Failed { error, retryable, retry_after }
            }
            OpKind::Planned => Ask::Planned,
            OpKind::Sleep { until } => match self.time(until) {
                Ok(until) => Ask::Sleep(until),
                Err(error) => Ask::Refused { kind: StepKind::Sleep, error },
            },
            OpKind::WaitForEvent { name, timeout, expression } => {
                let kind = StepKind::WaitForEvent;
                let checked = checked("event name", &name);
                let name = named(&name, expression.as_deref());
                match checked.and_then(|()| Ok((self.time(timeout)?, matcher(&name, self.origin)?))) {
                    Ok((until, matcher)) => {
                        let subject = Subject::Event { matcher, since: Some(self.since) };
                        Ask::Wait { kind, name, subject, until: Some(until) }
                    }
                    Err(error) => Ask::Refused { kind, error },
                }
            }
            OpKind::WaitForSignal { signal, timeout, replace } => {
                let kind = StepKind::WaitForSignal;
                match checked("signal name", &signal)
                    .and_then(|()| self.time(timeout.unwrap_or(Until::For(WAIT_DEFAULT))))
                {
                    Ok(until) => {
                        let subject = Subject::Signal { name: signal.clone(), replace };
                        Ask::Wait { kind, name: signal, subject, until: Some(until) }
                    }
                    Err(error) => Ask::Refused { kind, error },
                }
            }
            OpKind::Invoke { function_id, payload, timeout } => self.invoke(key, &function_id, &payload, timeout),
            OpKind::Fetch { request } => Ask::Request { kind: StepKind::Fetch, request: json(&request) },
            OpKind::Ai { request } => Ask::Request { kind: StepKind::Ai, request: json(&request) },
            OpKind::Wrong { error: wrong } => {
                Ask::Refused { kind: StepKind::Run, error: error("Error", &wrong.to_string()) }
            }
            OpKind::Complete { .. } | OpKind::Again | OpKind::Nothing | OpKind::Deferred => {
                Ask::Refused { kind: StepKind::Run, error: error("Error", "the op is about no step") }
            }
        }
    }

    fn time(&self, until: Until) -> Result<Timestamp, Payload> {
        match until {
            Until::For(delay) => Ok(self.now.after(delay)),
            Until::At(_) => match until.due_ms(self.now.as_millis()) {
                // Why not earlier than now: what is past is over at once.
                Ok(millis) => Ok(crate::record::from_millis(millis).max(self.now)),
                Err(invalid) => Err(error("InvalidTime", &invalid.to_string())),
            },
        }
    }

    fn invoke(
        &self,
        key: onward_core::StepKey,
        function_id: &str,
        payload: &InvokePayload,
        timeout: Option<Until>,
    ) -> Ask {
        let kind = StepKind::Invoke;
        let until = match self.time(timeout.unwrap_or(Until::For(WAIT_DEFAULT))) {
            Ok(until) => until,
            Err(error) => return Ask::Refused { kind, error },
        };
        let function = match self.functions.get(function_id) {
            Ok(Some(function)) => function,
            Ok(None) => {
                let message = format!("could not find function with ID: {function_id}");
                return Ask::Refused { kind, error: error("Error", &message) };
            }
            Err(unreadable) => {
                return Ask::NotYet { kind, error: error("RegistrationUnreadable", &unreadable.to_string()) };
            }
        };
        let run_id = RunId::new(self.now, rand::random());
        let origin = function.invoked(self.run_id, key, payload, self.now, self.origin.traceparent.clone());
        let child = NewRun {
            run_id,
            endpoint: function.endpoint(),
            version: None,
            pinned: false,
            created_at: self.now,
            request: origin.encode(),
            timeout_at: None,
            retention: self.retention,
            key: None,
            parent: Some(Parent { run_id: self.run_id, step: key }),
        };
        Ask::Invoke { child: Box::new(child), until }
    }
}

/// Whether a name may be, or the error of the step that chose it.
fn checked(what: &'static str, name: &str) -> Result<(), Payload> {
    check_name(what, name).map_err(|invalid| error("InvalidName", &invalid.to_string()))
}

/// What a wait for an event is journaled with: the event's name, and on a line of its own the expression.
fn named(name: &str, expression: Option<&str>) -> String {
    expression.map_or_else(|| name.to_owned(), |expression| format!("{name}\n{expression}"))
}

/// Which events count. What `match` asks for is found without looking at each waiter, where it can be.
fn matcher(named: &str, origin: &Origin) -> Result<Matcher, Payload> {
    let (name, expression) = named.split_once('\n').map_or((named, None), |(name, rest)| (name, Some(rest)));
    let mut matcher = Matcher { name: name.to_owned(), value: None, when: None };
    let Some(expression) = expression else { return Ok(matcher) };
    let event = origin.event_to_match();
    if let Some(path) = match_path(expression)
        && let Some(text) = lookup(&event, path).and_then(text_of)
    {
        matcher.value = Some(MatchValue { path: path.to_owned(), text });
        return Ok(matcher);
    }
    if let Some((path, text)) = literal(expression) {
        // The expression decides; this finds the few waits that it may hold for.
        matcher.value = Some(MatchValue { path: path.to_owned(), text: text.to_owned() });
    }
    let when = When::try_new(expression, event);
    matcher.when = Some(when.map_err(|invalid| error("InvalidExpression", &invalid.to_string()))?);
    Ok(matcher)
}

/// Which events count for a wait, from what it was journaled with.
pub(crate) fn matcher_again(named: &str, origin: &Origin) -> Option<Matcher> {
    matcher(named, origin).ok()
}

/// The path that `match` compares: the SDK writes it as `event.<path> == async.<path>`.
fn match_path(expression: &str) -> Option<&str> {
    let (left, right) = expression.split_once(" == ")?;
    let path = left.strip_prefix("event.")?;
    let plain = |char: char| char.is_alphanumeric() || "_.".contains(char);
    (right.strip_prefix("async.") == Some(path) && path.chars().all(plain)).then_some(path)
}

/// What an expression of the form `async.<path> == '<text>'` compares.
fn literal(expression: &str) -> Option<(&str, &str)> {
    let (left, right) = expression.split_once("==")?;
    let path = left.trim().strip_prefix("async.")?;
    let right = right.trim();
    let quote = right.chars().next().filter(|quote| matches!(quote, '\'' | '"'))?;
    let text = right.strip_prefix(quote)?.strip_suffix(quote)?;
    let plain = |char: char| char.is_alphanumeric() || "_.".contains(char);
    (path.chars().all(plain) && !text.contains(['\'', '"', '\\'])).then_some((path, text))
}

fn name_of(error: &RawValue) -> String {
    #[derive(serde::Deserialize)]
    struct Named {
        #[serde(default)]
        name: Value,
    }
    let named: Option<Named> = serde_json::from_str(error.get()).ok();
    named.and_then(|named| named.name.as_str().map(str::to_owned)).unwrap_or_default()
}

pub(crate) fn payload(raw: &RawValue) -> Payload {
    Payload::from(raw.get().to_owned())
}

fn json(request: &impl serde::Serialize) -> String {
    serde_json::to_string(request).expect("strings always serialise")
}

#[cfg(test)]
mod tests {
    use super::{literal, match_path};

    #[test]
    fn a_comparison_with_a_text_is_found_by_it() {
        assert_eq!(literal("async.data.userId == '123'"), Some(("data.userId", "123")));
        assert_eq!(literal("async.data.a==\"x y\""), Some(("data.a", "x y")));
        for other in [
            "async.data.a == 1",
            "async.data.a != '1'",
            "async.data.a == 'x' && async.data.b == 'y'",
            "async.data.a == 'x' || true",
            "async.data.a == 'it\\'s'",
            "async['data'] == 'x'",
            "'x' == async.data.a",
            "async.data.a == '",
        ] {
            assert_eq!(literal(other), None, "{other}");
        }
    }

    #[test]
    fn what_match_writes_is_told_from_other_expressions() {
        assert_eq!(match_path("event.data.userId == async.data.userId"), Some("data.userId"));
        for other in [
            "event.data.a == async.data.b",
            "event.data.a == async.data.a && true",
            "async.data.a == event.data.a",
            "event.data['a'] == async.data['a']",
        ] {
            assert_eq!(match_path(other), None, "{other}");
        }
    }
}
