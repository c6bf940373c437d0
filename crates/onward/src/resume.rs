//! Resuming a run: its handler is called again with the stored request, over its journal.

use std::{
    future::poll_fn,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
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
    Step,
    context::{Context, Halt, blocked::Missing, stream::StreamState},
    crashes::{self, Verdict},
    endpoint::Carried,
    error::BoxError,
    execution::{Ended, Execution},
    onward::Shared,
    record::{InvalidRecord, KeptRequest, RequestRecord},
    supervise::{AnyResponse, Left, conclude, settle, supervise},
    unreadable::give_back,
};

/// A handler that was called.
type Handler = BoxFuture<'static, Result<AnyResponse, BoxError>>;

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
        Err(error) => return give_back(&shared, lease, &error).await,
    };
    let Some(endpoint) = shared.endpoints.goes_on_with(&loaded.record) else {
        // An endpoint of this id was there when the run was claimed.
        tracing::warn!(run_id = %lease.run_id, endpoint = %loaded.record.endpoint, "no handler of this app goes on with the run");
        return shared.release(lease);
    };
    let verdict = crashes::judge(loaded.crashes, endpoint.options.crashes_max, shared.clock.now());
    let place = match verdict {
        Verdict::GoOn { left } => shared.suspects.try_begin(left).ok_or(crashes::PLACE_PAUSE),
        Verdict::Rest(rest) => Err(rest),
        Verdict::Fail { .. } => shared.suspects.try_begin(0).ok_or(crashes::PLACE_PAUSE),
    };
    let place = match place {
        Ok(place) => place,
        Err(rest) => {
            let crashes = loaded.crashes.count;
            tracing::warn!(run_id = %lease.run_id, endpoint = %endpoint.id, crashes, ?rest,
                "run rests, because the process that executed it ended without the run getting further");
            return shared.scheduler.release(lease, rest);
        }
    };
    let Ok((kept, request)) = KeptRequest::read(&loaded.record.request) else {
        return give_back(&shared, lease, &InvalidRecord.into()).await;
    };
    let streamed = match read_all(&shared, lease.run_id, loaded.streamed).await {
        Ok(tail) => StreamState::replay(tail, request.streams()),
        Err(error) => return give_back(&shared, lease, &error).await,
    };
    shared.unreadable.forget(lease.run_id);
    let context = Context::replay(Arc::clone(&shared), endpoint, lease, &mut loaded, loaded_at, kept, streamed);
    reading.hand_over(&context);
    drop(heard);
    if context.timeout_at.is_some_and(|at| at <= context.now()) {
        let left = settled(Arc::clone(&context), Ended::TimedOut).await;
        return conclude(&context, left).await;
    }
    if place.is_alone() {
        shared.clock.sleep_until(shared.clock.now().after(crashes::ALONE_AFTER)).await;
    }
    if loaded.crashes.count > 0 {
        context.suspect(place);
    }
    if let Verdict::Fail { asks } = verdict {
        return fail(context, &request, loaded.crashes.count, asks).await;
    }
    start(shared, context, &request, loaded.journal.len()).await;
}

/// Ends a run that has crashed as often as it may. Its handler is called once more, where it can be, to ask for the steps that
/// it has not finished; none of them begins.
async fn fail(context: Arc<Context>, request: &RequestRecord, crashes: u32, asks: bool) {
    if asks && let Some(Ok(handler)) = handler(&context, request) {
        if !context.may_execute() {
            return conclude(&context, Left::Halted(Halt::LeaseExpired)).await;
        }
        context.only_ask();
        ask(Execution::new(Arc::clone(&context), handler)).await;
    }
    let unfinished = context.asked();
    let error = crashes::error(crashes, &unfinished);
    context.shared.crashed.fetch_add(1, Ordering::Relaxed);
    tracing::error!(run_id = %context.run_id, endpoint = %context.endpoint.id, crashes, ?unfinished, "run crashed");
    let left = settled(Arc::clone(&context), Ended::Crashed(error)).await;
    conclude(&context, left).await;
}

/// Drives a handler until it has asked for a step that is not finished, or for a moment.
async fn ask<F>(mut execution: Execution<F>)
where
    F: Future<Output = Result<AnyResponse, BoxError>>,
{
    let asked = poll_fn(|cx| match execution.poll(cx) {
        Poll::Pending if execution.context.asked().is_empty() => Poll::Pending,
        _ => Poll::Ready(()),
    });
    if tokio::time::timeout(crashes::ASKS_FOR, asked).await.is_err() {
        tracing::debug!(run_id = %execution.context.run_id, "the handler asked for no step that is not finished");
    }
    execution.context.close();
    execution.end();
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
    let handler = match handler(&context, record) {
        Some(Ok(handler)) => handler,
        Some(Err(missing)) => {
            let left = settled(Arc::clone(&context), Ended::Blocked(missing)).await;
            return conclude(&context, left).await;
        }
        None => return context.detach(),
    };
    tracing::debug!(run_id = %context.run_id, endpoint = %context.endpoint.id, entries, "run resumes");
    let (slot, parked) = oneshot::channel();
    shared.tasks.spawn("run", driven(context, handler, slot));
    let _ = parked.await; // an error says that the slot was let go of
}

/// Calls the handler of a run with the request that is kept; `None` where the app is gone.
fn handler(context: &Arc<Context>, record: &RequestRecord) -> Option<Result<Handler, Missing>> {
    let call = context.endpoint.call()?;
    let mut request = record.to_request();
    if let Err(missing) = restore(context, record, request.extensions_mut()) {
        return Some(Err(missing));
    }
    request.extensions_mut().insert(Step { context: Arc::clone(context) });
    let route = record.matched_path.clone().map(|path| (path, record.original_uri.clone()));
    Some(Ok(call.call(request, route)))
}

/// Puts back what the first request's extensions had, or returns the value that cannot be put back.
fn restore(context: &Context, record: &RequestRecord, extensions: &mut Extensions) -> Result<(), Missing> {
    #[cfg(feature = "axum")]
    if let Some(peer) = record.peer {
        extensions.insert(axum::extract::ConnectInfo(peer));
    }
    Carried::put_all(&context.endpoint.carried, &record.carried, extensions)
}

/// The run of a handler whose body's type is forgotten, in a box of its own: what the compiler must know of that
/// type's error then stays out of the futures above.
fn driven(context: Arc<Context>, handler: Handler, slot: oneshot::Sender<()>) -> BoxFuture<'static, ()> {
    Box::pin(supervise(Execution::new(context, handler), Some(slot)))
}

/// Settles a run whose handler was not called.
fn settled(context: Arc<Context>, ended: Ended<Response<Full<Bytes>>>) -> BoxFuture<'static, Left> {
    Box::pin(async move { settle(&context, ended).await })
}
