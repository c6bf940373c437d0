//! The app: its store, clock, scheduler, keys and endpoints.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use onward_core::{
    BoxFuture, Clock, EndpointId, Fence, Payload, RunId, Store, StoreError,
    run::{Outcome, Status},
    store::{Endpoints, Lease},
};
use onward_host::bodies::Bodies;
use onward_protocol::token::{KeyRing, TokenKey};
use onward_scheduler::{Hub, Parking, Patience, Resume, Scheduler, SystemClock, TaskSet, Unreadable};
use parking_lot::Mutex;

use crate::{
    Builder, Error, Options, StepError,
    context::Context,
    crashes::Suspects,
    endpoint::{Endpoint, Registered},
    error::Cause,
    record,
    seal::{SealedStore, Sealer},
};

#[cfg(feature = "sqlite")]
pub(crate) type Sqlite = onward_sqlite::SqliteStore;
#[cfg(not(feature = "sqlite"))]
pub(crate) type Sqlite = std::convert::Infallible;
#[cfg(feature = "postgres")]
pub(crate) type Postgres = onward_postgres::PostgresStore;
#[cfg(not(feature = "postgres"))]
pub(crate) type Postgres = std::convert::Infallible;

/// The store behind the port, where it is one that commits users' own writes.
#[derive(Default)]
pub(crate) struct Opened {
    #[cfg_attr(not(feature = "sqlite"), expect(dead_code, reason = "no SQLite store can be opened"))]
    pub(crate) sqlite: Option<Sqlite>,
    #[cfg_attr(not(feature = "postgres"), expect(dead_code, reason = "no PostgreSQL store can be opened"))]
    pub(crate) postgres: Option<Postgres>,
}

/// What the rest of the crate needs to know of the app's options.
#[derive(Debug)]
pub(crate) struct AppConfig {
    pub(crate) token_lifetime: Duration,
    pub(crate) wait_max: Duration,
    pub(crate) drain: Duration,
    pub(crate) start_patience: Duration,
    #[cfg(feature = "axum")]
    pub(crate) connections: onward_host::serve::Limits,
    pub(crate) event_bytes_max: usize,
    pub(crate) is_paused: bool,
}

pub(crate) struct Shared {
    pub(crate) store: Arc<dyn Store>,
    #[cfg_attr(
        not(any(feature = "sqlite", feature = "postgres")),
        expect(dead_code, reason = "this store commits no writes of users")
    )]
    pub(crate) opened: Opened,
    pub(crate) sealer: Option<Arc<Sealer>>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) hub: Arc<Hub>,
    pub(crate) scheduler: Arc<Scheduler>,
    pub(crate) tasks: TaskSet,
    pub(crate) parking: Parking,
    /// How many runs were found blocked, each cause once.
    pub(crate) blocked: AtomicU64,
    /// How many runs failed because their process ended again and again.
    pub(crate) crashed: AtomicU64,
    pub(crate) suspects: Suspects,
    /// The runs whose record could not be read.
    pub(crate) unreadable: Unreadable,
    /// Reads the bodies of requests.
    pub(crate) bodies: Arc<Bodies>,
    pub(crate) keys: KeyRing,
    pub(crate) config: AppConfig,
    pub(crate) defaults: Options,
    pub(crate) endpoints: Registered,
    complaints: Mutex<Vec<String>>,
    started: AtomicBool,
    #[cfg(feature = "fetch")]
    pub(crate) http: std::sync::OnceLock<reqwest::Client>,
}

