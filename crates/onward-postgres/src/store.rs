//! The handle: every method of the port, submitted to the groups or to a transaction of its own.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    panic::AssertUnwindSafe,
    sync::{
        Arc, Weak,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use deadpool::managed::Pool;
use futures_util::FutureExt;
use onward_core::{
    BoxFuture, NodeId, Payload, RunId, Store, StoreError, Timestamp,
    event::Event,
    run::RunRecord,
    store::{
        Checkpoint, Checkpointed, ClaimRequest, Claims, Control, Lease, Loaded, News, RunFilter, RunPage, Swept,
        Unserved, UnservedQuery, Watched, Woken,
    },
    stream::{Frame, Place},
    waiter::{Delivery, Signal},
};
use parking_lot::Mutex;
use tokio::{runtime::Handle, sync::oneshot, task::JoinHandle, time::Instant};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    clock::{DatabaseClock, stopwatch},
    connect::{self, Connector},
    engine::{Claimed, TRIES, stand_back},
    error::{Abort, at_opening, unavailable},
    group,
    held::Known,
    keeper::Keeper,
    migrate,
    news::{self, Wire},
    options::Options,
    prepared::{Prepared, Way},
    queue::{Job, Queue},
    sender::Sender,
};

/// How often the database is asked what time it is.
const CLOCK_EVERY: Duration = Duration::from_secs(5);
/// How often one that has sent a group stands aside for those whom its answer has woken.
///
/// Why three: one is enough where all is in this process, and some come by way of a connection and a client. With three
/// nodes on 2 cores and 64 connections a step took 46 µs of the database's time in place of 58, and with eight no less.
const STEPS_ASIDE: u32 = 3;

/// A [`Store`] in a PostgreSQL database that any number of nodes share.
///
/// Clones share their connections. It belongs to the runtime that it was opened in. On [`close`](Self::close) what was
/// submitted is still done.
///
/// # Example
///
/// ```no_run
/// use onward_core::Store;
/// use onward_postgres::{Options, PostgresStore};
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let store = PostgresStore::open("postgres://app:secret@db.example.com/app?sslmode=verify-full", Options::new()).await?;
/// let page = store.runs(Default::default()).await?;
/// assert!(page.runs.is_empty());
/// store.close().await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct PostgresStore(Arc<Inner>);

/// What clones share.
pub(crate) struct Inner {
    /// For what is read, and for transactions of their own.
    pub(crate) pool: Pool<Connector>,
    /// Who writes groups.
    pub(crate) senders: Vec<Sender>,
    /// For users' transactions: however long they take, the node's own work goes on.
    pub(crate) users: Pool<Connector>,
    /// For the node's lease and the time: however long steps block their threads, both are kept.
    pub(crate) keeper: Keeper,
    pub(crate) timeout: Duration,
    pub(crate) known: Known,
    /// Runs of which a checkpoint was perhaps not written, and whose turn is about to pass on.
    unwritten: Mutex<BTreeSet<RunId>>,
    /// Numbers of endpoints that are known to be stored.
    pub(crate) endpoints: Mutex<BTreeSet<i64>>,
    /// Leases of claims of which it is not known whether they were committed.
    pub(crate) doubtful: Mutex<Vec<Claimed>>,
    /// Locked while a heartbeat's housekeeping is under way.
    pub(crate) housekeeping: Arc<tokio::sync::Mutex<()>>,
    pub(crate) news: Arc<Wire>,
    queue: Queue,
    pub(crate) clock: DatabaseClock,
    received_at: AtomicI64,
    tasks: TaskTracker,
    runtime: Handle,
    closed: CancellationToken,
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore")
            .field("waiting", &self.0.queue.len())
            .field("held", &self.0.known.len())
            .finish_non_exhaustive()
    }
}

