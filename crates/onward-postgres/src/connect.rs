//! Connections: made with a fresh password, set up for what is done with them, and kept in pools.

use std::time::Duration;

use deadpool::managed::{self, Metrics, Pool, PoolConfig, RecycleError, RecycleResult, Timeouts};
use deadpool_postgres::ClientWrapper;
use onward_core::{StoreError, store::BoxError};
use percent_encoding::percent_decode_str;
use tokio_postgres::{Config, NoTls, Socket, config::SslMode};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::{
    error::{misconfigured, unavailable},
    options::{Options, PasswordFn},
    tls::{self, Trust},
};

/// A connection of a pool. Dropping it gives it back.
pub(crate) type Conn = managed::Object<Connector>;

/// What is set for each connection, each in a statement of its own: a database that does not know one goes without.
///
/// Plans: the tables change too quickly for their statistics, and each statement finds its rows by an index, so a plan
/// is made once, and never by reading a whole table. A transaction whose client hangs is ended by the server, as it
/// holds locks that others wait for.
const SETTINGS: [&str; 7] = [
    "SET idle_in_transaction_session_timeout = '2s'",
    "SET jit = off",
    "SET plan_cache_mode = force_generic_plan",
    "SET enable_seqscan = off",
    "SET enable_mergejoin = off",
    "SET default_transaction_isolation = 'read committed'",
    "SET client_min_messages = warning",
];

/// Makes connections.
pub(crate) struct Connector {
    config: Config,
    tls: Option<MakeRustlsConnect>,
    password: Option<PasswordFn>,
    timeout: Duration,
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connector").field("hosts", &self.config.get_hosts()).finish_non_exhaustive()
    }
}

impl Connector {
    pub(crate) fn try_new(url: &str, options: &Options) -> Result<Self, StoreError> {
        let (url, trust) = trust_of(url)?;
        // Why the text is left out: it may quote the password.
        let mut config: Config = url.parse().map_err(|_| match unknown_parameter(&url) {
            Some(name) => misconfigured(format!("invalid store URL: unknown parameter {name:?}")),
            None => misconfigured("invalid store URL: expected postgres://USER:PASSWORD@HOST:PORT/DATABASE"),
        })?;
        // Each of several hosts gets its share: one that is gone must not take the time of the next.
        config.connect_timeout(options.timeout / u32::try_from(config.get_hosts().len().max(1)).unwrap_or(1));
        config.tcp_user_timeout(options.timeout);
        config.keepalives_idle(options.timeout.max(Duration::from_secs(1))); // the system counts in seconds
        if config.get_application_name().is_none() {
            config.application_name("onward");
        }
        let tls = match (config.get_ssl_mode(), &options.tls) {
            (SslMode::Disable, _) => None,
            (_, Some(given)) => Some(given.clone()),
            (_, None) => Some(tls::config(&trust)?),
        };
        Ok(Self {
            config,
            tls: tls.map(MakeRustlsConnect::new),
            password: options.password.clone(),
            timeout: options.timeout,
        })
    }

    /// A connection, and what must be polled for it to go on.
    pub(crate) async fn connect(&self) -> Result<(tokio_postgres::Client, impl Poll + use<>), BoxError> {
        let mut config = self.config.clone();
        if let Some(password) = &self.password {
            config.password(password().await?);
        }
        let connected = async {
            Ok::<_, tokio_postgres::Error>(match &self.tls {
                Some(tls) => {
                    let (client, connection) = config.connect(tls.clone()).await?;
                    (client, Either::Tls(Box::new(connection)))
                }
                None => {
                    let (client, connection) = config.connect(NoTls).await?;
                    (client, Either::Plain(Box::new(connection)))
                }
            })
        };
        Ok(tokio::time::timeout(self.timeout, connected).await.map_err(|_| "no connection could be made in time")??)
    }
}

type TlsStream = <MakeRustlsConnect as tokio_postgres::tls::MakeTlsConnect<Socket>>::Stream;

/// A connection that may be encrypted.
pub(crate) enum Either {
    Plain(Box<tokio_postgres::Connection<Socket, tokio_postgres::tls::NoTlsStream>>),
    Tls(Box<tokio_postgres::Connection<Socket, TlsStream>>),
}

/// What a connection says by itself.
pub(crate) trait Poll: Send + 'static {
    fn poll_message(
        &mut self,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<tokio_postgres::AsyncMessage, tokio_postgres::Error>>>;
}

impl Poll for Either {
    fn poll_message(
        &mut self,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<tokio_postgres::AsyncMessage, tokio_postgres::Error>>> {
        match self {
            Self::Plain(connection) => connection.poll_message(cx),
            Self::Tls(connection) => connection.poll_message(cx),
        }
    }
}

/// What happens to a connection that is not listened to.
async fn drive(mut connection: impl Poll) {
    let messages = std::future::poll_fn(move |cx| {
        loop {
            match connection.poll_message(cx) {
                std::task::Poll::Ready(Some(Ok(_))) => {}
                std::task::Poll::Ready(Some(Err(error))) => return std::task::Poll::Ready(Some(error)),
                std::task::Poll::Ready(None) => return std::task::Poll::Ready(None),
                std::task::Poll::Pending => return std::task::Poll::Pending,
            }
        }
    });
    if let Some(error) = messages.await {
        tracing::debug!(error = &error as &dyn std::error::Error, "a connection to the database ended");
    }
}

impl managed::Manager for Connector {
    type Type = ClientWrapper;
    type Error = BoxError;

