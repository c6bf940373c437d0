//! The client and what it can be told.

use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::{Error, retry::RetryPolicy};

/// Calls durable endpoints. It is cheap to clone, and its clones share their connections.
///
/// # Example
///
/// ```no_run
/// # async fn call() -> Result<(), onward_client::Error> {
/// let client = onward_client::Client::new();
/// let response = client.fetch_with_stream("https://app.example/api/report").await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Client {
    pub(crate) config: Arc<Config>,
}

/// Sets up a [`Client`]: see [`Client::builder`].
#[derive(Debug, Default)]
#[must_use = "a builder does nothing until it is built"]
pub struct ClientBuilder {
    config: Config,
    complaints: Vec<String>,
}

pub(crate) struct Config {
    pub(crate) headers: HeaderMap,
    pub(crate) retry: RetryPolicy,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) bytes_max: usize,
    http: OnceLock<reqwest::Client>,
}

impl Client {
    /// A client with the defaults. Its connections are set up at its first call.
    pub fn new() -> Self {
        Self::default()
    }

    /// A client that is set up first.
    ///
    /// ```
    /// use std::time::Duration;
    /// use onward_client::Client;
    ///
    /// let client = Client::builder()
    ///     .default_header("authorization", "Bearer 7f3a")
    ///     .idle_timeout(Duration::from_secs(60))
    ///     .resume_attempts(20)
    ///     .build()?;
    /// assert!(!format!("{client:?}").contains("7f3a"));
    /// # Ok::<(), onward_client::Error>(())
    /// ```
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }
}

// ===== impl ClientBuilder =====

impl ClientBuilder {
    /// A header of every request that has not its own of that name.
    ///
    /// A run's waiting URL gets it only if it is of the endpoint's own origin.
    pub fn default_header(mut self, name: &str, value: &str) -> Self {
        match (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value)) {
            (Ok(name), Ok(value)) => drop(self.config.headers.insert(name, value)),
            _ => self.complaints.push(format!("default_header {name:?}: no header can be that")),
        }
        self
    }

    /// After how long a silent stream counts as lost; `None` for never. Default 45 s.
    ///
    /// It only holds for servers that send ids or heartbeats: others may be silent for as long as a step takes.
    pub fn idle_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.config.idle_timeout = timeout.into();
        if self.config.idle_timeout == Some(Duration::ZERO) {
            self.complaints.push("idle_timeout: it must not be zero".to_owned());
        }
        self
    }

    /// How many attempts in a row to resume a run may fail before it counts as lost. Default 10; 0 for not at all.
    pub fn resume_attempts(mut self, attempts: u32) -> Self {
        self.config.retry.attempts_max = attempts;
        self
    }

    /// The delay before the first attempt to resume, which doubles with each. Default 250 ms.
    ///
    /// A random part of up to a half is taken off.
    pub fn resume_delay(mut self, delay: Duration) -> Self {
        self.config.retry.delay = delay;
        self
    }

    /// The longest delay between attempts to resume, but for a server that asks for more. Default 10 s.
    pub fn resume_delay_max(mut self, delay: Duration) -> Self {
        self.config.retry.delay_max = delay;
        self
    }

    /// The most bytes that a frame or a plain response may have. Default 64 MiB.
    pub fn response_bytes_max(mut self, bytes: usize) -> Self {
        self.config.bytes_max = bytes;
        self
    }

    /// The HTTP client to use, with its own redirects, proxies and time-outs.
    ///
    /// A time-out for whole requests ends streams too, which are then resumed. Have it send no `Referer`: a waiting URL
    /// holds a token.
    pub fn http_client(mut self, client: reqwest::Client) -> Self {
        self.config.http = OnceLock::from(client);
        self
    }

    /// The client.
    ///
    /// # Errors
    /// All options that cannot be, at once.
    pub fn build(self) -> Result<Client, Error> {
        if !self.complaints.is_empty() {
            return Err(Error::invalid(format!("options: {}", self.complaints.join("; "))));
        }
        Ok(Client { config: Arc::new(self.config) })
    }
}

// ===== impl Config =====

impl Default for Config {
    fn default() -> Self {
        Self {
            headers: HeaderMap::new(),
            retry: RetryPolicy::default(),
            idle_timeout: Some(Duration::from_secs(45)),
            bytes_max: 64 * 1024 * 1024,
            http: OnceLock::new(),
        }
    }
}

impl Config {
    /// The HTTP client, made at its first use.
    pub(crate) fn http(&self) -> Result<&reqwest::Client, Error> {
        if let Some(client) = self.http.get() {
            return Ok(client);
        }
        // An app may have chosen its provider already; then that one stays.
        #[cfg(feature = "tls")]
        let _ = rustls::crypto::ring::default_provider().install_default();
        // Why no referer: a waiting URL holds a token, which another site must not get.
        let client = reqwest::Client::builder().tcp_nodelay(true).referer(false);
        let client = client.build().map_err(Error::transport)?;
        Ok(self.http.get_or_init(|| client))
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("headers", &self.headers.keys().map(HeaderName::as_str).collect::<Vec<_>>())
            .field("retry", &self.retry)
            .field("idle_timeout", &self.idle_timeout)
            .field("bytes_max", &self.bytes_max)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Client;

    #[test]
    fn options_that_cannot_be_are_told_all_at_once() {
        let builder =
            Client::builder().default_header("a b", "").default_header("a", "\n").idle_timeout(Duration::ZERO);
        let error = builder.build().unwrap_err();
        assert!(error.is_invalid());
        let text = error.to_string();
        assert!(text.matches("default_header").count() == 2 && text.contains("idle_timeout"), "{text}");
    }

    #[test]
    fn no_idle_timeout_is_an_option() {
        assert_eq!(Client::builder().idle_timeout(None).build().unwrap().config.idle_timeout, None);
    }
}
