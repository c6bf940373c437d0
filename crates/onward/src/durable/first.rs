//! A client's request: the first execution of a run, in the request's own task.

use std::{future::poll_fn, pin::Pin, sync::Arc, task::Poll};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, request::Parts};
use http_body::Body;
use onward_core::{BoxFuture, RunId, StoreError, run::IdempotencyKey, store::Checkpoint};
use onward_protocol::{
    idempotency::idempotency_key,
    prefer::Preferences,
    problem::{Code, Problem},
};
use sha2::{Digest, Sha256};
use tokio::sync::oneshot;
use tower_service::Service;

use super::{BodyRefused, DurableBody, answer, read_body};
use crate::{
    Step,
    context::{Context, Halt},
    endpoint::Endpoint,
    error::BoxError,
    execution::{Ended, Execution},
    onward::Shared,
    record::RequestRecord,
    supervise::{Left, conclude, halted, settle, supervise},
};

/// Calls a service as it is: its method is no endpoint's.
pub(super) async fn pass<S, B, ReqBody, ResBody>(
    mut inner: S,
    request: Request<ReqBody>,
) -> Response<DurableBody<ResBody>>
where
    S: Service<Request<B>, Response = Response<ResBody>>,
    B: From<Bytes>,
    ReqBody: Body<Data = Bytes> + Send,
    ReqBody::Error: Into<BoxError>,
{
    let (parts, body) = request.into_parts();
    let Ok(body) = read_body(body, usize::MAX).await else { return problem(Code::BodyUnreadable) };
    match inner.call(Request::from_parts(parts, B::from(body))).await {
        Ok(response) => response.map(DurableBody::handler),
        Err(_) => problem(Code::RunFailed),
    }
}

/// Runs a request durably and answers it.
pub(super) async fn handle<S, B, ReqBody, ResBody>(
    shared: Arc<Shared>,
    endpoint: Arc<Endpoint>,
    mut inner: S,
    request: Request<ReqBody>,
) -> Response<DurableBody<ResBody>>
where
    S: Service<Request<B>, Response = Response<ResBody>> + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    B: From<Bytes> + Send + 'static,
    ReqBody: Body<Data = Bytes> + Send,
    ReqBody::Error: Into<BoxError>,
    ResBody: Body<Data = Bytes> + Send + 'static,
    ResBody::Error: Into<BoxError>,
{
    if endpoint.options.check().is_err() {
        return problem(Code::EndpointMisconfigured);
    }
    let (mut parts, body) = request.into_parts();
    let body = match read_body(body, endpoint.options.body_bytes_max).await {
        Ok(body) => body,
        Err(BodyRefused::TooLarge) => {
            let limit = endpoint.options.body_bytes_max as u64;
            return kept(Problem::new(Code::BodyTooLarge).limit(limit).into_response());
        }
        Err(BodyRefused::Unreadable) => return problem(Code::BodyUnreadable),
    };
    let Ok(asked) = Asked::read(&parts.headers) else { return problem(Code::KeyMalformed) };
    let created_at = shared.clock.now();
    let run_id = RunId::new(created_at, rand::random());
    let record = record(&endpoint, &parts, body.clone());
    let context = Context::first(Arc::clone(&shared), endpoint, run_id, created_at, record);
    if asked.is_stored_first() {
        match store_first(&context, asked.key.as_deref()).await {
            Ok(()) => {}
            Err(StoreError::KeyTaken { run_id, same_request: true }) => {
                return kept(answer::join(&context, run_id, asked.prefer).await);
            }
            Err(StoreError::KeyTaken { .. }) => return problem(Code::KeyReused),
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "a run was not started");
                return problem(Code::StoreUnavailable);
            }
        }
    }
    parts.extensions.insert(Step { context: Arc::clone(&context) });
    let request = Request::from_parts(parts, B::from(body));
    let handler = async move { inner.call(request).await.map_err(Into::into) };
    let execution = Execution::new(Arc::clone(&context), handler);
    if asked.prefer.respond_async {
        shared.tasks.spawn("run", supervise(execution, None));
        return kept(answer::accepted(&context, context.run_id, asked.prefer).await);
    }
    let hold = asked.prefer.wait.unwrap_or(context.endpoint.options.hold);
    respond(context, Client::new(execution), hold, &asked).await
}