    async fn create(&self) -> Result<ClientWrapper, BoxError> {
        let (client, connection) = self.connect().await?;
        #[expect(clippy::disallowed_methods, reason = "the pool's wrapper ends it with the connection")]
        let driver = tokio::spawn(drive(connection));
        let client = ClientWrapper::new(client, driver);
        let millis = self.timeout.as_millis();
        for setting in [format!("SET statement_timeout = {millis}"), format!("SET lock_timeout = {millis}")] {
            client.batch_execute(&setting).await?;
        }
        for setting in SETTINGS {
            if let Err(error) = client.batch_execute(setting).await {
                if error.as_db_error().is_none() {
                    return Err(error.into());
                }
                tracing::debug!(setting, error = &error as &dyn std::error::Error, "the database goes without");
            }
        }
        Ok(client)
    }

    async fn recycle(&self, client: &mut ClientWrapper, _: &Metrics) -> RecycleResult<BoxError> {
        if client.is_closed() { Err(RecycleError::message("the connection is closed")) } else { Ok(()) }
    }
}

/// A pool of connections.
pub(crate) fn pool(connector: Connector, size: usize) -> Result<Pool<Connector>, StoreError> {
    let wait = Some(connector.timeout);
    pool_that_waits(connector, size, wait)
}

/// A pool of connections that are in use for as long as a user's code takes: who finds none waits until one is free.
pub(crate) fn patient_pool(connector: Connector, size: usize) -> Result<Pool<Connector>, StoreError> {
    pool_that_waits(connector, size, None)
}

fn pool_that_waits(connector: Connector, size: usize, wait: Option<Duration>) -> Result<Pool<Connector>, StoreError> {
    let timeouts = Timeouts { wait, create: Some(connector.timeout * 2), recycle: Some(connector.timeout) };
    Pool::builder(connector)
        .config(PoolConfig { timeouts, ..PoolConfig::new(size) })
        .runtime(deadpool::Runtime::Tokio1)
        .build()
        .map_err(|error| unavailable(format!("no pool can be made: {error}")))
}

/// A connection of a pool.
pub(crate) async fn get(pool: &Pool<Connector>) -> Result<Conn, StoreError> {
    pool.get().await.map_err(|error| match error {
        managed::PoolError::Backend(error) => StoreError::Unavailable(error),
        managed::PoolError::Timeout(_) => unavailable("no connection to the database became free in time"),
        other => unavailable(other.to_string()),
    })
}

/// Whether a connection was made for whoever has it now.
pub(crate) fn is_fresh(conn: &Conn) -> bool {
    Conn::metrics(conn).recycle_count == 0
}

/// The parameters that a URL may have, as the driver documents them.
const PARAMETERS: [&str; 19] = [
    "user",
    "password",
    "dbname",
    "options",
    "application_name",
    "sslmode",
    "sslnegotiation",
    "host",
    "hostaddr",
    "port",
    "connect_timeout",
    "tcp_user_timeout",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_retries",
    "target_session_attrs",
    "channel_binding",
    "load_balance_hosts",
];

/// The first parameter of a URL that is not known, with nothing of its value.
fn unknown_parameter(url: &str) -> Option<String> {
    let names = url.split_once('?')?.1.split('&').map(|pair| pair.split_once('=').map_or(pair, |(name, _)| name));
    names.filter(|name| !name.is_empty()).find(|name| !PARAMETERS.contains(name)).map(str::to_owned)
}

/// Takes the words for trust out of a URL that the driver does not know.
fn trust_of(url: &str) -> Result<(String, Trust), StoreError> {
    let Some((rest, query)) = url.split_once('?') else { return Ok((url.to_owned(), Trust::Any)) };
    let (mut trust, mut kept) = (Trust::Any, Vec::new());
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some(("sslmode", "verify-ca" | "verify-full")) => {
                kept.push("sslmode=require");
                if trust == Trust::Any {
                    trust = Trust::System;
                }
            }
            Some(("sslrootcert", path)) => {
                let path = percent_decode_str(path)
                    .decode_utf8()
                    .map_err(|_| misconfigured("invalid store URL: sslrootcert is not UTF-8"))?;
                trust = Trust::File(path.into_owned());
            }
            _ => kept.push(pair),
        }
    }
    let query = if kept.is_empty() { String::new() } else { format!("?{}", kept.join("&")) };
    Ok((format!("{rest}{query}"), trust))
}

#[cfg(test)]
mod tests {
    use super::{Trust, trust_of};

    #[test]
    fn the_words_for_trust_are_taken_out_of_the_url() {
        let of = |url: &str| trust_of(url).unwrap();
        assert_eq!(of("postgres://h/d"), ("postgres://h/d".to_owned(), Trust::Any));
        assert_eq!(
            of("postgres://h/d?sslmode=verify-full&connect_timeout=3"),
            ("postgres://h/d?sslmode=require&connect_timeout=3".to_owned(), Trust::System)
        );
        assert_eq!(
            of("postgres://h/d?sslrootcert=%2Fetc%2Fca.pem&sslmode=verify-ca"),
            ("postgres://h/d?sslmode=require".to_owned(), Trust::File("/etc/ca.pem".to_owned()))
        );
        assert_eq!(of("postgres://h/d?sslrootcert=a"), ("postgres://h/d".to_owned(), Trust::File("a".to_owned())));
    }
}
