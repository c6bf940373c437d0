//! Building an app: where it stores, what its clock is, and its defaults.

use std::{sync::Arc, time::Duration};

use onward_core::{Clock, IntoDuration, Store};
use onward_protocol::token::TokenKey;
use onward_scheduler::{Config as SchedulerConfig, ParkingLimits, Upkeep};

use crate::{Error, Onward, Options, onward::Opened, seal::EncryptionKey};

/// Whether a commit waits for the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Durability {
    /// Each group commit is on disk before it is acknowledged: survives power loss.
    #[default]
    Full,
    /// Survives `kill -9`; a power loss may take the last moments.
    Relaxed,
    /// Nothing is promised past the process: for tests and scratch data.
    Off,
}

/// Builds an [`Onward`] app.
///
/// # Example
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), onward::Error> {
/// use onward::{Onward, Options};
///
/// let onward = Onward::builder().defaults(Options::default().retries(5)).open("memory:").await?;
/// # onward.shutdown().await }
/// ```
#[derive(Debug)]
pub struct Builder {
    pub(crate) defaults: Options,
    pub(crate) durability: Durability,
    /// `None`: the machine's, or the database's where nodes share it.
    pub(crate) clock: Option<Arc<dyn Clock>>,
    pub(crate) scheduler: SchedulerConfig,
    pub(crate) parking: ParkingLimits,
    #[cfg(feature = "sqlite")]
    pub(crate) sqlite: onward_sqlite::Options,
    #[cfg(feature = "postgres")]
    pub(crate) postgres: onward_postgres::Options,
    pub(crate) token_keys: Vec<TokenKey>,
    pub(crate) forget_kept_key: bool,
    pub(crate) token_lifetime: Duration,
    pub(crate) encryption: Vec<EncryptionKey>,
    pub(crate) is_encryption_required: bool,
    pub(crate) wait_max: Duration,
    pub(crate) drain: Duration,
    pub(crate) start_patience: Duration,
    #[cfg(feature = "axum")]
    pub(crate) connections: onward_host::serve::Limits,
    pub(crate) event_bytes_max: usize,
    pub(crate) bodies_bytes_max: usize,
    pub(crate) is_paused: bool,
    complaints: Vec<String>,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            defaults: Options::default(),
            durability: Durability::default(),
            clock: None,
            scheduler: SchedulerConfig::default(),
            parking: ParkingLimits::default(),
            #[cfg(feature = "sqlite")]
            sqlite: onward_sqlite::Options::default(),
            #[cfg(feature = "postgres")]
            postgres: onward_postgres::Options::default(),
            token_keys: Vec::new(),
            forget_kept_key: false,
            token_lifetime: Duration::from_secs(7 * 24 * 3600),
            encryption: Vec::new(),
            is_encryption_required: false,
            wait_max: Duration::from_secs(55),
            drain: Duration::from_secs(30),
            start_patience: Duration::from_secs(30),
            #[cfg(feature = "axum")]
            connections: onward_host::serve::Limits::default(),
            event_bytes_max: 512 * 1024,
            bodies_bytes_max: 256 << 20,
            is_paused: false,
            complaints: Vec::new(),
        }
    }
}

impl Builder {
    /// The options that endpoints start from.
    pub fn defaults(mut self, options: Options) -> Self {
        self.defaults = options;
        self
    }

    /// Whether commits wait for the disk. Default: [`Durability::Full`].
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// How a SQLite store is opened: its readers, queue, cache, and sizes. What it says of durability does not count;
    /// [`durability`](Builder::durability) does.
    ///
    /// ```
    /// # use onward::{Onward, SqliteOptions};
    /// let builder = Onward::builder().sqlite_options(SqliteOptions::new().readers(4).queue_len(50_000));
    /// ```
    #[cfg(feature = "sqlite")]
    pub fn sqlite_options(mut self, options: onward_sqlite::Options) -> Self {
        self.sqlite = options;
        self
    }

    /// How a PostgreSQL store is opened: its connections, password, encryption, queue, and how long the database may
    /// take.
    ///
    /// ```
    /// # use onward::{Onward, PostgresOptions};
    /// let builder = Onward::builder().postgres_options(PostgresOptions::new().connections(16));
    /// ```
    #[cfg(feature = "postgres")]
    pub fn postgres_options(mut self, options: onward_postgres::Options) -> Self {
        self.postgres = options;
        self
    }

