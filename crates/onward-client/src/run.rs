//! Runs that nobody streams: started, and waited for.

use std::{fmt, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use reqwest::Url;
use serde::Deserialize;
use tokio::time::Instant;

use crate::{
    Client, Error, IntoRequest, LostRun,
    answer::{Verdict, judge, read},
    request::{Call, Caller, parse, redacted},
    retry::Draw,
};

/// A round that was shorter than this is not repeated at once.
const ROUND_MIN: Duration = Duration::from_secs(1);

/// What became of a call to start a run: see [`Client::start`].
pub enum Start {
    /// The run goes on.
    Running(Started),
    /// The endpoint answered at once: the run of the request's `Idempotency-Key` has ended already, or the endpoint is
    /// not durable.
    Ended(Response<Bytes>),
}

/// A run that was started.
#[derive(Clone)]
pub struct Started {
    run_id: String,
    token: String,
    location: Url,
    caller: Caller,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TokenBody {
    run_id: String,
    token: String,
}

impl Client {
    /// Starts a run, without waiting for its response.
    ///
    /// It is not tried again on its own. A request with an `Idempotency-Key` can be: it starts one run. If the future is
    /// dropped, the run may have been started.
    ///
    /// # Errors
    /// The request could not be made, or was refused ([`Error::problem`]).
    ///
    /// ```no_run
    /// use onward_client::{Client, Start};
    ///
    /// # async fn call(client: Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let request = http::Request::post("https://app.example/api/report").header("idempotency-key", "\"r1\"").body("")?;
    /// let response = match client.start(request).await? {
    ///     Start::Running(started) => client.wait(&started).await?,
    ///     Start::Ended(response) => response,
    /// };
    /// # Ok(()) }
    /// ```
    pub async fn start(&self, request: impl IntoRequest) -> Result<Start, Error> {
        let mut call = request.into_call()?.with_defaults(&self.config.headers);
        call.headers.append("prefer", HeaderValue::from_static("respond-async"));
        let caller = Caller::of(&call);
        let response = call.send(&self.config).await?;
        let url = response.url().clone();
        let response = read(response, None, self.config.bytes_max).await?;
        if response.status() == StatusCode::ACCEPTED
            && let Ok(TokenBody { run_id, token }) = serde_json::from_slice(response.body())
        {
            let location = response.headers().get(header::LOCATION).and_then(|location| location.to_str().ok());
            let location = location.and_then(|location| url.join(location).ok());
            let location = location.ok_or_else(|| Error::protocol("the run was started at no URL to wait at"))?;
            return Ok(Start::Running(Started { run_id, token, location, caller }));
        }
        match judge(response) {
            Verdict::Final(response) => Ok(Start::Ended(response)),
            Verdict::Unavailable { problem, .. } | Verdict::Refused(problem) => Err(Error::refused(problem)),
            Verdict::Again { .. } => Err(Error::protocol("the endpoint answered without the run it started")),
        }
    }

    /// Waits for the response of a run that was started.
    ///
    /// It waits as long as the run takes, over any number of connections: put a time-out around it. Dropping the future
    /// loses nothing. The response is given whatever its status.
    ///
    /// # Errors
    /// The waiting URL refused ([`Error::problem`]), as for a run that is no longer kept; or it could not be reached for
    /// too many attempts in a row ([`Error::is_lost`]).
    ///
    /// A handler's own problem of status 4xx (`application/problem+json`) is taken for a refusal too, unless the server
    /// marks responses of runs.
    ///
    /// ```no_run
    /// # async fn call(client: onward_client::Client, started: onward_client::Started) -> Result<(), onward_client::Error> {
    /// let response = client.wait(&started).await?;
    /// println!("{} is done: {}", started.run_id(), response.status());
    /// # Ok(()) }
    /// ```
    pub async fn wait(&self, started: &Started) -> Result<Response<Bytes>, Error> {
        let waiting = Waiting::new(started.caller.clone(), started.location.clone(), Some(started.run_id.clone()));
        Box::pin(waiting.wait(self)).await
    }

    /// Waits for the response of the run with this waiting URL, which another process may have started.
    ///
    /// It waits and fails as [`Client::wait`] does, and dropping the future loses nothing either.
    ///
    /// ```no_run
    /// # async fn call(client: onward_client::Client, stored: String) -> Result<(), onward_client::Error> {
    /// let response = client.wait_at(&stored).await?;
    /// # Ok(()) }
    /// ```
    pub async fn wait_at(&self, location: &str) -> Result<Response<Bytes>, Error> {
        let call = Call::get(parse(location)?).with_defaults(&self.config.headers);
        let waiting = Waiting::new(Caller::of(&call), call.url, None);
        Box::pin(waiting.wait(self)).await
    }
}

impl Started {
    /// The run's id.
    pub fn run_id(&self) -> &str {
        &self.run_id
    }

    /// The token with which the run can be read: a secret.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The run's waiting URL. It holds the token.
    pub fn location(&self) -> &str {
        self.location.as_str()
    }
}

impl fmt::Debug for Started {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let location = redacted(&self.location);
        f.debug_struct("Started").field("run_id", &self.run_id).field("location", &location).finish_non_exhaustive()
    }
}

impl fmt::Debug for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Running(started) => f.debug_tuple("Running").field(started).finish(),
            Self::Ended(response) => f.debug_tuple("Ended").field(&response.status()).finish(),
        }
    }
}

