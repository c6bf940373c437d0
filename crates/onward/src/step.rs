//! Steps: named units of a handler whose outputs are kept.

mod event;
#[cfg(feature = "fetch")]
mod fetch;
mod finite;
mod invoke;
mod run;
mod signal;
mod sleep;
mod stream;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod transaction;
mod view;

#[cfg(feature = "fetch")]
pub use self::fetch::Fetch;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub use self::transaction::Transaction;
pub use self::{
    event::{Event, SendEvent, WaitForEvent},
    invoke::Invoke,
    run::{Run, StepContext},
    signal::{SendSignal, WaitForSignal},
    sleep::Sleep,
    stream::{IntoChunk, StreamWriter},
};

use std::{fmt, future::poll_fn, pin::Pin, sync::Arc};

use onward_core::{
    Attempt, Payload, RunId, StepKey,
    journal::BlockedBy,
    run::machine::Next,
    step::{StepId, StepKind},
};

use crate::{
    StepError,
    context::{Context, Halt, blocked::Missing},
    error::ErrorKind,
};

/// The future inside a step's builder.
type StepFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, StepError>> + Send + 'a>>;

/// The handle through which a handler takes its steps: an argument of the handler (an axum extractor), or in the
/// request's extensions.
///
/// Cheap to clone; all clones are the same run. Each method begins a builder that is also the future: set its
/// options, then `.await` it, or join it with others. **Dropping the future** of a step lets go of the step: if its
/// output was not yet committed it is not kept, and a later replay of the handler asks for it again.
///
/// A step may be taken in any task, `tokio::spawn`ed, of a `JoinSet`, or an actor's, as long as the handler awaits it before
/// it returns. A step that is asked for, or ends, after that is an error and changes nothing; so is a step inside the closure
/// of another. When a run is suspended, its handler's future is dropped, but tasks that the handler spawned are not: their
/// steps end with an error then, and the next execution spawns them again.
///
/// # Example
///
/// ```
/// use axum::{Json, routing::get};
/// use onward::{Onward, Step, StepError};
///
/// async fn greet(step: Step) -> Result<Json<String>, StepError> {
///     let name = step.run("fetch-name", async || Ok::<_, StepError>("Ada".to_owned())).await?;
///     step.sleep("pause", "10ms").await?;
///     Ok(Json(format!("hello {name}")))
/// }
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), onward::Error> {
/// let onward = Onward::open("memory:").await?;
/// let app = axum::Router::<()>::new().merge(onward.route("/greet", get(greet)));
/// # drop(app); onward.shutdown().await }
/// ```
#[derive(Clone)]
pub struct Step {
    pub(crate) context: Arc<Context>,
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Step").field("run_id", &self.context.run_id).finish_non_exhaustive()
    }
}

impl Step {
    /// The id of the run.
    pub fn run_id(&self) -> RunId {
        self.context.run_id
    }

    /// Says that the handler once had steps of this id and has none any more. Runs that were begun before go on without
    /// them: otherwise a handler that returns without asking for a step of its journal is blocked (see
    /// [`Options::blocked_for`](crate::Options::blocked_for)). Say it before the handler returns, best at its beginning.
    ///
    /// ```
    /// # use onward::{Step, StepError};
    /// async fn handler(step: Step) -> Result<String, StepError> {
    ///     step.retired("send-fax"); // there were such steps until version 7
    ///     step.run("send-mail", async || Ok::<_, StepError>("sent".to_owned())).await
    /// }
    /// ```
    pub fn retired(&self, id: &str) {
        self.context.retire(id);
    }
}

/// Marks the response of a handler that failed with a step's error, so that the run counts as failed.
#[derive(Clone, Debug)]
pub(crate) struct Failure(pub(crate) StepError);

/// A step that the handler has asked for. Dropping it before its outcome came lets go of the step.
struct Asked {
    context: Arc<Context>,
    id: StepId,
    key: StepKey,
    next: Next,
    delivered: bool,
}

impl Asked {
    fn new(step: &Step, name: &str, kind: StepKind) -> Result<Self, StepError> {
        let context = Arc::clone(&step.context);
        if let Some(outer) = context.inside_step() {
            let text = format!(
                "steps do not nest, and this one was asked for inside of step {outer:?}: take it before or after that one"
            );
            return Err(StepError::new(ErrorKind::Invalid, text, false).at_step(context.run_id, name));
        }
        let requested = context.request_step(name, kind).map_err(|error| error.at_step(context.run_id, name))?;
        Ok(Self { context, id: requested.step, key: requested.key, next: requested.next, delivered: false })
    }

