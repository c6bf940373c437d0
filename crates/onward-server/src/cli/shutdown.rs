//! The signals that end the engine.

use std::convert::Infallible;

use tokio::sync::oneshot;

use super::output::note;

/// SIGTERM and SIGINT, heard from now on.
pub(super) struct Signals {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    #[cfg(unix)]
    pub(super) fn listen() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    #[cfg(not(unix))]
    pub(super) fn listen() -> std::io::Result<Self> {
        Ok(Self {})
    }

    /// The next signal's number. **Cancel-safe**.
    pub(super) async fn next(&mut self) -> i32 {
        #[cfg(unix)]
        return tokio::select! {
            _ = self.terminate.recv() => 15,
            _ = self.interrupt.recv() => 2,
        };
        #[cfg(not(unix))]
        {
            let _ = tokio::signal::ctrl_c().await;
            2
        }
    }

    /// Tells of the first signal, and ends the process at the second: whoever asks twice does not want to wait.
    pub(super) async fn watch(mut self, tell: oneshot::Sender<()>) -> Infallible {
        self.next().await;
        note("stopping once what is under way has ended; a second signal stops at once");
        let _ = tell.send(());
        let signal = self.next().await;
        std::process::exit(128 + signal)
    }
}
