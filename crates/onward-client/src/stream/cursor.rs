//! Where in a run's stream a client is, and how it gets on when a connection ends.

use std::time::Duration;

use onward_protocol::sse::{Event, Frame};
use reqwest::Url;
use tokio::time::Instant;

use super::ReceivedFrame;
use crate::{
    Error, LostRun,
    client::Config,
    request::{Call, Caller},
    retry::{Draw, RetryPolicy},
};

/// A connection that lived for this long was of use, even if no frame came.
const USEFUL: Duration = Duration::from_secs(10);

/// A place in a run's stream.
pub(super) struct Cursor {
    caller: Option<Caller>,
    run: LostRun,
    /// Whether the stream itself named the waiting URL.
    is_told: bool,
    /// Whether the connection began after a frame.
    is_resumed: bool,
    /// Whether the server sends ids or heartbeats, so that silence means a dead connection.
    beats: bool,
    resuming: Resuming,
}

/// What the next attempt to resume goes by.
#[derive(Default)]
struct Resuming {
    /// Whether the connection was the one to the endpoint itself.
    direct: bool,
    /// Attempts since a connection was last of use.
    attempts: u32,
    opened_at: Option<Instant>,
    /// What ended the last connection, or attempt; `None` where it ended in good order.
    error: Option<Error>,
    /// The least delay that the last answer asked for.
    asked: Duration,
    /// The least delay that the stream asked for.
    retry: Duration,
}

impl Cursor {
    /// At the beginning of what an endpoint will answer.
    pub(super) fn new(caller: Caller) -> Self {
        let resuming = Resuming { direct: true, ..Resuming::default() };
        Self { caller: Some(caller), resuming, ..Self::nowhere() }
    }

    /// In no stream.
    pub(super) fn nowhere() -> Self {
        let run = LostRun { run_id: None, waiting_url: None, last_event_id: None };
        Self { caller: None, run, is_told: false, is_resumed: false, beats: false, resuming: Resuming::default() }
    }

    /// Goes to a waiting URL, after a frame.
    pub(super) fn attach(&mut self, url: Url, after: Option<&str>) {
        self.resuming.direct = false;
        self.run.waiting_url = Some(url);
        self.run.last_event_id = after.map(str::to_owned);
    }

    pub(super) fn last_event_id(&self) -> Option<&str> {
        self.run.last_event_id()
    }

    /// How long a connection may be silent, on which heartbeats came or not.
    pub(super) fn idle(&mut self, beats: bool, config: &Config) -> Option<Duration> {
        self.beats |= beats;
        config.idle_timeout.filter(|_| self.beats)
    }

    /// Reads an event of a connection to `url`; `None` for one that gives no new frame.
    pub(super) fn take(&mut self, event: Event, url: &Url) -> Result<Option<ReceivedFrame>, Error> {
        let mut frame = event.frame().map_err(|error| Error::protocol(error.to_string()))?;
        if let Some(Frame::RedirectInfo { url: to, .. }) = &mut frame {
            let resolved = url.join(to).ok().filter(|resolved| matches!(resolved.scheme(), "http" | "https"));
            let resolved = resolved.filter(|_| !to.is_empty());
            *to = resolved.ok_or_else(|| Error::protocol("the stream goes on at what is no URL"))?.into();
        }
        self.resuming.retry = event.retry_ms.map_or(self.resuming.retry, Duration::from_millis);
        let mut id = Some(event.id).filter(|id| !id.is_empty());
        self.beats |= id.is_some();
        // Why: a resumed stream begins with what it began with before, and an old id must not lead back.
        if self.is_repeated(frame.as_ref()) {
            return Ok(None);
        }
        if self.is_resumed && matches!(frame, Some(Frame::Metadata { .. } | Frame::RedirectInfo { .. })) {
            id.clone_from(&self.run.last_event_id);
        }
        if id.is_some() {
            self.run.last_event_id.clone_from(&id);
        }
        let Some(frame) = frame else { return Ok(None) };
        self.note(&frame, id.is_some())?;
        Ok(Some(ReceivedFrame { id, frame }))
    }

    fn is_repeated(&self, frame: Option<&Frame>) -> bool {
        match frame {
            Some(Frame::Metadata { run_id }) => self.run.run_id() == Some(run_id),
            Some(Frame::RedirectInfo { url, .. }) => self.is_told && self.run.waiting_url() == Some(url),
            _ => false,
        }
    }

    fn note(&mut self, frame: &Frame, has_id: bool) -> Result<(), Error> {
        match frame {
            Frame::Metadata { run_id } => self.run.run_id = Some(run_id.clone()),
            Frame::RedirectInfo { url, .. } => {
                self.run.waiting_url = url.parse().ok();
                self.is_told = true;
            }
            Frame::Response { content, .. } if content.clone().into_response().is_none() => {
                return Err(Error::protocol("the run's response is not one that HTTP allows"));
            }
            // Without ids a frame may be a repetition, so it is no sign of progress.
            _ if has_id => self.resuming.attempts = 0,
            _ => {}
        }
        Ok(())
    }

    // ===== Resuming =====

    /// A connection was made.
    pub(super) fn opened(&mut self) {
        self.is_resumed = self.run.last_event_id.is_some();
        self.resuming.opened_at = Some(Instant::now());
        self.resuming.asked = Duration::ZERO;
    }

    /// A connection ended: by an error, or in good order.
    pub(super) fn ended(&mut self, error: Option<Error>) {
        if self.resuming.opened_at.is_some_and(|at| at.elapsed() >= USEFUL) {
            self.resuming.attempts = 0;
        }
        self.resuming.error = error;
    }

    /// A connection could not be made.
    pub(super) fn unavailable(&mut self, error: Error, after: Option<Duration>) {
        self.resuming.error = Some(error);
        self.resuming.asked = after.unwrap_or(Duration::ZERO);
    }

    /// The next attempt to resume: which in a row, 0 for a planned move; and after how long it is made.
    pub(super) fn plan(&mut self, policy: &RetryPolicy) -> Result<(u32, Duration), Error> {
        let resuming = &mut self.resuming;
        let direct = std::mem::take(&mut resuming.direct);
        if self.run.waiting_url.is_none() {
            return Err(self.lost());
        }
        // The endpoint's own stream ends in good order when the run goes on elsewhere: no reason to wait.
        if direct && resuming.error.is_none() {
            return Ok((0, Duration::ZERO));
        }
        let Some(delay) = policy.delay_after(resuming.attempts, Draw::random()) else { return Err(self.lost()) };
        resuming.attempts += 1;
        let (attempt, delay) = (resuming.attempts, delay.max(resuming.asked).max(resuming.retry));
        let error = resuming.error.as_ref().map(Error::chain);
        tracing::debug!(run_id = self.run.run_id(), attempt, ?delay, error, "a stream is resumed");
        Ok((attempt, delay))
    }

    /// The request that resumes.
    pub(super) fn ask(&self) -> Result<Call, Error> {
        let place = self.caller.as_ref().zip(self.run.waiting_url.as_ref());
        let (caller, url) = place.ok_or_else(|| Error::protocol("the stream did not say where it goes on"))?;
        Ok(caller.ask(url))
    }

    fn lost(&mut self) -> Error {
        Error::new_lost(self.run.clone(), self.resuming.attempts, self.resuming.error.take())
    }
}
