//! Connections: taken up to a number, and bounded in the time that they may take to say what they want.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::Router;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto::Builder, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
};

/// How long a request's head may take to come.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);
/// After how much silence a connection that speaks HTTP/2 is asked whether it is there.
const PING_EVERY: Duration = Duration::from_secs(30);
/// How long to rest where no connection can be taken, because there are no descriptors left.
const REST: Duration = Duration::from_millis(200);
/// How many descriptors are kept for calls, the store, and the process itself.
const DESCRIPTORS_KEPT: u64 = 512;

/// Serves an app on a listener until a future ends; then connections are closed as they become idle, for at most as
/// long as `grace`.
pub(crate) async fn serve(listener: TcpListener, app: Router, until: impl Future<Output = ()>, grace: Duration) {
    let places = Arc::new(Semaphore::new(connections_max()));
    let graceful = GracefulShutdown::new();
    let mut until = std::pin::pin!(until);
    loop {
        let taken = tokio::select! {
            taken = take(&listener, &places) => taken,
            () = &mut until => break,
        };
        match taken {
            Ok((stream, place)) => connect(stream, place, &app, &graceful),
            Err(error) => {
                tracing::warn!(%error, "a connection could not be taken");
                tokio::time::sleep(REST).await;
            }
        }
    }
    drop(listener);
    if tokio::time::timeout(grace, graceful.shutdown()).await.is_err() {
        tracing::debug!("connections were still busy at the end");
    }
}

/// Serves an app that is to be replaced: for as long as the future is polled. Connections end with it.
pub(crate) async fn refuse_all(listener: &TcpListener, app: Router) -> Infallible {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        if connections.len() >= REFUSED_MAX {
            connections.join_next().await;
        }
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(REST).await;
            continue;
        };
        let mut builder = Builder::new(TokioExecutor::new());
        builder.http1().keep_alive(false).timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
        let service = TowerToHyperService::new(app.clone());
        connections.spawn(async move {
            let refused = builder.serve_connection(TokioIo::new(stream), service).await;
            tracing::trace!(is_ok = refused.is_ok(), "a connection ended before the store was open");
        });
    }
}

/// How many connections are held that are refused.
const REFUSED_MAX: usize = 256;

/// The next connection, once there is a place for it. **Cancel-safe**.
async fn take(listener: &TcpListener, places: &Arc<Semaphore>) -> std::io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.expect("it is never closed");
    let (stream, _) = listener.accept().await?;
    Ok((stream, place))
}

fn connect(stream: TcpStream, place: OwnedSemaphorePermit, app: &Router, graceful: &GracefulShutdown) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY was not set");
    }
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(PING_EVERY);
    let connection =
        builder.serve_connection_with_upgrades(TokioIo::new(stream), TowerToHyperService::new(app.clone()));
    let connection = graceful.watch(connection.into_owned());
    #[expect(clippy::disallowed_methods, reason = "a shutdown waits for connections by `graceful`")]
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::trace!(error = &*error, "a connection ended");
        }
        drop(place);
    });
}

/// How many connections are held: what descriptors the process may have, less those that it needs itself.
fn connections_max() -> usize {
    let descriptors = raise_descriptors().saturating_sub(DESCRIPTORS_KEPT).max(64);
    usize::try_from(descriptors).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS)
}

/// Raises the number of descriptors to what the process is allowed to.
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