/// What a request's headers ask of its run.
struct Asked {
    prefer: Preferences,
    key: Option<String>,
}

impl Asked {
    fn read(headers: &HeaderMap) -> Result<Self, onward_protocol::idempotency::KeyMalformed> {
        Ok(Self { prefer: Preferences::from_headers(headers), key: idempotency_key(headers)? })
    }

    /// Whether the run must be stored before its handler is called.
    fn is_stored_first(&self) -> bool {
        self.key.is_some() || self.prefer.respond_async
    }
}

/// The request as it is kept with the run.
fn record(endpoint: &Endpoint, parts: &Parts, body: Bytes) -> RequestRecord {
    let carried = endpoint.carried.iter().filter_map(|carried| carried.take(&parts.extensions)).collect();
    #[cfg(feature = "axum")]
    let (original_uri, matched_path, peer) = {
        use axum::extract::{ConnectInfo, MatchedPath, OriginalUri};
        let original = parts.extensions.get::<OriginalUri>().map_or(&parts.uri, |original| &original.0).clone();
        let matched = parts.extensions.get::<MatchedPath>().map(|path| path.as_str().to_owned());
        let peer = parts.extensions.get::<ConnectInfo<std::net::SocketAddr>>().map(|info| info.0);
        (original, matched, peer)
    };
    #[cfg(not(feature = "axum"))]
    let (original_uri, matched_path, peer) = (parts.uri.clone(), None, None);
    RequestRecord {
        method: parts.method.clone(),
        uri: parts.uri.clone(),
        original_uri,
        matched_path,
        headers: parts.headers.clone(),
        body,
        peer,
        carried,
    }
}

/// Makes the run known to the store before its handler is called.
async fn store_first(context: &Arc<Context>, key: Option<&str>) -> Result<(), StoreError> {
    let unjoined = || StoreError::Unavailable("this node has not joined its store".into());
    let lease = context.shared.first_lease(context.run_id).ok_or_else(unjoined)?;
    let mut checkpoint = Checkpoint::new(lease, context.now());
    let mut run = context.new_run();
    run.key = key.map(|key| claim(context, key));
    checkpoint.start = Some(run);
    context.shared.store.checkpoint(checkpoint).await?;
    context.begun(lease);
    Ok(())
}

/// The claim of a request on a key: within an endpoint, the same key is the same run.
fn claim(context: &Context, key: &str) -> IdempotencyKey {
    let digest = |parts: &[&[u8]]| {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        hash.finalize().into()
    };
    let request = &context.request;
    let content_type = request.headers.get(http::header::CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    let target = request.original_uri.path_and_query().map_or("", |target| target.as_str());
    IdempotencyKey {
        digest: digest(&[context.endpoint.id.as_str().as_bytes(), key.as_bytes()]),
        fingerprint: digest(&[request.method.as_str().as_bytes(), target.as_bytes(), content_type, &request.body]),
    }
}

/// An execution in its client's task. If the client goes away, a run that has begun goes on without it.
struct Client<F, B>
where
    F: Future<Output = Result<Response<B>, BoxError>> + Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    execution: Option<Execution<F>>,
}

impl<F, B> Client<F, B>
where
    F: Future<Output = Result<Response<B>, BoxError>> + Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    fn new(execution: Execution<F>) -> Self {
        Self { execution: Some(execution) }
    }

    /// The run goes on in a task of its own.
    fn leave(&mut self) {
        if let Some(execution) = self.execution.take() {
            let tasks = execution.context.shared.tasks.clone();
            tasks.spawn("run", supervise(execution, None));
        }
    }
}

impl<F, B> Drop for Client<F, B>
where
    F: Future<Output = Result<Response<B>, BoxError>> + Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    fn drop(&mut self) {
        if self.execution.as_ref().is_some_and(|execution| execution.context.has_work()) {
            self.leave();
        }
    }
}