impl PostgresStore {
    /// Connects, and brings the schema to the newest version: of nodes that come at once, one does it.
    /// [`Options::schema_unchanged`] leaves the schema as it is.
    ///
    /// [`StoreError::Misconfigured`] where the URL is wrong, the database refuses the user or has no such database, or a
    /// newer release has made the schema; [`StoreError::Unavailable`] where the database cannot be reached in time.
    pub async fn open(url: &str, options: Options) -> Result<Self, StoreError> {
        // Boxed because what connects is large, and who opens a store has it in all that it does.
        Box::pin(Self::connect(url, options)).await.map_err(at_opening)
    }

    async fn connect(url: &str, options: Options) -> Result<Self, StoreError> {
        let pool = connect::pool(Connector::try_new(url, &options)?, options.connections)?;
        let users = connect::patient_pool(Connector::try_new(url, &options)?, options.connections.div_ceil(2))?;
        if options.schema_unchanged {
            migrate::check(&pool).await?;
        } else {
            migrate::migrate(&pool).await?;
        }
        let senders = Sender::all(url, &options).await?;
        let keeper = Keeper::try_new(url, &options)?;
        let clock = first_time(&pool).await?;
        let inner = Arc::new(Inner {
            pool,
            senders,
            users,
            keeper,
            timeout: options.timeout,
            known: Known::default(),
            unwritten: Mutex::default(),
            endpoints: Mutex::default(),
            doubtful: Mutex::default(),
            housekeeping: Arc::default(),
            news: Arc::new(Wire::new(options.notifications, options.schema_unchanged)),
            queue: Queue::new(options.queue_len),
            clock,
            received_at: AtomicI64::new(0),
            tasks: TaskTracker::new(),
            runtime: Handle::current(),
            closed: CancellationToken::new(),
        });
        for sender in 0..inner.senders.len() {
            inner.spawn(Arc::clone(&inner).serve(sender));
        }
        inner.tasks.spawn_on(keep_time(Arc::downgrade(&inner), inner.closed.clone()), inner.keeper.handle());
        if options.notifications {
            let connector = Connector::try_new(url, &options)?;
            inner.spawn(news::serve(Arc::clone(&inner.news), connector, inner.closed.clone()));
        }
        Ok(Self(inner))
    }

    /// Whether a database can be used, without changing anything: what it says it is, or why it cannot be reached.
    ///
    /// ```no_run
    /// # async fn run() -> Result<(), onward_core::StoreError> {
    /// use onward_postgres::{Options, PostgresStore};
    ///
    /// println!("{}", PostgresStore::check("postgres://app@localhost/app", &Options::new()).await?);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn check(url: &str, options: &Options) -> Result<String, StoreError> {
        let pool = connect::pool(Connector::try_new(url, options)?, 1)?;
        let conn = connect::get(&pool).await.map_err(at_opening)?;
        let row =
            conn.query_one("SELECT version()", &[]).await.map_err(|error| StoreError::Unavailable(error.into()))?;
        row.try_get(0).map_err(crate::row::damaged)
    }

    /// The database's clock: what a node should take its time from, so that the clocks of machines do not matter.
    pub fn clock(&self) -> DatabaseClock {
        self.0.clock.clone()
    }

    /// Takes no more checkpoints, writes those that were submitted, and closes the connections. Dropping the future
    /// takes nothing back.
    pub fn close(&self) -> BoxFuture<'static, ()> {
        let inner = Arc::clone(&self.0);
        inner.queue.close();
        inner.tasks.close();
        Box::pin(async move {
            while !inner.queue.is_over() {
                inner.queue.wake();
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            inner.news.flush().await;
            inner.closed.cancel();
            inner.queue.wake();
            inner.tasks.wait().await;
            inner.pool.close();
            inner.senders.iter().for_each(Sender::close);
            inner.users.close();
            inner.keeper.pool.close();
        })
    }

    /// Begins now what may be dropped later.
    pub(crate) fn submit<T, F>(&self, work: impl FnOnce(Arc<Inner>) -> F) -> BoxFuture<'static, Result<T, StoreError>>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        self.submit_on(&self.0.runtime, work)
    }

    /// Like [`submit`](Self::submit), for what uses the [`Keeper`]'s connection.
    fn submit_to_keeper<T, F>(&self, work: impl FnOnce(Arc<Inner>) -> F) -> BoxFuture<'static, Result<T, StoreError>>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        self.submit_on(self.0.keeper.handle(), work)
    }

    fn submit_on<T, F>(
        &self,
        runtime: &Handle,
        work: impl FnOnce(Arc<Inner>) -> F,
    ) -> BoxFuture<'static, Result<T, StoreError>>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let done = self.0.tasks.spawn_on(work(Arc::clone(&self.0)), runtime);
        Box::pin(async move { done.await.unwrap_or_else(|_| Err(unavailable("the call was broken off"))) })
    }

    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.0
    }
}

