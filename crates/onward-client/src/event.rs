//! Sending events: what a run waits for, or is started by.

use std::fmt;

use bytes::Bytes;
use reqwest::Url;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use crate::{
    Client, Error,
    answer::read,
    problem::Problem,
    request::{Call, parse},
};

/// An event to send.
///
/// # Example
///
/// ```
/// use onward_client::NewEvent;
///
/// let event = NewEvent::new("approval/received", &serde_json::json!({ "requestId": 7 }))?.id("approval-7");
/// # Ok::<(), onward_client::Error>(())
/// ```
#[derive(Clone, Serialize)]
pub struct NewEvent {
    name: String,
    data: Box<RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ts: Option<i64>,
}

#[derive(Deserialize)]
struct Accepted {
    ids: Vec<String>,
}

impl NewEvent {
    /// An event of this name and data.
    ///
    /// # Errors
    /// Data that is no JSON.
    pub fn new(name: impl Into<String>, data: &(impl Serialize + ?Sized)) -> Result<Self, Error> {
        let data = to_raw_value(data).map_err(|error| Error::invalid(format!("event data: {error}")))?;
        Ok(Self { name: name.into(), data, id: None, ts: None })
    }

    /// Its id, by which the server knows an event that is sent twice. By default the server makes one.
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// When it happened, in milliseconds since 1970. By default when it came.
    pub fn timestamp_ms(mut self, millis: i64) -> Self {
        self.ts = Some(millis);
        self
    }
}

impl fmt::Debug for NewEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewEvent").field("name", &self.name).field("id", &self.id).finish_non_exhaustive()
    }
}

impl Client {
    /// Sends an event, and gives its id once the server has stored it.
    ///
    /// It is not tried again on its own. After a transient error the same event can be sent again if it has an `id`. If
    /// the future is dropped, the event may have been stored.
    ///
    /// # Errors
    /// The request could not be made, or was refused ([`Error::problem`]).
    ///
    /// ```no_run
    /// # async fn call(client: onward_client::Client) -> Result<(), onward_client::Error> {
    /// let data = serde_json::json!({ "requestId": 7, "approved": true });
    /// let url = "https://app.example/events";
    /// let id = client.send_event(url, "approval/received", &data, Some("approval-7")).await?;
    /// # Ok(()) }
    /// ```
    pub async fn send_event(
        &self,
        events_url: &str,
        name: &str,
        data: &(impl Serialize + ?Sized),
        id: Option<&str>,
    ) -> Result<String, Error> {
        let event = NewEvent::new(name, data)?;
        let event = id.into_iter().fold(event, NewEvent::id);
        let mut ids = self.post(parse(events_url)?, &event).await?;
        match (ids.pop(), ids.is_empty()) {
            (Some(id), true) => Ok(id),
            _ => Err(Error::protocol("the server did not answer one event with one id")),
        }
    }

    /// Sends up to 1,000 events, all or none; gives their ids in order.
    ///
    /// It fails as [`Client::send_event`] does. If the future is dropped, the events may have been stored.
    ///
    /// ```no_run
    /// # use onward_client::{Client, NewEvent};
    /// # async fn call(client: Client) -> Result<(), onward_client::Error> {
    /// let events = [NewEvent::new("order/paid", &7)?, NewEvent::new("order/paid", &8)?];
    /// let ids = client.send_events("https://app.example/events", &events).await?;
    /// # Ok(()) }
    /// ```
    pub async fn send_events(&self, events_url: &str, events: &[NewEvent]) -> Result<Vec<String>, Error> {
        let ids = self.post(parse(events_url)?, events).await?;
        if ids.len() == events.len() {
            Ok(ids)
        } else {
            Err(Error::protocol("the server did not give each event an id"))
        }
    }

    async fn post(&self, url: Url, events: &(impl Serialize + ?Sized)) -> Result<Vec<String>, Error> {
        let body = serde_json::to_vec(events).map_err(|error| Error::invalid(format!("event: {error}")))?;
        let call = Call::post(url, "application/json", Bytes::from(body)).with_defaults(&self.config.headers);
        let response = read(call.send(&self.config).await?, None, self.config.bytes_max).await?;
        if !response.status().is_success() {
            return Err(Error::refused(Problem::of(&response)));
        }
        let accepted: Result<Accepted, _> = serde_json::from_slice(response.body());
        accepted.map(|accepted| accepted.ids).map_err(|_| Error::protocol("the server did not answer with event ids"))
    }
}
