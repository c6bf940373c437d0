//! Connections of the engine: how many, how silent, and what they are told before the store is open.

use std::{convert::Infallible, time::Duration};

use axum::Router;
use http::request::Parts;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use onward_host::serve;
use tokio::{net::TcpListener, task::JoinSet};

/// How long a request's head may take to come before the store is open.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);
/// How long to rest where no connection can be taken, because there are no descriptors left.
const REST: Duration = Duration::from_millis(200);

/// Bounds of the engine's connections, of which at most so many are served at once.
///
/// Bodies are bounded where they are read whole, because streams of endpoints may be silent for as long as a step takes.
pub(crate) fn limits(connections: usize) -> serve::Limits {
    let limits = serve::Limits::default();
    serve::Limits { connections: limits.connections.min(connections), kept: is_for_operators, body: None, ..limits }
}

/// Whether a request is for operators: they look at an engine when it is full.
fn is_for_operators(request: &Parts) -> bool {
    let path = request.uri.path();
    matches!(path, "/health" | "/metrics") || path == "/v1/runs" || path.starts_with("/v1/runs/")
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

#[cfg(test)]
mod tests {
    use http::Request;

    use super::{is_for_operators, limits};

    #[test]
    fn sixteen_places_are_for_operators() {
        assert_eq!(limits(10).reserved, 16);
        for (path, is) in [
            ("/health", true),
            ("/metrics", true),
            ("/v1/runs", true),
            ("/v1/runs/01KDVDNA2EJ0VAKZRXQR4BPH6Y", true),
            ("/v1/runsX", false),
            ("/e/key", false),
            ("/v1/checkpoint", false),
        ] {
            let (parts, ()) = Request::get(path).body(()).unwrap().into_parts();
            assert_eq!(is_for_operators(&parts), is, "{path}");
        }
    }
}
