//! Connections: taken up to a number, and closed when they are silent for too long.
//!
//! A connection costs a descriptor and a place. Each wait for a client is bounded by silence, not by total time: for the
//! first request, between requests, while a body comes, and while a response is not taken.

mod activity;
mod io;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header, request::Parts};
use http_body::Body;
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower_service::Service;

pub use self::activity::{Counted, RequestBody, ResponseBody};
use self::{activity::Activity, io::Progress};
use crate::BoxError;

/// How many descriptors are kept for the store, for calls, and for the process itself.
const DESCRIPTORS_KEPT: u64 = 512;
/// How long to rest where no connection can be taken, because there are no descriptors left.
const REST: Duration = Duration::from_millis(200);
/// After how much silence a connection that speaks HTTP/2 is asked whether it is there.
const PING_EVERY: Duration = Duration::from_secs(30);
/// How long a connection that is told to close may take to do so.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);

/// Bounds of connections.
///
/// ```
/// use onward_host::serve::Limits;
/// use std::time::Duration;
///
/// let limits = Limits { head: Duration::from_secs(5), ..Limits::default() };
/// assert!(limits.connections > 0 && limits.head < limits.idle);
/// ```
#[derive(Clone, Debug)]
pub struct Limits {
    /// How many connections are served at once; by default as many as the process may have descriptors, less 512.
    pub connections: usize,
    /// How many more are taken for requests that [`kept`](Self::kept) lets through, when all other places are taken.
    pub reserved: usize,
    /// Tells the requests that the reserved places are for, such as an operator's look at the process's health.
    pub kept: fn(&Parts) -> bool,
    /// How long the head of a connection's first request may take to come, from when the connection was made.
    pub head: Duration,
    /// How long a connection may be without a request after it had one: until the head of the next one has come.
    pub idle: Duration,
    /// How long the body of a request may be silent while it is read; `None` where the service bounds that itself.
    pub body: Option<Duration>,
    /// How long a response may not be taken by its reader.
    pub write: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: connections_max(),
            reserved: 16,
            kept: |_| false,
            head: Duration::from_secs(15),
            idle: Duration::from_secs(75),
            body: Some(Duration::from_secs(60)),
            write: Duration::from_secs(60),
        }
    }
}

/// Serves connections of a listener until a future ends; then they are closed as they become idle, for at most as long
/// as `grace`. `connect` makes the service of a connection, from who is at its other end.
///
/// When all places are taken, further connections get the reserved ones: there, requests that
/// [`kept`](Limits::kept) does not let through are answered with `503` and `Retry-After`. Past those, connections are
/// closed as they come.
///
/// **Cancel safety**: dropping the future closes the listener and all connections.
///
/// # Example
///
/// ```
/// use std::{convert::Infallible, time::Duration};
///
/// use http::{Request, Response};
/// use onward_host::serve::{Limits, RequestBody, serve};
/// use tower_service::Service;
///
/// #[derive(Clone)]
/// struct Hello;
///
/// impl Service<Request<RequestBody>> for Hello {
///     type Response = Response<String>;
///     type Error = Infallible;
///     type Future = std::future::Ready<Result<Response<String>, Infallible>>;
///
///     fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Infallible>> {
///         std::task::Poll::Ready(Ok(()))
///     }
///
///     fn call(&mut self, _: Request<RequestBody>) -> Self::Future {
///         std::future::ready(Ok(Response::new("hello".to_owned())))
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
/// serve(listener, |_| Hello, Limits::default(), async {}, Duration::from_secs(1)).await;
/// # Ok(())
/// # }
/// ```
pub async fn serve<S, B>(
    listener: TcpListener,
    connect: impl Fn(SocketAddr) -> S,
    limits: Limits,
    until: impl Future<Output = ()>,
    grace: Duration,
) where
    S: Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let limits = Arc::new(limits);
    let places = Arc::new(Semaphore::new(limits.connections.min(Semaphore::MAX_PERMITS)));
    let reserved = Arc::new(Semaphore::new(limits.reserved));
    let (stopping, connections) = (CancellationToken::new(), TaskTracker::new());
    let _closes = stopping.clone().drop_guard();
    let mut until = std::pin::pin!(until);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut until => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "connection not taken");
                tokio::time::sleep(REST).await;
                continue;
            }
        };
        let (place, is_reserved) = match Arc::clone(&places).try_acquire_owned() {
            Ok(place) => (place, false),
            Err(_) => match Arc::clone(&reserved).try_acquire_owned() {
                Ok(place) => (place, true),
                Err(_) => continue, // the stream is closed as it is dropped
            },
        };
        let connection = Connection { limits: Arc::clone(&limits), is_reserved, place, stopping: stopping.clone() };
        #[expect(clippy::disallowed_methods, reason = "a shutdown waits for the tracker of connections")]
        tokio::spawn(connections.track_future(connection.serve(stream, connect(peer))));
    }
    drop(listener);
    stopping.cancel();
    connections.close();
    if tokio::time::timeout(grace, connections.wait()).await.is_err() {
        tracing::debug!(connections = connections.len(), "connections were still busy at the end");
    }
}

