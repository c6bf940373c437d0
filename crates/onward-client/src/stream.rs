//! A run's stream as frames, over lost connections and over the move from the endpoint to the waiting URL.

mod cursor;

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http::Response;
use onward_protocol::sse::{Content, Frame, ResponseStatus};

use self::cursor::Cursor;
use crate::{
    Client, Error, IntoRequest,
    client::Config,
    connection::{Connection, Opened, Unopened, open_endpoint, open_waiting},
    request::{Call, Caller},
};

impl Client {
    /// Calls a durable endpoint and gives the frames of its run, each once and in order.
    ///
    /// The request is made when the first frame is asked for; a lost connection is resumed on its own. The last frame is
    /// always a [`Frame::Response`], also where the endpoint does not stream, unless the stream ends with an error.
    /// Dropping the stream closes the connection; the run goes on.
    ///
    /// ```no_run
    /// use onward_client::{Client, Frame};
    ///
    /// # async fn call(client: Client) -> Result<(), onward_client::Error> {
    /// let mut frames = client.stream_frames("https://app.example/api/answer");
    /// while let Some(received) = frames.next().await.transpose()? {
    ///     match received.frame {
    ///         Frame::Chunk { data, .. } => println!("{data}"),
    ///         Frame::Response { content, .. } => println!("{}", content.status_code),
    ///         _ => {}
    ///     }
    /// }
    /// # Ok(()) }
    /// ```
    pub fn stream_frames(&self, request: impl IntoRequest) -> Frames {
        Frames::new(Reader::call(self, request))
    }

    /// Reads a run that goes on already, or has ended: the URL is its waiting URL.
    ///
    /// Without an id it gives all that still counts, with one what comes after that frame. Already the first connection
    /// is made with retries.
    ///
    /// ```no_run
    /// # async fn call(client: onward_client::Client, started: onward_client::Started) {
    /// let mut frames = client.attach(started.location(), None);
    /// while let Some(Ok(received)) = frames.next().await {
    ///     println!("{received:?}");
    /// }
    /// # }
    /// ```
    pub fn attach(&self, location: &str, after: Option<&str>) -> Frames {
        Frames::new(Reader::call(self, location).attach(after))
    }
}

/// A frame as it was received.
#[derive(Clone)]
pub struct ReceivedFrame {
    /// What [`Client::attach`] resumes after: the frame's id; `None` where the server gives no ids.
    ///
    /// The first two frames of a stream that was attached to after a frame have that one's.
    pub id: Option<String>,
    /// The frame. The URL of a [`Frame::RedirectInfo`] is absolute.
    pub frame: Frame,
}

impl fmt::Debug for ReceivedFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.frame {
            Frame::Metadata { .. } => "metadata",
            Frame::Chunk { .. } => "chunk",
            Frame::Commit { .. } => "commit",
            Frame::Rollback { .. } => "rollback",
            Frame::RedirectInfo { .. } => "redirect_info",
            Frame::Response { .. } => "response",
        };
        f.debug_struct("ReceivedFrame").field("id", &self.id).field("kind", &kind).finish_non_exhaustive()
    }
}

/// The frames of a run: see [`Client::stream_frames`].
#[must_use = "no request is made until the first frame is asked for"]
pub struct Frames(Pin<Box<dyn Stream<Item = Result<ReceivedFrame, Error>> + Send>>);

impl Frames {
    fn new(reader: Reader) -> Self {
        let frames = stream::unfold(reader, async |mut reader| {
            loop {
                let item = match reader.next().await? {
                    Ok(Part::Reconnecting { .. }) => continue,
                    Ok(Part::Frame(frame)) => Ok(frame),
                    Ok(Part::Plain(response)) => Ok(stand_in(&response)),
                    Err(error) => Err(error),
                };
                return Some((item, reader));
            }
        });
        Self(Box::pin(frames))
    }

    /// The next frame; `None` after the last one, or an error.
    ///
    /// # Cancel safety
    /// Nothing is lost if the future is dropped.
    pub async fn next(&mut self) -> Option<Result<ReceivedFrame, Error>> {
        self.0.next().await
    }
}

impl Stream for Frames {
    type Item = Result<ReceivedFrame, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.as_mut().poll_next(cx)
    }
}

impl fmt::Debug for Frames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frames").finish_non_exhaustive()
    }
}

/// The frame that stands for a plain response.
fn stand_in(response: &Response<Bytes>) -> ReceivedFrame {
    let failed = response.status().is_server_error();
    let status = if failed { ResponseStatus::Failed } else { ResponseStatus::Succeeded };
    ReceivedFrame { id: None, frame: Frame::Response { status, content: Content::of(response) } }
}

// ===== Reader =====

