//! Serving an app: listen, resume, and drain on SIGTERM or Ctrl-C.

use std::net::SocketAddr;

use axum::{Router, serve::ListenerExt};
use onward_core::BoxFuture;
use tokio::{net::TcpListener, time::Instant};

use crate::{Error, Onward};

impl Onward {
    /// Serves an app until SIGTERM or Ctrl-C, then drains: no new connections, requests and steps under way are
    /// finished (see [`drain_for`](crate::Builder::drain_for)), and waiting runs stay in the store.
    ///
    /// It listens on an address, such as `"127.0.0.1:3000"`, or takes a `TcpListener` that is bound already. Handlers
    /// can extract `ConnectInfo<SocketAddr>`. Every connection has `TCP_NODELAY` set.
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
        // Why first: this gives every durable route its state, so that runs can be resumed before a request comes.
        let app = app.into_make_service_with_connect_info::<SocketAddr>();
        self.start().await?;
        let listener = listener.tap_io(|stream| {
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "TCP_NODELAY was not set");
            }
        });
        let stop = self.0.tasks.shutdown_token().clone();
        let drain = self.0.config.drain;
        let stopping = stop.clone();
        let graceful = async move {
            until.await;
            stopping.cancel();
        };
        let served = axum::serve(listener, app).with_graceful_shutdown(graceful).into_future();
        let mut served = std::pin::pin!(served);
        let mut over = Instant::now() + drain;
        let ended = tokio::select! {
            ended = &mut served => Some(ended),
            () = stop.cancelled() => {
                over = Instant::now() + drain;
                tokio::time::timeout_at(over, served).await.ok()
            }
        };
        let down = self.shutdown_within(over.saturating_duration_since(Instant::now())).await;
        ended.transpose()?;
        down
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
