//! One connection: asking for a stream, telling what the answer is, and reading its events.

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Response, header};
use onward_protocol::sse::{EVENT_STREAM, Event, Parser};
use reqwest::Url;

use crate::{
    Error,
    answer::{has_type, is_marked, next_chunk, read, retry_after, within},
    client::Config,
    problem::Problem,
    request::Call,
};

/// A connection's answer: a stream to read, or the run's response.
pub(crate) enum Opened {
    Stream(Box<Connection>),
    Plain(Response<Bytes>),
}

/// Why the waiting URL gave neither.
pub(crate) enum Unopened {
    /// A later attempt may succeed, after this time if the server says when.
    Unavailable { error: Error, after: Option<Duration> },
    /// None would.
    Refused(Error),
}

/// Calls an endpoint. An answer that is no stream is its response, as it is.
pub(crate) async fn open_endpoint(mut call: Call, config: &Config) -> Result<Opened, Error> {
    call.headers.insert(header::ACCEPT, HeaderValue::from_static(EVENT_STREAM));
    let response = call.send(config).await?;
    if is_stream(&response) {
        return Ok(Opened::Stream(Box::new(Connection::new(response))));
    }
    read(response, None, config.bytes_max).await.map(Opened::Plain)
}

/// Asks a run's waiting URL for what comes after a frame.
pub(crate) async fn open_waiting(
    mut call: Call,
    last_event_id: Option<&str>,
    idle: Option<Duration>,
    config: &Config,
) -> Result<Opened, Unopened> {
    call.headers.insert(header::ACCEPT, HeaderValue::from_static(EVENT_STREAM));
    if let Some(id) = last_event_id {
        let id = HeaderValue::from_bytes(id.as_bytes());
        let id = id.map_err(|_| Unopened::Refused(Error::protocol("the stream has an id that no header can hold")))?;
        call.headers.insert("last-event-id", id);
    }
    let response = within(idle, call.send(config)).await?;
    if response.status().is_success() && is_stream(&response) {
        return Ok(Opened::Stream(Box::new(Connection::new(response))));
    }
    // Why read it here: if the connection breaks within the body, the next attempt gets it whole.
    judge(read(response, idle, config.bytes_max).await?)
}

fn judge(response: Response<Bytes>) -> Result<Opened, Unopened> {
    if is_marked(response.headers()) {
        return Ok(Opened::Plain(response));
    }
    match response.status().as_u16() {
        202 | 429 | 500.. => {
            let after = retry_after(response.headers());
            Err(Unopened::Unavailable { error: Error::refused(Problem::of(&response)), after })
        }
        400.. => Err(Unopened::Refused(Error::refused(Problem::of(&response)))),
        status => {
            let text = format!("the waiting URL answered with {status}, neither a stream nor the run's response");
            Err(Unopened::Refused(Error::protocol(text)))
        }
    }
}

impl From<Error> for Unopened {
    fn from(error: Error) -> Self {
        if error.is_transient() { Self::Unavailable { error, after: None } } else { Self::Refused(error) }
    }
}

fn is_stream(response: &reqwest::Response) -> bool {
    has_type(response.headers().get(header::CONTENT_TYPE), EVENT_STREAM)
}

/// A stream that is being read. Dropping it closes the connection.
pub(crate) struct Connection {
    response: reqwest::Response,
    /// The URL that answered.
    url: Url,
    parser: Parser,
    comments: Comments,
    events: VecDeque<Event>,
}

impl Connection {
    fn new(response: reqwest::Response) -> Self {
        let url = response.url().clone();
        Self { response, url, parser: Parser::default(), comments: Comments::default(), events: VecDeque::new() }
    }

    pub(crate) const fn url(&self) -> &Url {
        &self.url
    }

    /// Whether a heartbeat came.
    pub(crate) const fn beats(&self) -> bool {
        self.comments.seen
    }

    /// The next of the events that have been read.
    pub(crate) fn next_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Reads more; whether the stream goes on.
    pub(crate) async fn read_more(&mut self, idle: Option<Duration>, bytes_max: usize) -> Result<bool, Error> {
        let Some(chunk) = next_chunk(&mut self.response, idle).await? else { return Ok(false) };
        self.comments.look(&chunk);
        self.events.extend(self.parser.push(&chunk));
        if self.parser.pending_len() > bytes_max || self.events.iter().any(|event| event.data.len() > bytes_max) {
            return Err(Error::protocol(format!("a frame has more than {bytes_max} bytes")));
        }
        Ok(true)
    }
}

/// Looks for comments, which the parser skips: a server that sends them is alive as long as it does.
#[derive(Default)]
struct Comments {
    inside_line: bool,
    seen: bool,
}

impl Comments {
    fn look(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.seen |= byte == b':' && !self.inside_line;
            self.inside_line = !matches!(byte, b'\n' | b'\r');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Comments;

    #[test]
    fn a_comment_is_a_line_that_begins_with_a_colon() {
        let seen = |parts: [&str; 2]| {
            let mut comments = Comments::default();
            comments.look(parts[0].as_bytes());
            comments.look(parts[1].as_bytes());
            comments.seen
        };
        assert!(seen([":\n\n", ""]) && seen(["data: x\n", ":\n\n"]) && seen(["\r", ":"]));
        assert!(!seen(["data: :\n\n", ""]) && !seen(["data", ": x\n\n"]));
    }
}
