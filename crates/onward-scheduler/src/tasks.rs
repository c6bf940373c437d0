//! Tasks that a shutdown waits for.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::FutureExt;
use tokio::runtime::Handle;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// The tasks of an app. Clones are the same set.
///
/// It keeps the runtime it was made in, so that a task can be spawned from a `Drop` on any thread.
///
/// # Example
///
/// ```
/// use onward_scheduler::TaskSet;
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let tasks = TaskSet::new();
/// let stop = tasks.shutdown_token().clone();
/// tasks.spawn("waits", async move { stop.cancelled().await });
/// assert_eq!(tasks.len(), 1);
/// assert_eq!(tasks.drain(Duration::from_secs(1)).await, 0);
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct TaskSet {
    tracker: TaskTracker,
    stop: CancellationToken,
    runtime: Handle,
}

impl TaskSet {
    /// An empty set on the current runtime.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[expect(clippy::new_without_default, reason = "it needs a runtime")]
    pub fn new() -> Self {
        Self { tracker: TaskTracker::new(), stop: CancellationToken::new(), runtime: Handle::current() }
    }

    /// Starts a task. A panic of it ends the task alone, and is logged under its name.
    pub fn spawn<F>(&self, name: &'static str, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        drop(self.tracker.spawn_on(logged(name, future), &self.runtime));
    }

    /// Starts a task that [`drain`](Self::drain) neither counts nor waits for: it goes on while the others end.
    pub(crate) fn spawn_beside<F>(&self, name: &'static str, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        drop(self.runtime.spawn(logged(name, future)));
    }

    /// How many tasks are running.
    pub fn len(&self) -> usize {
        self.tracker.len()
    }

    /// Whether none is running.
    pub fn is_empty(&self) -> bool {
        self.tracker.is_empty()
    }

    /// Cancelled when the app shuts down.
    pub fn shutdown_token(&self) -> &CancellationToken {
        &self.stop
    }

    /// Tells tasks to stop and waits for them at most this long; gives how many are left. **Cancel-safe**: they stay
    /// told.
    pub async fn drain(&self, grace: Duration) -> usize {
        self.stop.cancel();
        self.tracker.close();
        let _ = tokio::time::timeout(grace, self.tracker.wait()).await;
        self.tracker.len()
    }
}

/// A future has panicked. What it said is for the panic hook alone: it may hold what users wrote.
pub(crate) struct Panicked;

pin_project_lite::pin_project! {
    /// A future that is polled to its end or its panic.
    ///
    /// Why by hand: an async function keeps its argument beside what it polls, and a parked run would be as large again.
    pub(crate) struct Caught<F> {
        #[pin]
        future: F,
    }
}

/// Polls a future to its end or its panic.
pub(crate) const fn caught<F: Future>(future: F) -> Caught<F> {
    Caught { future }
}

impl<F: Future> Future for Caught<F> {
    type Output = Result<F::Output, Panicked>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let future = self.project().future;
        match catch_unwind(AssertUnwindSafe(|| future.poll(cx))) {
            Ok(poll) => poll.map(Ok),
            Err(_) => Poll::Ready(Err(Panicked)),
        }
    }
}

/// A task: a panic of its future is logged under its name.
pub(crate) fn logged<F: Future<Output = ()>>(name: &'static str, future: F) -> impl Future<Output = ()> + use<F> {
    tracing::trace!(task = name, "task starts");
    caught(future).map(move |ended| {
        if let Err(Panicked) = ended {
            tracing::error!(task = name, "a task panicked");
        }
    })
}