// ===== Waiting =====

/// Who waits for a run's response.
struct Waiting {
    caller: Caller,
    /// The URL that was given: what it leads to may not last.
    first: Url,
    url: Url,
    run_id: Option<String>,
    attempts: u32,
}

/// How one round ended.
enum Round {
    Done(Response<Bytes>),
    /// The run goes on.
    Again {
        after: Option<Duration>,
    },
    /// A later round may succeed.
    Failed {
        error: Error,
        after: Option<Duration>,
    },
}

impl Waiting {
    fn new(caller: Caller, url: Url, run_id: Option<String>) -> Self {
        Self { caller, first: url.clone(), url, run_id, attempts: 0 }
    }

    async fn wait(mut self, client: &Client) -> Result<Response<Bytes>, Error> {
        loop {
            let began = Instant::now();
            let delay = match self.round(client).await? {
                Round::Done(response) => return Ok(response),
                Round::Again { after } => {
                    self.attempts = 0;
                    // Why: a server that sends round at once must not be asked without end.
                    after.unwrap_or_else(|| if began.elapsed() < ROUND_MIN { ROUND_MIN } else { Duration::ZERO })
                }
                Round::Failed { error, after } => {
                    let Some(delay) = client.config.retry.delay_after(self.attempts, Draw::random()) else {
                        return Err(self.lost(error));
                    };
                    self.attempts += 1;
                    let delay = delay.max(after.unwrap_or(Duration::ZERO));
                    let error = error.chain();
                    tracing::debug!(run_id = self.run_id, attempt = self.attempts, ?delay, error, "a wait is resumed");
                    delay
                }
            };
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
        }
    }

    /// Asks once.
    async fn round(&mut self, client: &Client) -> Result<Round, Error> {
        let response = match self.caller.ask(&self.url).send(&client.config).await {
            Ok(response) => response,
            Err(error) => return self.failed(error),
        };
        let url = response.url().clone();
        let response = match read(response, None, client.config.bytes_max).await {
            Ok(response) => response,
            Err(error) => return self.failed(error),
        };
        match judge(response) {
            Verdict::Final(response) => Ok(Round::Done(response)),
            Verdict::Again { location, after } => {
                if let Some(location) = location {
                    let next = url.join(&location).ok().filter(|next| matches!(next.scheme(), "http" | "https"));
                    self.url = next.ok_or_else(|| Error::protocol("the run is to be waited for at what is no URL"))?;
                }
                Ok(Round::Again { after })
            }
            Verdict::Unavailable { problem, after } => Ok(Round::Failed { error: Error::refused(problem), after }),
            Verdict::Refused(problem) => Err(Error::refused(problem)),
        }
    }

    fn failed(&mut self, error: Error) -> Result<Round, Error> {
        if error.is_redirect() {
            // The HTTP client follows only so many: the run goes on.
            return Ok(Round::Again { after: None });
        }
        self.url = self.first.clone();
        if error.is_transient() { Ok(Round::Failed { error, after: None }) } else { Err(error) }
    }

    fn lost(self, error: Error) -> Error {
        let run = LostRun { run_id: self.run_id, waiting_url: Some(self.first), last_event_id: None };
        Error::new_lost(run, self.attempts, Some(error))
    }
}
