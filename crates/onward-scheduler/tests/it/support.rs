//! A store that does as it is told, a clock on paused time, and who resumes runs.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use onward_core::{
    BoxFuture, Clock, EndpointId, Fence, NodeId, Payload, RunId, Store, StoreError, Timestamp,
    event::Event,
    run::{NewRun, Outcome, RunRecord, Status},
    store::{
        Checkpoint, Checkpointed, ClaimRequest, Claims, Control, Endpoints, Lease, Loaded, News, RunFilter, RunPage,
        Swept, Then, Unserved, UnservedQuery, Watched, Woken,
    },
    stream::{Frame, Place},
    waiter::{Delivery, Signal},
};
use onward_scheduler::{Attached, Config, Hub, Hung, Resume, Scheduler, TaskSet, Upkeep};
use onward_testing::MemoryStore;
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, Semaphore},
    time::Instant,
};

pub(crate) const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

pub(crate) const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

// ===== clock =====

/// Tokio's paused time as a clock, so that everything in a test is in one time.
#[derive(Clone, Debug)]
pub(crate) struct PausedClock {
    began: Instant,
    start: Timestamp,
}

impl PausedClock {
    pub(crate) fn at(&self, after_start: Duration) -> Timestamp {
        self.start.after(after_start)
    }
}

impl Clock for PausedClock {
    fn now(&self) -> Timestamp {
        self.at(self.began.elapsed())
    }

    fn sleep_until(&self, at: Timestamp) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep_until(self.began + at.since(self.start)))
    }
}

// ===== store =====

/// A store in memory that counts calls, and does otherwise where a script says so.
#[derive(Clone, Debug, Default)]
pub(crate) struct ScriptedStore(Arc<Script>);

#[derive(Debug, Default)]
pub(crate) struct Script {
    memory: MemoryStore,
    /// Every call fails.
    pub(crate) down: AtomicBool,
    /// Claims never answer.
    pub(crate) hangs: AtomicBool,
    /// The node is given up, until the next one joins.
    pub(crate) gives_up: AtomicBool,
    pub(crate) joins_fail: AtomicBool,
    /// No checkpoint can be written, it says.
    pub(crate) checkpoints_fail: AtomicBool,
    /// What is done to this run is refused.
    pub(crate) refuses: Mutex<Option<RunId>>,
    /// Heartbeats never answer.
    pub(crate) heartbeats_hang: AtomicBool,
    pub(crate) uncounts_fail: AtomicBool,
    /// Other processes may write to it.
    pub(crate) is_shared: AtomicBool,
    /// What other processes did and this one has not heard of.
    pub(crate) unheard: Mutex<Vec<News>>,
    pub(crate) told: Notify,
    pub(crate) looked: Mutex<Vec<(Vec<Watched>, Instant)>>,
    pub(crate) watched: Mutex<Vec<RunId>>,
    pub(crate) checkpoints: AtomicUsize,
    /// What every claim says beside what it gives.
    pub(crate) claims_say: Mutex<Option<Claims>>,
    pub(crate) sweeps: Mutex<VecDeque<Swept>>,
    pub(crate) claimed: Mutex<Vec<ClaimRequest>>,
    pub(crate) heartbeats: Mutex<Vec<(NodeId, Timestamp)>>,
    pub(crate) swept: Mutex<Vec<(Timestamp, Timestamp, usize)>>,
    pub(crate) joined: AtomicUsize,
    /// Whose crashes were taken back, after how many joins and heartbeats.
    pub(crate) uncounted: Mutex<Vec<(NodeId, usize, usize)>>,
    pub(crate) gone: Mutex<Vec<NodeId>>,
}

impl std::ops::Deref for ScriptedStore {
    type Target = Script;

    fn deref(&self) -> &Script {
        &self.0
    }
}

impl ScriptedStore {
    pub(crate) fn claims(&self) -> usize {
        self.claimed.lock().len()
    }

    pub(crate) fn set_down(&self, down: bool) {
        self.down.store(down, Ordering::SeqCst);
    }

