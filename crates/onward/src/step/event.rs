//! `step.wait_for_event` and `step.send_event`.

use std::time::{Duration, SystemTime};

use onward_core::{
    IntoDuration, Payload, Timestamp, check_name,
    event::{
        MatchValue, Matcher,
        matching::{When, lookup, text_of},
    },
    run::machine::Machine,
    step::StepKind,
    waiter::{Subject, Waiter},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{Asked, Make, Step, StepFuture, parse, read, refused, step_future, view::view};
use crate::{
    StepError,
    error::ErrorKind,
    events::{OWN_EVENT_ID_PREFIX, checked_event},
};

/// An event that a run waited for. `Debug` does not show its data.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event<T> {
    /// What names this one event.
    pub id: String,
    /// What kind of event it is.
    pub name: String,
    /// What it says.
    pub data: T,
    /// When it happened, as its sender says; to the millisecond.
    pub ts: SystemTime,
}

impl<T> std::fmt::Debug for Event<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Event").field("id", &self.id).field("name", &self.name).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
#[serde(bound = "T: DeserializeOwned")]
struct StoredEvent<T> {
    id: String,
    name: String,
    data: T,
    ts: i64,
}

/// A wait for an event: see [`Step::wait_for_event`].
#[must_use = "a step runs when it is awaited"]
pub struct WaitForEvent<'a, T> {
    options: EventOptions,
    make: Option<Make<'a, EventOptions, T>>,
    future: Option<StepFuture<'a, T>>,
}

#[derive(Default)]
struct EventOptions {
    matching: Option<String>,
    equal_to: Option<(String, String)>,
    when: Option<String>,
    timeout: Option<Duration>,
    since_start: bool,
    error: Option<StepError>,
}

impl<T> WaitForEvent<'_, T> {
    /// Only an event counts whose field at this path equals the same field of the run's own request:
    /// `matching("data.requestId")` looks for `requestId` in the request's JSON body, its form, its query, and its path
    /// parameters, in this order. Where one of them must be meant, name it: `data.json`, `data.form`, `data.query`,
    /// `data.params`. (`method`, `path`, `body`, `content_type` and `query_params` are the request's own.)
    ///
    /// Values compare by their text, so `42` in a body equals `"42"` in a query. A path that the request does not
    /// have is the step's error: nothing could ever match. The value is kept with the wait, unencrypted.
    pub fn matching(mut self, path: impl Into<String>) -> Self {
        self.options.matching = Some(path.into());
        self
    }

    /// Only an event counts whose field at this path has this value (compared by its text).
    pub fn equal_to(mut self, path: impl Into<String>, value: impl std::fmt::Display) -> Self {
        self.options.equal_to = Some((path.into(), value.to_string()));
        self
    }

    /// Only an event counts for which this CEL expression is true. `event` is the run's own request (its query and
    /// JSON body under `event.data`), `async` is the event that came: `async.data.total > event.data.limit`.
    ///
    /// What is missing is null: it equals null alone, and is neither less nor greater than anything. So
    /// `async.data.id == event.data.id` also holds where neither has an `id`. Numbers compare as numbers, whatever
    /// their types. `&&`, `||`, `!` and `?:` take null, `false`, 0 and empty text for false, and all else for true. An
    /// expression that fails, takes too long or is not a boolean in the end lets no event through.
    pub fn when(mut self, expression: impl Into<String>) -> Self {
        self.options.when = Some(expression.into());
        self
    }

    /// How long to wait; then the step gives `None`. Default: for ever.
    pub fn timeout(mut self, timeout: impl IntoDuration) -> Self {
        match timeout.into_duration() {
            Ok(timeout) => self.options.timeout = Some(timeout),
            Err(error) => self.options.error = Some(error.into()),
        }
        self
    }

    /// Looks back: an event that was accepted after the run began and before the wait did counts too, the earliest
    /// first. In a loop, an event that an earlier use of this step's id got does not count again. Where nodes share a
    /// store it looks 100 ms further back: each knows the database's time only so well, and an event that came just
    /// after the run began must not be missed.
    pub fn since_start(mut self) -> Self {
        self.options.since_start = true;
        self
    }
}

step_future!(WaitForEvent<'a, T>);

impl Step {
    /// Suspends the run until an event of this name comes; gives it, or `None` where a
    /// [`timeout`](WaitForEvent::timeout) passed first.
    ///
    /// Events that are accepted after the wait began count; see [`since_start`](WaitForEvent::since_start) for those
    /// before. An accepted event is never missed, and ends this wait once.
    ///
    /// # Errors
    /// A bad duration, path or expression, each named; an event whose data is not a `T`.
    ///
    /// # Example
    ///
    /// ```
    /// # use onward::{Step, StepError};
    /// #[derive(serde::Deserialize)]
    /// struct Approval { approved: bool }
    ///
    /// async fn handler(step: Step) -> Result<&'static str, StepError> {
    ///     let approval = step
    ///         .wait_for_event::<Approval>("wait-for-approval", "approval/received")
    ///         .matching("data.requestId")
    ///         .timeout("24h")
    ///         .await?;
    ///     Ok(match approval {
    ///         Some(event) if event.data.approved => "approved",
    ///         Some(_) => "refused",
    ///         None => "nobody answered",
    ///     })
    /// }
    /// ```
    pub fn wait_for_event<'a, T>(&self, id: &str, name: &str) -> WaitForEvent<'a, Option<Event<T>>>
    where
        T: DeserializeOwned + Send + 'a,
    {
        let asked = Asked::new(self, id, StepKind::WaitForEvent);
        let name = name.to_owned();
        let make: Make<'a, EventOptions, Option<Event<T>>> = Box::new(move |options| match asked {
            Ok(asked) => Box::pin(wait::<T>(asked, name, options)),
            Err(error) => refused(error),
        });
        WaitForEvent { options: EventOptions::default(), make: Some(make), future: None }
    }
}

