//! A client's request: the first execution of a run, in the request's own task.

use std::{convert::Infallible, future::poll_fn, sync::Arc, task::Poll, time::Duration};

use bytes::Bytes;
use http::{Request, Response, request::Parts};
use http_body::Body;
use onward_core::{
    BoxFuture, RunId, StoreError,
    run::{IdempotencyKey, NewRun},
    store::Checkpoint,
};
use onward_host::bodies::Held;
use onward_protocol::{
    idempotency::idempotency_key,
    prefer::Preferences,
    problem::{Code, Problem},
    sse::Position,
};
use sha2::{Digest, Sha256};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tower_service::Service;

use super::{DurableBody, answer, body_refused};
use crate::{
    Step,
    context::{Context, Halt},
    endpoint::{Carried, Endpoint},
    error::BoxError,
    execution::{Ended, Execution},
    onward::Shared,
    reader,
    record::{self, KeptRequest, RequestHead},
    supervise::{Left, conclude, settle, supervise},
};

/// Calls a service as it is: its method is no endpoint's.
pub(super) async fn pass<S, B, ReqBody, ResBody>(
    shared: Arc<Shared>,
    mut inner: S,
    request: Request<ReqBody>,
) -> Result<Response<DurableBody<ResBody>>, Infallible>
where
    S: Service<Request<B>, Response = Response<ResBody>>,
    B: From<Bytes>,
    ReqBody: Body<Data = Bytes> + Send,
    ReqBody::Error: Into<BoxError>,
{
    let limit = shared.defaults.body_bytes_max;
    let (parts, body) = request.into_parts();
    let (body, _share) = match shared.bodies.read(body, limit, None).await {
        Ok(read) => read.into_parts(),
        Err(refused) => return Ok(kept(body_refused(refused, Code::BodyTooLarge, limit))),
    };
    Ok(match inner.call(Request::from_parts(parts, B::from(body))).await {
        Ok(response) => response.map(DurableBody::handler),
        Err(_) => problem(Code::RunFailed),
    })
}

/// Runs a request durably and answers it.
pub(super) async fn handle<S, B, ReqBody, ResBody>(
    shared: Arc<Shared>,
    endpoint: Arc<Endpoint>,
    inner: S,
    request: Request<ReqBody>,
) -> Result<Response<DurableBody<ResBody>>, Infallible>
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
    let scheduler = &shared.scheduler;
    if !shared.is_draining() && !scheduler.node().is_some_and(|node| scheduler.holds_lease(node)) {
        // Before the handler runs, because its first step could not be written.
        return Ok(problem(Code::StoreUnavailable));
    }
    let limit = endpoint.options.body_bytes_max;
    let (parts, body) = request.into_parts();
    let body = match shared.bodies.read(body, limit, None).await {
        Ok(body) => body,
        Err(refused) => return Ok(kept(body_refused(refused, Code::BodyTooLarge, limit))),
    };
    let (asked, mut client) = match prepare(shared, endpoint, inner, parts, body) {
        Ok(prepared) => prepared,
        Err(code) => return Ok(problem(code)),
    };
    if matches!(asked.streams, Some(Position::End(_))) && asked.key.is_none() {
        // Why: browsers ask again when a stream has ended, and would begin another run each time.
        return Ok(reader::nothing_more());
    }
    if asked.is_stored_first() {
        // Why the box: few requests are, and what all others carry along should be small.
        let stored = Box::pin(store_first(client, &asked)).await;
        client = match stored {
            Ok(client) => client,
            Err(response) => return Ok(response),
        };
    }
    if asked.streams.is_some() {
        return Ok(Box::pin(stream(client)).await);
    }
    Ok(respond(client, asked).await)
}

/// What a handler's service gives.
type Handled<B> = Result<Response<B>, BoxError>;

/// What a request asks for, and its client with the execution of its handler.
type Prepared<F, B> = (Asked, Client<F, B>);

