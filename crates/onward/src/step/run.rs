//! `step.run`: a closure whose output is kept.

use std::{
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use onward_core::{Attempt, IntoDuration, Payload, RetryPolicy, StepKey, run::machine::Next, step::StepKind};
use serde::{Serialize, de::DeserializeOwned};

use super::{Asked, Make, Step, StepFuture, finite::is_finite, refused, step_future};
use crate::{
    IntoStepError, StepError,
    context::{Context, Room, stream},
    error::ErrorKind,
    execution::panic_text,
};

/// A step that keeps its thread for longer than this is told of.
const BLOCKS: Duration = Duration::from_secs(1);

/// What a step's closure can know of its attempt.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StepContext {
    /// Which attempt this is, from 1. An attempt that was cut off by a crash is made again under the same number.
    pub attempt: u32,
    /// The same text in every attempt of this step and in no other step: to pass downstream, so that what an attempt
    /// did before it was cut off is not done twice.
    pub idempotency_key: String,
}

/// A step that runs a closure: see [`Step::run`].
#[must_use = "a step runs when it is awaited"]
pub struct Run<'a, T> {
    pub(super) options: RunOptions,
    pub(super) make: Option<Make<'a, RunOptions, T>>,
    pub(super) future: Option<StepFuture<'a, T>>,
}

/// What a step's attempts go by.
#[derive(Default)]
pub(super) struct RunOptions {
    retries: Option<u32>,
    policy: Option<RetryPolicy>,
    timeout: Option<Duration>,
    error: Option<StepError>,
}

impl RunOptions {
    pub(super) fn resolve(self, endpoint: RetryPolicy) -> Result<(RetryPolicy, Option<Duration>), StepError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        let policy = self.policy.unwrap_or(endpoint);
        Ok((self.retries.map_or(Ok(policy), |retries| policy.with_retries(retries))?, self.timeout))
    }

    pub(super) fn set_retries(&mut self, retries: u32) {
        self.retries = Some(retries);
    }

    pub(super) fn set_policy(&mut self, policy: RetryPolicy) {
        self.policy = Some(policy);
    }

    pub(super) fn set_timeout(&mut self, timeout: impl IntoDuration) {
        match timeout.into_duration() {
            Ok(timeout) => self.timeout = Some(timeout),
            Err(error) => self.error = Some(error.into()),
        }
    }
}

impl<T> Run<'_, T> {
    /// How often the step is tried again after a failure, 0 to 20. Default: the endpoint's.
    pub fn retries(mut self, retries: u32) -> Self {
        self.options.set_retries(retries);
        self
    }

    /// The step's own back-off. Default: the endpoint's.
    pub fn retry_policy(mut self, policy: RetryPolicy) -> Self {
        self.options.set_policy(policy);
        self
    }

    /// How long an attempt may take. One that takes longer is dropped, and has failed. Default: no limit.
    pub fn timeout(mut self, timeout: impl IntoDuration) -> Self {
        self.options.set_timeout(timeout);
        self
    }
}

step_future!(Run<'a, T>);

impl Step {
    /// Runs a closure and keeps its output: once it is committed, the closure never runs again in this run.
    ///
    /// The closure may borrow from the handler. What it returns must survive a round trip through JSON. An error or
    /// a panic of it is a failed attempt; see [`StepError`] for what follows. It may run more than once: a crash
    /// between its end and the commit repeats it (see [`Step::run_with`] for a key that lets others notice).
    ///
    /// The closure must not change the handler's variables: a replay does not run it, so the change would be missing.
    /// (The compiler refuses an `async` closure that does.)
    ///
    /// A step that leaves its handler, for a task of its own or a collection, takes what it needs along, in a closure that can
    /// be called again for another attempt:
    ///
    /// ```
    /// # use futures_util::stream::{self, StreamExt, TryStreamExt};
    /// # use onward::{Step, StepError};
    /// # async fn charge(user: &str) -> Result<u32, std::io::Error> { Ok(1) }
    /// async fn handler(step: Step) -> Result<String, StepError> {
    ///     let users = ["ada", "bob", "eve"].map(str::to_owned);
    ///     let charges = stream::iter(users).map(|user| {
    ///         let id = format!("charge-{user}");
    ///         step.run(&id, move || {
    ///             let user = user.clone();
    ///             async move { charge(&user).await }
    ///         })
    ///     });
    ///     let receipts: Vec<u32> = charges.buffered(2).try_collect().await?; // two at a time
    ///     Ok(format!("receipts {receipts:?}"))
    /// }
    /// ```
    ///
    /// # Errors
    /// The last error, when the attempts have run out. Also when the output is too large or cannot be serialised,
    /// and when `id` stands for another kind of step.
    ///
    /// # Example
    ///
    /// ```
    /// # use onward::{Step, StepError};
    /// # async fn charge(user: &str) -> Result<u32, std::io::Error> { Ok(1) }
    /// async fn handler(step: Step) -> Result<String, StepError> {
    ///     let user = "ada".to_owned();
    ///     let receipt = step.run("charge", async || charge(&user).await).retries(5).timeout("10s").await?;
    ///     Ok(format!("receipt {receipt}"))
    /// }
    /// ```
    pub fn run<'a, T, E, F, Fut>(&self, id: &str, mut work: F) -> Run<'a, T>
    where
        F: FnMut() -> Fut + Send + 'a,
        Fut: Future<Output = Result<T, E>> + Send + 'a,
        T: Serialize + DeserializeOwned + Send + 'a,
        E: IntoStepError + 'a,
    {
        self.begin(id, move |_, _| work())
    }

    /// Like [`Step::run`]; the closure is told its attempt and a key to pass downstream.
    ///
    /// ```
    /// # use onward::{Step, StepError};
    /// # async fn charge(key: &str) -> Result<u32, std::io::Error> { Ok(1) }
    /// async fn handler(step: Step) -> Result<String, StepError> {
    ///     let receipt = step.run_with("charge", async |cx| charge(&cx.idempotency_key).await).await?;
    ///     Ok(format!("receipt {receipt}"))
    /// }
    /// ```
    pub fn run_with<'a, T, E, F, Fut>(&self, id: &str, mut work: F) -> Run<'a, T>
    where
        F: FnMut(StepContext) -> Fut + Send + 'a,
        Fut: Future<Output = Result<T, E>> + Send + 'a,
        T: Serialize + DeserializeOwned + Send + 'a,
        E: IntoStepError + 'a,
    {
        self.begin(id, move |asked, attempt| work(work_context(asked, attempt)))
    }

    fn begin<'a, T, E, F, Fut>(&self, id: &str, work: F) -> Run<'a, T>
    where
        F: FnMut(&Asked, Attempt) -> Fut + Send + 'a,
        Fut: Future<Output = Result<T, E>> + Send + 'a,
        T: Serialize + DeserializeOwned + Send + 'a,
        E: IntoStepError + 'a,
    {
        let asked = Asked::new(self, id, StepKind::Run);
        let make: Make<'a, RunOptions, T> = Box::new(move |options| match asked {
            Ok(asked) => Box::pin(attempts(asked, options, work)),
            Err(error) => refused(error),
        });
        Run { options: RunOptions::default(), make: Some(make), future: None }
    }
}