/// A durable app: where its runs are stored, and what drives them. Cheap to clone; all clones are the same app.
///
/// Open it, wrap routes with it, and either let it [`serve`](Onward::serve) or serve by yourself between
/// [`start`](Onward::start) and [`shutdown`](Onward::shutdown).
///
/// # Example
///
/// ```no_run
/// use axum::{Router, routing::get};
/// use onward::{Onward, Step, StepError};
///
/// async fn hello(step: Step) -> Result<String, StepError> {
///     step.run("greet", async || Ok::<_, StepError>("hello".to_owned())).await
/// }
///
/// #[tokio::main]
/// async fn main() -> Result<(), onward::Error> {
///     let onward = Onward::open("sqlite:onward.db").await?;
///     let app = Router::new().merge(onward.route("/hello", get(hello))).route("/wait", onward.proxy());
///     onward.serve("127.0.0.1:3000", app).await
/// }
/// ```
#[derive(Clone)]
pub struct Onward(pub(crate) Arc<Shared>);

impl std::fmt::Debug for Onward {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Onward").field("scheduler", &self.0.scheduler).finish_non_exhaustive()
    }
}

/// Opens the store that a URL names, and joins it.
pub(crate) async fn open(builder: Builder, url: &str) -> Result<Onward, Error> {
    let (kind, rest) = url.split_once(':').unwrap_or((url, ""));
    #[cfg(feature = "sqlite")]
    if let Some(store) = open_sqlite(&builder, url).await? {
        let opened = Opened { sqlite: Some(store.clone()), ..Opened::default() };
        return join(builder, Arc::new(store), opened).await;
    }
    if matches!(kind, "postgres" | "postgresql") {
        return Box::pin(open_postgres(builder, url)).await;
    }
    let text = format!(
        "{kind:?} with {rest:?} is not a store this build can open; give \"sqlite:PATH\", \"postgres://…\" or \"memory:\""
    );
    Err(Error::config(text))
}

#[cfg(feature = "postgres")]
async fn open_postgres(mut builder: Builder, url: &str) -> Result<Onward, Error> {
    // Who waits for the database longer than its lease lasts has lost its runs before it can try again.
    let options = builder.postgres.clone().timeout_at_most(builder.scheduler.lease / 2);
    let patience = Patience::new(builder.start_patience);
    let store = patience.with("database", || Postgres::open(url, options.clone())).await?;
    // The clocks of machines differ; that of the database is one.
    builder.clock.get_or_insert_with(|| Arc::new(store.clock()));
    join(builder, Arc::new(store.clone()), Opened { postgres: Some(store), ..Opened::default() }).await
}

#[cfg(not(feature = "postgres"))]
#[expect(clippy::unused_async, reason = "a build with PostgreSQL opens it")]
async fn open_postgres(builder: Builder, _: &str) -> Result<Onward, Error> {
    drop(builder);
    Err(Error::config("this build has no store on PostgreSQL: enable the feature \"postgres\" of onward"))
}

#[cfg(feature = "sqlite")]
async fn open_sqlite(builder: &Builder, url: &str) -> Result<Option<Sqlite>, Error> {
    let durability = match builder.durability {
        crate::Durability::Full => onward_sqlite::Durability::Full,
        crate::Durability::Relaxed => onward_sqlite::Durability::Normal,
        crate::Durability::Off => onward_sqlite::Durability::Off,
    };
    if url == "memory:" {
        return Ok(Some(Sqlite::in_memory()?));
    }
    if !url.starts_with("sqlite:") {
        return Ok(None);
    }
    let (url, options) = (url.to_owned(), builder.sqlite.clone().durability(durability));
    let opened = tokio::task::spawn_blocking(move || Sqlite::open_url(&url, options)).await;
    Ok(Some(opened.map_err(|_| Error::invalid("the runtime is shutting down"))??))
}