    /// Another process did something.
    pub(crate) fn tell(&self, news: News) {
        self.unheard.lock().push(news);
        self.told.notify_one();
    }

    pub(crate) fn give_up_node(&self) {
        self.gives_up.store(true, Ordering::SeqCst);
    }

    fn answer<T: Send + 'static>(
        &self,
        answer: impl FnOnce(&MemoryStore) -> BoxFuture<'static, Result<T, StoreError>>,
    ) -> BoxFuture<'static, Result<T, StoreError>> {
        if self.down.load(Ordering::SeqCst) {
            return Box::pin(async { Err(StoreError::Unavailable("scripted".into())) });
        }
        answer(&self.memory)
    }

    /// An answer to a node: one that has been given up is told so.
    fn answer_node<T: Send + 'static>(
        &self,
        answer: impl FnOnce(&MemoryStore) -> BoxFuture<'static, Result<T, StoreError>>,
    ) -> BoxFuture<'static, Result<T, StoreError>> {
        if self.gives_up.load(Ordering::SeqCst) && !self.down.load(Ordering::SeqCst) {
            return Box::pin(async { Err(StoreError::LeaseLost) });
        }
        self.answer(answer)
    }
}

impl Store for ScriptedStore {
    fn join(&self, now: Timestamp, lease: Duration) -> BoxFuture<'static, Result<NodeId, StoreError>> {
        self.joined.fetch_add(1, Ordering::SeqCst);
        if self.joins_fail.load(Ordering::SeqCst) {
            return Box::pin(async { Err(StoreError::Unavailable("scripted".into())) });
        }
        if !self.down.load(Ordering::SeqCst) {
            self.gives_up.store(false, Ordering::SeqCst);
        }
        self.answer(|memory| memory.join(now, lease))
    }

    fn heartbeat(&self, node: NodeId, now: Timestamp, lease: Duration) -> BoxFuture<'static, Result<(), StoreError>> {
        self.heartbeats.lock().push((node, now));
        if self.heartbeats_hang.load(Ordering::SeqCst) {
            return Box::pin(std::future::pending());
        }
        self.answer_node(|memory| memory.heartbeat(node, now, lease))
    }

    fn leave(&self, node: NodeId, now: Timestamp) -> BoxFuture<'static, Result<(), StoreError>> {
        self.gone.lock().push(node);
        self.answer(|memory| memory.leave(node, now))
    }

    fn uncount_crashes(&self, node: NodeId) -> BoxFuture<'static, Result<(), StoreError>> {
        let at = (node, self.joined.load(Ordering::SeqCst), self.heartbeats.lock().len());
        self.uncounted.lock().push(at);
        if self.uncounts_fail.load(Ordering::SeqCst) {
            return Box::pin(async { Err(StoreError::Unavailable("scripted".into())) });
        }
        self.answer(|memory| memory.uncount_crashes(node))
    }

    fn can_checkpoint(&self, node: NodeId, within: Duration) -> BoxFuture<'static, Result<(), StoreError>> {
        if self.checkpoints_fail.load(Ordering::SeqCst) {
            return Box::pin(async { Err(StoreError::Unavailable("scripted".into())) });
        }
        self.answer(|memory| memory.can_checkpoint(node, within))
    }

    fn checkpoint(&self, checkpoint: Checkpoint) -> BoxFuture<'static, Result<Checkpointed, StoreError>> {
        self.checkpoints.fetch_add(1, Ordering::SeqCst);
        self.answer(|memory| memory.checkpoint(checkpoint))
    }

    fn claim(&self, request: ClaimRequest) -> BoxFuture<'static, Result<Claims, StoreError>> {
        self.claimed.lock().push(request.clone());
        if self.hangs.load(Ordering::SeqCst) {
            return Box::pin(std::future::pending());
        }
        let says = self.claims_say.lock().clone();
        let claimed = self.answer_node(|memory| memory.claim(request));
        Box::pin(async move {
            let mut claims = claimed.await?;
            if let Some(says) = says {
                claims.nudged.extend(says.nudged);
                claims.next_due_at = says.next_due_at.or(claims.next_due_at);
            }
            Ok(claims)
        })
    }

    fn load(&self, run_id: RunId) -> BoxFuture<'static, Result<Option<Loaded>, StoreError>> {
        self.answer(|memory| memory.load(run_id))
    }

    fn frames(&self, run_id: RunId, after: Place, limit: usize) -> BoxFuture<'static, Result<Vec<Frame>, StoreError>> {
        self.answer(|memory| memory.frames(run_id, after, limit))
    }

    fn deliveries(&self, run_id: RunId) -> BoxFuture<'static, Result<Vec<Delivery>, StoreError>> {
        self.answer(|memory| memory.deliveries(run_id))
    }

    fn run(&self, run_id: RunId) -> BoxFuture<'static, Result<Option<RunRecord>, StoreError>> {
        self.answer(|memory| memory.run(run_id))
    }

    fn runs(&self, filter: RunFilter) -> BoxFuture<'static, Result<RunPage, StoreError>> {
        self.answer(|memory| memory.runs(filter))
    }

    fn send_events(&self, events: Vec<Event>, now: Timestamp) -> BoxFuture<'static, Result<Vec<Woken>, StoreError>> {
        self.answer(|memory| memory.send_events(events, now))
    }

    fn send_signal(&self, signal: Signal, now: Timestamp) -> BoxFuture<'static, Result<Option<Woken>, StoreError>> {
        self.answer(|memory| memory.send_signal(signal, now))
    }

    fn control(
        &self,
        run_id: RunId,
        control: Control,
        now: Timestamp,
    ) -> BoxFuture<'static, Result<Vec<Woken>, StoreError>> {
        if *self.refuses.lock() == Some(run_id) {
            return Box::pin(async { Err(StoreError::Corrupt("scripted".into())) });
        }
        self.answer(|memory| memory.control(run_id, control, now))
    }

    fn unserved(&self, query: UnservedQuery) -> BoxFuture<'static, Result<Unserved, StoreError>> {
        self.answer(|memory| memory.unserved(query))
    }

    fn sweep(
        &self,
        now: Timestamp,
        events_before: Timestamp,
        limit: usize,
    ) -> BoxFuture<'static, Result<Swept, StoreError>> {
        self.swept.lock().push((now, events_before, limit));
        let scripted = self.sweeps.lock().pop_front();
        self.answer(|memory| match scripted {
            Some(swept) => Box::pin(async move { Ok(swept) }),
            None => memory.sweep(now, events_before, limit),
        })
    }

    fn setting(
        &self,
        name: &'static str,
        proposal: Option<Payload>,
    ) -> BoxFuture<'static, Result<Option<Payload>, StoreError>> {
        self.answer(|memory| memory.setting(name, proposal))
    }

    fn register(&self, name: String, value: Payload) -> BoxFuture<'static, Result<bool, StoreError>> {
        self.answer(|memory| memory.register(name, value))
    }

    fn announce(&self, node: NodeId, name: String, value: Payload) -> BoxFuture<'static, Result<bool, StoreError>> {
        self.answer(|memory| memory.announce(node, name, value))
    }

    fn unregister(&self, name: String) -> BoxFuture<'static, Result<bool, StoreError>> {
        self.answer(|memory| memory.unregister(name))
    }

    fn registrations(&self) -> BoxFuture<'static, Result<Vec<(String, Payload)>, StoreError>> {
        self.answer(|memory| memory.registrations())
    }

    fn is_shared(&self) -> bool {
        self.is_shared.load(Ordering::SeqCst)
    }

    fn news(&self) -> BoxFuture<'static, Vec<News>> {
        let store = self.clone();
        Box::pin(async move {
            loop {
                let unheard = std::mem::take(&mut *store.unheard.lock());
                if !unheard.is_empty() {
                    return unheard;
                }
                store.told.notified().await;
            }
        })
    }

    fn held(&self, node: NodeId) -> BoxFuture<'static, Result<Vec<Lease>, StoreError>> {
        self.answer(|memory| memory.held(node))
    }

    fn watch(&self, runs: Vec<RunId>) {
        self.watched.lock().extend(runs);
    }

    fn look(&self, watched: Vec<Watched>) -> BoxFuture<'static, Result<Vec<News>, StoreError>> {
        self.looked.lock().push((watched.clone(), Instant::now()));
        self.answer(|memory| memory.look(watched))
    }
}

