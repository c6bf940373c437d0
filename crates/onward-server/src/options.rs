//! What an engine is told at its start. Where each comes from is the business of `config`.

use std::{fmt, net::SocketAddr, time::Duration};

/// How careful the engine is with whom it talks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// On a developer's machine: no keys are needed, and every origin is called.
    Dev,
    /// For users' requests: keys are required, and origins are checked.
    Start,
}

/// What redirected clients get of a `Response` that a handler returned after its run became asynchronous.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputForm {
    /// As the SDK's own proxy expects it: status 200, and the body as a JSON string.
    Compatible,
    /// The handler's own status, headers and body. The SDK's proxy still gets the compatible form.
    Original,
}

/// All that an engine is told. `Debug` does not show the keys.
#[derive(Clone)]
pub struct Options {
    /// For whom it works.
    pub mode: Mode,
    /// Where it listens.
    pub listen: SocketAddr,
    /// Where other engines on the same store reach this one, such as `http://10.0.0.5:8288`; `None` for where it
    /// listens.
    pub advertise: Option<String>,
    /// Where runs are kept: `sqlite:PATH`, `postgres://…`, or `memory:`. A password in it is never shown.
    pub store: String,
    /// How many connections to PostgreSQL serve reads and what touches several runs; six more do the rest.
    pub store_connections: usize,
    /// How long this engine keeps its runs while nothing is heard of it in a store that engines share, at least a
    /// second. Then others take them over.
    pub lease: Duration,
    /// How long the engine goes on trying, as it starts, while a database that engines share cannot be reached, starts, or
    /// is slow. Until then it answers each request, and `GET /health`, with a 503.
    pub start_patience: Duration,
    /// The signing keys: the first signs, all verify. Never shown.
    pub signing_keys: Vec<String>,
    /// The event keys: any of them is taken. Never shown.
    pub event_keys: Vec<String>,
    /// How failed attempts are spaced.
    pub retry: Retry,
    /// Which endpoints it calls.
    pub origins: Origins,
    /// By which names the engine may be called while it has no signing key, beside addresses, `localhost`, names below it,
    /// and `host.docker.internal`.
    pub hosts: Vec<String>,
    /// The form of an asynchronous response.
    pub output: OutputForm,
    /// How long an ended run is kept.
    pub retention: Duration,
    /// How long an event is kept.
    pub event_retention: Duration,
    /// How long a run's token opens it; at least as long as the run is kept.
    pub token_lifetime: Duration,
    /// How long a run in its first request may be silent before the engine calls its endpoint again.
    pub first_request_lease: Duration,
    /// How long an endpoint is called again that is not reached, before that counts as a failure.
    pub unreachable_for: Duration,
    /// How long an endpoint may take to answer a call.
    pub reentry_timeout: Duration,
    /// How long a client that waits for an outcome is held before it is asked to come again.
    pub hold: Duration,
    /// How long a shutdown waits for calls under way.
    pub drain: Duration,
    /// The limits on what it takes.
    pub limits: Limits,
}

/// How failed attempts are spaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Always as long as this, without jitter.
    Every(Duration),
    /// Doubling from the first to the second, with jitter.
    Between(Duration, Duration),
}

/// Which endpoints the engine calls.
///
/// The SDK takes an endpoint's origin from the `Host` of the request that reached it. So whoever can send a request to an
/// endpoint chooses the origin that it reports, and an engine that calls any origin signs a body of his choice for him.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins {
    /// These, such as `https://app.example.com`, wherever they are. Steps may call them, too.
    pub only: Vec<String>,
    /// Whether every other origin is called, too. [`Mode::Start`] needs this or an origin in `only`.
    pub any: bool,
    /// Whether private addresses (loopback, link-local and others that are not everyone's) are called that are not in
    /// `only`: by endpoints' calls where `any` is set, and by steps.
    pub private: bool,
}