/// Reads what a request asks for and prepares its execution. Nothing of the handler runs yet.
fn prepare<S, B, ResBody>(
    shared: Arc<Shared>,
    endpoint: Arc<Endpoint>,
    mut inner: S,
    mut parts: Parts,
    body: Held,
) -> Result<Prepared<impl Future<Output = Handled<ResBody>> + Send + 'static, ResBody>, Code>
where
    S: Service<Request<B>, Response = Response<ResBody>> + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    B: From<Bytes> + Send + 'static,
    ResBody: Body<Data = Bytes> + Send + 'static,
    ResBody::Error: Into<BoxError>,
{
    if endpoint.options.check().is_err() || Carried::check(&endpoint.carried).is_err() {
        return Err(Code::EndpointMisconfigured);
    }
    let created_at = shared.clock.now();
    let run_id = RunId::new(created_at, rand::random());
    let (body, share) = body.into_parts();
    let kept = keep(&endpoint, &parts, body.clone())?;
    let asked = Asked::read(&endpoint, &parts, &body)?;
    let context = Context::first(shared, endpoint, run_id, created_at, kept, share);
    parts.extensions.insert(Step { context: Arc::clone(&context) });
    let request = Request::from_parts(parts, B::from(body));
    let handler = async move { inner.call(request).await.map_err(Into::into) };
    Ok((asked, Client::new(Execution::new(context, handler))))
}

/// What a request's headers ask of its run.
struct Asked {
    prefer: Preferences,
    key: Option<IdempotencyKey>,
    /// Where the client is in the run's stream, if it reads it.
    streams: Option<Position>,
}

impl Asked {
    fn read(endpoint: &Endpoint, parts: &Parts, body: &Bytes) -> Result<Self, Code> {
        let key = idempotency_key(&parts.headers).map_err(|_| Code::KeyMalformed)?;
        let key = key.map(|key| claim(endpoint, parts, body, &key));
        let prefer = Preferences::from_headers(&parts.headers);
        // Who would rather not wait has no use for a stream.
        let streams = record::streams(&parts.headers) && !prefer.respond_async;
        let streams = streams.then(|| Position::read(&parts.headers).ok_or(Code::StreamPositionUnknown)).transpose()?;
        Ok(Self { prefer, key, streams })
    }

    /// Whether the run must be stored before its handler is called: its client may be sent away, or another may
    /// join, whatever the handler does.
    const fn is_stored_first(&self) -> bool {
        self.key.is_some() || self.prefer.respond_async || self.prefer.wait.is_some() || self.streams.is_some()
    }

    /// Whether somebody else may ask for the run's outcome: then it is stored before anyone gets it.
    const fn is_shared(&self) -> bool {
        self.is_stored_first()
    }
}

/// The request as it is kept with the run.
fn keep(endpoint: &Endpoint, parts: &Parts, body: Bytes) -> Result<KeptRequest, Code> {
    let carried = Carried::take_all(&endpoint.carried, &parts.extensions).map_err(|error| {
        tracing::error!(endpoint = %endpoint.id, error = &error as &dyn std::error::Error, "a request was refused");
        Code::EndpointMisconfigured
    })?;
    #[cfg(feature = "axum")]
    let (original_uri, matched_path, peer) = {
        use axum::extract::{ConnectInfo, MatchedPath, OriginalUri};
        let original = parts.extensions.get::<OriginalUri>().map_or(&parts.uri, |original| &original.0);
        let matched = parts.extensions.get::<MatchedPath>().map(MatchedPath::as_str);
        let peer = parts.extensions.get::<ConnectInfo<std::net::SocketAddr>>().map(|info| info.0);
        (original, matched, peer)
    };
    #[cfg(not(feature = "axum"))]
    let (original_uri, matched_path, peer) = (&parts.uri, None, None);
    if !endpoint.is_for(matched_path) {
        tracing::error!(
            endpoint = %endpoint.id,
            "a durable layer is around routes: make them durable with `route`, so that replays reach the right one"
        );
        return Err(Code::EndpointMisconfigured);
    }
    let (method, uri, headers) = (&parts.method, &parts.uri, &parts.headers);
    let head = RequestHead { method, uri, original_uri, matched_path, headers, peer, carried: &carried };
    let headers = &endpoint.options.headers;
    let kept = KeptRequest::new(&head, body, |name| headers.keeps(name));
    Ok(kept.lacking(headers.lacks(&parts.headers)))
}

