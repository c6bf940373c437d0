//! An engine in a runtime of its own, so that it can die as a process does.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use onward_core::Store;
use onward_server::{
    Engine, Error, Options,
    options::{Mode, Retry},
};
use parking_lot::Mutex;
use tokio::{
    runtime::{Builder, Runtime},
    sync::oneshot,
    task::JoinHandle,
};

/// Where the engine is now: after a restart it is somewhere else. Where there are several, each request goes to the
/// next one, as with a load balancer.
#[derive(Clone, Default)]
pub(crate) struct Address(Arc<Mutex<VecDeque<String>>>);

impl Address {
    pub(crate) fn set(&self, base: &str) {
        self.set_all(&[base]);
    }

    pub(crate) fn set_all(&self, bases: &[&str]) {
        *self.0.lock() = bases.iter().map(|&base| base.to_owned()).collect();
    }

    pub(crate) fn url(&self, path: &str) -> String {
        let mut bases = self.0.lock();
        bases.rotate_left(1);
        format!("{}{path}", bases.back().unwrap())
    }
}

/// An engine that serves.
pub(crate) struct Running {
    pub(crate) base: String,
    runtime: Option<Runtime>,
    stop: Option<oneshot::Sender<()>>,
    served: Option<JoinHandle<Result<(), Error>>>,
}

impl Running {
    pub(crate) async fn start(options: Options, store: Arc<dyn Store>) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let engine = runtime.spawn(Engine::open_on(options, store)).await.unwrap().unwrap();
        let base = format!("http://{}", engine.listen_address());
        let (stop, stopped) = oneshot::channel();
        let served = runtime.spawn(engine.serve(async move {
            let _ = stopped.await;
        }));
        Self { base, runtime: Some(runtime), stop: Some(stop), served: Some(served) }
    }

    /// Tells it to stop; it is still up when this returns.
    pub(crate) fn tell_to_stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    /// Waits until it has stopped by itself.
    pub(crate) async fn stopped(mut self) {
        self.served.take().unwrap().await.unwrap().unwrap();
    }

    /// Ends it as a crash does: nothing is finished, connections break off.
    pub(crate) fn kill(self) {
        drop(self);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// What tests start an engine with: any port, and retries that come soon.
pub(crate) fn options() -> Options {
    let mut options = Options::new(Mode::Dev);
    options.listen.set_port(0);
    options.retry = Retry::Every(Duration::from_millis(30));
    options.drain = Duration::from_secs(5);
    options
}