/// The limits on what the engine takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest checkpoint, in bytes.
    pub checkpoint_bytes: usize,
    /// The largest answer of an endpoint, in bytes.
    pub reply_bytes: usize,
    /// The largest event, in bytes.
    pub event_bytes: usize,
    /// The most events of one call.
    pub events: usize,
    /// The most steps of a run.
    pub steps: usize,
    /// The largest chunk of a stream, in bytes.
    pub chunk_bytes: usize,
    /// The most bytes that a run may stream.
    pub stream_bytes: usize,
    /// The most bytes that the outputs of a run's steps, and what its steps wait for, may have together.
    pub state_bytes: usize,
    /// The most bytes of the bodies of all requests that are being read, or whose answer is being made. Bodies up to 16 KiB
    /// are not counted.
    pub bodies_bytes: usize,
    /// The most bytes that the runs under way may have in memory: their requests and the outputs of their steps. A quarter
    /// of it is for runs that only wait.
    pub runs_bytes: usize,
    /// The most bytes of calls that are being sent, and of answers that are being read, without those up to 16 KiB.
    pub transfers_bytes: usize,
    /// The most connections that are served at once; as many as the process may have descriptors, less 512, where that is
    /// fewer. Sixteen more are taken for operators: `/health`, `/metrics` and `/v1/runs`.
    pub connections: usize,
    /// The most calls under way at once, most of which wait for their answers.
    pub reentries: usize,
    /// The most calls under way at once to one host, whatever its ports. None gets more than half of what the others leave
    /// free. The requests of steps have as many places of their own.
    pub reentries_per_origin: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            checkpoint_bytes: 16 * 1024 * 1024,
            reply_bytes: 16 * 1024 * 1024,
            event_bytes: 512 * 1024,
            events: 5_000,
            steps: 10_000,
            chunk_bytes: 1024 * 1024,
            stream_bytes: 64 * 1024 * 1024,
            state_bytes: 32 * 1024 * 1024,
            bodies_bytes: 256 * 1024 * 1024,
            runs_bytes: 1024 * 1024 * 1024,
            transfers_bytes: 256 * 1024 * 1024,
            connections: 65_536,
            reentries: 1_024,
            reentries_per_origin: 256,
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("mode", &self.mode)
            .field("listen", &self.listen)
            .field("store", &self.shown_store())
            .field("origins", &self.origins)
            .finish_non_exhaustive()
    }
}

impl Options {
    /// Where runs are kept, without a password.
    ///
    /// ```
    /// use onward_server::{Options, options::Mode};
    ///
    /// let mut options = Options::new(Mode::Start);
    /// options.store = "postgres://app:secret@db/app?sslmode=require".to_owned();
    /// assert_eq!(options.shown_store(), "postgres://app:…@db/app?sslmode=require");
    /// ```
    pub fn shown_store(&self) -> String {
        let Some((scheme, rest)) = self.store.split_once("://").filter(|(scheme, _)| scheme.starts_with("postgres"))
        else {
            return self.store.clone();
        };
        // A password may have an "@" that nobody has encoded.
        let (user, rest) = match rest.rsplit_once('@') {
            Some((user, rest)) => (user.split_once(':').map_or(user.to_owned(), |(user, _)| format!("{user}:…")), rest),
            None => (String::new(), rest),
        };
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let kept: Vec<&str> = query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| if pair.starts_with("password=") { "password=…" } else { pair })
            .collect();
        let at = if user.is_empty() { "" } else { "@" };
        let query = if kept.is_empty() { String::new() } else { format!("?{}", kept.join("&")) };
        format!("{scheme}://{user}{at}{place}{query}")
    }

    /// How the store is opened where it is PostgreSQL.
    pub(crate) fn postgres(&self) -> onward_postgres::Options {
        // Why: a call that takes longer than the lease would cost it.
        onward_postgres::Options::new().connections(self.store_connections).timeout_at_most(self.lease / 2)
    }

    /// The defaults of a mode.
    pub fn new(mode: Mode) -> Self {
        let (retry, is_dev, unreachable_for) = match mode {
            Mode::Dev => (Retry::Every(Duration::from_secs(1)), true, Duration::from_secs(10)),
            Mode::Start => {
                let retry = Retry::Between(Duration::from_secs(2), Duration::from_secs(300));
                (retry, false, Duration::from_secs(24 * 3600))
            }
        };
        Self {
            mode,
            listen: SocketAddr::from(([127, 0, 0, 1], 8288)),
            advertise: None,
            store: "sqlite:onward.db".to_owned(),
            store_connections: 8,
            lease: Duration::from_secs(10),
            start_patience: Duration::from_secs(30),
            signing_keys: Vec::new(),
            event_keys: Vec::new(),
            retry,
            origins: Origins { only: Vec::new(), any: is_dev, private: is_dev },
            hosts: Vec::new(),
            output: OutputForm::Compatible,
            retention: Duration::from_secs(7 * 24 * 3600),
            event_retention: Duration::from_secs(7 * 24 * 3600),
            token_lifetime: Duration::from_secs(7 * 24 * 3600),
            first_request_lease: Duration::from_secs(300),
            unreachable_for,
            reentry_timeout: Duration::from_secs(2 * 3600),
            // Below the 300 s after which Node gives up, and so that 20 redirects are more than an hour.
            hold: Duration::from_secs(240),
            drain: Duration::from_secs(20),
            limits: Limits::default(),
        }
    }
}
