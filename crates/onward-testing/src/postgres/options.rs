//! How a server is to be started.

use std::path::PathBuf;

/// How a [`PostgresServer`](super::PostgresServer) is to be started.
///
/// The default is made for tests: nothing is forced to the disk, whoever is on this machine may connect.
///
/// # Example: a server to measure
///
/// ```
/// use onward_testing::postgres::PostgresOptions;
///
/// let options = PostgresOptions::new()
///     .fsync(true)
///     .max_connections(50)
///     .setting("shared_preload_libraries", "pg_stat_statements");
/// # drop(options);
/// ```
#[derive(Clone, Debug)]
pub struct PostgresOptions {
    pub(super) fsync: bool,
    pub(super) settings: Vec<(String, String)>,
    pub(super) password: Option<String>,
    pub(super) tls: Option<(PathBuf, PathBuf)>,
}

impl PostgresOptions {
    /// What tests want: no fsync, 200 connections, no password, no TLS.
    ///
    /// # Example
    ///
    /// ```
    /// let options = onward_testing::postgres::PostgresOptions::new();
    /// # drop(options);
    /// ```
    pub fn new() -> Self {
        Self { fsync: false, settings: Vec::new(), password: None, tls: None }.max_connections(200)
    }

    /// Whether what is committed is on the disk, as in production. Without it, a crash of the *server* loses nothing
    /// either: only one of the machine does.
    ///
    /// # Example
    ///
    /// ```
    /// let options = onward_testing::postgres::PostgresOptions::new().fsync(true);
    /// # drop(options);
    /// ```
    #[must_use]
    pub const fn fsync(mut self, fsync: bool) -> Self {
        self.fsync = fsync;
        self
    }

    /// How many connections the server takes at once.
    ///
    /// # Example
    ///
    /// ```
    /// let options = onward_testing::postgres::PostgresOptions::new().max_connections(20);
    /// # drop(options);
    /// ```
    #[must_use]
    pub fn max_connections(self, connections: u16) -> Self {
        self.setting("max_connections", &connections.to_string())
    }

    /// Any setting of the server, as in `postgresql.conf`. The last one of a name counts.
    ///
    /// # Example
    ///
    /// ```
    /// let options = onward_testing::postgres::PostgresOptions::new().setting("log_statement", "all");
    /// # drop(options);
    /// ```
    #[must_use]
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Asks everybody for this password (SCRAM-SHA-256), to test credentials.
    ///
    /// # Example
    ///
    /// ```
    /// let options = onward_testing::postgres::PostgresOptions::new().password("open sesame");
    /// # drop(options);
    /// ```
    #[must_use]
    pub fn password(mut self, password: &str) -> Self {
        self.password = Some(password.to_owned());
        self
    }

    /// Serves TLS with this certificate and key (PEM files, which are copied), and takes no connection without it but
    /// on the socket in [`socket_folder`](super::PostgresServer::socket_folder).
    ///
    /// # Example
    ///
    /// ```
    /// let options = onward_testing::postgres::PostgresOptions::new().tls("server.crt", "server.key");
    /// # drop(options);
    /// ```
    #[must_use]
    pub fn tls(mut self, certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.tls = Some((certificate.into(), key.into()));
        self
    }

    /// How the server knows who connects, in the words of `pg_hba.conf`.
    pub(super) const fn method(&self) -> &'static str {
        if self.password.is_some() { "scram-sha-256" } else { "trust" }
    }

    /// The settings, as arguments.
    pub(super) fn arguments(&self) -> Vec<String> {
        // `synchronous_commit` stays: without it a crash of the server would lose what was committed.
        let off = [("fsync", "off"), ("full_page_writes", "off")];
        let given = self.settings.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let all = off.into_iter().filter(|_| !self.fsync).chain(given);
        all.flat_map(|(name, value)| ["-c".to_owned(), format!("{name}={value}")]).collect()
    }
}

impl Default for PostgresOptions {
    fn default() -> Self {
        Self::new()
    }
}
