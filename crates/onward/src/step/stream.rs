//! `step.stream()`: output that reaches clients while the run goes on.

use std::{fmt, future::poll_fn, pin::pin, sync::Arc};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use onward_core::{Payload, StepKey};
use serde::Serialize;

use super::Step;
use crate::{
    IntoStepError, StepError,
    context::{Context, stream},
    error::ErrorKind,
};

/// Streams a run's output to whoever reads it: see [`Step::stream`].
///
/// Chunks of a step are provisional until the step is committed: an attempt that fails takes them back. Chunks outside
/// of steps are permanent.
#[derive(Clone)]
pub struct StreamWriter {
    target: Option<(Arc<Context>, Option<StepKey>)>,
}

impl fmt::Debug for StreamWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamWriter").field("streams", &self.target.is_some()).finish()
    }
}

impl Step {
    /// The run's stream. Inside the closure of a step it is that step's, outside the handler's own.
    ///
    /// Which it is is decided where `stream` is called, not where the writer is used. A task that is spawned inside a
    /// step is outside of it: make the writer before and give it along.
    ///
    /// # Example
    ///
    /// ```
    /// # use onward::{Step, StepError};
    /// async fn answer(step: Step) -> Result<String, StepError> {
    ///     step.run("generate", async || {
    ///         let stream = step.stream();
    ///         stream.push(&"Thinking …");
    ///         let tokens = futures_util::stream::iter(["Once ", "upon ", "a time"]);
    ///         stream.pipe(tokens).await
    ///     })
    ///     .await
    /// }
    /// ```
    pub fn stream(&self) -> StreamWriter {
        let inside = stream::current().filter(|(context, _)| context.run_id == self.context.run_id);
        let step = inside.and_then(|(_, step)| step);
        StreamWriter { target: Some((Arc::clone(&self.context), step)) }
    }
}

impl StreamWriter {
    /// The stream of what is being polled here: of the step or the handler that this code runs in. Outside of a durable
    /// handler it streams nothing.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// let stream = onward::StreamWriter::current();
    /// stream.push(&"nobody reads this");
    /// let text = stream.pipe(futures_util::stream::iter(["nor", "this"])).await;
    /// assert_eq!(text.unwrap(), "");
    /// # }
    /// ```
    pub fn current() -> Self {
        Self { target: stream::current() }
    }

    /// Streams one chunk: any value, as JSON. It never waits.
    ///
    /// Chunks go to the store with the next write of the run, and to readers when they are durable. Up to 4 MiB and
    /// 65,536 chunks may wait for the store, and a chunk has up to 256 KiB. A chunk past that, or one that does not
    /// become JSON, is not streamed: the step's attempt then fails for good when it ends, whatever it returns; outside
    /// of steps the run does. To go no faster than the store, [`flush`](StreamWriter::flush) now and then, or
    /// [`pipe`](StreamWriter::pipe).
    pub fn push<T: Serialize + ?Sized>(&self, data: &T) {
        if let Some((context, step)) = &self.target {
            let data = serde_json::to_vec(data).map(Payload::from).map_err(|error| error.to_string());
            // What cannot be streamed is the step's error when its attempt ends.
            let _ = context.push(*step, data);
        }
    }

    /// Streams the chunks of a stream as they come, and gives their text as a whole. It goes no faster than the store.
    ///
    /// Items are texts or bytes (`String`, `&str`, `Bytes`, `Vec<u8>`), or `Result`s of them. Bytes are UTF-8, which may
    /// be cut anywhere between them; what is none becomes `U+FFFD`. Outside of a durable handler nothing is read, and
    /// the text is empty.
    ///
    /// # Errors
    /// The first error of an item, or a text with more bytes than a step's output may have. The chunks before it were streamed.
    pub async fn pipe<S>(&self, source: S) -> Result<String, StepError>
    where
        S: Stream,
        S::Item: IntoChunk,
    {
        let Some((context, step)) = &self.target else { return Ok(String::new()) };
        let mut source = pin!(source);
        let mut decoder = encoding_rs::UTF_8.new_decoder_without_bom_handling();
        let mut text = String::new();
        while let Some(item) = source.next().await {
            let bytes = item.into_chunk()?;
            let from = text.len();
            decode(&mut decoder, &bytes, &mut text, false);
            // The text is mostly the step's output, so a text that cannot be kept need not be streamed, and paid for, to its end.
            context.room().check(text.len())?;
            send(context, *step, &text[from..])?;
            poll_fn(|cx| context.poll_room(cx)).await;
        }
        let from = text.len();
        decode(&mut decoder, &[], &mut text, true);
        send(context, *step, &text[from..])?;
        Ok(text)
    }

    /// Waits until what was streamed so far is durable. **Cancel-safe.** Where no client reads the stream, chunks wait
    /// for the step's checkpoint, and this does not.
    pub async fn flush(&self) {
        if let Some((context, _)) = &self.target {
            let place = context.streamed();
            poll_fn(|cx| context.poll_durable(place, cx)).await;
        }
    }
}

fn decode(decoder: &mut encoding_rs::Decoder, bytes: &[u8], text: &mut String, last: bool) {
    text.reserve(decoder.max_utf8_buffer_length(bytes.len()).unwrap_or(bytes.len()));
    let _ = decoder.decode_to_string(bytes, text, last);
}

/// Streams a text: in several chunks, where it would be too large for one whatever is in it.
fn send(context: &Context, step: Option<StepKey>, mut text: &str) -> Result<(), StepError> {
    const PIECE: usize = stream::CHUNK_BYTES_MAX / 8;
    while !text.is_empty() {
        let (piece, rest) = text.split_at(text.floor_char_boundary(PIECE));
        text = rest;
        if !context.push(step, serde_json::to_vec(piece).map(Payload::from).map_err(|error| error.to_string())) {
            return Err(StepError::new(ErrorKind::TooLarge, "the run has streamed more than it may", false));
        }
    }
    Ok(())
}

/// What a stream that is piped may be made of.
pub trait IntoChunk {
    /// The bytes of a text, or why there are none.
    fn into_chunk(self) -> Result<Bytes, StepError>;
}

impl IntoChunk for String {
    fn into_chunk(self) -> Result<Bytes, StepError> {
        Ok(Bytes::from(self))
    }
}

impl IntoChunk for &str {
    fn into_chunk(self) -> Result<Bytes, StepError> {
        Ok(Bytes::copy_from_slice(self.as_bytes()))
    }
}

impl IntoChunk for Vec<u8> {
    fn into_chunk(self) -> Result<Bytes, StepError> {
        Ok(Bytes::from(self))
    }
}

impl IntoChunk for Bytes {
    fn into_chunk(self) -> Result<Bytes, StepError> {
        Ok(self)
    }
}

impl<C: IntoChunk, E: IntoStepError> IntoChunk for Result<C, E> {
    fn into_chunk(self) -> Result<Bytes, StepError> {
        self.map_err(IntoStepError::into_step_error)?.into_chunk()
    }
}
