//! Options of an app and of its endpoints, with their limits.

mod builder;

pub use self::builder::{Builder, Durability};

use std::{collections::BTreeSet, fmt, sync::Arc, time::Duration};

use http::HeaderName;
use onward_core::{BoxFuture, IntoDuration, RetryPolicy, Version};

/// How a client is told that its run has become asynchronous.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum AsyncResponse {
    /// A redirect to where the outcome can be waited for: `302` for GET and HEAD, `303` otherwise.
    #[default]
    Redirect,
    /// `202` with `{"runId", "token"}` as JSON and a `Location`.
    Token,
}

/// Makes the URL that a client is sent to.
pub(crate) type RedirectFn = Arc<dyn Fn(String, String) -> BoxFuture<'static, String> + Send + Sync>;

#[derive(Clone)]
pub(crate) enum RedirectTo {
    Path(String),
    Call(RedirectFn),
}

impl fmt::Debug for RedirectTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => f.debug_tuple("Path").field(path).finish(),
            Self::Call(_) => f.write_str("Call(…)"),
        }
    }
}

/// What an endpoint goes by. An app's are the defaults of its endpoints'.
///
/// Every method takes the value and gives the options back, so they chain. A value outside its limits is kept as a
/// complaint and is the error of [`Onward::start`](crate::Onward::start) and [`Onward::serve`](crate::Onward::serve).
///
/// # Example
///
/// ```
/// use onward::{AsyncResponse, Options};
/// use std::time::Duration;
///
/// let options = Options::default()
///     .retries(5)
///     .async_response(AsyncResponse::Token)
///     .hold(Duration::from_millis(500))
///     .timeout("1h");
/// assert!(options.check().is_ok());
/// assert!(Options::default().retries(21).check().is_err());
/// ```
#[derive(Clone, Debug)]
pub struct Options {
    pub(crate) retry: RetryPolicy,
    pub(crate) async_response: AsyncResponse,
    pub(crate) redirect_to: RedirectTo,
    pub(crate) hold: Duration,
    pub(crate) timeout: Option<Duration>,
    pub(crate) retention: Duration,
    pub(crate) body_bytes_max: usize,
    pub(crate) response_bytes_max: usize,
    pub(crate) output_bytes_max: usize,
    pub(crate) state_bytes_max: usize,
    pub(crate) steps_max: usize,
    pub(crate) headers: Headers,
    pub(crate) failed_when: FailedWhen,
    pub(crate) lenient_replay: bool,
    pub(crate) blocked_for: Duration,
    pub(crate) crashes_max: u32,
    pub(crate) version: Option<Version>,
    pub(crate) pinned: bool,
    complaints: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            retry: RetryPolicy::default(),
            async_response: AsyncResponse::default(),
            redirect_to: RedirectTo::Path("/wait".to_owned()),
            hold: Duration::ZERO,
            timeout: None,
            retention: Duration::from_secs(7 * 24 * 3600),
            body_bytes_max: 1 << 20,
            response_bytes_max: 8 << 20,
            output_bytes_max: 4 << 20,
            state_bytes_max: 32 << 20,
            steps_max: 10_000,
            headers: Headers::default(),
            failed_when: FailedWhen::default(),
            lenient_replay: false,
            blocked_for: Duration::from_secs(24 * 3600),
            crashes_max: 5,
            version: None,
            pinned: false,
            complaints: Vec::new(),
        }
    }
}

/// The largest piece that a run may keep.
const KEPT_BYTES_MAX: usize = 256 << 20;
/// The most steps a run may have: with all their attempts they fit into a journal.
const STEPS_MAX: usize = 40_000;

/// A rule that tells the responses that fail a run.
#[derive(Clone)]
pub(crate) struct FailedWhen(Arc<Fails>);

type Fails = dyn Fn(&http::Response<bytes::Bytes>) -> bool + Send + Sync;

impl FailedWhen {
    pub(crate) fn fails(&self, response: &http::Response<bytes::Bytes>) -> bool {
        (self.0)(response)
    }
}

impl Default for FailedWhen {
    fn default() -> Self {
        Self(Arc::new(|response| response.status().is_server_error()))
    }
}

impl fmt::Debug for FailedWhen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FailedWhen(…)")
    }
}

