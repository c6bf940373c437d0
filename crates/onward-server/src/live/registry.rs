//! Which runs are under way in this process.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use onward_core::{
    BoxFuture, EndpointId, RunId, StoreError,
    run::{Outcome, Status},
    store::{Endpoints, Lease},
    stream::{FrameKind, Place, Tail},
};
use onward_scheduler::{Found, Resume};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::Live;
use crate::{
    record::{Origin, chain, ended},
    shared::Shared,
};

/// How many frames are read at once.
const PAGE: usize = 512;

/// The runs under way, by their ids.
#[derive(Default)]
pub(crate) struct Registry {
    runs: Mutex<BTreeMap<RunId, Arc<Live>>>,
    /// A run has come.
    came: Notify,
}

impl Registry {
    /// A run, if it is under way here.
    pub(crate) fn get(&self, run_id: RunId) -> Option<Arc<Live>> {
        self.runs.lock().get(&run_id).cloned()
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.runs.lock().len()
    }

    /// A run, waiting a little for it: after a restart, the scheduler is about to claim it. **Cancel-safe**.
    pub(crate) async fn wait_for(&self, run_id: RunId, time: Duration) -> Option<Arc<Live>> {
        let found = async {
            loop {
                let came = self.came.notified();
                if let Some(live) = self.get(run_id) {
                    return live;
                }
                came.await;
            }
        };
        tokio::time::timeout(time, found).await.ok()
    }

    /// Adds a run, or gives the one that is there.
    pub(super) fn add(&self, live: Arc<Live>) -> Result<(), Arc<Live>> {
        let mut runs = self.runs.lock();
        if let Some(there) = runs.get(&live.run_id) {
            return Err(Arc::clone(there));
        }
        runs.insert(live.run_id, live);
        drop(runs);
        self.came.notify_waiters();
        Ok(())
    }

    /// Takes a run's place, whoever has it: it was claimed anew.
    fn replace(&self, live: Arc<Live>) -> Option<Arc<Live>> {
        let before = self.runs.lock().insert(live.run_id, live);
        self.came.notify_waiters();
        before
    }

    pub(super) fn remove(&self, live: &Live) {
        let mut runs = self.runs.lock();
        if runs.get(&live.run_id).is_some_and(|there| there.lease == live.lease) {
            runs.remove(&live.run_id);
        }
    }
}

/// Goes on with runs whose endpoints are behind HTTP.
pub(crate) struct Remote(pub(crate) Arc<Shared>);

impl Resume for Remote {
    fn endpoints(&self) -> Endpoints {
        Endpoints::All
    }

    fn timed_out(&self, _: RunId) -> Outcome {
        ended(Status::Failed, crate::plan::error("Error", "the run took longer than its timeout"))
    }

    fn resume(&self, lease: Lease, _: EndpointId) -> BoxFuture<'static, ()> {
        let shared = Arc::clone(&self.0);
        Box::pin(async move {
            let Some(turn) = shared.memory.turn().await else {
                // Nobody waits with a lease: the run is due again later, here or at another engine that has room.
                shared.memory.say_full();
                return shared.scheduler.release(lease, PAUSE);
            };
            let loaded = load(&shared, lease).await;
            drop(turn);
            match loaded {
                Ok(Some(live)) => {
                    if let Some(before) = shared.live.replace(Arc::clone(&live)) {
                        before.lose();
                    }
                    // Why no longer: its calls have limits of their own, and a slow origin must not hold up others.
                    live.start();
                }
                Ok(None) => {}
                Err(error @ StoreError::Corrupt(_)) => rest_unreadable(&shared, lease, &error),
                Err(error) => {
                    tracing::error!(run_id = %lease.run_id, error = &error as &dyn std::error::Error,
                        "a run could not be loaded");
                    shared.scheduler.release(lease, PAUSE);
                }
            }
        })
    }
}

/// Reads a run from the store. `None` where it has ended meanwhile, or is others'.
async fn load(shared: &Arc<Shared>, lease: Lease) -> Result<Option<Arc<Live>>, StoreError> {
    let run_id = lease.run_id;
    let loaded = shared.store.load(run_id).await?.ok_or(StoreError::RunNotFound)?;
    let record = &loaded.record;
    if record.fence != lease.fence || record.node != Some(lease.node) || record.status.is_final() {
        return Ok(None); // it was ended meanwhile, or is others'
    }
    let origin = Origin::decode(&loaded.record.request)?;
    let (mut tail, mut at, mut streamed) = (Tail::default(), Place(0), 0);
    while at < loaded.streamed {
        let page = shared.store.frames(run_id, at, PAGE).await?;
        let Some(last) = page.last() else { break };
        at = last.place;
        for frame in &page {
            tail.replay(frame);
            if let FrameKind::Chunk(data) = &frame.kind {
                streamed += data.len();
            }
        }
    }
    shared.unreadable.forget(run_id);
    Ok(Some(Live::loaded(shared, lease, origin, &loaded, (tail, streamed))))
}

/// Gives a run back whose record cannot be read. It rests, and goes on when the record can be read.
fn rest_unreadable(shared: &Shared, lease: Lease, error: &StoreError) {
    let (run_id, cause) = (lease.run_id, chain(error));
    let Found { rest, is_new } = shared.unreadable.found(run_id, &cause, shared.clock.now());
    if is_new {
        let advice = "deploy the release that wrote it, or cancel the run";
        tracing::error!(%run_id, cause, advice, "run unreadable");
    }
    shared.scheduler.release(lease, rest);
}

/// How long a run stands back that could not be loaded.
const PAUSE: Duration = Duration::from_secs(5);
