//! The loops that move runs: one claims what is due, one keeps the node's lease, one removes what is past retention.

mod backoff;
mod claims;
mod config;
mod doubt;
mod elsewhere;
mod keeper;
mod lost;
mod readiness;
mod release;
mod stats;
mod unserved;
mod upkeep;
mod watchdog;

pub use self::{
    config::{Config, InvalidConfig, Upkeep},
    stats::Stats,
};

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use onward_core::{
    BoxFuture, Clock, EndpointId, NodeId, RunId, Store, StoreError, Timestamp,
    run::Outcome,
    store::{Endpoints, Lease, Woken},
};
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, Semaphore, watch},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{doubt::Doubt, readiness::Writes, release::Releases, stats::Meter};
use crate::{Hub, TaskSet};

/// What can go on with a run: handlers in this process, or endpoints behind HTTP.
pub trait Resume: Send + Sync + 'static {
    /// The endpoints whose runs it can go on with. Asked before each claim.
    fn endpoints(&self) -> Endpoints;

    /// Goes on with a run under a lease. The future ends when the run no longer needs its slot: it has ended, is
    /// suspended, or is parked.
    fn resume(&self, lease: Lease, endpoint: EndpointId) -> BoxFuture<'static, ()>;

    /// The outcome of a run whose timeout has passed while no node could go on with it.
    fn timed_out(&self, run_id: RunId) -> Outcome;
}

/// Moves the runs of a store that this process can execute.
pub struct Scheduler {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    hub: Arc<Hub>,
    tasks: TaskSet,
    config: Config,
    /// Whether other processes may write to the store, too.
    is_shared: bool,
    node: Mutex<Option<NodeId>>,
    /// The nodes that this process was, and whose leases it lost: their runs have not crashed, and the store is to hear that.
    lost: Mutex<Vec<NodeId>>,
    /// When the lease of the node was asked for that it has: by the upkeep's time, from the beginning.
    renewed_at: Mutex<Duration>,
    /// When that time began, by each of the three.
    began: (std::time::Instant, Instant, Timestamp),
    /// Held while the node changes.
    joining: tokio::sync::Mutex<()>,
    started: AtomicBool,
    /// The loops that end before the node leaves.
    loops: TaskTracker,
    /// Ends those loops.
    stop: CancellationToken,
    /// Ends the heartbeat.
    left: CancellationToken,
    /// When the app's runtime last showed that it has a thread which is not blocked.
    pulse_at: Mutex<Duration>,
    /// The lease was renewed, or the node has joined.
    beat: watch::Sender<()>,
    writes: Writes,
    /// A claim was told that the lease is lost.
    refused: Notify,
    /// A run is due now.
    due: Notify,
    /// The hint below became earlier.
    hinted: Notify,
    /// The earliest time at which something is known to become due.
    hint: Mutex<Timestamp>,
    slots: Arc<Semaphore>,
    releases: Releases,
    doubt: Doubt,
    /// The store's news are the first to tell what happens elsewhere.
    news_are_first: AtomicBool,
    meter: Meter,
}

impl std::fmt::Debug for Scheduler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scheduler").field("node", &self.node()).field("stats", &self.stats()).finish_non_exhaustive()
    }
}