/// Which request headers are kept for replays.
#[derive(Clone, Debug)]
pub(crate) struct Headers {
    dropped: BTreeSet<String>,
    /// The dropped headers that the user named.
    unneeded: BTreeSet<String>,
}

/// Credentials, which are not kept by themselves.
const CREDENTIALS: [&str; 3] = ["authorization", "cookie", "proxy-authorization"];

impl Default for Headers {
    fn default() -> Self {
        let dropped = CREDENTIALS.iter().map(|name| (*name).to_owned()).collect();
        Self { dropped, unneeded: BTreeSet::new() }
    }
}

impl Headers {
    pub(crate) fn keeps(&self, name: &HeaderName) -> bool {
        !self.dropped.contains(name.as_str())
    }

    /// The headers that a request has, that are not kept, and of which nobody has said that they are not needed.
    pub(crate) fn lacks(&self, headers: &http::HeaderMap) -> Vec<&'static str> {
        let lacks = |name: &&'static str| {
            headers.contains_key(*name) && self.dropped.contains(*name) && !self.unneeded.contains(*name)
        };
        CREDENTIALS.into_iter().filter(lacks).collect()
    }
}

impl Options {
    /// How often a failing step is tried again, 0 to 20. Default 3.
    pub fn retries(mut self, retries: u32) -> Self {
        match self.retry.with_retries(retries) {
            Ok(policy) => self.retry = policy,
            Err(error) => self.complaints.push(error.to_string()),
        }
        self
    }

    /// The whole back-off: see [`RetryPolicy`]. Default: 3 retries, the first within a second, none after more than
    /// 2 minutes.
    pub fn retry_policy(mut self, policy: RetryPolicy) -> Self {
        self.retry = policy;
        self
    }

    /// How a client is told that its run has become asynchronous. Default: a redirect.
    pub fn async_response(mut self, response: AsyncResponse) -> Self {
        self.async_response = response;
        self
    }

    /// Where a client waits for the outcome: a path, resolved against the request's origin, or an absolute URL. It
    /// gets `runId` and `token` as query parameters. Default `/wait`.
    pub fn redirect_to(mut self, path: impl Into<String>) -> Self {
        let mut path = path.into();
        if !path.starts_with('/') && !path.contains("://") {
            path.insert(0, '/'); // it is resolved against the request's origin
        }
        if path.parse::<http::Uri>().is_err() {
            self.complaints.push(format!("redirect_to {path:?} is not a path or URL"));
        }
        self.redirect_to = RedirectTo::Path(path);
        self
    }

    /// Where a client waits for the outcome, made from the run's id and its token. It is used as it is.
    ///
    /// ```
    /// # use onward::Options;
    /// Options::default().redirect_with(async |run_id, token| format!("/runs/{run_id}?t={token}"));
    /// ```
    pub fn redirect_with<F, Fut>(mut self, make: F) -> Self
    where
        F: Fn(String, String) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = String> + Send + 'static,
    {
        self.redirect_to = RedirectTo::Call(Arc::new(move |run_id, token| Box::pin(make(run_id, token))));
        self
    }

    /// How long a client's connection is kept open for an asynchronous run before the client is redirected.
    /// Default: not at all. `Prefer: wait=N` of a request counts instead.
    pub fn hold(mut self, hold: impl IntoDuration) -> Self {
        match hold.into_duration() {
            Ok(hold) => self.hold = hold,
            Err(error) => self.complaints.push(format!("hold: {error}")),
        }
        self
    }

    /// How long a run may take as a whole before it fails with `504`. Default: no limit.
    pub fn timeout(mut self, timeout: impl IntoDuration) -> Self {
        match timeout.into_duration() {
            Ok(timeout) if !timeout.is_zero() => self.timeout = Some(timeout),
            Ok(_) => self.complaints.push("timeout must not be zero".to_owned()),
            Err(error) => self.complaints.push(format!("timeout: {error}")),
        }
        self
    }

    /// How long a run is kept after it ended: for late askers, and for its idempotency key. Default 7 days.
    pub fn retention(mut self, retention: impl IntoDuration) -> Self {
        match retention.into_duration() {
            Ok(retention) => self.retention = retention,
            Err(error) => self.complaints.push(format!("retention: {error}")),
        }
        self
    }

    /// The largest request body in bytes, up to 256 MiB; a larger one is refused with `413` before the handler runs.
    /// Default 1 MiB.
    pub fn body_bytes_max(mut self, bytes: usize) -> Self {
        self.body_bytes_max = self.kept_bytes("body_bytes_max", bytes);
        self
    }

