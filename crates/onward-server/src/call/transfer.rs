//! The memory of calls that are being sent, and of answers that are being read.
//!
//! A call that waits for its answer costs next to nothing, and may wait for hours. A transfer costs its bytes, so transfers
//! are counted apart, and shared among hosts like the [places](super::places) of calls.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};

use super::{
    NoAnswer,
    places::{Place, Places},
};

/// Transfers up to so many bytes are not counted, because the cost of their connections is of the same size.
const UNCOUNTED: usize = 16 * 1024;
/// How many bytes are one place.
const UNIT: usize = 1024;
/// How long an answer waits for memory, and how long one that has taken some may be silent.
const PATIENCE: Duration = Duration::from_secs(60);

/// The memory for transfers.
#[derive(Debug)]
pub(super) struct Transfers(Arc<Places>);

/// The share that a transfer has of the memory. Dropping a share gives it back.
#[derive(Debug, Default)]
pub(super) struct Share {
    taken: Vec<Place>,
    bytes: usize,
}

impl Transfers {
    pub(super) fn new(bytes_max: usize) -> Self {
        let total = bytes_max.div_ceil(UNIT);
        Self(Places::new(total, total))
    }

    /// Waits for the memory of a call of so many bytes. **Cancel-safe**.
    pub(super) async fn send(&self, host: &str, bytes: usize) -> Share {
        let mut share = Share::default();
        self.grow(&mut share, host, bytes).await;
        share
    }

    async fn grow(&self, share: &mut Share, host: &str, bytes: usize) {
        if bytes <= UNCOUNTED || bytes <= share.bytes {
            return;
        }
        let weight = (bytes - share.bytes).div_ceil(UNIT);
        let has_some = !share.taken.is_empty();
        share.taken.push(if has_some { self.0.grow(host, weight).await } else { self.0.take(host, weight).await });
        share.bytes = bytes;
    }

    /// Reads an answer up to a limit. Its memory counts until the share is dropped.
    ///
    /// An answer may be silent for as long as the call may take, until it has taken memory that others wait for.
    pub(super) async fn read(
        &self,
        host: &str,
        response: &mut reqwest::Response,
        limit: usize,
    ) -> Result<(Bytes, Share), NoAnswer> {
        let announced = response.content_length().and_then(|len| usize::try_from(len).ok()).unwrap_or_default();
        if announced > limit {
            return Err(NoAnswer::TooLarge(limit));
        }
        let (mut share, mut body) = (Share::default(), BytesMut::new());
        self.grow_within(&mut share, host, announced).await?;
        loop {
            let chunk = async { response.chunk().await.map_err(|_| NoAnswer::from("the answer broke off")) };
            let chunk = if share.bytes > 0 {
                let silent = || Err("the answer was silent for a minute in the middle".into());
                tokio::time::timeout(PATIENCE, chunk).await.unwrap_or_else(|_| silent())?
            } else {
                chunk.await?
            };
            let Some(chunk) = chunk else { return Ok((body.freeze(), share)) };
            let len = body.len() + chunk.len();
            if len > limit {
                return Err(NoAnswer::TooLarge(limit));
            }
            if len > body.capacity() {
                let capacity = (len * 2).min(limit).max(announced);
                self.grow_within(&mut share, host, capacity).await?;
                body.reserve(capacity - body.len());
            }
            body.extend_from_slice(&chunk);
        }
    }

    /// Takes memory for an answer. One that has none yet waits for as long as its call may take, and one that has some for
    /// a minute: others may be waiting for that.
    async fn grow_within(&self, share: &mut Share, host: &str, bytes: usize) -> Result<(), NoAnswer> {
        if share.taken.is_empty() {
            self.grow(share, host, bytes).await;
            return Ok(());
        }
        let grown = tokio::time::timeout(PATIENCE, self.grow(share, host, bytes)).await;
        grown.map_err(|_| "the engine had no memory left for the answer: --limit-transfers-bytes".into())
    }
}

/// A call's body. Its share of the memory is given back when the body has been written to its connection.
pub(super) struct Outgoing {
    bytes: Option<Bytes>,
}

/// Bytes with their share of the memory.
struct Counted {
    bytes: Bytes,
    _share: Share,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Outgoing {
    pub(super) fn new(bytes: Bytes, share: Share) -> Self {
        let bytes = Bytes::from_owner(Counted { bytes, _share: share });
        Self { bytes: Some(bytes).filter(|bytes| !bytes.is_empty()) }
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.bytes.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.as_ref().map_or(0, Bytes::len) as u64)
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;

    use bytes::Bytes;
    use futures_util::FutureExt;
    use http_body_util::BodyExt;

    use super::{Outgoing, Transfers};

    #[tokio::test]
    async fn a_call_counts_until_it_is_written_and_small_ones_do_not() {
        let transfers = Transfers::new(1024 * 1024);
        let share = transfers.send("a", 1024 * 1024).await;
        assert!(transfers.send("a", 17 * 1024).now_or_never().is_none());
        assert!(transfers.send("b", 17 * 1024).now_or_never().is_none(), "nothing is left");
        assert!(transfers.send("b", 16 * 1024).now_or_never().is_some(), "it is small");
        let mut body = Outgoing::new(Bytes::from(vec![0; 1024 * 1024]), share);
        let frame = Pin::new(&mut body).frame().await.unwrap().unwrap();
        assert!(transfers.send("b", 17 * 1024).now_or_never().is_none(), "it is not written yet");
        drop(frame);
        assert!(transfers.send("b", 17 * 1024).now_or_never().is_some());
    }
}