    /// Where time comes from; tests give a manual clock. Default: the machine's; on PostgreSQL, where nodes share
    /// runs, the database's.
    ///
    /// With a clock that was given, the node's lease is kept by the runtime's time, which a test may pause, and on the
    /// runtime's threads; else by the machine's, on a thread of its own.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.scheduler.upkeep = Upkeep::ByRuntime;
        self.clock = Some(clock);
        self
    }

    /// How long a node that is not heard of keeps its runs, 100 ms or more; then others take them over, and it can write
    /// no more. Shorter is sooner, and gives up runs of nodes that only had to wait. Default 10 s. It matters where
    /// several nodes share a store.
    pub fn lease(mut self, time: impl IntoDuration) -> Self {
        match time.into_duration() {
            Ok(time) => self.scheduler.lease = time,
            Err(error) => self.complaints.push(format!("lease: {error}")),
        }
        self
    }

    /// How many waiting runs may keep their handler in memory. Default 10,000.
    pub fn parked_max(mut self, runs: usize) -> Self {
        self.parking.runs_max = runs;
        self
    }

    /// How many bytes the requests and the steps' outputs of waiting runs may have that keep their handlers in memory;
    /// the handlers' own memory is not counted. A run for which there is no room is replayed when it goes on.
    /// Default 256 MiB.
    pub fn parked_bytes_max(mut self, bytes: usize) -> Self {
        self.parking.bytes_max = bytes;
        self
    }

    /// How long a waiting run may keep its handler in memory. Default 60 s.
    pub fn parked_for(mut self, time: impl IntoDuration) -> Self {
        match time.into_duration() {
            Ok(time) => self.parking.time_max = time,
            Err(error) => self.complaints.push(format!("parked_for: {error}")),
        }
        self
    }

    /// How many runs may be resumed at once, 1 or more. Default 1,024.
    pub fn resumes_max(mut self, runs: usize) -> Self {
        self.scheduler.resumes_max = runs;
        self
    }

    /// How long accepted events are kept for waits that look back. Default 7 days.
    pub fn event_retention(mut self, time: impl IntoDuration) -> Self {
        match time.into_duration() {
            Ok(time) => self.scheduler.event_retention = time,
            Err(error) => self.complaints.push(format!("event_retention: {error}")),
        }
        self
    }

    /// How often ended runs past their retention are looked for. Default 60 s.
    pub fn sweep_every(mut self, time: impl IntoDuration) -> Self {
        match time.into_duration() {
            Ok(time) => self.scheduler.sweep_every = time,
            Err(error) => self.complaints.push(format!("sweep_every: {error}")),
        }
        self
    }

    /// A key that signs run tokens, by its number, 1 or more. The first one given signs, all verify: to rotate, put the
    /// new one first and keep the old one until its tokens have expired. Without any, a key is made and kept in the
    /// store; one that is kept goes on verifying when keys are given.
    pub fn token_key(mut self, id: u32, secret: [u8; 32]) -> Self {
        if id == 0 {
            self.complaints.push("token_key: its number must be 1 or more".to_owned());
        }
        self.token_keys.push(TokenKey { id, secret });
        self
    }

    /// Tokens of the key that is kept in the store are void: for when the store was stolen. Give a
    /// [`token_key`](Builder::token_key) of your own.
    pub fn forget_kept_token_key(mut self) -> Self {
        self.forget_kept_key = true;
        self
    }

    /// How long a run token is valid. Default 7 days.
    pub fn token_lifetime(mut self, time: impl IntoDuration) -> Self {
        match time.into_duration() {
            Ok(time) => self.token_lifetime = time,
            Err(error) => self.complaints.push(format!("token_lifetime: {error}")),
        }
        self
    }

    /// A key that encrypts requests, step outputs and responses at rest, by its number. The first one given encrypts,
    /// all decrypt. What was stored before encryption was turned on stays readable, unless
    /// [`require_encryption`](Builder::require_encryption) refuses it.
    pub fn encryption_key(mut self, id: u32, secret: [u8; 32]) -> Self {
        self.encryption.push(EncryptionKey::new(id, secret));
        self
    }

    /// Refuses stored requests, outputs, errors, responses and chunks that are not encrypted. Without it they are read as they
    /// are, so that runs from before encryption go on; but somebody who can write to the store and has no key can then give a
    /// run an output, too. Turn it on when the runs from before encryption have ended and are past their retention.
    ///
    /// It needs an [`encryption_key`](Builder::encryption_key). The token key that the store keeps counts as well: where it was
    /// made before encryption, opening the app is an error, and a [`token_key`](Builder::token_key) of yours with
    /// [`forget_kept_token_key`](Builder::forget_kept_token_key) replaces it.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), onward::Error> {
    /// # let secret = [7; 32];
    /// let onward = onward::Onward::builder().encryption_key(1, secret).require_encryption().open("memory:").await?;
    /// # onward.shutdown().await }
    /// ```
    pub fn require_encryption(mut self) -> Self {
        self.is_encryption_required = true;
        self
    }

    /// How long the waiting route holds a connection before it sends the client round again. Default 55 s.
    pub fn wait_max(mut self, time: impl IntoDuration) -> Self {
        match time.into_duration() {
            Ok(time) => self.wait_max = time,
            Err(error) => self.complaints.push(format!("wait_max: {error}")),
        }
        self
    }

    /// How long a shutdown waits for requests and steps that are under way. Default 30 s.
    pub fn drain_for(mut self, time: impl IntoDuration) -> Self {
        match time.into_duration() {
            Ok(time) => self.drain = time,
            Err(error) => self.complaints.push(format!("drain_for: {error}")),
        }
        self
    }

    /// How long opening and starting go on trying while a database that nodes share cannot be reached, starts, or is slow.
    /// Each failed try is logged as a warning. A permanent fault (a malformed URL, a wrong password, a database that does
    /// not exist) is an error at once. Default 30 s; zero tries once.
    pub fn start_patience(mut self, time: impl IntoDuration) -> Self {
        match time.into_duration() {
            Ok(time) => self.start_patience = time,
            Err(error) => self.complaints.push(format!("start_patience: {error}")),
        }
        self
    }

    /// Bounds of the connections of [`Onward::serve`]: how many, and for how long each may be silent.
    ///
    /// ```
    /// # use std::time::Duration;
    /// use onward::{ConnectionLimits, Onward};
    ///
    /// let limits = ConnectionLimits { connections: 1_000, head: Duration::from_secs(5), ..ConnectionLimits::default() };
    /// let builder = Onward::builder().connections(limits);
    /// # drop(builder);
    /// ```
    #[cfg(feature = "axum")]
    pub fn connections(mut self, limits: onward_host::serve::Limits) -> Self {
        self.connections = limits;
        self
    }

    /// The largest event, in bytes of JSON. Default 512 KiB.
    pub fn event_bytes_max(mut self, bytes: usize) -> Self {
        self.event_bytes_max = bytes;
        self
    }

    /// Opens the app without resuming runs: due runs wait here until the app is opened without this option. An operator can
    /// then look at runs, cancel or delete them, when resuming them does harm. Requests are served as ever; their runs wait,
    /// too, once they have left memory.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), onward::Error> {
    /// # use onward::{Onward, RunQuery};
    /// let onward = Onward::builder().paused().open("memory:").await?;
    /// onward.start().await?;
    /// for run in onward.runs().list(RunQuery::new()).await?.runs {
    ///     println!("{} {}", run.run_id, run.status);
    /// }
    /// # onward.shutdown().await }
    /// ```
    pub fn paused(mut self) -> Self {
        self.is_paused = true;
        self
    }

    /// How many bytes the bodies of all requests may have that are being read, or whose handlers execute; bodies up to
    /// 16 KiB are not counted. When that is reached, the body that has made no progress for the longest time, a second at
    /// least, is refused with `503`; where all make progress, the next one is. Default 256 MiB.
    pub fn bodies_bytes_max(mut self, bytes: usize) -> Self {
        self.bodies_bytes_max = bytes;
        self
    }

    /// Opens the store that a URL names and joins it: `sqlite:PATH`, `postgres://…` (feature `postgres`), or `memory:`
    /// for a store that ends with the process.
    ///
    /// # Errors
    /// An option outside its limits, an unknown kind of store, or a store that cannot be opened (in use by another
    /// process, damaged, written by a newer release).
    pub async fn open(self, url: &str) -> Result<Onward, Error> {
        self.check()?;
        Box::pin(crate::onward::open(self, url)).await
    }

    /// Joins a store that is open already: one of `onward-testing`, say.
    pub async fn store(self, store: Arc<dyn Store>) -> Result<Onward, Error> {
        self.check()?;
        crate::onward::join(self, store, Opened::default()).await
    }

    fn check(&self) -> Result<(), Error> {
        let mut complaints = self.complaints.clone();
        if self.forget_kept_key && self.token_keys.is_empty() {
            complaints.push("forget_kept_token_key needs a token_key".to_owned());
        }
        if self.is_encryption_required && self.encryption.is_empty() {
            complaints.push("require_encryption needs an encryption_key".to_owned());
        }
        complaints.extend(self.defaults.check().err().map(|error| error.to_string()));
        complaints.extend(self.scheduler.check().err().map(|error| error.to_string()));
        if complaints.is_empty() { Ok(()) } else { Err(Error::config(complaints.join("; "))) }
    }
}