/// Makes the run known to the store before its handler is called; gives the client back, or its answer.
///
/// The client may go away meanwhile: a run that is stored then goes on without it.
async fn store_first<F, B>(client: Client<F, B>, asked: &Asked) -> Result<Client<F, B>, Response<DurableBody<B>>>
where
    F: Future<Output = Result<Response<B>, BoxError>> + Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let unavailable = || problem(Code::StoreUnavailable);
    let Some(context) = client.context().cloned() else { return Err(unavailable()) };
    let shared = &context.shared;
    let Some(lease) = shared.first_lease(context.run_id) else { return Err(unavailable()) };
    let mut checkpoint = Checkpoint::new(lease, context.now());
    checkpoint.start = Some(NewRun { key: asked.key.clone(), ..context.new_run() });
    let stored = shared.store.checkpoint(checkpoint);
    let (tell, told) = oneshot::channel();
    let own = Arc::clone(&context);
    shared.tasks.spawn("start", async move {
        let stored = stored.await;
        match &stored {
            Ok(_) => own.begun(lease),
            // The run may be stored all the same, and leased to this node, where nobody goes on with it. It is given back here
            // because the client may have left meanwhile.
            Err(StoreError::Unavailable(_)) => own.shared.release(lease),
            Err(_) => {}
        }
        // Why: a client that was given back to nobody leaves its run to a task, as it is dropped.
        drop(tell.send((client, stored)));
    });
    let Ok((client, stored)) = told.await else { return Err(unavailable()) };
    match stored {
        Ok(_) => Ok(client),
        Err(StoreError::KeyTaken { run_id, same_request: true }) => Err(match asked.streams {
            Some(position) => {
                let url = answer::stream_url_of(&context, run_id).await;
                reader::respond(&context.shared, run_id, position, url).await
            }
            None => kept(answer::join(&context, run_id, asked.prefer).await),
        }),
        Err(StoreError::KeyTaken { .. }) => Err(problem(Code::KeyReused)),
        Err(StoreError::Rejected(error)) => {
            tracing::error!(error = &*error as &dyn std::error::Error, "request refused: the store cannot keep it");
            Err(problem(Code::RequestMalformed))
        }
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "a run was not started");
            Err(unavailable())
        }
    }
}

/// The claim of a request on a key: within an endpoint, the same key is the same run.
fn claim(endpoint: &Endpoint, parts: &Parts, body: &Bytes, key: &str) -> IdempotencyKey {
    let digest = |parts: &[&[u8]]| {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        hash.finalize().into()
    };
    #[cfg(feature = "axum")]
    let uri = parts.extensions.get::<axum::extract::OriginalUri>().map_or(&parts.uri, |original| &original.0);
    #[cfg(not(feature = "axum"))]
    let uri = &parts.uri;
    let content_type = parts.headers.get(http::header::CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    let target = uri.path_and_query().map_or("", |target| target.as_str());
    IdempotencyKey {
        digest: digest(&[endpoint.id.as_str().as_bytes(), key.as_bytes()]),
        fingerprint: digest(&[parts.method.as_str().as_bytes(), target.as_bytes(), content_type, body]),
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
    const fn new(execution: Execution<F>) -> Self {
        Self { execution: Some(execution) }
    }

    fn context(&self) -> Option<&Arc<Context>> {
        self.execution.as_ref().map(|execution| &execution.context)
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
        if self.execution.as_ref().is_some_and(|execution| !execution.context.close_idle()) {
            self.leave();
        }
    }
}

/// Drives an execution until it ends or its client must be sent away, and answers the client.
async fn respond<F, B>(mut client: Client<F, B>, asked: Asked) -> Response<DurableBody<B>>
where
    F: Future<Output = Result<Response<B>, BoxError>> + Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let Some(context) = client.context().cloned() else { return problem(Code::StoreUnavailable) };
    let mut patience = Patience::new(&context, &asked);
    let ended = poll_fn(|cx| {
        // Why at first: who asks not to wait is answered before the handler runs.
        let Some(execution) = client.execution.as_mut().filter(|_| !patience.is_over()) else {
            return Poll::Ready(None);
        };
        if let Poll::Ready(ended) = execution.poll(cx) {
            return Poll::Ready(Some(ended));
        }
        patience.poll(execution.is_asynchronous(), cx).map(|()| None)
    })
    .await;
    match ended {
        Some(Ended::Returned(response)) if context.close_unbegun() => {
            client.execution = None;
            response.map(DurableBody::handler)
        }
        Some(ended) => {
            client.execution.take().into_iter().for_each(Execution::end);
            Box::pin(finish(&context, ended, asked)).await
        }
        None => {
            context.set_asynchronous();
            client.leave();
            kept(Box::pin(answer::redirect(&context, context.run_id, asked.prefer)).await)
        }
    }
}

/// Answers a client with its run's stream. The run goes on in a task of its own, whether or not anybody reads.
async fn stream<F, B>(mut client: Client<F, B>) -> Response<DurableBody<B>>
where
    F: Future<Output = Result<Response<B>, BoxError>> + Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let Some(context) = client.context().cloned() else { return problem(Code::StoreUnavailable) };
    context.tell();
    context.set_asynchronous();
    // Why before the run goes on: what it streams at once is then read as it comes.
    let response =
        reader::respond(&context.shared, context.run_id, reader::BEGINNING, answer::stream_url(&context).await);
    let response = response.await;
    client.leave();
    response
}

