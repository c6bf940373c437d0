//! How a store is opened.

use std::{fmt, sync::Arc, time::Duration};

use onward_core::{BoxFuture, store::BoxError};

/// Gives the password of a new connection.
pub type PasswordFn = Arc<dyn Fn() -> BoxFuture<'static, Result<String, BoxError>> + Send + Sync>;

/// How a [`PostgresStore`](crate::PostgresStore) is opened; the default suits most.
///
/// # Example
///
/// ```
/// use onward_postgres::Options;
/// use std::time::Duration;
///
/// let options = Options::new().connections(16).timeout(Duration::from_secs(3));
/// assert_eq!(format!("{options:?}").contains("16"), true);
/// ```
#[derive(Clone)]
pub struct Options {
    pub(crate) connections: usize,
    pub(crate) queue_len: usize,
    pub(crate) timeout: Duration,
    pub(crate) notifications: bool,
    pub(crate) schema_unchanged: bool,
    pub(crate) password: Option<PasswordFn>,
    pub(crate) tls: Option<rustls::ClientConfig>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            connections: 8,
            queue_len: 16_384,
            timeout: Duration::from_secs(5),
            notifications: true,
            schema_unchanged: false,
            password: None,
            tls: None,
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("connections", &self.connections)
            .field("queue_len", &self.queue_len)
            .field("timeout", &self.timeout)
            .field("notifications", &self.notifications)
            .field("schema_unchanged", &self.schema_unchanged)
            .finish_non_exhaustive()
    }
}

impl Options {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many connections serve reads and what touches other runs, at least 1; 8 by default. Five more write
    /// checkpoints, one keeps the node's lease, one listens, and half as many serve [`transact`](crate::PostgresStore::transact), where it is used.
    pub const fn connections(mut self, connections: usize) -> Self {
        self.connections = if connections == 0 { 1 } else { connections };
        self
    }

    /// How many writes may wait; 16,384 by default. One more is refused at once with
    /// [`StoreError::Unavailable`](onward_core::StoreError::Unavailable).
    pub const fn queue_len(mut self, queue_len: usize) -> Self {
        self.queue_len = queue_len;
        self
    }

    /// How long the database may take for a call, and a connection to be made; 5 s by default. After it the call is
    /// [`StoreError::Unavailable`](onward_core::StoreError::Unavailable). It must be shorter than the nodes' lease.
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Makes [`timeout`](Self::timeout) shorter where it is longer than this.
    pub fn timeout_at_most(mut self, longest: Duration) -> Self {
        self.timeout = self.timeout.min(longest);
        self
    }

    /// Whether nodes tell one another by `LISTEN` and `NOTIFY` what happened; they do by default. Without, and where
    /// the database knows neither, they ask now and then.
    pub const fn notifications(mut self, notifications: bool) -> Self {
        self.notifications = notifications;
        self
    }

    /// Opens the store without changing its schema, for an operator beside the nodes that own it.
    ///
    /// A database without a store, and one whose schema is older or newer than this release's, is
    /// [`StoreError::Misconfigured`](onward_core::StoreError::Misconfigured). The nodes hear of what the store does, and
    /// [`close`](crate::PostgresStore::close) waits until they were told.
    ///
    /// ```no_run
    /// use onward_postgres::{Options, PostgresStore};
    ///
    /// # async fn run() -> Result<(), onward_core::StoreError> {
    /// let store = PostgresStore::open("postgres://app@localhost/app", Options::new().schema_unchanged()).await?;
    /// # drop(store);
    /// # Ok(())
    /// # }
    /// ```
    pub const fn schema_unchanged(mut self) -> Self {
        self.schema_unchanged = true;
        self
    }

    /// Asks for the password of each new connection, in place of the URL's: for tokens that expire after minutes,
    /// such as those of a cloud's identity service. Connections that are open stay open when their token expires.
    ///
    /// ```
    /// use onward_postgres::Options;
    ///
    /// let options = Options::new().password(async || Ok(std::fs::read_to_string("/run/secrets/db-token")?));
    /// # drop(options);
    /// ```
    pub fn password<F, Fut>(mut self, password: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<String, BoxError>> + Send + 'static,
    {
        self.password = Some(Arc::new(move || Box::pin(password())));
        self
    }

    /// How connections are encrypted, in place of what the URL's `sslmode` and `sslrootcert` say: for client
    /// certificates, say. Takes effect where `sslmode` is not `disable`.
    pub fn tls(mut self, tls: rustls::ClientConfig) -> Self {
        self.tls = Some(tls);
        self
    }
}