/// Some work panicked, and has said so.
struct Panicked;

/// Why: whoever waits behind it must not wait for ever.
async fn caught<T>(work: impl Future<Output = T>) -> Result<T, Panicked> {
    AssertUnwindSafe(work).catch_unwind().await.map_err(|_| Panicked)
}

/// What time it is at the database, before anything else is asked.
async fn first_time(pool: &Pool<Connector>) -> Result<DatabaseClock, StoreError> {
    let conn = connect::get(pool).await?;
    let ask = async {
        let statement = conn.prepare_cached(TIME).await?;
        let mut best: Option<(Duration, Instant, Instant, i64)> = None;
        // The answer that took least tells most: the time is known to half of that.
        for _ in 0..FIRST_ASKED {
            let asked = stopwatch();
            let time: i64 = conn.query_one(&statement, &[]).await?.try_get(0)?;
            let answered = stopwatch();
            let took = answered.duration_since(asked);
            if best.is_none_or(|(least, ..)| took < least) {
                best = Some((took, asked, answered, time));
            }
            if took < QUICK {
                break;
            }
        }
        let (_, asked, answered, time) = best.expect("the database was asked at least once");
        Ok::<_, tokio_postgres::Error>(DatabaseClock::new(asked, answered, time))
    };
    ask.await.map_err(|error| StoreError::Unavailable(error.into()))
}

/// How often the database is asked at first what time it is, until it answers quickly.
const FIRST_ASKED: u32 = 5;
/// How quickly the database answers where no better answer is hoped for.
const QUICK: Duration = Duration::from_millis(5);

/// The database's time in microseconds.
const TIME: &str = "SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS INT8)";

/// Asks the database now and then what time it is, until the store is closed or everybody has dropped it.
async fn keep_time(inner: Weak<Inner>, closed: CancellationToken) {
    loop {
        tokio::select! {
            () = closed.cancelled() => return,
            () = tokio::time::sleep(CLOCK_EVERY) => {}
        }
        let Some(inner) = inner.upgrade() else { return };
        let asked = stopwatch();
        let Ok(rows) = inner.read_by(&inner.keeper.pool, TIME, &[]).await else { continue };
        let answered = stopwatch();
        if let Some(Ok(time)) = rows.first().map(|row| row.try_get(0)) {
            inner.clock.correct(asked, answered, time);
        }
    }
}

impl Inner {
    pub(crate) fn spawn(self: &Arc<Self>, task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        self.tasks.spawn_on(task, &self.runtime)
    }

    pub(crate) fn submit_checkpoint(self: &Arc<Self>, job: Job) {
        if let Some(job) = self.queue.submit(job, &self.known) {
            self.write_alone(job);
        }
    }

    /// Writes a checkpoint in a transaction of its own, and then what comes after it.
    fn write_alone(self: &Arc<Self>, job: Job) {
        if job.is_turn {
            // Whoever waits for it says when it is over.
            return job.answer(Ok(Checkpointed::default()));
        }
        let inner = Arc::clone(self);
        self.spawn(async move {
            let run_id = job.prepared.run_id();
            let written = Box::pin(caught(inner.checkpoint_alone(&job.prepared))).await;
            let answer = written.unwrap_or_else(|Panicked| {
                inner.known.forget(run_id);
                Err(unavailable("writing a checkpoint panicked"))
            });
            inner.note(run_id, &answer);
            job.answer(answer);
            inner.next(run_id, 1);
        });
    }

