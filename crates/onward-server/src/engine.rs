//! The engine as a whole: opened on a store, served, drained.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use onward_core::{Clock, Payload, Store, StoreError};
use onward_host::bodies::Bodies;
use onward_postgres::PostgresStore;
use onward_protocol::{
    sdk::signing::{InvalidSigningKey, Keys, SigningKey},
    token::{KeyRing, TokenKey},
};
use onward_scheduler::{Config, Hub, Parking, ParkingLimits, Patience, Scheduler, SystemClock, TaskSet, Unreadable};
use onward_sqlite::SqliteStore;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    Options, api,
    call::Caller,
    functions::Functions,
    live::{Memory, Registry, Remote},
    observe::Metrics,
    options::Mode,
    peers::{self, Peers},
    record::Names,
    serve,
    shared::Shared,
};

/// Why an engine does not start, or did not stop well.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An option is not one.
    #[error("{0}")]
    Option(String),
    /// A signing key is not one.
    #[error("a signing key is not one: {0}")]
    SigningKey(#[from] InvalidSigningKey),
    /// The store cannot be opened or written.
    #[error("the store: {0}")]
    Store(#[from] StoreError),
    /// The address cannot be listened on.
    #[error("cannot listen on {0}")]
    Listen(SocketAddr, #[source] std::io::Error),
    /// The client for calls cannot be made.
    #[error("the client for calls cannot be made")]
    Client(#[from] reqwest::Error),
}

/// An engine that has opened its store and listens.
pub struct Engine {
    shared: Arc<Shared>,
    listener: TcpListener,
    address: SocketAddr,
    opened: Option<Opened>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Engine {
    /// Listens, opens the store, and joins it. Requests before that are answered with a 503.
    ///
    /// ```
    /// use onward_server::{Engine, Options, options::Mode};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), onward_server::Error> {
    /// let mut options = Options::new(Mode::Dev);
    /// options.store = "memory:".to_owned();
    /// options.listen.set_port(0);
    /// let engine = Engine::open(options).await?;
    /// assert_ne!(engine.listen_address().port(), 0);
    /// engine.serve(async {}).await
    /// # }
    /// ```
    ///
    /// # Errors
    /// An option or key that is none, a store that cannot be opened, an address that cannot be listened on.
    pub async fn open(options: Options) -> Result<Self, Error> {
        let keys = signing_keys(&options)?;
        let listener = listen(options.listen).await?;
        let opening = async {
            let patience = Patience::new(options.start_patience);
            let opened =
                open_store(&options.store, onward_sqlite::Options::new(), options.postgres(), patience).await?;
            let clock = opened.clock();
            let address = listener.local_addr().map_err(|error| Error::Listen(options.listen, error))?;
            let shared = Self::join(options.clone(), keys, address, opened.store(), clock, patience).await?;
            Ok::<_, Error>((shared, opened))
        };
        // Requests meanwhile are refused at once: a load balancer, say, asks whether the engine is ready.
        let (shared, opened) = tokio::select! {
            biased;
            opened = opening => opened?,
            never = serve::refuse_all(&listener, api::opening()) => match never {},
        };
        Ok(Self { opened: Some(opened), ..Self::on(shared, listener)? })
    }

    /// Like [`Engine::open`], on a store that is open already.
    pub async fn open_on(options: Options, store: Arc<dyn Store>) -> Result<Self, Error> {
        let keys = signing_keys(&options)?;
        let listener = listen(options.listen).await?;
        let address = listener.local_addr().map_err(|error| Error::Listen(options.listen, error))?;
        let clock = Arc::new(SystemClock::default());
        let shared = Self::join(options, keys, address, store, clock, Patience::none()).await?;
        Self::on(shared, listener)
    }

    fn on(shared: Arc<Shared>, listener: TcpListener) -> Result<Self, Error> {
        let address = listener.local_addr().map_err(|error| Error::Listen(shared.options.listen, error))?;
        Ok(Self { shared, listener, address, opened: None })
    }

    async fn join(
        options: Options,
        keys: Keys,
        address: SocketAddr,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        patience: Patience,
    ) -> Result<Arc<Shared>, Error> {
        let config = Config { lease: options.lease, event_retention: options.event_retention, ..Config::default() };
        config.check().map_err(|error| Error::Option(error.to_string()))?;
        let caller = Caller::try_new(&options)?;
        let peers = Peers::try_new(&options, address)?;
        // A store that one process alone has open is there, or is not: waiting does not help.
        let patience = if store.is_shared() { patience } else { Patience::none() };
        let tokens = key_ring(patience.with("token key", || kept_key(&*store)).await?)?;
        let functions = patience.with("registrations", || Functions::load(&*store)).await?;
        let (hub, tasks, limits) = (Arc::new(Hub::default()), TaskSet::new(), options.limits);
        let scheduler = Scheduler::new(Arc::clone(&store), clock.clone(), Arc::clone(&hub), tasks.clone(), config);
        patience.with("engine's lease", || scheduler.join()).await?;
        Ok(Arc::new(Shared {
            store,
            clock,
            hub,
            scheduler,
            tasks,
            closing: CancellationToken::new(),
            parking: Parking::new(ParkingLimits { bytes_max: limits.runs_bytes / 4, ..ParkingLimits::default() }),
            tokens,
            keys,
            caller,
            bodies: Bodies::new(limits.bodies_bytes),
            memory: Memory::new(limits.runs_bytes),
            live: Registry::default(),
            unreadable: Unreadable::default(),
            functions,
            peers,
            names: Names::default(),
            metrics: Metrics::new(),
            streams_open: Arc::default(),
            options,
        }))
    }

    #[cfg(test)]
    pub(crate) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    /// Where it listens.
    pub const fn listen_address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until a future ends, then drains: calls under way are waited for, and runs stay in the store.
    pub async fn serve(self, until: impl Future<Output = ()> + Send + 'static) -> Result<(), Error> {
        let Self { shared, listener, opened, .. } = self;
        shared.scheduler.start(Arc::new(Remote(Arc::clone(&shared))));
        if shared.store.is_shared() {
            shared.tasks.spawn("peers", peers::keep_up(Arc::clone(&shared)));
        }
        let app: Router = api::router(Arc::clone(&shared));
        let (tasks, closing, drain) = (shared.tasks.clone(), shared.closing.clone(), shared.options.drain);
        // Why it goes on listening: an endpoint that is being called asks the engine for its run's state.
        let graceful = async move {
            until.await;
            tracing::info!("stopping: calls under way are waited for");
            let left = tasks.drain(drain).await;
            if left > 0 {
                tracing::warn!(left, "calls were still under way at the end of the grace period: they are made again");
            }
            closing.cancel();
        };
        let limits = serve::limits(shared.options.limits.connections);
        onward_host::serve::serve(listener, |_| app.clone(), limits, graceful, LAST_REQUESTS).await;
        shared.peers.leave(&*shared.store).await;
        shared.scheduler.shutdown().await?;
        if let Some(opened) = opened {
            opened.close().await;
        }
        Ok(())
    }
}

/// How long requests may take that are still under way after that.
const LAST_REQUESTS: Duration = Duration::from_secs(2);

/// The store that the engine opened, and closes.
#[derive(Debug)]
pub(crate) enum Opened {
    Sqlite(SqliteStore),
    Postgres(PostgresStore),
}

impl Opened {
    pub(crate) fn store(&self) -> Arc<dyn Store> {
        match self {
            Self::Sqlite(store) => Arc::new(store.clone()),
            Self::Postgres(store) => Arc::new(store.clone()),
        }
    }

    /// The clock of those who share the store.
    pub(crate) fn clock(&self) -> Arc<dyn Clock> {
        match self {
            Self::Sqlite(_) => Arc::new(SystemClock::default()),
            // The clocks of machines differ, so the database's is everybody's.
            Self::Postgres(store) => Arc::new(store.clock()),
        }
    }

    pub(crate) async fn close(&self) {
        match self {
            Self::Sqlite(store) => store.close().await,
            Self::Postgres(store) => store.close().await,
        }
    }
}

fn signing_keys(options: &Options) -> Result<Keys, Error> {
    if options.mode == Mode::Start && options.origins.only.is_empty() && !options.origins.any {
        let why = "origins.only names no origin to call: name each that has endpoints, or set origins.any";
        return Err(Error::Option(why.to_owned()));
    }
    let keys: Result<Vec<_>, _> = options.signing_keys.iter().map(|key| SigningKey::parse(key)).collect();
    Ok(Keys::new(keys?))
}

async fn listen(address: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address).await.map_err(|error| Error::Listen(address, error))
}

/// Opens the store that a URL names.
pub(crate) async fn open_store(
    url: &str,
    sqlite: onward_sqlite::Options,
    postgres: onward_postgres::Options,
    patience: Patience,
) -> Result<Opened, Error> {
    let (kind, rest) = url.split_once(':').unwrap_or((url, ""));
    match (kind, rest) {
        ("memory", "") => Ok(Opened::Sqlite(SqliteStore::in_memory()?)),
        ("sqlite", _) => {
            let url = url.to_owned();
            let opened = tokio::task::spawn_blocking(move || SqliteStore::open_url(&url, sqlite));
            Ok(Opened::Sqlite(opened.await.map_err(|_| Error::Option("the runtime is shutting down".to_owned()))??))
        }
        ("postgres" | "postgresql", _) => {
            let opened = patience.with("database", || PostgresStore::open(url, postgres.clone()));
            Ok(Opened::Postgres(opened.await?))
        }
        _ => Err(Error::Option(format!("{url:?} is no store: give sqlite:PATH, postgres://… or memory:"))),
    }
}

/// Reads the key of run tokens, which is made once and kept in the store.
async fn kept_key(store: &dyn Store) -> Result<Option<Payload>, StoreError> {
    let proposal = Payload::from(rand::random::<[u8; 32]>().to_vec());
    store.setting("token_key", Some(proposal)).await
}

fn key_ring(kept: Option<Payload>) -> Result<KeyRing, Error> {
    let secret = kept.and_then(|kept| kept.as_ref().try_into().ok());
    let secret = secret.ok_or_else(|| Error::Option("the token key in the store is damaged".to_owned()))?;
    KeyRing::try_new(vec![TokenKey { id: 0, secret }]).map_err(|error| Error::Option(error.to_string()))
}
