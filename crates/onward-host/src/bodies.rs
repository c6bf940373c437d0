//! Bodies of requests that are read whole, with one bound on the memory of all.
//!
//! A body takes memory as it comes, and the slow ones hold theirs for long. So when the bound is reached, the body that has
//! made no progress for the longest time gives way; where all make progress, the next one is refused.

use std::{collections::BTreeMap, pin::pin, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http_body::Body;
use parking_lot::Mutex;
use tokio::{
    sync::Notify,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::BoxError;

/// Bodies up to so many bytes are not counted, because the cost of their connections is of the same size.
const UNCOUNTED: usize = 16 * 1024;
/// How many more bytes are progress.
const PROGRESS: usize = 16 * 1024;
/// How long a body may be without progress before it gives way to another.
const GIVES_WAY_AFTER: Duration = Duration::from_secs(1);
/// How long a body waits for the memory of those that give way.
const FREED_WITHIN: Duration = Duration::from_secs(1);
/// How often the log says that bodies are refused.
const SAID_EVERY: Duration = Duration::from_secs(60);

/// Reads bodies, and bounds the memory of those that are read and of those that are held.
///
/// # Example
///
/// ```
/// use bytes::Bytes;
/// use http_body_util::Full;
/// use onward_host::bodies::{Bodies, Refused};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let bodies = Bodies::new(256 * 1024 * 1024);
/// let read = bodies.read(Full::new(Bytes::from("hello")), 1024, None).await.unwrap();
/// assert_eq!(read.bytes(), "hello");
/// let refused = bodies.read(Full::new(Bytes::from("hello")), 4, None).await;
/// assert_eq!(refused.unwrap_err(), Refused::TooLarge);
/// # }
/// ```
#[derive(Debug)]
pub struct Bodies {
    bytes_max: usize,
    state: Mutex<State>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct State {
    taken: usize,
    next: u64,
    /// The bodies that are being read and counted.
    reading: BTreeMap<u64, Reading>,
    said_at: Option<Instant>,
}

/// A body that is being read.
#[derive(Debug)]
struct Reading {
    bytes: usize,
    /// When it made progress last.
    progressed: Instant,
    gives_way: CancellationToken,
}

/// The reason for which a body was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The body is larger than its limit.
    TooLarge,
    /// The body is larger than the limit of a layer around the app.
    Limited,
    /// Nothing of it came for as long as it may be silent.
    Silent,
    /// The body broke off, or is not as its headers say.
    Unreadable,
    /// The bodies of all requests have the memory that they may have.
    Full,
}

/// A body that was read. Its memory counts until this and the [`Share`] of it are dropped.
#[derive(Debug)]
pub struct Held {
    bytes: Bytes,
    share: Share,
}

impl Held {
    /// What was read.
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The bytes, and their share of the memory for bodies, which is to be kept for as long as they are.
    pub fn into_parts(self) -> (Bytes, Share) {
        (self.bytes, self.share)
    }
}

/// The share that a body has of the memory for bodies. Dropping a share gives it back.
#[derive(Debug)]
pub struct Share {
    bodies: Arc<Bodies>,
    id: u64,
    bytes: usize,
}

impl Drop for Share {
    fn drop(&mut self) {
        if self.bytes == 0 {
            return;
        }
        {
            let mut state = self.bodies.state.lock();
            state.taken -= self.bytes;
            state.reading.remove(&self.id);
        }
        self.bodies.freed.notify_waiters();
    }
}

impl Bodies {
    /// With room for so many bytes.
    pub fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(Self { bytes_max, state: Mutex::default(), freed: Notify::new() })
    }

    /// How many bytes are taken. Bodies of up to 16 KiB are not counted.
    pub fn taken(&self) -> usize {
        self.state.lock().taken
    }

    /// Reads a whole body of at most `limit` bytes, which may be silent for as long as `silence` says.
    ///
    /// **Cancel safety**: dropping the future gives back the memory that the body has taken, and loses the bytes that were read.
    ///
    /// # Errors
    /// See [`Refused`].
    pub async fn read<B>(self: &Arc<Self>, body: B, limit: usize, silence: Option<Duration>) -> Result<Held, Refused>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        let mut share = Share { bodies: Arc::clone(self), id: 0, bytes: 0 };
        if body.is_end_stream() {
            return Ok(Held { bytes: Bytes::new(), share });
        }
        if body.size_hint().lower() > limit as u64 {
            return Err(Refused::TooLarge);
        }
        let mut body = pin!(body);
        let gives_way = CancellationToken::new();
        // Most bodies come in one piece, and need not be copied then.
        let (mut first, mut rest) = (Bytes::new(), BytesMut::new());
        loop {
            let frame = std::future::poll_fn(|cx| {
                let frame = std::task::ready!(body.as_mut().poll_frame(cx));
                std::task::Poll::Ready(frame.transpose().map_err(|error| unreadable(&*error.into())))
            });
            let frame = async {
                match silence {
                    Some(silence) => timeout(silence, frame).await.unwrap_or(Err(Refused::Silent)),
                    None => frame.await,
                }
            };
            let frame = tokio::select! {
                frame = frame => frame?,
                () = gives_way.cancelled() => return Err(Refused::Full),
            };
            let Some(frame) = frame else { break };
            let Ok(data) = frame.into_data() else { continue };
            let len = first.len() + rest.len() + data.len();
            if len > limit {
                return Err(Refused::TooLarge);
            }
            if first.is_empty() && rest.is_empty() {
                share.grow(len, &gives_way).await?;
                first = data;
                continue;
            }
            if rest.capacity() < len {
                let capacity = (len * 2).min(limit);
                share.grow(capacity, &gives_way).await?;
                let mut larger = BytesMut::with_capacity(capacity);
                larger.extend_from_slice(&std::mem::take(&mut first));
                larger.extend_from_slice(&rest);
                rest = larger;
            }
            let before = rest.len();
            rest.extend_from_slice(&data);
            if before / PROGRESS != rest.len() / PROGRESS {
                share.progressed();
            }
        }
        share.is_read();
        Ok(Held { bytes: if rest.is_empty() { first } else { rest.freeze() }, share })
    }
}