    pub(crate) fn next(self: &Arc<Self>, run_id: RunId, jobs: usize) {
        let was_written = !self.unwritten.lock().remove(&run_id);
        if let Some(job) = self.queue.done(run_id, jobs, was_written, &self.known) {
            self.write_alone(job);
        }
    }

    /// Remembers a run of which a checkpoint was perhaps not written, until its next one has its turn.
    pub(crate) fn note<T>(&self, run_id: RunId, answer: &Result<T, StoreError>) {
        if matches!(answer, Err(StoreError::Unavailable(_) | StoreError::Corrupt(_))) {
            self.unwritten.lock().insert(run_id);
        }
    }

    /// Writes one group after the other.
    async fn serve(self: Arc<Self>, sender: usize) {
        let sender = &self.senders[sender];
        loop {
            let jobs = self.queue.group(sender.way, &self.known).await;
            if jobs.is_empty() {
                return;
            }
            let mut runs: BTreeMap<RunId, usize> = BTreeMap::new();
            for job in &jobs {
                *runs.entry(job.prepared.run_id()).or_default() += 1;
            }
            let began = Instant::now();
            if let Err(Panicked) = Box::pin(caught(self.write_group(sender, jobs))).await {
                // Their callers are told as their replies are dropped.
                tracing::error!("writing a group of checkpoints panicked");
                for run_id in runs.keys() {
                    self.known.forget(*run_id);
                    self.unwritten.lock().insert(*run_id);
                }
            }
            let (is_group, took) = (runs.len() > 1, began.elapsed());
            let sent = runs.values().sum();
            for (run_id, jobs) in runs {
                self.next(run_id, jobs);
            }
            // Why: those who were answered now have their next checkpoints written together, and not in small groups
            // with those who came meanwhile. A statement costs the database the same whatever is in it.
            if is_group {
                for _ in 0..STEPS_ASIDE {
                    tokio::task::yield_now().await;
                }
            }
            self.queue.sent(sender.way, sent, took, Instant::now());
        }
    }

    /// Writes a group. Where another transaction breaks it off it is written again, and where one of its checkpoints is
    /// wrong that one alone is refused: the others belong to other runs.
    async fn write_group(&self, sender: &Sender, jobs: Vec<Job>) {
        let (mut waiting, mut tries) = (vec![jobs], 0);
        while let Some(jobs) = waiting.pop() {
            match self.write_once(sender, jobs).await {
                Ok(()) => {}
                Err((jobs, Abort::Conflict(error))) if tries < TRIES => {
                    tries += 1;
                    tracing::debug!(error = &error as &dyn std::error::Error, tries, "a group is tried again");
                    stand_back(tries).await;
                    waiting.push(jobs);
                }
                Err((jobs, abort)) if abort.is_of_one_row() => match group::halves(jobs) {
                    Ok((first, second)) => waiting.extend([second, first]),
                    Err(jobs) => group::fail(self, jobs, &abort.into()),
                },
                Err((jobs, abort)) => group::fail(self, jobs, &abort.into()),
            }
        }
    }