/// Drives an execution until it ends or its client must be sent away, and answers the client.
async fn respond<F, B>(
    context: Arc<Context>,
    mut client: Client<F, B>,
    hold: std::time::Duration,
    asked: &Asked,
) -> Response<DurableBody<B>>
where
    F: Future<Output = Result<Response<B>, BoxError>> + Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let mut held: Option<Pin<Box<tokio::time::Sleep>>> = None;
    let ended = poll_fn(|cx| {
        let Some(execution) = &mut client.execution else { return Poll::Ready(None) };
        if let Poll::Ready(ended) = execution.poll(cx) {
            return Poll::Ready(Some(ended));
        }
        if !execution.is_asynchronous() {
            return Poll::Pending;
        }
        if hold.is_zero() || context.shared.is_draining() {
            return Poll::Ready(None);
        }
        let held = held.get_or_insert_with(|| Box::pin(tokio::time::sleep(hold)));
        held.as_mut().poll(cx).map(|()| None)
    })
    .await;
    match ended {
        Some(Ended::Returned(response)) if !context.is_begun() => {
            client.execution = None;
            response.map(DurableBody::handler)
        }
        Some(ended) => {
            client.execution = None;
            finish(&context, ended, asked).await
        }
        None => {
            client.leave();
            kept(answer::redirect(&context, context.run_id, asked.prefer).await)
        }
    }
}

/// Settles a run whose client is still there. Whatever must be waited for is waited for in a task of its own: the
/// client may go away meanwhile.
async fn finish<B>(context: &Arc<Context>, ended: Ended<Response<B>>, asked: &Asked) -> Response<DurableBody<B>>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    // Why: who joined the run by its key, or waits for it elsewhere, must never see another outcome than this client.
    let stored_first = asked.key.is_some() || context.is_asynchronous();
    let own = Arc::clone(context);
    let mut settling: BoxFuture<'static, Left> = Box::pin(async move { settle(&own, ended).await });
    let now = poll_fn(|cx| Poll::Ready(settling.as_mut().poll(cx))).await;
    let own = Arc::clone(context);
    match now {
        Poll::Ready(Left::Outcome(settled, ack)) if !stored_first => {
            let response = settled.response.clone();
            context.shared.tasks.spawn("finish", async move { conclude(&own, Left::Outcome(settled, ack)).await });
            return kept(response);
        }
        Poll::Ready(left) => settling = Box::pin(std::future::ready(left)),
        Poll::Pending => {}
    }
    let (answer, answered) = oneshot::channel();
    context.shared.tasks.spawn("finish", async move {
        let left = settling.await;
        let _ = answer.send(stored(&own, left).await);
    });
    match answered.await {
        Ok(Answer::Response(response)) => kept(response),
        Ok(Answer::Elsewhere) => kept(answer::elsewhere(context, context.run_id, asked.prefer).await),
        Ok(Answer::Unavailable) | Err(_) => problem(Code::StoreUnavailable),
    }
}

/// Waits until what an execution left is stored, and says what its client is to be told.
async fn stored(context: &Arc<Context>, left: Left) -> Answer {
    match left {
        Left::Outcome(settled, ack) => {
            let response = settled.response.clone();
            let stored = ack.await;
            let ok = stored.is_ok();
            conclude(context, Left::Outcome(settled, Box::pin(async { stored }))).await;
            if ok { Answer::Response(response) } else { Answer::Unavailable }
        }
        Left::Suspended | Left::Halted(Halt::LeaseLost) => Answer::Elsewhere,
        Left::Halted(Halt::Store(error)) => {
            halted(context, &error);
            Answer::Unavailable
        }
    }
}

enum Answer {
    Response(Response<Bytes>),
    /// The run goes on, or was ended, without this client.
    Elsewhere,
    Unavailable,
}

fn problem<B>(code: Code) -> Response<DurableBody<B>> {
    kept(Problem::new(code).into_response())
}

fn kept<B>(response: Response<Bytes>) -> Response<DurableBody<B>> {
    response.map(DurableBody::kept)
}
