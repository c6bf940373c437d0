//! Resuming a run: its handler is called again with the stored request, over its journal.

use std::sync::Arc;

use bytes::Bytes;
use http::{Extensions, Response};
use http_body_util::Full;
use onward_core::{
    BoxFuture, StoreError,
    store::{Lease, Loaded},
};
use onward_protocol::problem::Code;
use tokio::sync::oneshot;

use crate::{
    Step,
    context::Context,
    endpoint::Endpoint,
    error::BoxError,
    execution::{Ended, Execution},
    onward::Shared,
    record::RequestRecord,
    supervise::{AnyResponse, Left, conclude, settle, supervise},
};

/// Goes on with a run under a lease; ends when the run has ended, is suspended, or is parked.
pub(crate) async fn resume(shared: Arc<Shared>, lease: Lease, endpoint: Arc<Endpoint>) {
    let loaded = match shared.store.load(lease.run_id).await {
        Ok(Some(loaded)) => loaded,
        Ok(None) => return,
        Err(error) => return give_back(&shared, lease, &error),
    };
    let Ok(request) = RequestRecord::decode(&loaded.record.request) else {
        let error = StoreError::Corrupt("the stored request cannot be read".into());
        return give_back(&shared, lease, &error);
    };
    let context = Context::replay(Arc::clone(&shared), endpoint, lease, &loaded, request);
    if context.timeout_at.is_some_and(|at| at <= context.now()) {
        let left = settled(Arc::clone(&context), Ended::TimedOut).await;
        context.detach();
        return conclude(&context, left).await;
    }
    start(shared, context, &loaded).await;
}

async fn start(shared: Arc<Shared>, context: Arc<Context>, loaded: &Loaded) {
    let Some(call) = context.endpoint.call() else { return context.detach() };
    let mut request = context.request.to_request();
    if !restore(&context, request.extensions_mut()) {
        tracing::error!(run_id = %context.run_id, "what the endpoint carries cannot be read back as its type");
        let left = refuse(&context).await;
        return conclude(&context, left).await;
    }
    request.extensions_mut().insert(Step { context: Arc::clone(&context) });
    let route = context.request.matched_path.clone().map(|path| (path, context.request.original_uri.clone()));
    tracing::debug!(run_id = %context.run_id, endpoint = %context.endpoint.id, entries = loaded.journal.len(), "run resumes");
    let handler = call.call(request, route);
    let (slot, parked) = oneshot::channel();
    shared.tasks.spawn("run", driven(context, handler, slot));
    let _ = parked.await; // an error says that the slot was let go of
}

/// Puts back what the first request's extensions had. Whether all of it could be read.
fn restore(context: &Context, extensions: &mut Extensions) -> bool {
    #[cfg(feature = "axum")]
    if let Some(peer) = context.request.peer {
        extensions.insert(axum::extract::ConnectInfo(peer));
    }
    context.endpoint.carried.iter().all(|carried| carried.put(&context.request.carried, extensions))
}

async fn refuse(context: &Arc<Context>) -> Left {
    let left = settled(Arc::clone(context), Ended::Returned(refusal(context))).await;
    context.detach();
    left
}

/// The run could not be read: it stays leased to this node and is tried again when its node's runs are taken up.
fn give_back(shared: &Arc<Shared>, lease: Lease, error: &StoreError) {
    tracing::error!(run_id = %lease.run_id, error = error as &dyn std::error::Error, "a run could not be resumed");
    if !matches!(error, StoreError::Corrupt(_)) {
        shared.release(lease);
    }
}

fn refusal(context: &Context) -> Response<Full<Bytes>> {
    crate::supervise::problem(context, Code::RunFailed).map(Full::new)
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
