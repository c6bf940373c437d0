//! Serving an app: listen, resume, and drain on SIGTERM or Ctrl-C.

use axum::{Router, serve::ListenerExt};
use std::net::SocketAddr;
use tokio::net::{TcpListener, ToSocketAddrs};

use crate::{Error, Onward};

impl Onward {
    /// Serves an app until SIGTERM or Ctrl-C, then drains: no new connections, requests and steps under way are
    /// finished (see [`drain_for`](crate::Builder::drain_for)), and waiting runs stay in the store.
    ///
    /// Handlers can extract `ConnectInfo<SocketAddr>`. Every connection has `TCP_NODELAY` set.
    ///
    /// # Errors
    /// An option outside its limits, an address that cannot be listened on, or tasks left after the grace period.
    pub async fn serve(&self, addr: impl ToSocketAddrs, app: Router) -> Result<(), Error> {
        self.serve_listener(TcpListener::bind(addr).await?, app, shutdown_signal()).await
    }

    /// Like [`Onward::serve`], on a listener that is bound already and until a future ends.
    pub async fn serve_listener(
        &self,
        listener: TcpListener,
        app: Router,
        until: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), Error> {
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
        let ended = tokio::select! {
            ended = &mut served => Some(ended),
            () = stop.cancelled() => tokio::time::timeout(drain, served).await.ok(),
        };
        let down = self.shutdown().await;
        ended.transpose()?;
        down
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