/// The reason for which a body gave an error.
fn unreadable(error: &(dyn std::error::Error + 'static)) -> Refused {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<http_body_util::LengthLimitError>() {
            return Refused::Limited;
        }
        cause = error.source();
    }
    Refused::Unreadable
}

impl Share {
    /// Takes what is missing to so many bytes, from bodies that make no progress where nothing else is left.
    async fn grow(&mut self, capacity: usize, gives_way: &CancellationToken) -> Result<(), Refused> {
        if capacity <= UNCOUNTED {
            return Ok(());
        }
        let until = Instant::now() + FREED_WITHIN;
        let bodies = Arc::clone(&self.bodies);
        loop {
            let mut freed = pin!(bodies.freed.notified());
            freed.as_mut().enable();
            let answer = bodies.state.lock().grow(bodies.bytes_max, self, capacity, gives_way, Instant::now());
            match answer {
                Some(grown) => return grown,
                None => tokio::select! {
                    () = freed => {}
                    () = gives_way.cancelled() => return Err(Refused::Full),
                    () = tokio::time::sleep_until(until) => return Err(Refused::Full),
                },
            }
        }
    }

    fn progressed(&self) {
        if let Some(reading) = self.bodies.state.lock().reading.get_mut(&self.id) {
            reading.progressed = Instant::now();
        }
    }

    /// The body is complete, and gives way to no other.
    fn is_read(&self) {
        if self.bytes > 0 {
            self.bodies.state.lock().reading.remove(&self.id);
        }
    }
}

impl State {
    /// Gives a share what is missing, or refuses it. `None`: others give way, and it is to be asked for again.
    fn grow(
        &mut self,
        bytes_max: usize,
        share: &mut Share,
        capacity: usize,
        gives_way: &CancellationToken,
        now: Instant,
    ) -> Option<Result<(), Refused>> {
        let more = capacity.saturating_sub(share.bytes);
        if more <= bytes_max.saturating_sub(self.taken) {
            if share.bytes == 0 {
                self.next += 1;
                share.id = self.next;
            }
            self.taken += more;
            share.bytes += more;
            let gives_way = gives_way.clone();
            self.reading.insert(share.id, Reading { bytes: share.bytes, progressed: now, gives_way });
            return Some(Ok(()));
        }
        let leaving: usize =
            self.reading.values().filter(|other| other.gives_way.is_cancelled()).map(|o| o.bytes).sum();
        if more <= bytes_max.saturating_sub(self.taken.saturating_sub(leaving)) {
            return None;
        }
        let others = self.reading.iter().filter(|(id, other)| {
            let slow = now.saturating_duration_since(other.progressed) >= GIVES_WAY_AFTER;
            **id != share.id && slow && !other.gives_way.is_cancelled()
        });
        let slowest = others.min_by_key(|(_, other)| other.progressed).map(|(_, other)| &other.gives_way);
        let first = self.said_at.is_none_or(|said| now.saturating_duration_since(said) >= SAID_EVERY);
        if first {
            self.said_at = Some(now);
            tracing::warn!(
                bytes_max,
                taken = self.taken,
                bodies = self.reading.len(),
                "request bodies take all the memory that they may: the slowest are refused"
            );
        }
        match slowest {
            Some(gives_way) => {
                gives_way.cancel();
                None
            }
            None => Some(Err(Refused::Full)),
        }
    }
}
