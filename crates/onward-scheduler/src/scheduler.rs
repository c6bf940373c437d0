//! The loops that move runs: one claims what is due, one keeps the node's lease, one removes what is past retention.

mod claims;
mod config;
mod upkeep;

pub use self::config::{Config, InvalidConfig};

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use onward_core::{
    BoxFuture, Clock, EndpointId, NodeId, Store, StoreError, Timestamp,
    store::{Lease, Woken},
};
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore};

use crate::{Hub, TaskSet};

/// What can go on with a run: handlers in this process, or endpoints behind HTTP.
pub trait Resume: Send + Sync + 'static {
    /// The endpoints whose runs it can go on with. Asked before each claim.
    fn endpoints(&self) -> Vec<EndpointId>;

    /// Goes on with a run under a lease. The future ends when the run no longer needs its slot: it has ended, is
    /// suspended, or is parked.
    fn resume(&self, lease: Lease, endpoint: EndpointId) -> BoxFuture<'static, ()>;
}

/// How claims have gone so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Runs claimed.
    pub claimed: u64,
    /// Claims that the store refused or could not answer.
    pub failures: u64,
}

/// Moves the runs of a store that this process can execute.
pub struct Scheduler {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    hub: Arc<Hub>,
    tasks: TaskSet,
    config: Config,
    node: Mutex<Option<NodeId>>,
    /// A run is due now.
    due: Notify,
    /// The hint below became earlier.
    hinted: Notify,
    /// The earliest time at which something is known to become due.
    hint: Mutex<Timestamp>,
    slots: Arc<Semaphore>,
    claimed: AtomicU64,
    failures: AtomicU64,
}

impl std::fmt::Debug for Scheduler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scheduler").field("node", &self.node()).field("stats", &self.stats()).finish_non_exhaustive()
    }
}

impl Scheduler {
    /// A scheduler that has not joined its store yet.
    pub fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        hub: Arc<Hub>,
        tasks: TaskSet,
        config: Config,
    ) -> Arc<Self> {
        let slots = Arc::new(Semaphore::new(config.resumes_max));
        Arc::new(Self {
            store,
            clock,
            hub,
            tasks,
            config,
            node: Mutex::default(),
            due: Notify::new(),
            hinted: Notify::new(),
            hint: Mutex::new(Timestamp::NEVER),
            slots,
            claimed: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        })
    }

    /// Registers this process as a node of its store.
    pub async fn join(&self) -> Result<NodeId, StoreError> {
        let node = self.store.join(self.clock.now(), self.config.lease).await?;
        *self.node.lock() = Some(node);
        Ok(node)
    }

    /// The node that this process is, once it has joined.
    pub fn node(&self) -> Option<NodeId> {
        *self.node.lock()
    }

    /// Starts the loops; they end with [`TaskSet::drain`].
    pub fn start(self: &Arc<Self>, resume: Arc<dyn Resume>) {
        self.tasks.spawn("claims", Arc::clone(self).claims(resume));
        self.tasks.spawn("heartbeat", Arc::clone(self).heartbeat());
        self.tasks.spawn("sweep", Arc::clone(self).sweep());
    }

    /// Routes what a store call woke: a due run to the claim loop, a delivery to the run's execution.
    pub fn woken(&self, woken: &[Woken]) {
        let own = self.node();
        for each in woken {
            match each.node {
                None => self.due.notify_one(),
                node if node == own => drop(self.hub.nudge(each.run_id)),
                Some(_) => {}
            }
        }
    }

    /// Hints that a run becomes due then.
    pub fn due_at(&self, at: Timestamp) {
        let mut hint = self.hint.lock();
        if at < *hint {
            *hint = at;
            drop(hint);
            self.hinted.notify_one();
        }
    }

    /// How claims have gone so far.
    pub fn stats(&self) -> Stats {
        Stats { claimed: self.claimed.load(Ordering::Relaxed), failures: self.failures.load(Ordering::Relaxed) }
    }

    /// Gives the node's runs back: they are due at once, for whoever comes next.
    pub async fn leave(&self) -> Result<(), StoreError> {
        let node = self.node.lock().take();
        match node {
            Some(node) => self.store.leave(node, self.clock.now()).await,
            None => Ok(()),
        }
    }

    /// Sleeps in the process's own time, unless the app shuts down first. Whether to go on.
    async fn pause(&self, time: Duration) -> bool {
        tokio::select! {
            () = tokio::time::sleep(time) => true,
            () = self.tasks.shutdown_token().cancelled() => false,
        }
    }
}