/// Runs a closure until an attempt succeeds or they have run out, and waits for the outcome to be durable.
async fn attempts<T, E, F, Fut>(mut asked: Asked, options: RunOptions, mut work: F) -> Result<T, StepError>
where
    F: FnMut(&Asked, Attempt) -> Fut + Send,
    Fut: Future<Output = Result<T, E>> + Send,
    T: Serialize + DeserializeOwned + Send,
    E: IntoStepError,
{
    let endpoint = asked.context.endpoint.options.retry;
    let (policy, timeout) = options.resolve(endpoint).map_err(|error| asked.error(error))?;
    while let Some(attempt) = asked.attempt().await {
        let running = asked.context.running();
        let result = attempt_once((&asked.context, asked.key), || work(&asked, attempt), timeout).await;
        let streamed = asked.context.take_stream_error(Some(asked.key)).map_or(Ok(()), Err);
        let kept = result.and_then(|value| streamed.and_then(|()| keep::<T>(&value, asked.context.room())));
        match kept {
            Ok((output, value)) => {
                asked.context.succeed(asked.key, output, |_| ());
                drop(running);
                asked.outcome().await?;
                return Ok(value);
            }
            Err(error) => {
                let next = asked.context.fail_attempt(asked.key, attempt, &error, &policy);
                drop(running);
                asked.next = next.unwrap_or(Next::Recorded);
            }
        }
    }
    let output = asked.outcome().await?;
    super::read(&asked, &output).await
}

pub(super) fn work_context(asked: &Asked, attempt: Attempt) -> StepContext {
    let idempotency_key = format!("{}-{}", asked.context.run_id, asked.key);
    StepContext { attempt: attempt.0, idempotency_key }
}

/// One attempt: a panic and a timeout are errors of it.
async fn attempt_once<T, E, F, Fut>(
    (context, key): (&Arc<Context>, StepKey),
    work: F,
    timeout: Option<Duration>,
) -> Result<T, StepError>
where
    F: FnOnce() -> Fut,
    Fut: Future<Output = Result<T, E>>,
    E: IntoStepError,
{
    let panicked = |panic: Box<dyn std::any::Any + Send>| StepError::new(ErrorKind::Panic, panic_text(&*panic), true);
    let future = catch_unwind(AssertUnwindSafe(|| stream::within(context, Some(key), work))).map_err(panicked)?;
    let mut future = pin!(future);
    let caught = poll_fn(|cx| {
        let polled = || stream::within(context, Some(key), || future.as_mut().poll(cx));
        let began = tokio::time::Instant::now();
        let caught = catch_unwind(AssertUnwindSafe(polled));
        let blocked = began.elapsed();
        if blocked >= BLOCKS {
            context.say_blocking(key, blocked);
        }
        match caught {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(result)) => Poll::Ready(result.map_err(IntoStepError::into_step_error)),
            Err(panic) => Poll::Ready(Err(panicked(panic))),
        }
    });
    match timeout {
        None => caught.await,
        Some(limit) => tokio::time::timeout(limit, caught).await.unwrap_or_else(|_| {
            Err(StepError::new(ErrorKind::Timeout, format!("the attempt took longer than {limit:?}"), true))
        }),
    }
}

/// An output as it is kept and as it will be read: what cannot be read back is refused before it is committed.
pub(super) fn keep<T: Serialize + DeserializeOwned>(value: &T, room: Room) -> Result<(Payload, T), StepError> {
    let unserialisable = |error: serde_json::Error| {
        StepError::new(ErrorKind::Unserialisable, format!("the output does not survive JSON: {error}"), false)
    };
    let bytes = serde_json::to_vec(value).map_err(unserialisable)?;
    room.check(bytes.len())?;
    if !is_finite(value, &bytes) {
        let text =
            "the output has a number that is infinite or not a number, and JSON has neither: give an Option or a text";
        return Err(StepError::new(ErrorKind::Unserialisable, text, false));
    }
    let read = serde_json::from_slice(&bytes).map_err(unserialisable)?;
    Ok((bytes.into(), read))
}
