//! Serving an app: listen, resume, and drain on SIGTERM or Ctrl-C.

use std::{
    convert::Infallible,
    net::SocketAddr,
    task::{Context, Poll},
};

use axum::{Router, body::Body, extract::ConnectInfo};
use http::{Request, Response};
use onward_core::BoxFuture;
use onward_host::serve::RequestBody;
use tokio::{net::TcpListener, time::Instant};
use tower_service::Service;

use crate::{Error, Onward};

impl Onward {
    /// Serves an app until SIGTERM or Ctrl-C, then drains: no new connections, requests and steps under way are
    /// finished (see [`drain_for`](crate::Builder::drain_for)), and waiting runs stay in the store.
    ///
    /// It listens on an address, such as `"127.0.0.1:3000"`, or takes a `TcpListener` that is bound already. Handlers
    /// can extract `ConnectInfo<SocketAddr>`. Every connection has `TCP_NODELAY` set.
    ///
    /// Connections are bounded in number and in silence (see [`connections`](crate::Builder::connections)): one without
    /// a request is closed, a request's body that stops coming fails, and a reader that takes nothing is cut off.
    ///
    /// # Errors
    /// An option outside its limits, an address that cannot be listened on, or tasks left after the grace period.
    ///
    /// ```no_run
    /// # use axum::Router;
    /// # async fn run(onward: onward::Onward, app: Router) -> Result<(), onward::Error> {
    /// onward.serve("127.0.0.1:3000", app).await
    /// # }
    /// ```
    pub async fn serve(&self, on: impl Listen, app: Router) -> Result<(), Error> {
        self.serve_until(on, app, shutdown_signal()).await
    }

    /// Like [`Onward::serve`], until a future ends instead of a signal.
    ///
    /// ```
    /// # use axum::Router;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), onward::Error> {
    /// # let onward = onward::Onward::open("memory:").await?;
    /// onward.serve_until("127.0.0.1:0", Router::new(), async {}).await
    /// # }
    /// ```
    pub async fn serve_until(
        &self,
        on: impl Listen,
        app: Router,
        until: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), Error> {
        let listener = on.listen().await?;
        // First, because this gives every durable route its state: runs can be resumed before a request comes.
        let app: Router = app.with_state(());
        self.start().await?;
        let stop = self.0.tasks.shutdown_token().clone();
        let drain = self.0.config.drain;
        let stopping = stop.clone();
        let graceful = async move {
            until.await;
            stopping.cancel();
        };
        let limits = self.0.config.connections.clone();
        let connect = |peer| WithPeer { app: app.clone(), peer };
        let mut served = std::pin::pin!(onward_host::serve::serve(listener, connect, limits, graceful, drain));
        let mut over = Instant::now() + drain;
        tokio::select! {
            () = &mut served => {}
            () = stop.cancelled() => {
                over = Instant::now() + drain;
                drop(tokio::time::timeout_at(over, served).await);
            }
        }
        self.shutdown_within(over.saturating_duration_since(Instant::now())).await
    }
}

/// An app that tells its handlers who is at the other end of a connection.
#[derive(Clone)]
struct WithPeer {
    app: Router,
    peer: SocketAddr,
}

impl Service<Request<RequestBody>> for WithPeer {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = <Router as Service<Request<RequestBody>>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<Request<RequestBody>>::poll_ready(&mut self.app, cx)
    }

    fn call(&mut self, mut request: Request<RequestBody>) -> Self::Future {
        request.extensions_mut().insert(ConnectInfo(self.peer));
        self.app.call(request)
    }
}

/// Where an app is served: an address, or a listener that is bound already.
pub trait Listen: sealed::Sealed + Send {
    #[doc(hidden)]
    fn listen(self) -> BoxFuture<'static, std::io::Result<TcpListener>>;
}

mod sealed {
    pub trait Sealed {}
}

/// Each is a thing to listen on: by binding it, or by taking it over.
macro_rules! listen {
    ($($on:ty: |$name:ident| $listener:expr;)+) => {$(
        impl sealed::Sealed for $on {}

        impl Listen for $on {
            fn listen(self) -> BoxFuture<'static, std::io::Result<TcpListener>> {
                let $name = self;
                Box::pin(async move { $listener })
            }
        }
    )+};
}

listen! {
    String: |addr| TcpListener::bind(addr).await;
    SocketAddr: |addr| TcpListener::bind(addr).await;
    (std::net::IpAddr, u16): |addr| TcpListener::bind(addr).await;
    TcpListener: |listener| Ok(listener);
    std::net::TcpListener: |listener| {
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener)
    };
}

impl sealed::Sealed for &str {}

impl Listen for &str {
    fn listen(self) -> BoxFuture<'static, std::io::Result<TcpListener>> {
        self.to_owned().listen()
    }
}

/// Ends when the process is asked to end.
async fn shutdown_signal() {
    let interrupt = tokio::signal::ctrl_c();
    #[cfg(unix)]
    {
        let Ok(mut terminate) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) else {
            let _ = interrupt.await;
            return;
        };
        tokio::select! {
            _ = interrupt => {}
            _ = terminate.recv() => {}
        }
    }
    #[cfg(not(unix))]
    let _ = interrupt.await;
}