/// Joins an open store.
pub(crate) async fn join(builder: Builder, store: Arc<dyn Store>, opened: Opened) -> Result<Onward, Error> {
    let encrypted = !builder.encryption.is_empty();
    let sealer = encrypted
        .then(|| Sealer::try_new(builder.encryption, builder.is_encryption_required).map(Arc::new))
        .transpose()?;
    let store = match &sealer {
        Some(sealer) => Arc::new(SealedStore::new(store, Arc::clone(sealer))),
        None => store,
    };
    let patience = if store.is_shared() { Patience::new(builder.start_patience) } else { Patience::none() };
    let (is_needed, port) = (builder.token_keys.is_empty(), &*store);
    let kept =
        if builder.forget_kept_key { None } else { patience.with("token key", || kept_key(port, is_needed)).await? };
    let keys = key_ring(builder.token_keys, kept)?;
    let (hub, tasks) = (Arc::new(Hub::default()), TaskSet::new());
    let clock = builder.clock.unwrap_or_else(|| Arc::new(SystemClock::default()));
    let scheduler =
        Scheduler::new(Arc::clone(&store), Arc::clone(&clock), Arc::clone(&hub), tasks.clone(), builder.scheduler);
    patience.with("node's lease", || scheduler.join()).await?;
    Ok(Onward(Arc::new(Shared {
        store,
        opened,
        sealer,
        clock,
        hub,
        scheduler,
        tasks,
        parking: Parking::new(builder.parking),
        blocked: AtomicU64::new(0),
        crashed: AtomicU64::new(0),
        suspects: Suspects::new(),
        unreadable: Unreadable::default(),
        bodies: Bodies::new(builder.bodies_bytes_max),
        keys,
        config: AppConfig {
            token_lifetime: builder.token_lifetime,
            wait_max: builder.wait_max,
            drain: builder.drain,
            start_patience: builder.start_patience,
            #[cfg(feature = "axum")]
            connections: builder.connections,
            event_bytes_max: builder.event_bytes_max,
            is_paused: builder.is_paused,
        },
        defaults: builder.defaults,
        endpoints: Registered::default(),
        complaints: Mutex::default(),
        started: AtomicBool::new(false),
        #[cfg(feature = "fetch")]
        http: std::sync::OnceLock::new(),
    })))
}

/// The number of the key that is kept in the store.
const KEPT_KEY: u32 = 0;

/// Reads the key that is kept in the store. If a key is needed and none is there, one is made; beside keys that were
/// given, the kept one goes on verifying.
async fn kept_key(store: &dyn Store, is_needed: bool) -> Result<Option<Payload>, StoreError> {
    let proposal = is_needed.then(|| Payload::from(rand::random::<[u8; 32]>().to_vec()));
    store.setting("token_key", proposal).await
}

/// The keys that were given, and the one that is kept in the store.
fn key_ring(given: Vec<TokenKey>, kept: Option<Payload>) -> Result<KeyRing, Error> {
    let mut keys = given;
    if let Some(kept) = kept {
        let secret = kept.as_ref().try_into().map_err(|_| Error::config("the token key in the store is damaged"))?;
        keys.push(TokenKey { id: KEPT_KEY, secret });
    }
    KeyRing::try_new(keys).map_err(|error| Error::config(error.to_string()))
}

// ===== impl Shared =====

impl Shared {
    /// The lease of a run that this node starts.
    pub(crate) fn first_lease(&self, run_id: RunId) -> Option<Lease> {
        Some(Lease { run_id, fence: Fence::FIRST, node: self.scheduler.node()? })
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.tasks.shutdown_token().is_cancelled()
    }

    /// Makes an endpoint known. A second one of the same id and version is a complaint.
    pub(crate) fn register(&self, endpoint: Arc<Endpoint>) {
        let (id, version) = (endpoint.id.clone(), endpoint.options.version.clone());
        if !self.endpoints.add(endpoint) {
            let version = version.map(|version| format!(" and the version {:?}", version.as_str()));
            let (id, version) = (id.as_str(), version.unwrap_or_default());
            self.complain(format!("two endpoints have the id {id:?}{version}; give one another with `.id(…)`"));
        }
    }

    pub(crate) fn complain(&self, text: String) {
        self.complaints.lock().push(text);
    }