// ===== who resumes =====

/// Notes what is resumed and when, and ends each run, once it may.
#[derive(Clone, Debug)]
pub(crate) struct Resumer {
    store: ScriptedStore,
    clock: Arc<dyn Clock>,
    /// A run needs one of these to end.
    pub(crate) gate: Arc<Semaphore>,
    /// How many resumptions panic, before and while they are polled.
    pub(crate) panics: Arc<AtomicUsize>,
    pub(crate) resumed: Arc<Mutex<Vec<(Lease, Timestamp)>>>,
    pub(crate) under_way: Arc<AtomicUsize>,
}

impl Resumer {
    pub(crate) fn runs(&self) -> Vec<RunId> {
        self.resumed.lock().iter().map(|(lease, _)| lease.run_id).collect()
    }
}

impl Resume for Resumer {
    fn endpoints(&self) -> Endpoints {
        Endpoints::Only(vec![endpoint("ours").into()])
    }

    fn timed_out(&self, _: RunId) -> Outcome {
        Outcome { status: Status::Failed, response: Payload::default(), error: Payload::default() }
    }

    fn resume(&self, lease: Lease, endpoint_id: EndpointId) -> BoxFuture<'static, ()> {
        assert_eq!(endpoint_id, endpoint("ours"));
        self.resumed.lock().push((lease, self.clock.now()));
        let panics = self.panics.load(Ordering::SeqCst);
        if panics > 0 {
            self.panics.store(panics - 1, Ordering::SeqCst);
            assert_eq!(panics % 2, 0, "scripted, before there is a future");
            return Box::pin(async { panic!("scripted, in the future") });
        }
        let this = self.clone();
        Box::pin(async move {
            this.under_way.fetch_add(1, Ordering::SeqCst);
            this.gate.acquire().await.unwrap().forget();
            let mut end = Checkpoint::new(lease, this.clock.now());
            end.then =
                Then::Finish(Outcome { status: Status::Completed, response: "".into(), error: Payload::default() });
            let _ = this.store.checkpoint(end).await;
            this.under_way.fetch_sub(1, Ordering::SeqCst);
        })
    }
}

