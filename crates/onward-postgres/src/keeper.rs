//! What goes on while steps block every thread of the app's runtime: the node's lease, and the time.

use deadpool::managed::Pool;
use onward_core::StoreError;
use tokio::runtime::{Builder, Handle, Runtime};

use crate::{
    connect::{self, Connector},
    error::unavailable,
    options::Options,
};

/// A thread with a connection: both are for nothing else.
pub(crate) struct Keeper {
    /// `None` once it is being dropped.
    runtime: Option<Runtime>,
    pub(crate) pool: Pool<Connector>,
}

impl Keeper {
    pub(crate) fn try_new(url: &str, options: &Options) -> Result<Self, StoreError> {
        let runtime = Builder::new_multi_thread().worker_threads(1).thread_name("onward-lease-pg").enable_all().build();
        let runtime = runtime.map_err(|error| unavailable(format!("no thread could be started: {error}")))?;
        Ok(Self { runtime: Some(runtime), pool: connect::pool(Connector::try_new(url, options)?, 1)? })
    }

    /// The runtime that its connection belongs to: whoever uses it does so there.
    pub(crate) fn handle(&self) -> &Handle {
        self.runtime.as_ref().expect("it is there until it is dropped").handle()
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.pool.close();
        if let Some(runtime) = self.runtime.take() {
            // Why not dropped: that waits for its thread, which async code must not.
            runtime.shutdown_background();
        }
    }
}