    /// A token for a run, valid from now on.
    pub(crate) fn token(&self, run_id: RunId) -> String {
        let expires_at = self.clock.now().after(self.config.token_lifetime);
        onward_protocol::token::mint(&self.keys, run_id.to_bytes(), expires_at.as_millis())
    }

    /// Gives back a run whose checkpoint the store did not write, as soon as the store answers again: it is then
    /// taken up from what was written.
    pub(crate) fn recover(&self, context: &Context) {
        if let Some(lease) = context.lease_held() {
            self.release(lease);
        }
    }

    /// Releases a lease as soon as the store answers: the run is due at once.
    pub(crate) fn release(&self, lease: Lease) {
        self.scheduler.release(lease, Duration::ZERO);
    }
}

// ===== impl Onward =====

impl Onward {
    /// Opens an app with default options: `sqlite:PATH` for a file, `postgres://…` (feature `postgres`) for a database
    /// that any number of nodes share, `memory:` for a store that ends with the process.
    ///
    /// # Errors
    /// An unknown kind of store, or one that cannot be opened: in use by another process, damaged, or written by a
    /// newer release.
    pub async fn open(url: &str) -> Result<Self, Error> {
        Self::builder().open(url).await
    }

    /// Begins an app with options.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Starts what drives runs: due ones are resumed from here on, those of an earlier process first. For an app
    /// that serves by itself; [`Onward::serve`] calls it. Calling it again does nothing.
    ///
    /// Call it when every endpoint has been routed: a run whose endpoint is not there waits until it is, and so does a
    /// pinned run whose version is not (see [`Options::pin_version`]).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), onward::Error> {
    /// # let onward = onward::Onward::open("memory:").await?;
    /// let app = axum::Router::<()>::new().route("/wait", onward.proxy());
    /// onward.start().await?;
    /// // … serve `app` as ever …
    /// # drop(app);
    /// assert_eq!(onward.load().executing, 0);
    /// onward.shutdown().await
    /// # }
    /// ```
    ///
    /// # Errors
    /// An option of an endpoint outside its limits, or two endpoints with one id and version: every complaint at once.
    /// A store that several processes share and that cannot be told of the endpoints.
    pub async fn start(&self) -> Result<(), Error> {
        let complaints = self.0.complaints.lock().join("; ");
        if !complaints.is_empty() {
            return Err(Error::config(complaints));
        }
        if !self.0.started.swap(true, Ordering::AcqRel) {
            let (store, endpoints) = (&*self.0.store, self.0.endpoints.newest_of_each());
            let patience = Patience::new(self.0.config.start_patience);
            let told = || crate::shared_endpoints::tell(store, &endpoints);
            patience.with("registration of endpoints", told).await?;
            self.0.scheduler.start(Arc::new(Embedded(Arc::clone(&self.0))));
        }
        Ok(())
    }

    /// Ends the app: waits for requests and steps under way (see [`drain_for`](Builder::drain_for)), gives parked
    /// runs back to the store, and closes it. Runs that wait go on when the app is opened again.
    ///
    /// # Errors
    /// Tasks that were still running after the grace period: their runs are taken up again by the next process.
    pub async fn shutdown(&self) -> Result<(), Error> {
        self.shutdown_within(self.0.config.drain).await
    }

    pub(crate) async fn shutdown_within(&self, grace: Duration) -> Result<(), Error> {
        let left = self.0.tasks.drain(grace).await;
        let gone = self.0.scheduler.leave().await;
        #[cfg(feature = "sqlite")]
        if let Some(sqlite) = &self.0.opened.sqlite {
            sqlite.close().await;
        }
        #[cfg(feature = "postgres")]
        if let Some(postgres) = &self.0.opened.postgres {
            postgres.close().await;
        }
        match (left, gone) {
            (0, Ok(())) => Ok(()),
            (0, Err(error)) => Err(error.into()),
            (left, _) => Err(Cause::Drain(left).into()),
        }
    }

