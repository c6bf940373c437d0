//! Resuming a run: its handler is called again with the stored request, over its journal.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use http::{Extensions, Response};
use http_body_util::Full;
use onward_core::{
    BoxFuture, RunId, StoreError,
    run::Status,
    store::Lease,
    stream::{Place, Tail},
};
use onward_scheduler::{Attached, Hung};
use tokio::sync::oneshot;

use crate::{
    Step, StepError,
    context::{Context, Halt, stream::StreamState},
    error::{BoxError, ErrorKind},
    execution::{Ended, Execution},
    onward::Shared,
    record::{KeptRequest, RequestRecord},
    supervise::{AnyResponse, Left, conclude, settle, supervise},
};

/// Who hears of a run that is being read: it is cancelled, or gets a delivery, before its execution is there.
#[derive(Default)]
struct Reading {
    execution: OnceLock<Arc<Context>>,
    cancelled: AtomicBool,
    nudged: AtomicBool,
}

impl Reading {
    /// Passes on what was heard, and what will be.
    fn hand_over(&self, execution: &Arc<Context>) {
        self.execution.get_or_init(|| Arc::clone(execution));
        if self.cancelled.load(Ordering::SeqCst) {
            execution.cancel();
        }
        if self.nudged.load(Ordering::SeqCst) {
            execution.nudge();
        }
    }
}

impl Attached for Reading {
    fn nudge(&self) {
        self.nudged.store(true, Ordering::SeqCst);
        if let Some(execution) = self.execution.get() {
            execution.nudge();
        }
    }

    fn cancel(&self) {
        self.cancelled.store(true, Ordering::SeqCst);
        if let Some(execution) = self.execution.get() {
            execution.cancel();
        }
    }

    fn hung(&self) -> Option<Hung> {
        None // it waits for the store
    }
}

/// Goes on with a run under a lease; ends when the run has ended, is suspended, or is parked.
pub(crate) async fn resume(shared: Arc<Shared>, lease: Lease) {
    let reading = Arc::new(Reading::default());
    let heard = shared.hub.attach(lease.run_id, Arc::clone(&reading) as Arc<dyn Attached>);
    let loaded_at = shared.clock.now();
    let mut loaded = match shared.store.load(lease.run_id).await {
        Ok(Some(loaded)) if loaded.record.status == Status::Running && loaded.record.fence == lease.fence => loaded,
        Ok(_) => return, // it was ended, or is another's
        Err(error) => return give_back(&shared, lease, &error),
    };
    let Some(endpoint) = shared.endpoints.goes_on_with(&loaded.record) else {
        let error = StoreError::Corrupt("the store gave out a run that no handler of this app goes on with".into());
        return give_back(&shared, lease, &error);
    };
    let Ok((kept, request)) = KeptRequest::read(&loaded.record.request) else {
        let error = StoreError::Corrupt("the stored request cannot be read".into());
        return give_back(&shared, lease, &error);
    };
    let streamed = match read_all(&shared, lease.run_id, loaded.streamed).await {
        Ok(tail) => StreamState::replay(tail, request.streams()),
        Err(error) => return give_back(&shared, lease, &error),
    };
    let context = Context::replay(Arc::clone(&shared), endpoint, lease, &mut loaded, loaded_at, kept, streamed);
    reading.hand_over(&context);
    drop(heard);
    if context.timeout_at.is_some_and(|at| at <= context.now()) {
        let left = settled(Arc::clone(&context), Ended::TimedOut).await;
        return conclude(&context, left).await;
    }
    start(shared, context, &request, loaded.journal.len()).await;
}

/// What a run has streamed, as far as it matters for how it goes on.
async fn read_all(shared: &Shared, run_id: RunId, last: Place) -> Result<Tail, StoreError> {
    const PAGE: usize = 4_096;
    let mut tail = Tail::default();
    while tail.last() < last {
        let page = shared.store.frames(run_id, tail.last(), PAGE).await?;
        if page.is_empty() {
            return Err(StoreError::Corrupt("frames of the stream are missing".into()));
        }
        for frame in &page {
            tail.replay(frame);
        }
    }
    Ok(tail)
}

async fn start(shared: Arc<Shared>, context: Arc<Context>, record: &RequestRecord, entries: usize) {
    if !context.may_execute() {
        return conclude(&context, Left::Halted(Halt::LeaseExpired)).await;
    }
    let Some(call) = context.endpoint.call() else { return context.detach() };
    let mut request = record.to_request();
    if !restore(&context, record, request.extensions_mut()) {
        let why = "what the endpoint carries cannot be read back as its type";
        tracing::error!(run_id = %context.run_id, "{why}");
        let left = settled(Arc::clone(&context), Ended::Refused(StepError::new(ErrorKind::Invalid, why, false))).await;
        return conclude(&context, left).await;
    }
    request.extensions_mut().insert(Step { context: Arc::clone(&context) });
    let route = record.matched_path.clone().map(|path| (path, record.original_uri.clone()));
    tracing::debug!(run_id = %context.run_id, endpoint = %context.endpoint.id, entries, "run resumes");
    let handler = call.call(request, route);
    let (slot, parked) = oneshot::channel();
    shared.tasks.spawn("run", driven(context, handler, slot));
    let _ = parked.await; // an error says that the slot was let go of
}

/// Puts back what the first request's extensions had. Whether all of it could be read.
fn restore(context: &Context, record: &RequestRecord, extensions: &mut Extensions) -> bool {
    #[cfg(feature = "axum")]
    if let Some(peer) = record.peer {
        extensions.insert(axum::extract::ConnectInfo(peer));
    }
    context.endpoint.carried.iter().all(|carried| carried.put(&record.carried, extensions))
}

/// The run could not be read: it stays leased to this node and is tried again when its node's runs are taken up.
fn give_back(shared: &Arc<Shared>, lease: Lease, error: &StoreError) {
    tracing::error!(run_id = %lease.run_id, error = error as &dyn std::error::Error, "a run could not be resumed");
    if !matches!(error, StoreError::Corrupt(_)) {
        shared.release(lease);
    }
}

/// The run of a handler whose body's type is forgotten, in a box of its own: what the compiler must know of that
/// type's error then stays out of the futures above.
fn driven(
    context: Arc<Context>,
    handler: BoxFuture<'static, Result<AnyResponse, BoxError>>,
    slot: oneshot::Sender<()>,
) -> BoxFuture<'static, ()> {
    Box::pin(supervise(Execution::new(context, handler), Some(slot)))
}

/// Settles a run whose handler was not called.
fn settled(context: Arc<Context>, ended: Ended<Response<Full<Bytes>>>) -> BoxFuture<'static, Left> {
    Box::pin(async move { settle(&context, ended).await })
}