/// The machine's stopwatch.
#[expect(
    clippy::disallowed_methods,
    reason = "a lease lasts by the machine's time, also where a test pauses the runtime's"
)]
fn stopwatch() -> std::time::Instant {
    std::time::Instant::now()
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
        let slots = Arc::new(Semaphore::new(config.resumes_max.min(Semaphore::MAX_PERMITS)));
        let stop = tasks.shutdown_token().child_token();
        let began = (stopwatch(), Instant::now(), clock.now());
        Arc::new(Self {
            is_shared: store.is_shared(),
            renewed_at: Mutex::default(),
            began,
            releases: Releases::default(),
            doubt: Doubt::default(),
            news_are_first: AtomicBool::new(false),
            store,
            clock,
            hub,
            tasks,
            config,
            node: Mutex::default(),
            lost: Mutex::default(),
            joining: tokio::sync::Mutex::default(),
            started: AtomicBool::new(false),
            loops: TaskTracker::new(),
            stop,
            left: CancellationToken::new(),
            pulse_at: Mutex::default(),
            beat: watch::Sender::default(),
            writes: Writes::default(),
            refused: Notify::new(),
            due: Notify::new(),
            hinted: Notify::new(),
            hint: Mutex::new(Timestamp::NEVER),
            slots,
            meter: Meter::default(),
        })
    }

    /// Registers this process as a node of its store.
    pub async fn join(&self) -> Result<NodeId, StoreError> {
        let _joining = self.joining.lock().await;
        let begun = self.upkeep_now();
        let node = self.join_as_new().await?;
        self.writes.worked(begun); // its connections were made as the store was opened
        Ok(node)
    }

    async fn join_as_new(&self) -> Result<NodeId, StoreError> {
        let begun = self.upkeep_now();
        let node = self.store.join(self.clock.now(), self.config.lease).await?;
        *self.node.lock() = Some(node);
        self.renewed(node, begun);
        // Runs of nodes that are gone are due now. Where this process was one of them, it first says that they have not
        // crashed: else they would rest.
        if self.lost.lock().is_empty() {
            self.due.notify_one();
        }
        self.beat.send_replace(());
        Ok(node)
    }

    /// Joins anew where `lost` is still the node that this process is: its runs are others' now.
    async fn rejoin(&self, lost: Option<NodeId>) -> Result<(), StoreError> {
        let _joining = self.joining.lock().await;
        if self.node() != lost {
            return Ok(());
        }
        if let Some(node) = lost {
            self.give_up(node, "this node lost its lease: its runs are others' now");
        }
        let node = self.join_as_new().await?;
        tracing::info!(node = node.0, "joined anew");
        Ok(())
    }

    /// Stops whatever goes on here as a node that has no lease any more.
    fn give_up(&self, node: NodeId, why: &'static str) {
        tracing::error!(node = node.0, "{why}");
        // Why first: no run is started any more under a lease that is void.
        *self.node.lock() = None;
        self.lost.lock().push(node);
        self.hub.cancel_all();
    }

    /// A lease that was asked for at a time has been given.
    fn renewed(&self, node: NodeId, begun: Duration) {
        if self.node() == Some(node) {
            let mut renewed_at = self.renewed_at.lock();
            *renewed_at = begun.max(*renewed_at);
        }
    }

    /// How long the lease lasts: by a clock that nobody sets, and from before the store was asked, so that it is never
    /// longer than the store takes it for.
    fn lease_left(&self) -> Duration {
        (*self.renewed_at.lock() + self.config.lease).saturating_sub(self.upkeep_now())
    }

    /// The time of the upkeep, from when the scheduler was made.
    fn upkeep_now(&self) -> Duration {
        match self.config.upkeep {
            Upkeep::ByMachine => self.began.0.elapsed(),
            Upkeep::ByRuntime => self.began.1.elapsed(),
            Upkeep::ByClock => self.clock.now().since(self.began.2),
        }
    }

    /// Whether other processes may write to the store, too.
    pub const fn is_shared(&self) -> bool {
        self.is_shared
    }

    /// Whether this process is that node and its lease is good, by a stopwatch that is read now. No other process acts for
    /// the node then.
    ///
    /// In a store of one process nobody else can have the node's runs, however late its lease is renewed.
    pub fn holds_lease(&self, node: NodeId) -> bool {
        self.node() == Some(node) && (!self.is_shared || !self.lease_left().is_zero())
    }

    /// The node that this process is: from [`join`](Self::join) until it leaves, but for the time between losing its
    /// lease and joining anew.
    pub fn node(&self) -> Option<NodeId> {
        *self.node.lock()
    }

    /// Starts the loops, once. They end with [`shutdown`](Self::shutdown); those that claim and sweep also with
    /// [`TaskSet::drain`], while the heartbeat, and hearing of what other processes do, go on until the node has left.
    pub fn start(self: &Arc<Self>, resume: Arc<dyn Resume>) {
        if self.started.swap(true, Ordering::AcqRel) {
            return;
        }
        self.tasks.spawn("claims", self.loops.track_future(Arc::clone(self).claims(Arc::clone(&resume))));
        self.tasks.spawn("unserved", self.loops.track_future(Arc::clone(self).end_unserved(resume)));
        self.tasks.spawn("sweep", self.loops.track_future(Arc::clone(self).sweep()));
        self.keep_lease();
        self.tasks.spawn_beside("lost", Arc::clone(self).tells_that_it_lives());
        self.tasks.spawn_beside("watchdog", Arc::clone(self).watch_executions());
        if self.is_shared {
            self.tasks.spawn_beside("news", Arc::clone(self).news());
            self.tasks.spawn_beside("look", Arc::clone(self).looks());
            self.tasks.spawn_beside("doubt", Arc::clone(self).looks_for_unknown());
            self.tasks.spawn_beside("writes", Arc::clone(self).tries_writes());
        }
    }

    /// Starts the heartbeat, where the lease goes by the machine on a thread that no step can block.
    fn keep_lease(self: &Arc<Self>) {
        if self.config.upkeep == Upkeep::ByMachine {
            *self.pulse_at.lock() = self.upkeep_now();
            self.tasks.spawn_beside("pulse", Arc::clone(self).pulse());
            match keeper::keep(&self.tasks, self.left.clone(), Arc::clone(self).heartbeat()) {
                Ok(()) => return,
                Err(error) => tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "no thread could be started for the node's lease: steps that block threads may cost it"
                ),
            }
        }
        self.tasks.spawn_beside("heartbeat", Arc::clone(self).heartbeat());
    }

    /// Routes what a store call woke: a due run to the claim loop, a delivery to the run's execution. Those of other
    /// nodes hear from the store.
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

    /// Hints that a run becomes due then. To be called once that is stored.
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
        self.meter.read()
    }

    /// Stops claiming, ends the loops, and [leaves](Self::leave). Runs under way are not waited for: see
    /// [`TaskSet::drain`].
    pub async fn shutdown(&self) -> Result<(), StoreError> {
        self.stop.cancel();
        self.loops.close();
        self.loops.wait().await;
        self.leave().await
    }

    /// Ends the loops and gives the node's runs back: they are due at once, for whoever comes next.
    pub async fn leave(&self) -> Result<(), StoreError> {
        self.stop.cancel();
        self.left.cancel();
        let _joining = self.joining.lock().await;
        let node = self.node.lock().take();
        // Why before: what is under way still must not go on beside whoever claims its run.
        self.hub.cancel_all();
        match node {
            Some(node) => self.store.leave(node, self.clock.now()).await,
            None => Ok(()),
        }
    }

    /// Sleeps in the time of the upkeep.
    async fn sleep(&self, time: Duration) {
        match self.config.upkeep {
            Upkeep::ByMachine | Upkeep::ByRuntime => tokio::time::sleep(time).await,
            Upkeep::ByClock => self.clock.sleep_until(self.clock.now().after(time)).await,
        }
    }
}