    /// Whether the app can begin runs: it is a node of its store, the store has answered it of late, and a
    /// checkpoint could be written of late. For a readiness check of a load balancer; requests get a `503` with `Retry-After` while it is not.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), onward::Error> {
    /// # let onward = onward::Onward::open("memory:").await?;
    /// onward.start().await?;
    /// assert!(onward.is_ready());
    /// onward.shutdown().await?;
    /// assert!(!onward.is_ready());
    /// # Ok(()) }
    /// ```
    pub fn is_ready(&self) -> bool {
        !self.0.is_draining() && self.0.scheduler.is_ready()
    }

    /// How many runs are parked in memory, how many executions are under way or parked, and how many hung.
    pub fn load(&self) -> Load {
        Load {
            parked: self.0.parking.parked_len(),
            executing: self.0.hub.attached_len(),
            hung: self.0.scheduler.stats().hung,
            blocked: self.0.blocked.load(Ordering::Relaxed),
            crashed: self.0.crashed.load(Ordering::Relaxed),
            unreadable: self.0.unreadable.total(),
        }
    }

    /// The SQLite store behind the app, where it is one: to make tables of your own for
    /// [`Step::transaction`](crate::Step::transaction).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), onward::Error> {
    /// # let onward = onward::Onward::open("memory:").await?;
    /// let sqlite = onward.sqlite().expect("the app is on SQLite");
    /// sqlite.with_connection(|db| db.execute_batch("CREATE TABLE IF NOT EXISTS stock (n INTEGER)")).await
    ///     .expect("the table is made");
    /// # onward.shutdown().await }
    /// ```
    #[cfg(feature = "sqlite")]
    pub fn sqlite(&self) -> Option<&onward_sqlite::SqliteStore> {
        self.0.opened.sqlite.as_ref()
    }

    /// The PostgreSQL store behind the app, where it is one.
    ///
    /// ```no_run
    /// # async fn run() -> Result<(), onward::Error> {
    /// let onward = onward::Onward::open("postgres://app@localhost/app").await?;
    /// assert!(onward.postgres().is_some());
    /// # Ok(()) }
    /// ```
    #[cfg(feature = "postgres")]
    pub fn postgres(&self) -> Option<&onward_postgres::PostgresStore> {
        self.0.opened.postgres.as_ref()
    }
}

/// How much of an app is in memory, and whether its executions move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Runs that wait and keep their handler.
    pub parked: usize,
    /// Executions of handlers, parked ones included.
    pub executing: usize,
    /// Executions since the app was opened that waited for nothing that could come, and whose runs were given back.
    /// Each is a bug of this project: alert where it is not zero, and report it.
    pub hung: u64,
    /// Runs since the app was opened with whose journal their handler could not go on: see
    /// [`Options::blocked_for`](crate::Options::blocked_for).
    pub blocked: u64,
    /// Runs since the app was opened that failed because their process ended again and again: see
    /// [`Options::crashes_max`](crate::Options::crashes_max).
    pub crashed: u64,
    /// Runs since the app was opened whose record could not be read: damaged, of a newer release, or encrypted with a key
    /// that was not given. See [`RunSummary::unreadable`](crate::RunSummary::unreadable).
    pub unreadable: u64,
}

/// Resumes runs by calling their handlers in this process.
struct Embedded(Arc<Shared>);

impl Resume for Embedded {
    fn endpoints(&self) -> Endpoints {
        if self.0.config.is_paused { Endpoints::Only(Vec::new()) } else { self.0.endpoints.served() }
    }

    fn resume(&self, lease: Lease, _: EndpointId) -> BoxFuture<'static, ()> {
        Box::pin(crate::resume::resume(Arc::clone(&self.0), lease))
    }

    fn timed_out(&self, run_id: RunId) -> Outcome {
        let response = record::encode_response(&record::timed_out(run_id));
        Outcome { status: Status::Failed, response, error: StepError::run_timed_out().to_outcome() }
    }
}
