//! `fetch_with_stream`: callbacks on top of a run's frames.

use std::{fmt, pin::Pin, time::Duration};

use bytes::Bytes;
use http::Response;
use onward_protocol::sse::{Content, Frame, ResponseStatus};
use serde_json::value::RawValue;

use crate::{
    Client, Error, IntoRequest,
    stream::{Part, Reader},
};

impl Client {
    /// Calls a durable endpoint, and gives its response when awaited.
    ///
    /// What the endpoint streams meanwhile goes to the callbacks. Lost connections are resumed, and the move to the
    /// waiting URL is followed. An answer that is no stream is given as it is. A run that failed for good gives a
    /// response too, with status 500.
    ///
    /// Dropping the future closes the connection; the run goes on.
    ///
    /// # Errors
    /// The request could not be made, the run was lost ([`Error::is_lost`]), the waiting URL refused
    /// ([`Error::problem`]), or the server sent what the protocol does not allow.
    ///
    /// ```no_run
    /// # async fn call(client: onward_client::Client) -> Result<(), onward_client::Error> {
    /// let (mut chunks, mut failure) = (0, None);
    /// let response = client
    ///     .fetch_with_stream("https://app.example/api/answer")
    ///     .on_data(|_data, _step| chunks += 1)
    ///     .on_stream_error(|message| failure = Some(message.to_owned()))
    ///     .await?;
    /// println!("{} after {chunks} chunks, {failure:?}", response.status());
    /// # Ok(()) }
    /// ```
    pub fn fetch_with_stream<'a>(&self, request: impl IntoRequest) -> FetchWithStream<'a> {
        FetchWithStream { reader: Reader::call(self, request), callbacks: Callbacks::default() }
    }
}

/// A call to an endpoint, and who is told of what it streams: see [`Client::fetch_with_stream`].
#[must_use = "no request is made until it is awaited"]
pub struct FetchWithStream<'a> {
    reader: Reader,
    callbacks: Callbacks<'a>,
}

type OnText<'a> = Box<dyn FnMut(&str) + Send + 'a>;
type OnStep<'a> = Box<dyn FnMut(Option<&str>) + Send + 'a>;
type OnData<'a> = Box<dyn FnMut(&RawValue, Option<&str>) + Send + 'a>;

#[derive(Default)]
struct Callbacks<'a> {
    metadata: Option<OnText<'a>>,
    data: Option<OnData<'a>>,
    commit: Option<OnStep<'a>>,
    rollback: Option<OnStep<'a>>,
    stream_error: Option<OnText<'a>>,
    reconnecting: Option<Box<dyn FnMut(u32, Duration) + Send + 'a>>,
    done: Option<Box<dyn FnOnce() + Send + 'a>>,
}

impl<'a> FetchWithStream<'a> {
    /// Reads a run that goes on already: the URL is its waiting URL, not an endpoint.
    ///
    /// Without an id it gives all that still counts, with one what comes after that frame.
    pub fn attach(mut self, after: Option<&str>) -> Self {
        self.reader = self.reader.attach(after);
        self
    }

    /// Is told the run's id: once, before every other callback.
    pub fn on_metadata(mut self, callback: impl FnMut(&str) + Send + 'a) -> Self {
        self.callbacks.metadata = Some(Box::new(callback));
        self
    }

    /// Is given each chunk, as JSON, and the hashed id of the step that streamed it; `None` outside of steps.
    ///
    /// It is provisional until its step is committed.
    pub fn on_data(mut self, callback: impl FnMut(&RawValue, Option<&str>) + Send + 'a) -> Self {
        self.callbacks.data = Some(Box::new(callback));
        self
    }

    /// Is told that a step succeeded: its chunks are permanent.
    pub fn on_commit(mut self, callback: impl FnMut(Option<&str>) + Send + 'a) -> Self {
        self.callbacks.commit = Some(Box::new(callback));
        self
    }

    /// Is told that an attempt of a step failed: its uncommitted chunks are to be discarded.
    pub fn on_rollback(mut self, callback: impl FnMut(Option<&str>) + Send + 'a) -> Self {
        self.callbacks.rollback = Some(Box::new(callback));
        self
    }

    /// Is told why the run failed for good, or the stream could not be read to its end.
    pub fn on_stream_error(mut self, callback: impl FnMut(&str) + Send + 'a) -> Self {
        self.callbacks.stream_error = Some(Box::new(callback));
        self
    }

    /// Is told before each attempt to resume which one in a row it is, and how long it is waited for.
    ///
    /// The stream's planned move to the waiting URL is attempt 0.
    pub fn on_reconnecting(mut self, callback: impl FnMut(u32, Duration) + Send + 'a) -> Self {
        self.callbacks.reconnecting = Some(Box::new(callback));
        self
    }

    /// Is called last and once, after the response as after an error; not if the future is dropped.
    pub fn on_done(mut self, callback: impl FnOnce() + Send + 'a) -> Self {
        self.callbacks.done = Some(Box::new(callback));
        self
    }

    async fn fetch(mut self) -> Result<Response<Bytes>, Error> {
        let result = self.callbacks.read(&mut self.reader).await;
        if let (Err(error), Some(callback)) = (&result, &mut self.callbacks.stream_error) {
            callback(&error.chain());
        }
        if let Some(callback) = self.callbacks.done {
            callback();
        }
        result
    }
}

impl<'a> IntoFuture for FetchWithStream<'a> {
    type Output = Result<Response<Bytes>, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.fetch())
    }
}

impl fmt::Debug for FetchWithStream<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FetchWithStream").finish_non_exhaustive()
    }
}

impl Callbacks<'_> {
    async fn read(&mut self, reader: &mut Reader) -> Result<Response<Bytes>, Error> {
        while let Some(part) = reader.next().await.transpose()? {
            match part {
                Part::Plain(response) => return Ok(response),
                Part::Reconnecting { attempt, delay } => {
                    if let Some(callback) = &mut self.reconnecting {
                        callback(attempt, delay);
                    }
                }
                Part::Frame(received) => {
                    if let Some(response) = self.deliver(received.frame)? {
                        return Ok(response);
                    }
                }
            }
        }
        Err(Error::protocol("the stream ended without the run's response"))
    }

    /// Calls what the frame is for; gives the run's response, if the frame is that.
    fn deliver(&mut self, frame: Frame) -> Result<Option<Response<Bytes>>, Error> {
        match frame {
            Frame::Metadata { run_id } => self.metadata.iter_mut().for_each(|callback| callback(&run_id)),
            Frame::Chunk { data, step } => self.data.iter_mut().for_each(|callback| callback(&data, step.as_deref())),
            Frame::Commit { step } => self.commit.iter_mut().for_each(|callback| callback(step.as_deref())),
            Frame::Rollback { step } => self.rollback.iter_mut().for_each(|callback| callback(step.as_deref())),
            Frame::RedirectInfo { .. } => {}
            Frame::Response { status, content } => {
                if let (ResponseStatus::Failed, Some(callback)) = (status, &mut self.stream_error) {
                    callback(&failure(&content));
                }
                let response = content.into_response();
                let invalid = || Error::protocol("the run's response is not one that HTTP allows");
                return response.ok_or_else(invalid).map(Some);
            }
        }
        Ok(None)
    }
}

/// The message of a run that failed: its body is a JSON string. A body of another kind is given as it is.
fn failure(content: &Content) -> String {
    serde_json::from_str(&content.body).unwrap_or_else(|_| content.body.clone())
}