/// What reading a run gives.
pub(crate) enum Part {
    Frame(ReceivedFrame),
    /// The response of an endpoint that does not stream, or of a waiting URL that gives it plain.
    Plain(Response<Bytes>),
    /// A connection was lost; the next is made after the delay.
    Reconnecting {
        attempt: u32,
        delay: Duration,
    },
}

/// Reads a run, one connection after the other.
pub(crate) struct Reader {
    config: Arc<Config>,
    cursor: Cursor,
    place: Place,
}

enum Place {
    /// The endpoint is to be called.
    Calling(Box<Call>),
    /// What was asked for cannot be.
    Invalid(Error),
    /// The waiting URL is to be asked, after a delay.
    Asking(Duration),
    Reading(Box<Connection>),
    /// A connection has ended, or could not be made.
    Between,
    Ended,
}

impl Reader {
    /// Reads the run that a call to its endpoint makes.
    pub(crate) fn call(client: &Client, request: impl IntoRequest) -> Self {
        let config = Arc::clone(&client.config);
        let (cursor, place) = match request.into_call().map(|call| call.with_defaults(&config.headers)) {
            Ok(call) => (Cursor::new(Caller::of(&call)), Place::Calling(Box::new(call))),
            Err(error) => (Cursor::nowhere(), Place::Invalid(error)),
        };
        Self { config, cursor, place }
    }

    /// Takes the URL for a run's waiting URL instead, and reads that run.
    pub(crate) fn attach(mut self, after: Option<&str>) -> Self {
        if let Place::Calling(call) = self.place {
            self.cursor.attach(call.url, after);
            self.place = Place::Asking(Duration::ZERO);
        }
        self
    }

    /// The next part; `None` after a response or an error.
    pub(crate) async fn next(&mut self) -> Option<Result<Part, Error>> {
        if matches!(self.place, Place::Ended) {
            return None;
        }
        let part = self.read().await;
        let goes_on = match &part {
            Ok(Part::Frame(received)) => !matches!(received.frame, Frame::Response { .. }),
            Ok(Part::Reconnecting { .. }) => true,
            Ok(Part::Plain(_)) | Err(_) => false,
        };
        if !goes_on {
            self.place = Place::Ended;
        }
        Some(part)
    }

    async fn read(&mut self) -> Result<Part, Error> {
        loop {
            if let Place::Reading(connection) = &mut self.place {
                let taken = match Self::take(connection, &mut self.cursor, &self.config).await {
                    Ok(Some(frame)) => return Ok(Part::Frame(frame)),
                    Ok(None) => None,
                    Err(error) if error.is_transient() => Some(error),
                    Err(error) => return Err(error),
                };
                self.cursor.ended(taken);
                self.place = Place::Between;
            }
            let opened = match std::mem::replace(&mut self.place, Place::Between) {
                Place::Between => {
                    let (attempt, delay) = self.cursor.plan(&self.config.retry)?;
                    self.place = Place::Asking(delay);
                    return Ok(Part::Reconnecting { attempt, delay });
                }
                Place::Calling(call) => open_endpoint(*call, &self.config).await?,
                Place::Asking(delay) => {
                    if !delay.is_zero() {
                        tokio::time::sleep(delay).await;
                    }
                    match self.ask().await {
                        Ok(opened) => opened,
                        Err(Unopened::Refused(error)) => return Err(error),
                        Err(Unopened::Unavailable { error, after }) => {
                            self.cursor.unavailable(error, after);
                            continue;
                        }
                    }
                }
                Place::Invalid(error) => return Err(error),
                Place::Reading(_) | Place::Ended => unreachable!("a reader reads in one place, and not past its end"),
            };
            match opened {
                Opened::Plain(response) => return Ok(Part::Plain(response)),
                Opened::Stream(connection) => {
                    self.cursor.opened();
                    self.place = Place::Reading(connection);
                }
            }
        }
    }

    async fn ask(&mut self) -> Result<Opened, Unopened> {
        let call = self.cursor.ask().map_err(Unopened::Refused)?;
        let idle = self.cursor.idle(false, &self.config);
        open_waiting(call, self.cursor.last_event_id(), idle, &self.config).await
    }

    /// The next new frame of a connection; `None` at its end.
    async fn take(
        connection: &mut Connection,
        cursor: &mut Cursor,
        config: &Config,
    ) -> Result<Option<ReceivedFrame>, Error> {
        loop {
            while let Some(event) = connection.next_event() {
                if let Some(frame) = cursor.take(event, connection.url())? {
                    return Ok(Some(frame));
                }
            }
            let idle = cursor.idle(connection.beats(), config);
            if !connection.read_more(idle, config.bytes_max).await? {
                return Ok(None);
            }
        }
    }
}
