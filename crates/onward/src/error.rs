//! What can go wrong, for users.

use std::{borrow::Cow, error::Error as StdError, fmt, time::Duration};

use bytes::Bytes;
use http::Response;
use onward_core::{
    IntoDuration, InvalidDuration, InvalidId, InvalidRetryPolicy, Payload, RunId, StoreError, event::InvalidExpression,
    run::machine::InvalidStep,
};
use onward_protocol::problem::{Code, Problem};
use serde::{Deserialize, Serialize};

use crate::step::Failure;

/// A boxed error, as a source.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// Anything that can go wrong in this crate, outside steps.
///
/// What is inside may change in any release. Ask with the `is_` methods.
#[derive(Debug)]
pub struct Error(Box<Cause>);

#[derive(Debug, thiserror::Error)]
pub(crate) enum Cause {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("invalid configuration: {0}")]
    Config(String),
    #[error("{0}")]
    Invalid(String),
    #[error("i/o")]
    Io(#[from] std::io::Error),
    #[error("still running after the grace period: {0} tasks")]
    Drain(usize),
}

impl Error {
    pub(crate) fn config(text: impl Into<String>) -> Self {
        Cause::Config(text.into()).into()
    }

    pub(crate) fn invalid(text: impl Into<String>) -> Self {
        Cause::Invalid(text.into()).into()
    }

    /// Whether the same call may succeed later.
    pub fn is_transient(&self) -> bool {
        matches!(*self.0, Cause::Store(StoreError::Unavailable(_)))
    }

    /// Whether something must be changed before it can succeed: an option that is outside its limits, options that
    /// contradict each other, or a store's URL, password, database, file or schema that is wrong.
    pub fn is_config(&self) -> bool {
        matches!(*self.0, Cause::Config(_) | Cause::Store(StoreError::Misconfigured(_)))
    }

    /// Whether what was given (an event, a signal, an id) is not allowed.
    pub fn is_invalid(&self) -> bool {
        matches!(*self.0, Cause::Invalid(_))
    }

    /// Whether there is no such run, or no longer.
    pub fn is_not_found(&self) -> bool {
        matches!(*self.0, Cause::Store(StoreError::RunNotFound))
    }

    /// Whether the run's status does not allow it: only a failed run is retried, only an ended one deleted.
    pub fn is_wrong_status(&self) -> bool {
        matches!(*self.0, Cause::Store(StoreError::WrongStatus(_)))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &*self.0 {
            Cause::Store(error) => error.source(),
            Cause::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl<C: Into<Cause>> From<C> for Error {
    fn from(cause: C) -> Self {
        Self(Box::new(cause.into()))
    }
}

/// Why a step failed.
///
/// A step's closure may return any error: it counts as a failed attempt, and the step is tried again.
/// [`StepError::fail`] ends it at once, [`StepError::retry_after`] says when to try again. When the attempts have run
/// out, the handler gets the last error as a `StepError` and may handle it; unhandled, it becomes a
/// `500 application/problem+json` that says nothing of what is inside.
///
/// # Example
///
/// ```
/// use onward::StepError;
///
/// fn parse(text: &str) -> Result<u32, StepError> {
///     text.parse().map_err(StepError::fail) // trying again would not help
/// }
/// assert!(!parse("x").unwrap_err().is_retryable());
/// ```
#[derive(Clone, Debug)]
pub struct StepError(Box<Inner>);

#[derive(Clone, Debug)]
struct Inner {
    kind: ErrorKind,
    message: String,
    retryable: bool,
    retry_after: Option<Duration>,
    step: Option<String>,
    run_id: Option<RunId>,
}

/// What kind of failure it was; kept with the error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ErrorKind {
    User,
    Panic,
    Timeout,
    TooLarge,
    Unserialisable,
    NonDeterminism,
    /// The run's process ended again and again.
    Crashed,
    Invalid,
    Invoke,
    SignalTaken,
    Fetch,
    /// The handler's response fails its run.
    Response,
}

#[derive(Serialize, Deserialize)]
struct StoredError<'a> {
    kind: ErrorKind,
    message: Cow<'a, str>,
    /// The step that failed; left out where it is told elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    step: Option<Cow<'a, str>>,
}

/// The longest text of an error that is kept, in bytes.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;

impl StepError {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>, retryable: bool) -> Self {
        let message = message.into();
        Self(Box::new(Inner { kind, message, retryable, retry_after: None, step: None, run_id: None }))
    }

