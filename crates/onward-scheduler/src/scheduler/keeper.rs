//! The thread that keeps the node's lease: it goes on while steps block every thread of the app's runtime.

use std::{io, thread};

use tokio::{runtime, sync::oneshot};
use tokio_util::sync::CancellationToken;

use crate::tasks::{TaskSet, logged};

/// What the app's runtime holds: as it ends, or the runtime does, the thread ends before it.
struct Guard {
    runtime_is_there: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.runtime_is_there.take());
        // Why waited for: what the future holds of the store is let go with the runtime, and not a little later. It ends
        // at once.
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that keeps the node's lease panicked");
        }
    }
}

/// Runs a future on a thread and a runtime of its own, until it ends, or a token is cancelled, or the runtime of the tasks
/// ends.
pub(super) fn keep(
    tasks: &TaskSet,
    until: CancellationToken,
    future: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let (runtime_is_there, runtime_is_gone) = oneshot::channel::<()>();
    let subscriber = tracing::dispatcher::get_default(Clone::clone);
    let thread = thread::Builder::new().name("onward-lease".to_owned()).spawn(move || {
        tracing::dispatcher::with_default(&subscriber, || {
            runtime.block_on(async {
                tokio::select! {
                    biased;
                    _ = runtime_is_gone => {}
                    () = logged("heartbeat", future) => {}
                }
            });
        });
    })?;
    let guard = Guard { runtime_is_there: Some(runtime_is_there), thread: Some(thread) };
    tasks.spawn_beside("lease", async move {
        until.cancelled().await;
        // Where no thread of the app waits for it.
        let _ = tokio::task::spawn_blocking(move || drop(guard)).await;
    });
    Ok(())
}