    /// The attempt to make, once its time has come; `None` where there is none to make any more.
    ///
    /// An attempt is given only while the node's lease is good. Past it, the execution ends and the future stays pending: the
    /// step may be run by another node already, and what this one did would be done twice.
    async fn attempt(&self) -> Option<Attempt> {
        let attempt = match self.next {
            Next::Attempt(attempt) => attempt,
            Next::AttemptAt(..) => poll_fn(|cx| self.context.poll_retry(self.key, cx)).await?,
            Next::Waiting | Next::Recorded => return None,
        };
        if self.context.is_closed() {
            return None;
        }
        if !self.context.may_execute() {
            self.context.halt(Halt::LeaseExpired);
            poll_fn(|cx| self.context.poll_closed(self.key, cx)).await;
            return None;
        }
        Some(attempt)
    }

    /// The step's outcome, once it is there and it is its turn.
    async fn outcome(&mut self) -> Result<Payload, StepError> {
        let outcome = poll_fn(|cx| self.context.poll_outcome(self.key, cx)).await;
        self.delivered = true;
        outcome.map_err(|error| StepError::from_payload(&error).at_step(self.context.run_id, &self.id))
    }

    /// An error of the step that is not recorded.
    fn error(&self, error: impl Into<StepError>) -> StepError {
        error.into().at_step(self.context.run_id, &self.id)
    }

    /// The step cannot be as it was asked for. That is recorded: it fails in a replay, too, whatever has changed.
    fn refuse(&self, error: &StepError) {
        self.context.fail(self.key, error);
    }

    fn is_new(&self) -> bool {
        matches!(self.next, Next::Attempt(_))
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        if !self.delivered {
            self.context.let_go(self.key);
        }
    }
}

/// Makes the builder's `Future` impl: the first poll turns the options into the step's future.
macro_rules! step_future {
    ($(#[$meta:meta])* $name:ident<$lt:lifetime, $output:ident>) => {
        impl<$lt, $output> std::future::Future for $name<$lt, $output> {
            type Output = Result<$output, $crate::StepError>;

            fn poll(
                mut self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
            ) -> std::task::Poll<Self::Output> {
                if let Some(make) = self.make.take() {
                    let options = std::mem::take(&mut self.options);
                    self.future = Some(make(options));
                }
                self.future.as_mut().expect("made at the first poll").as_mut().poll(cx)
            }
        }

        impl<$lt, $output> std::fmt::Debug for $name<$lt, $output> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }
    };
}
use step_future;

/// What makes a step's future out of its options, at the first poll.
type Make<'a, O, T> = Box<dyn FnOnce(O) -> StepFuture<'a, T> + Send + 'a>;

/// A future that fails at once.
fn refused<'a, T: Send + 'a>(error: StepError) -> StepFuture<'a, T> {
    Box::pin(async move { Err(error) })
}

/// Reads a journaled output.
///
/// An output that is not of the handler's type blocks the run, and the future stays pending: another deploy may read it.
async fn read<T: serde::de::DeserializeOwned>(asked: &Asked, output: &Payload) -> Result<T, StepError> {
    match parse(asked, output) {
        Ok(value) => Ok(value),
        Err(error) if asked.context.endpoint.options.lenient_replay => Err(error),
        Err(_) => {
            let missing = Missing { step: asked.id.to_string(), cause: BlockedBy::Unreadable };
            asked.context.halt(Halt::Blocked(missing));
            let error = poll_fn(|cx| asked.context.poll_closed(asked.key, cx)).await;
            Err(asked.error(error))
        }
    }
}

/// Reads what came from outside, as the handler's type. Its sender may have meant something else, so that is an error.
fn parse<T: serde::de::DeserializeOwned>(asked: &Asked, output: &Payload) -> Result<T, StepError> {
    serde_json::from_slice(output.as_ref()).map_err(|error| {
        let text = format!("the kept output is not of the type that the handler asks for: {error}");
        asked.error(StepError::new(ErrorKind::Unserialisable, text, false))
    })
}