/// How far two nodes may be apart in what time it is, in microseconds: each may be off by half of the longest round trip
/// that is believed.
const CLOCK_SLACK: i64 = 100_000;

async fn wait<T: DeserializeOwned>(
    mut asked: Asked,
    name: String,
    options: EventOptions,
) -> Result<Option<Event<T>>, StepError> {
    if asked.is_new() {
        let since_start = options.since_start;
        let until = options.timeout.map(|timeout| asked.context.now().after(timeout));
        let slack = if asked.context.shared.store.is_shared() { CLOCK_SLACK } else { 0 };
        let step = asked.key;
        let created_at = Timestamp::from_micros(asked.context.created_at.as_micros().saturating_sub(slack));
        match matcher(&asked, name.clone(), options) {
            Ok(matcher) => {
                let id = asked.id.clone();
                let waiter = |machine: &Machine| {
                    let since = since_start.then(|| machine.look_back(id.name(), created_at));
                    Some(Waiter { step, subject: Subject::Event { matcher, since } })
                };
                asked.context.wait(step, until, name, waiter, None);
            }
            Err(error) => asked.refuse(&error),
        }
    }
    let output = asked.outcome().await?;
    let stored: Option<StoredEvent<T>> = parse(&asked, &output)?;
    Ok(stored.map(|event| Event {
        id: event.id,
        name: event.name,
        data: event.data,
        ts: SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(event.ts).unwrap_or(0)),
    }))
}

/// What the wait's options say, checked.
fn matcher(asked: &Asked, name: String, options: EventOptions) -> Result<Matcher, StepError> {
    if let Some(error) = options.error {
        return Err(error);
    }
    let invalid = |text: String| StepError::new(ErrorKind::Invalid, text, false);
    check_name("event name", &name)?;
    if options.matching.is_some() && options.equal_to.is_some() {
        return Err(invalid("`matching` and `equal_to` exclude each other; use `when` for both".to_owned()));
    }
    let own = if options.matching.is_some() || options.when.is_some() {
        let record = asked.context.request.record();
        view(&record.map_err(|error| invalid(error.to_string()))?)
    } else {
        serde_json::Value::Null
    };
    let value = match (options.matching, options.equal_to) {
        (Some(path), _) => {
            let text = lookup(&own, &path).and_then(text_of);
            let text = text.ok_or_else(|| invalid(format!("the request has no {path:?} to match events with")))?;
            Some(MatchValue { path, text })
        }
        (None, Some((path, text))) => Some(MatchValue { path, text }),
        (None, None) => None,
    };
    let when = options.when.map(|expression| When::try_new(expression, own)).transpose()?;
    if asked.context.shared.sealer.is_some() && when.as_ref().is_some_and(When::keeps_whole) {
        let text = "an app that encrypts keeps no whole request with a wait: name fields of `event.data` in `when`";
        return Err(invalid(text.to_owned()));
    }
    Ok(Matcher { name, value, when })
}

/// Events sent by the run: see [`Step::send_event`].
#[must_use = "a step runs when it is awaited"]
pub struct SendEvent<'a, T = String> {
    options: (),
    make: Option<Make<'a, (), T>>,
    future: Option<StepFuture<'a, T>>,
}

step_future!(SendEvent<'a, T>);

impl Step {
    /// Sends an event, exactly once: it is accepted in the same transaction that records the step. Gives its id.
    ///
    /// # Errors
    /// A name or data that is not allowed (see [`Onward::send_event`](crate::Onward::send_event)).
    ///
    /// ```
    /// # use onward::{Step, StepError};
    /// # async fn handler(step: Step) -> Result<(), StepError> {
    /// step.send_event("announce", "order/placed", &serde_json::json!({ "orderId": 7 })).await?;
    /// # Ok(()) }
    /// ```
    pub fn send_event<'a>(&self, id: &str, name: &str, data: &impl Serialize) -> SendEvent<'a> {
        let asked = Asked::new(self, id, StepKind::SendEvent);
        let data = serde_json::to_vec(data).map(Payload::from).map_err(|error| error.to_string());
        let name = name.to_owned();
        let make: Make<'a, (), String> = Box::new(move |()| match asked {
            Ok(asked) => Box::pin(send(asked, name, data)),
            Err(error) => refused(error),
        });
        SendEvent { options: (), make: Some(make), future: None }
    }
}

async fn send(mut asked: Asked, name: String, data: Result<Payload, String>) -> Result<String, StepError> {
    if asked.is_new() {
        let event_id = format!("{OWN_EVENT_ID_PREFIX}{}-{}", asked.context.run_id, asked.key);
        let limit = asked.context.shared.config.event_bytes_max;
        let ts = Timestamp::from_micros(asked.context.now().as_micros());
        match data.and_then(|data| checked_event(event_id, &name, data, ts, limit)) {
            Ok(event) => {
                let output = Payload::from(serde_json::Value::from(event.id.as_str()).to_string());
                asked.context.succeed(asked.key, output, |checkpoint| checkpoint.events.push(event));
            }
            Err(text) => asked.refuse(&StepError::new(ErrorKind::Invalid, text, false)),
        }
    }
    let output = asked.outcome().await?;
    read(&asked, &output).await
}