/// An accepted connection.
struct Connection {
    limits: Arc<Limits>,
    /// Whether it has a place that is kept for some requests.
    is_reserved: bool,
    place: OwnedSemaphorePermit,
    stopping: CancellationToken,
}

impl Connection {
    async fn serve<S, B>(self, stream: TcpStream, app: S)
    where
        S: Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let Self { limits, is_reserved, place, stopping } = self;
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY was not set");
        }
        let activity = Arc::new(Activity::new());
        let only = is_reserved.then_some(limits.kept);
        let service = Counted::new(app, Arc::clone(&activity), limits.body, only);
        let mut builder = Builder::new(TokioExecutor::new());
        // Why no time limit of its own for heads: hyper's counts idle connections, too, and `silent` bounds both.
        builder.http1().keep_alive(!is_reserved).timer(TokioTimer::new()).header_read_timeout(None);
        builder.http2().timer(TokioTimer::new()).keep_alive_interval(PING_EVERY);
        let io = TokioIo::new(Progress::new(stream, limits.write));
        let served = builder.serve_connection_with_upgrades(io, TowerToHyperService::new(service));
        let mut served = std::pin::pin!(served);
        let mut silent = std::pin::pin!(activity.silent(limits.head, limits.idle));
        tokio::select! {
            ended = served.as_mut() => return end(ended, place),
            () = stopping.cancelled() => served.as_mut().graceful_shutdown(),
            () = silent.as_mut() => served.as_mut().graceful_shutdown(),
        }
        // Requests under way are finished, however long they take; a silent connection is closed.
        tokio::select! {
            ended = served.as_mut() => end(ended, place),
            () = activity.silent(CLOSE_WITHIN, CLOSE_WITHIN) => drop(place),
        }
    }
}

fn end(ended: Result<(), BoxError>, place: OwnedSemaphorePermit) {
    if let Err(error) = ended {
        tracing::trace!(error = &*error as &dyn std::error::Error, "connection ended");
    }
    drop(place);
}

/// The answer to a request that has no place.
fn refusal() -> Response<Bytes> {
    let body = r#"{"title":"Service Unavailable","status":503,"detail":"too many connections: try again"}"#;
    let mut response = Response::new(Bytes::from_static(body.as_bytes()));
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// The body of a request as a connection has it.
type Raw = Incoming;

/// How many connections are held: as many as the process may have descriptors, less those that it needs itself.
fn connections_max() -> usize {
    let descriptors = raise_descriptors().saturating_sub(DESCRIPTORS_KEPT).max(64);
    usize::try_from(descriptors).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS)
}

/// Raises the number of descriptors to what the process is allowed to have.
#[cfg(unix)]
fn raise_descriptors() -> u64 {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return 1_024 };
    match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
        Ok(()) => hard,
        Err(_) => soft,
    }
}

#[cfg(not(unix))]
fn raise_descriptors() -> u64 {
    8_192
}