    async fn write_once(&self, sender: &Sender, mut jobs: Vec<Job>) -> Result<(), (Vec<Job>, Abort)> {
        let conn = match sender.connection().await {
            Ok(conn) => conn,
            Err(error) => {
                sender.failed();
                return Err((jobs, error.into()));
            }
        };
        if sender.is_other(&conn) {
            // Why: the database may be another one, which took over and does not have all that was written to the first.
            self.known.clear();
        }
        let mut unknown = Vec::new();
        if sender.way == Way::Append {
            for job in &mut jobs {
                job.prepared.held = self.known.under(&job.prepared.lease);
            }
            // What was known as they were taken in may have been forgotten since.
            (jobs, unknown) = jobs.into_iter().partition(|job| job.prepared.held.is_some());
        }
        let is_empty = jobs.is_empty();
        let written = match sender.way {
            _ if is_empty => Ok(()),
            Way::Start => group::start(self, &conn, sender.part, jobs).await,
            Way::Append | Way::Alone => group::append(self, &conn, sender.part, jobs).await,
        };
        if let Err((_, abort)) = &written
            && !(matches!(abort, Abort::Conflict(_)) || abort.is_of_one_row())
        {
            // What the connection is in the middle of is not known.
            drop(connect::Conn::take(conn));
            sender.failed();
        } else {
            drop(conn);
            if !is_empty && written.is_ok() {
                sender.worked();
            }
        }
        if !unknown.is_empty() {
            Box::pin(self.write_each(sender, unknown)).await;
        }
        written
    }

    /// Writes a group's checkpoints one by one: each asks what is stored of its run.
    async fn write_each(&self, sender: &Sender, jobs: Vec<Job>) {
        for job in jobs {
            let answer = self.checkpoint_alone(&job.prepared).await;
            match &answer {
                Ok(_) => sender.worked(),
                Err(StoreError::Unavailable(_)) => sender.failed(),
                Err(_) => {}
            }
            self.note(job.prepared.run_id(), &answer);
            job.answer(answer);
        }
    }

    /// When an event that comes now is received at the earliest: after those that came before.
    pub(crate) fn receive_at(&self, now: Timestamp) -> Timestamp {
        let last = self.received_at.load(Ordering::Relaxed);
        now.max(Timestamp::from_micros(last.saturating_add(1)))
    }

    pub(crate) fn received(&self, at: Timestamp) {
        self.received_at.fetch_max(at.as_micros(), Ordering::Relaxed);
    }
}

