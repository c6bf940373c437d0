//! Tasks that a shutdown waits for.

use std::time::Duration;

use tokio::runtime::Handle;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// The tasks of an app. Clones are the same set.
///
/// It keeps the runtime it was made in, so that a task can be spawned from a `Drop` on any thread.
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

    /// Starts a task. A panic of it ends the task alone, and the runtime reports it.
    pub fn spawn<F>(&self, name: &'static str, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        tracing::trace!(name, "task starts");
        drop(self.tracker.spawn_on(future, &self.runtime));
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

    /// Tells tasks to stop and waits for them at most this long; gives how many are left.
    pub async fn drain(&self, grace: Duration) -> usize {
        self.stop.cancel();
        self.tracker.close();
        let _ = tokio::time::timeout(grace, self.tracker.wait()).await;
        self.tracker.len()
    }
}