    /// The error of a run whose timeout has passed.
    pub(crate) fn run_timed_out() -> Self {
        Self::new(ErrorKind::Timeout, "the run took longer than its timeout", false)
    }

    /// An error after which another attempt may succeed.
    pub fn retry(error: impl Into<BoxError>) -> Self {
        Self::new(ErrorKind::User, chain(&*error.into()), true)
    }

    /// An error that another attempt would meet again: the step fails now.
    pub fn fail(error: impl Into<BoxError>) -> Self {
        Self::new(ErrorKind::User, chain(&*error.into()), false)
    }

    /// An error after which another attempt should wait this long, such as a `Retry-After`.
    ///
    /// The delay counts instead of the back-off; the number of attempts stays. It is a `Duration`, or text such as
    /// `"30s"`; one that is no duration makes the error final and is named in it.
    ///
    /// ```
    /// # use onward::StepError;
    /// assert!(StepError::retry_after("busy", "30s").is_retryable());
    /// assert!(!StepError::retry_after("busy", "soon").is_retryable());
    /// ```
    pub fn retry_after(error: impl Into<BoxError>, delay: impl IntoDuration) -> Self {
        match delay.into_duration() {
            Ok(delay) => {
                let mut this = Self::retry(error);
                this.0.retry_after = Some(delay);
                this
            }
            Err(invalid) => Self::fail(format!("{}: {invalid}", chain(&*error.into()))),
        }
    }

    /// Whether another attempt may succeed.
    pub fn is_retryable(&self) -> bool {
        self.0.retryable
    }

    /// Whether the step took longer than its timeout.
    pub fn is_timeout(&self) -> bool {
        self.0.kind == ErrorKind::Timeout
    }

    /// Whether the step's closure panicked.
    pub fn is_panic(&self) -> bool {
        self.0.kind == ErrorKind::Panic
    }

    /// Whether the handler used a step id for two kinds of operation.
    pub fn is_non_determinism(&self) -> bool {
        self.0.kind == ErrorKind::NonDeterminism
    }

    /// Whether the run failed because its process ended again and again: see
    /// [`Options::crashes_max`](crate::Options::crashes_max).
    pub fn is_crash(&self) -> bool {
        self.0.kind == ErrorKind::Crashed
    }

    /// Whether a step's output was too large to keep.
    pub fn is_too_large(&self) -> bool {
        self.0.kind == ErrorKind::TooLarge
    }

    /// What the error says: of the closure's error and its sources, `: ` between them.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The id of the step that failed, where one did.
    pub fn step(&self) -> Option<&str> {
        self.0.step.as_deref()
    }

    pub(crate) fn delay(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// The response that this error becomes where a handler does not handle it: `500 application/problem+json`,
    /// without anything of what is inside. The run counts as failed.
    ///
    /// axum handlers return the error itself; a service without axum answers with this.
    ///
    /// ```
    /// let response = onward::StepError::fail("the password is hunter2").to_response();
    /// assert_eq!(response.status(), 500);
    /// assert!(!String::from_utf8_lossy(response.body()).contains("hunter2"));
    /// ```
    pub fn to_response(&self) -> Response<Bytes> {
        let code = match self.0.kind {
            ErrorKind::NonDeterminism => Code::NonDeterminism,
            _ => Code::StepFailed,
        };
        // A user's error stays in the run's record. A mistake of the handler is told at once, in words of ours.
        let why = match self.0.kind {
            ErrorKind::Invalid | ErrorKind::NonDeterminism => self.message(),
            _ => "",
        };
        let step = self.step().unwrap_or_default();
        tracing::warn!(step, kind = ?self.0.kind, why, "a handler failed with a step's error");
        let problem = Problem::new(code);
        let problem = match self.0.run_id {
            Some(run_id) => problem.instance(format!("/runs/{run_id}")),
            None => problem,
        };
        let mut response = problem.into_response();
        response.extensions_mut().insert(Failure(self.clone()));
        response
    }

    pub(crate) fn at_step(mut self, run_id: RunId, step: impl fmt::Display) -> Self {
        self.0.run_id = Some(run_id);
        self.0.step = Some(step.to_string());
        self
    }

    /// The error as it is journaled: with the entry of its step.
    pub(crate) fn to_payload(&self) -> Payload {
        self.stored(None)
    }

    /// The error as it is kept with the outcome of the run that it failed.
    pub(crate) fn to_outcome(&self) -> Payload {
        self.stored(self.step())
    }

    fn stored(&self, step: Option<&str>) -> Payload {
        let message = self.message();
        let message = match message.len() {
            0..=MESSAGE_BYTES_MAX => Cow::Borrowed(message),
            len => format!("{}… ({len} bytes)", &message[..message.floor_char_boundary(MESSAGE_BYTES_MAX)]).into(),
        };
        let stored = StoredError { kind: self.0.kind, message, step: step.map(Cow::Borrowed) };
        serde_json::to_vec(&stored).map(Payload::from).expect("a string and a name always serialise")
    }

    /// Whether the response of the handler failed its run.
    pub(crate) fn is_response(&self) -> bool {
        self.0.kind == ErrorKind::Response
    }

    /// The error as it was journaled. It is final: its attempts have run out.
    pub(crate) fn from_payload(payload: &Payload) -> Self {
        match serde_json::from_slice::<StoredError<'_>>(payload.as_ref()) {
            Ok(stored) => {
                let mut this = Self::new(stored.kind, stored.message, false);
                this.0.step = stored.step.map(Cow::into_owned);
                this
            }
            Err(_) => Self::new(ErrorKind::User, "the stored error cannot be read", false),
        }
    }
}