impl Store for PostgresStore {
    fn join(&self, now: Timestamp, lease: Duration) -> BoxFuture<'static, Result<NodeId, StoreError>> {
        self.submit_to_keeper(async move |inner| inner.join(now, lease).await)
    }

    fn heartbeat(&self, node: NodeId, now: Timestamp, lease: Duration) -> BoxFuture<'static, Result<(), StoreError>> {
        self.submit_to_keeper(async move |inner| inner.heartbeat(node, now, lease).await)
    }

    fn leave(&self, node: NodeId, now: Timestamp) -> BoxFuture<'static, Result<(), StoreError>> {
        self.submit_to_keeper(async move |inner| inner.leave(node, now).await)
    }

    fn uncount_crashes(&self, node: NodeId) -> BoxFuture<'static, Result<(), StoreError>> {
        self.submit_to_keeper(async move |inner| inner.uncount_crashes(node).await)
    }

    fn can_checkpoint(&self, node: NodeId, within: Duration) -> BoxFuture<'static, Result<(), StoreError>> {
        self.submit(async move |inner| inner.can_checkpoint(node, within).await)
    }

    fn checkpoint(&self, checkpoint: Checkpoint) -> BoxFuture<'static, Result<Checkpointed, StoreError>> {
        let (reply, answer) = oneshot::channel();
        self.0.submit_checkpoint(Job { prepared: Prepared::new(checkpoint), reply, is_turn: false });
        Box::pin(async move { answer.await.unwrap_or_else(|_| Err(unavailable("the checkpoint was broken off"))) })
    }

    fn claim(&self, request: ClaimRequest) -> BoxFuture<'static, Result<Claims, StoreError>> {
        self.submit(async move |inner| inner.claim(&request).await)
    }

    fn load(&self, run_id: RunId) -> BoxFuture<'static, Result<Option<Loaded>, StoreError>> {
        let inner = Arc::clone(&self.0);
        Box::pin(async move { inner.load(run_id).await })
    }

    fn deliveries(&self, run_id: RunId) -> BoxFuture<'static, Result<Vec<Delivery>, StoreError>> {
        let inner = Arc::clone(&self.0);
        Box::pin(async move { inner.deliveries(run_id).await })
    }

    fn frames(&self, run_id: RunId, after: Place, limit: usize) -> BoxFuture<'static, Result<Vec<Frame>, StoreError>> {
        let inner = Arc::clone(&self.0);
        Box::pin(async move { inner.frames(run_id, after, limit).await })
    }

    fn run(&self, run_id: RunId) -> BoxFuture<'static, Result<Option<RunRecord>, StoreError>> {
        let inner = Arc::clone(&self.0);
        Box::pin(async move { inner.run(run_id).await })
    }

    fn runs(&self, filter: RunFilter) -> BoxFuture<'static, Result<RunPage, StoreError>> {
        let inner = Arc::clone(&self.0);
        Box::pin(async move { inner.runs(&filter).await })
    }

    fn send_events(&self, events: Vec<Event>, now: Timestamp) -> BoxFuture<'static, Result<Vec<Woken>, StoreError>> {
        self.submit(async move |inner| inner.send_events(&events, now).await)
    }

    fn send_signal(&self, signal: Signal, now: Timestamp) -> BoxFuture<'static, Result<Option<Woken>, StoreError>> {
        self.submit(async move |inner| inner.send_signal(&signal, now).await)
    }

    fn control(
        &self,
        run_id: RunId,
        control: Control,
        now: Timestamp,
    ) -> BoxFuture<'static, Result<Vec<Woken>, StoreError>> {
        self.submit(async move |inner| inner.control(run_id, &control, now).await)
    }

    fn unserved(&self, query: UnservedQuery) -> BoxFuture<'static, Result<Unserved, StoreError>> {
        let inner = Arc::clone(&self.0);
        Box::pin(async move { inner.unserved(&query).await })
    }

    fn sweep(
        &self,
        now: Timestamp,
        events_before: Timestamp,
        limit: usize,
    ) -> BoxFuture<'static, Result<Swept, StoreError>> {
        self.submit(async move |inner| inner.sweep(now, events_before, limit).await)
    }

    fn setting(
        &self,
        name: &'static str,
        proposal: Option<Payload>,
    ) -> BoxFuture<'static, Result<Option<Payload>, StoreError>> {
        self.submit(async move |inner| inner.setting(name, proposal.as_ref()).await)
    }

    fn register(&self, name: String, value: Payload) -> BoxFuture<'static, Result<bool, StoreError>> {
        self.submit(async move |inner| inner.register(&name, &value, None).await)
    }

    fn announce(&self, node: NodeId, name: String, value: Payload) -> BoxFuture<'static, Result<bool, StoreError>> {
        self.submit(async move |inner| inner.register(&name, &value, Some(node)).await)
    }

    fn unregister(&self, name: String) -> BoxFuture<'static, Result<bool, StoreError>> {
        self.submit(async move |inner| inner.unregister(&name).await)
    }

    fn registrations(&self) -> BoxFuture<'static, Result<Vec<(String, Payload)>, StoreError>> {
        let inner = Arc::clone(&self.0);
        Box::pin(async move { inner.registrations().await })
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn news(&self) -> BoxFuture<'static, Vec<News>> {
        let news = Arc::clone(&self.0.news);
        Box::pin(async move { news.next().await })
    }

    fn watch(&self, runs: Vec<RunId>) {
        self.0.news.watch(runs, Instant::now());
    }

    fn held(&self, node: NodeId) -> BoxFuture<'static, Result<Vec<Lease>, StoreError>> {
        let inner = Arc::clone(&self.0);
        Box::pin(async move { inner.held_by(node).await })
    }

    fn look(&self, watched: Vec<Watched>) -> BoxFuture<'static, Result<Vec<News>, StoreError>> {
        let inner = Arc::clone(&self.0);
        Box::pin(async move { inner.look(&watched).await })
    }
}
