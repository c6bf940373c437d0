//! Clients: they order at any node, wait at another, and write down what they were told.

mod ask;
mod load;
mod stream;
mod told;

pub(crate) use self::{
    ask::{Answer, Ask, Http},
    load::{order_at_once, order_until},
    stream::Shown,
    told::{Ended, Told},
};

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use rand::{RngExt as _, rngs::StdRng};
use tokio::sync::watch;

use crate::{cluster::Addresses, pace::Pace};

/// When clients stop to begin runs, and by when those that they began must have ended.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Times {
    pub(crate) is_over: bool,
    /// By the clock of the machine's pace.
    pub(crate) deadline: Option<Duration>,
}

/// How a client reaches nodes.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) http: Http,
    pub(crate) addresses: Addresses,
    pub(crate) times: watch::Receiver<Times>,
    pub(crate) pace: Pace,
    pub(crate) draws: StdRng,
    /// The database, for what only a look at it can tell: whether a wait is there.
    pub(crate) database: Arc<str>,
}

/// What became of a request for a run.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Posted {
    /// It has ended.
    Ended(Ended),
    /// Where to wait.
    Told(String),
    /// Nothing was promised.
    Again,
}

impl Caller {
    /// Another one that draws differently.
    pub(crate) fn fork(&mut self) -> Self {
        let draws = rand::SeedableRng::seed_from_u64(self.draws.random());
        let (http, addresses, times) = (self.http.clone(), Arc::clone(&self.addresses), self.times.clone());
        Self { http, addresses, times, pace: self.pace.clone(), draws, database: Arc::clone(&self.database) }
    }

    /// Some node that is up; `None` after a rest where none is.
    async fn node(&mut self) -> Option<SocketAddr> {
        let up: Vec<_> = self.addresses.lock().iter().flatten().copied().collect();
        if up.is_empty() {
            self.rest().await;
            return None;
        }
        Some(up[self.draws.random_range(0..up.len())])
    }

    async fn rest(&self) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    /// Whether what is waited for should long have come.
    fn check_deadline(&self, what: &str) -> Result<(), String> {
        match self.times.borrow().deadline {
            Some(deadline) if self.pace.now() > deadline => Err(format!("P1: {what} has not ended in time")),
            _ => Ok(()),
        }
    }

    /// Asks some node; `None` after a rest where no answer came.
    async fn ask(&mut self, ask: Ask<'_>) -> Option<Answer> {
        let node = self.node().await?;
        let answer = self.http.ask(node, ask).await;
        if answer.is_none() {
            self.rest().await;
        }
        answer
    }

    /// Asks for a run once.
    async fn post(&mut self, path: &str, headers: &[(&str, &str)], body: Bytes) -> Result<Posted, String> {
        let Some(answer) = self.ask(Ask { path, headers, posted: Some(body) }).await else { return Ok(Posted::Again) };
        match answer.status().as_u16() {
            503 => {
                if answer.headers().get("retry-after").is_none() {
                    return Err("a 503 without Retry-After".to_owned());
                }
                self.rest().await;
                Ok(Posted::Again)
            }
            202 | 302 | 303 => {
                let location = answer.headers().get("location").and_then(|location| location.to_str().ok());
                Ok(Posted::Told(location.ok_or("no Location")?.to_owned()))
            }
            _ => Ok(Posted::Ended(Ended::of(&answer))),
        }
    }

    /// Waits for the outcome of a run that was acknowledged, at one node after the other.
    pub(crate) async fn wait(&mut self, location: &str) -> Result<Ended, String> {
        loop {
            self.check_deadline(location)?;
            let Some(answer) = self.ask(Ask { path: location, headers: &[], posted: None }).await else { continue };
            match answer.status().as_u16() {
                307 => {}
                503 => self.rest().await,
                401 | 404 | 410 => return Err(format!("P1: {location} was answered with {}", answer.status())),
                _ => return Ok(Ended::of(&answer)),
            }
        }
    }

    /// Sends an event until it is accepted.
    async fn send(&mut self, id: &str, name: &str, data: serde_json::Value) -> Result<(), String> {
        let event = serde_json::json!({ "id": id, "name": name, "data": data });
        let body = Bytes::from(event.to_string());
        loop {
            self.check_deadline(id)?;
            let ask = Ask { path: "/events", headers: &[], posted: Some(body.clone()) };
            match self.ask(ask).await.map(|answer| answer.status().as_u16()) {
                Some(200) => return Ok(()),
                Some(503) => self.rest().await,
                None => {}
                Some(other) => return Err(format!("event {id} was answered with {other}")),
            }
        }
    }
}

/// The run that a location is of.
pub(crate) fn run_of(location: &str) -> String {
    location.split_once("runId=").map(|(_, rest)| rest.split('&').next().unwrap_or(rest)).unwrap_or_default().to_owned()
}