/// An error and its sources in one line, without saying anything twice.
pub(crate) fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let more = error.to_string();
        if !text.ends_with(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        source = error.source();
    }
    text
}

impl fmt::Display for StepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.step {
            Some(step) => write!(f, "step {step:?}: {}", self.0.message),
            None => f.write_str(&self.0.message),
        }
    }
}

impl StdError for StepError {}

impl From<InvalidDuration> for StepError {
    fn from(error: InvalidDuration) -> Self {
        Self::new(ErrorKind::Invalid, error.to_string(), false)
    }
}

impl From<InvalidId> for StepError {
    fn from(error: InvalidId) -> Self {
        Self::new(ErrorKind::Invalid, error.to_string(), false)
    }
}

impl From<InvalidRetryPolicy> for StepError {
    fn from(error: InvalidRetryPolicy) -> Self {
        Self::new(ErrorKind::Invalid, error.to_string(), false)
    }
}

impl From<InvalidExpression> for StepError {
    fn from(error: InvalidExpression) -> Self {
        Self::new(ErrorKind::Invalid, error.to_string(), false)
    }
}

impl From<InvalidStep> for StepError {
    fn from(error: InvalidStep) -> Self {
        let kind = match error {
            InvalidStep::NonDeterminism { .. } => ErrorKind::NonDeterminism,
            _ => ErrorKind::Invalid,
        };
        Self::new(kind, error.to_string(), false)
    }
}

/// An error that a step's closure may return: any error, `anyhow::Error`, `eyre::Report`, a boxed error, or a text.
///
/// An error of the closure is a failed attempt and is tried again; a [`StepError`] is taken as it is, also where it is
/// the source of another error: with `anyhow`'s `.context(…)`, say. A step's error that `?` alone has turned into another type
/// counts as any error, because nobody can tell it from others: an attempt after it is tried again, whatever it said.
///
/// ```
/// # use onward::{Step, StepError};
/// # async fn charge() -> Result<u32, std::io::Error> { Ok(1) }
/// async fn handler(step: Step) -> Result<String, StepError> {
///     let receipt: u32 = step.run("charge", async || Ok::<_, onward::BoxError>(charge().await?)).await?;
///     Ok(format!("receipt {receipt}"))
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "a step cannot fail with `{Self}`",
    note = "return any `std::error::Error + Send + Sync + 'static`, `anyhow::Error`, or wrap it: `.map_err(StepError::retry)` or `.map_err(StepError::fail)`"
)]
pub trait IntoStepError {
    /// The error as the step's.
    fn into_step_error(self) -> StepError;
}

impl<E: Into<BoxError>> IntoStepError for E {
    fn into_step_error(self) -> StepError {
        let boxed: BoxError = self.into();
        let error = match boxed.downcast::<StepError>() {
            Ok(error) => return *error,
            Err(error) => error,
        };
        let mut source = error.source();
        while let Some(cause) = source {
            if let Some(own) = cause.downcast_ref::<StepError>() {
                let mut own = own.clone();
                own.0.message = chain(&*error);
                return own;
            }
            source = cause.source();
        }
        StepError::retry(error)
    }
}