    /// The largest response body in bytes of a run that has steps, up to 256 MiB. Default 8 MiB.
    pub fn response_bytes_max(mut self, bytes: usize) -> Self {
        self.response_bytes_max = self.kept_bytes("response_bytes_max", bytes);
        self
    }

    /// The largest output of a step, in bytes of JSON, up to 256 MiB; a larger one is the step's error. Default 4 MiB.
    pub fn output_bytes_max(mut self, bytes: usize) -> Self {
        self.output_bytes_max = self.kept_bytes("output_bytes_max", bytes);
        self
    }

    /// The most bytes that the outputs and errors of a run's steps may have together, 1 or more. A step whose output
    /// would pass it fails: a run's state is read as a whole each time that the run goes on. Default 32 MiB, as in the
    /// original.
    pub fn state_bytes_max(mut self, bytes: usize) -> Self {
        if bytes == 0 {
            self.complaints.push("state_bytes_max must be 1 or more".to_owned());
        }
        self.state_bytes_max = bytes;
        self
    }

    /// What is kept must be something that stores can hold.
    fn kept_bytes(&mut self, name: &str, bytes: usize) -> usize {
        if bytes > KEPT_BYTES_MAX {
            self.complaints.push(format!("{name} must not be more than {KEPT_BYTES_MAX} bytes"));
        }
        bytes.min(KEPT_BYTES_MAX)
    }

    /// The most steps that a run may have, 1 to 40,000. Default 10,000.
    pub fn steps_max(mut self, steps: usize) -> Self {
        if steps == 0 || steps > STEPS_MAX {
            self.complaints.push(format!("steps_max must be 1 to {STEPS_MAX}"));
        }
        self.steps_max = steps;
        self
    }

    /// Keeps a request header for replays that is not kept by itself: `authorization`, `cookie`,
    /// `proxy-authorization`, or one dropped before. It is stored with the run.
    pub fn keep_header(mut self, name: &str) -> Self {
        self.headers.dropped.remove(&name.to_ascii_lowercase());
        self
    }

    /// Does not keep a request header: replays of the handler don't see it, and need not. For `authorization`, `cookie` and
    /// `proxy-authorization`, which are not kept by themselves, the option says that the handler does not need them: otherwise the log warns once for each
    /// endpoint that is sent one.
    pub fn drop_header(mut self, name: &str) -> Self {
        match HeaderName::from_bytes(name.as_bytes()) {
            Ok(name) => {
                self.headers.dropped.insert(name.as_str().to_owned());
                self.headers.unneeded.insert(name.as_str().to_owned());
            }
            Err(_) => self.complaints.push(format!("{name:?} is not a header name")),
        }
        self
    }

    /// How long a run may be blocked before it fails. Default 24 h; zero fails it at once.
    ///
    /// A handler that is called again must ask for each step that its journal has before it returns. Where it does not (a
    /// deploy or a flag sends it another way, an extractor misses a header that is not kept), its response is not the
    /// outcome: the run is blocked, the log says at which step, and the handler is called again after 1 s, and later and
    /// later up to 5 min, so that a deploy that is mended or rolled back loses nothing. The same where a step's output
    /// cannot be read as the type that the handler asks for. After this time, or its timeout, the run fails; `retry` then
    /// begins anew. A step that was removed on purpose is [`Step::retired`](crate::Step::retired).
    ///
    /// Steps that lost a race need not be asked for again.
    pub fn blocked_for(mut self, time: impl IntoDuration) -> Self {
        match time.into_duration() {
            Ok(time) => self.blocked_for = time,
            Err(error) => self.complaints.push(format!("blocked_for: {error}")),
        }
        self
    }

    /// How often in a row a run's process may end before the run fails, 1 or more. Default 5.
    ///
    /// A step that takes its process down with it (an abort, a stack overflow, no more memory) would do so at each start.
    /// So executions that end with their process, without a new entry of the run's journal, are counted; the next one begins
    /// later and later, from 1 s up to 5 min; and after so many the run fails, its unfinished steps named, and `retry` goes on
    /// from there. The first crash after a step is not counted, because the execution got that far.
    ///
    /// A process cannot tell which of its runs ended it, so those that were executed with it are counted, too. A run that fails
    /// after three more crashes is therefore executed beside seven others like it at most, and one that fails after two more
    /// beside none.
    ///
    /// An orderly [`shutdown`](crate::Onward::shutdown) does not count; nor does a lease that a living node lost, or a store
    /// that could not be reached.
    pub fn crashes_max(mut self, crashes: u32) -> Self {
        if crashes == 0 {
            self.complaints.push("crashes_max must be 1 or more".to_owned());
        }
        self.crashes_max = crashes.max(1);
        self
    }