/// An execution that counts what it is told.
#[derive(Debug, Default)]
pub(crate) struct Told {
    nudges: AtomicUsize,
    cancels: AtomicUsize,
}

impl Told {
    pub(crate) fn nudges(&self) -> usize {
        self.nudges.load(Ordering::SeqCst)
    }

    pub(crate) fn cancels(&self) -> usize {
        self.cancels.load(Ordering::SeqCst)
    }
}

impl Attached for Told {
    fn nudge(&self) {
        self.nudges.fetch_add(1, Ordering::SeqCst);
    }

    fn cancel(&self) {
        self.cancels.fetch_add(1, Ordering::SeqCst);
    }

    fn hung(&self) -> Option<Hung> {
        None
    }
}

// ===== all of it =====

/// A node that has joined and not started.
pub(crate) struct Node {
    pub(crate) scheduler: Arc<Scheduler>,
    pub(crate) store: ScriptedStore,
    pub(crate) clock: PausedClock,
    pub(crate) hub: Arc<Hub>,
    pub(crate) tasks: TaskSet,
    pub(crate) resumer: Resumer,
}

/// Polls once an hour, so that a test sees what happens without.
pub(crate) fn quiet() -> Config {
    Config { poll_max: secs(3600), ..Config::default() }
}

impl Node {
    pub(crate) async fn new(config: Config) -> Self {
        Self::on(ScriptedStore::default(), config).await
    }

    /// One whose store others may write to, too.
    pub(crate) async fn shared(config: Config) -> Self {
        let store = ScriptedStore::default();
        store.is_shared.store(true, Ordering::SeqCst);
        Self::on(store, config).await
    }