/// How long a client is kept.
struct Patience {
    /// From when the run has become asynchronous, or from the beginning where the client says how long it waits.
    hold: Duration,
    begins: bool,
    draining: CancellationToken,
    /// Until the time is over, or the app drains.
    over: Option<BoxFuture<'static, ()>>,
}

impl Patience {
    fn new(context: &Context, asked: &Asked) -> Self {
        let (hold, begins) = if asked.prefer.respond_async {
            (asked.prefer.wait.unwrap_or_default(), true)
        } else {
            (asked.prefer.wait.unwrap_or(context.endpoint.options.hold), asked.prefer.wait.is_some())
        };
        Self { hold, begins, draining: context.shared.tasks.shutdown_token().clone(), over: None }
    }

    /// Whether the client must be sent away whatever the run does.
    const fn is_over(&self) -> bool {
        self.begins && self.hold.is_zero()
    }

    /// `Ready` when the client must be sent away. Its run is stored then.
    fn poll(&mut self, asynchronous: bool, cx: &mut std::task::Context<'_>) -> Poll<()> {
        self.begins |= asynchronous;
        if !self.begins {
            return Poll::Pending;
        }
        if self.is_over() {
            return Poll::Ready(());
        }
        let over = self.over.get_or_insert_with(|| {
            let held = tokio::time::sleep(self.hold);
            let draining = self.draining.clone().cancelled_owned();
            Box::pin(async move {
                tokio::select! {
                    () = held => {}
                    () = draining => {}
                }
            })
        });
        over.as_mut().poll(cx)
    }
}

/// Settles a run whose client is still there. Whatever must be waited for is waited for in a task of its own: the
/// client may go away meanwhile.
async fn finish<B>(context: &Arc<Context>, ended: Ended<Response<B>>, asked: Asked) -> Response<DurableBody<B>>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    // Why: who joined the run by its key, or waits for it elsewhere, must never see another outcome than this client.
    let stored_first = asked.is_shared() || context.is_asynchronous();
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
        Ok(Answer::Elsewhere) => kept(answer::elsewhere(context, asked.prefer, stored_first).await),
        Ok(Answer::Unavailable) | Err(_) => problem(Code::StoreUnavailable),
    }
}

/// Waits until what an execution left is stored, and says what its client is to be told.
async fn stored(context: &Arc<Context>, left: Left) -> Answer {
    let (left, answer) = match left {
        Left::Outcome(settled, ack) => {
            let stored = ack.await;
            let answer = match &stored {
                Ok(_) => Answer::Response(settled.response.clone()),
                Err(StoreError::LeaseLost | StoreError::RunNotFound) => Answer::Elsewhere,
                Err(_) => Answer::Unavailable,
            };
            (Left::Outcome(settled, Box::pin(std::future::ready(stored))), answer)
        }
        Left::Halted(Halt::Store(error)) => (Left::Halted(Halt::Store(error)), Answer::Unavailable),
        left @ (Left::Suspended | Left::Halted(Halt::LeaseLost | Halt::LeaseExpired | Halt::Blocked(_))) => {
            (left, Answer::Elsewhere)
        }
    };
    conclude(context, left).await;
    answer
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