    /// Takes the response of a handler that is called again for the outcome, whatever steps its journal has that it did not
    /// ask for, and gives it a kept output that it cannot read as the step's error. A handler that returns early then ends
    /// its run with steps undone.
    pub fn lenient_replay(mut self) -> Self {
        self.lenient_replay = true;
        self
    }

    /// Tells which responses of the handler fail its run, once the run has steps. By default a status of 500 or more does,
    /// so that a run that failed is one for `retry`, lists and alerts, whatever type of error its handler returns. The
    /// clients get the response as it is, either way. A [`StepError`](crate::StepError) that the handler returns fails the
    /// run whatever this says.
    ///
    /// ```
    /// # use onward::Options;
    /// // A 503 is this handler's word to its clients, and no failure.
    /// let options = Options::default().failed_when(|response| response.status().as_u16() == 500);
    /// # drop(options);
    /// ```
    pub fn failed_when(
        mut self,
        fails: impl Fn(&http::Response<bytes::Bytes>) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.failed_when = FailedWhen(Arc::new(fails));
        self
    }

    /// The version of the handler, 1 to 64 visible ASCII characters: any text that changes with the code. It is kept
    /// with each run and shown with it. Default: none.
    ///
    /// An endpoint may be served in several versions, in one process or by the nodes of a rolling deploy. A run goes
    /// on with the version that it was started with where that is served, and otherwise with the newest one of the
    /// process that takes it up: **the one that was made last**, so make the old ones first. Where the new handler
    /// would not get along with the journals of the old one, see [`pin_version`](Options::pin_version).
    ///
    /// Steps are found by their ids. So a handler may be changed under its runs while the ids of their steps stay what
    /// they are, and stay in their order where one's output decides what comes next.
    ///
    /// # Example: an old version beside a new one
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), onward::Error> {
    /// # use axum::{Router, routing::post};
    /// # use onward::{Onward, Step};
    /// # async fn checkout_1(step: Step) {}
    /// # async fn checkout_2(step: Step) {}
    /// let onward = Onward::open("memory:").await?;
    /// let app: Router = Router::new()
    ///     // For runs that version 1 has begun. Nobody asks by this path: a run knows the one that it was asked by.
    ///     .merge(onward.endpoint().id("checkout").version("1").route("/checkout/1", post(checkout_1)))
    ///     // For those to come.
    ///     .merge(onward.endpoint().id("checkout").version("2").pin_version().route("/checkout", post(checkout_2)));
    /// # drop(app); onward.shutdown().await }
    /// ```
    pub fn version(mut self, version: &str) -> Self {
        match Version::try_new(version) {
            Ok(version) => self.version = Some(version),
            Err(error) => self.complaints.push(format!("version {version:?}: {error}")),
        }
        self
    }

    /// Pins runs to the [`version`](Options::version) that they are started with: no other goes on with them. A run
    /// keeps what it was started with, whatever is pinned later.
    ///
    /// Pin where the handler's steps change between versions: their order, their meaning, or the type of what they
    /// give. Then keep the old version served until its runs have ended (`runs().list(…)` shows them): by the nodes
    /// that have it, or beside the new one, as in the example of [`version`](Options::version).
    ///
    /// A pinned run whose version no node serves **waits until one does**: its sleeps and events come to nothing
    /// meanwhile. Its [`timeout`](Options::timeout) ends it some minutes late, and it can be cancelled.
    ///
    /// A run that is invoked from a node that does not have its endpoint has no version, and is not pinned.
    pub fn pin_version(mut self) -> Self {
        self.pinned = true;
        self
    }

    /// Whether every value is inside its limits; the error names each that is not.
    pub fn check(&self) -> Result<(), crate::Error> {
        if self.complaints.is_empty() { Ok(()) } else { Err(crate::Error::config(self.complaints.join("; "))) }
    }
}