    async fn on(store: ScriptedStore, mut config: Config) -> Self {
        if config.upkeep == Upkeep::ByMachine {
            config.upkeep = Upkeep::ByRuntime; // whose time is paused
        }
        config.check().unwrap();
        let clock = PausedClock { began: Instant::now(), start: Timestamp::EPOCH.after(secs(1_000_000)) };
        let resumer = Resumer {
            store: store.clone(),
            clock: Arc::new(clock.clone()),
            gate: Arc::new(Semaphore::new(1_000_000)),
            panics: Arc::default(),
            resumed: Arc::default(),
            under_way: Arc::default(),
        };
        let (hub, tasks) = (Arc::new(Hub::default()), TaskSet::new());
        let (port, time) = (Arc::new(store.clone()), Arc::new(clock.clone()));
        let scheduler = Scheduler::new(port, time, Arc::clone(&hub), tasks.clone(), config);
        scheduler.join().await.unwrap();
        Self { scheduler, store, clock, hub, tasks, resumer }
    }

    pub(crate) fn start(&self) {
        self.scheduler.start(Arc::new(self.resumer.clone()));
    }

    /// Stores a run that sleeps, and tells nobody.
    pub(crate) async fn sleeping(&self, draw: u128, after_start: Duration) -> RunId {
        self.sleeping_at(draw, after_start, "ours").await
    }

    /// Stores a run of an endpoint that this node does not serve and that is due now.
    pub(crate) async fn timing_out(&self, draw: u128, timeout: Duration) -> RunId {
        self.stored(draw, Duration::ZERO, "theirs", Some(self.clock.at(timeout))).await
    }

    pub(crate) async fn sleeping_at(&self, draw: u128, after_start: Duration, name: &str) -> RunId {
        self.stored(draw, after_start, name, None).await
    }

    async fn stored(&self, draw: u128, after_start: Duration, name: &str, timeout_at: Option<Timestamp>) -> RunId {
        let now = self.clock.now();
        let run_id = run(draw);
        let lease = Lease { run_id, fence: Fence::FIRST, node: self.scheduler.node().unwrap() };
        let mut checkpoint = Checkpoint::new(lease, now);
        checkpoint.start = Some(NewRun {
            run_id,
            endpoint: endpoint(name),
            version: None,
            pinned: false,
            created_at: now,
            request: Payload::default(),
            timeout_at,
            retention: secs(3600),
            key: None,
            parent: None,
        });
        checkpoint.then = Then::Suspend { due_at: self.clock.at(after_start) };
        self.store.checkpoint(checkpoint).await.unwrap();
        run_id
    }

    /// Stores a run that is held under a lease, unless it is there.
    pub(crate) async fn held(&self, lease: Lease) {
        let now = self.clock.now();
        let mut checkpoint = Checkpoint::new(lease, now);
        checkpoint.start = Some(NewRun {
            run_id: lease.run_id,
            endpoint: endpoint("ours"),
            created_at: now,
            version: None,
            pinned: false,
            request: Payload::default(),
            timeout_at: None,
            retention: secs(3600),
            key: None,
            parent: None,
        });
        _ = self.store.checkpoint(checkpoint).await;
    }

    pub(crate) async fn status(&self, run_id: RunId) -> Status {
        self.store.run(run_id).await.unwrap().unwrap().status
    }

    /// When each run was resumed, in milliseconds since the start.
    pub(crate) fn resumed_at_ms(&self) -> Vec<(RunId, u128)> {
        let start = self.clock.at(Duration::ZERO);
        self.resumer.resumed.lock().iter().map(|(lease, at)| (lease.run_id, at.since(start).as_millis())).collect()
    }
}

pub(crate) fn run(draw: u128) -> RunId {
    RunId::new(Timestamp::EPOCH, draw)
}

pub(crate) fn endpoint(name: &str) -> EndpointId {
    EndpointId::try_new(name).unwrap()
}

/// Lets paused time pass.
pub(crate) async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}
