//! Reading a run's stream from the beginning or after a frame: from the store, and then as it grows.

use std::{sync::Arc, time::Duration};

use onward_core::{
    RunId, Store, StoreError,
    run::Outcome,
    stream::{Counting, Frame, Place},
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{Hub, Reading, Seen, Watch};

/// After how much silence a reader says so: what keeps a connection open.
const SILENCE_AFTER: Duration = Duration::from_secs(15);
/// How often a reader looks into the store by itself. What other processes write is told sooner: see
/// [`Config::look_max`](crate::Config::look_max).
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// How long a store is left alone that cannot be read now.
const REST: Duration = Duration::from_secs(1);
/// How many frames are read at once: what a slow reader costs in memory.
const PAGE: usize = 256;

/// What a reader reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// The frames that follow: at least one.
    Frames(Vec<Frame>),
    /// Nothing was said for 15 seconds.
    Silence,
    /// The run has ended like this: there is nothing after it.
    Ended(Arc<Outcome>),
}

/// Reads one run's stream, and how the run ended.
///
/// # Example
///
/// ```
/// use onward_core::{RunId, Store, Timestamp};
/// use onward_scheduler::{Hub, Reader};
/// use std::sync::Arc;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let store: Arc<dyn Store> = Arc::new(onward_testing::MemoryStore::new());
/// let mut reader = Reader::fresh(&store, &Arc::new(Hub::default()), RunId::new(Timestamp::EPOCH, 1), false);
/// assert!(reader.next().await.is_err(), "there is no such run");
/// # }
/// ```
#[derive(Debug)]
pub struct Reader {
    store: Arc<dyn Store>,
    run_id: RunId,
    live: Reading,
    watch: Watch,
    at: Place,
    phase: Phase,
    heard: Instant,
    /// When the store was last asked whether the run has ended.
    looked: Option<Instant>,
    stop: CancellationToken,
}

#[derive(Debug)]
enum Phase {
    /// It has seen nothing: what no longer counts is to be left out. Whether the run had ended when it came.
    Fresh { ended: bool },
    /// It reads what is in the store: up to a place, what counts; after it, all.
    Backlog { until: Place, counting: Counting },
    /// It reads whatever comes.
    Following,
    /// The run has ended like this; frames may be left.
    Ending(Arc<Outcome>),
    /// It knows how the run ended.
    Done,
}

impl Reader {
    /// One who has seen nothing: it gets what still counts. `ended`: whether the run has its outcome already.
    pub fn fresh(store: &Arc<dyn Store>, hub: &Arc<Hub>, run_id: RunId, ended: bool) -> Self {
        Self::new(store, hub, run_id, Place(0), Phase::Fresh { ended })
    }

    /// One who has seen all up to a frame, and gets all that follows.
    pub fn after(store: &Arc<dyn Store>, hub: &Arc<Hub>, run_id: RunId, at: Place) -> Self {
        Self::new(store, hub, run_id, at, Phase::behind())
    }

    fn new(store: &Arc<dyn Store>, hub: &Arc<Hub>, run_id: RunId, at: Place, phase: Phase) -> Self {
        Self {
            store: Arc::clone(store),
            run_id,
            live: hub.read_stream(run_id),
            watch: hub.watch(run_id),
            at,
            phase,
            heard: Instant::now(),
            looked: None,
            stop: CancellationToken::new(),
        }
    }

    /// Ends the reading when a token is cancelled, once there is nothing to read at once.
    #[must_use]
    pub fn until(mut self, stop: CancellationToken) -> Self {
        self.stop = stop;
        self
    }

    /// Whose stream it is.
    pub const fn run_id(&self) -> RunId {
        self.run_id
    }

    /// The place of the last frame that was read.
    pub const fn at(&self) -> Place {
        self.at
    }

    /// What comes next; `None` after the end, or when the reading is to stop. **Not cancel-safe**: a page that was
    /// being read is lost.
    ///
    /// A store that is unavailable is waited for: the reader says that it is silent meanwhile.
    ///
    /// # Errors
    /// [`StoreError::RunNotFound`] where there is no such run, or no longer; a store that cannot be read.
    pub async fn next(&mut self) -> Result<Option<Read>, StoreError> {
        let read = loop {
            match self.read().await {
                Err(StoreError::Unavailable(error)) => {
                    tracing::debug!(run_id = %self.run_id, error = &*error, "a stream waits for the store");
                    tokio::select! {
                        () = tokio::time::sleep(REST) => {}
                        () = self.stop.cancelled() => break Ok(None),
                    }
                    if self.heard.elapsed() >= SILENCE_AFTER {
                        break Ok(Some(Read::Silence));
                    }
                }
                read => break read,
            }
        };
        self.heard = Instant::now();
        read
    }

    async fn read(&mut self) -> Result<Option<Read>, StoreError> {
        loop {
            match &mut self.phase {
                Phase::Done => return Ok(None),
                Phase::Fresh { ended } => {
                    let ended = *ended;
                    self.phase = self.look(ended).await?;
                }
                Phase::Backlog { until, counting } => {
                    let mut page = self.store.frames(self.run_id, self.at, PAGE).await?;
                    let Some(last) = page.last() else {
                        self.phase = Phase::Following;
                        continue;
                    };
                    self.at = last.place;
                    // What came since the look is read like the rest: all of it counts for who was there.
                    page.retain(|frame| frame.place > *until || counting.counts(frame));
                    if !page.is_empty() {
                        return Ok(Some(Read::Frames(page)));
                    }
                }
                Phase::Following | Phase::Ending(_) => {
                    if let Some(frames) = self.follow().await? {
                        return Ok(Some(Read::Frames(frames)));
                    }
                    if let Phase::Ending(outcome) = &self.phase {
                        let ended = Read::Ended(Arc::clone(outcome));
                        self.phase = Phase::Done;
                        return Ok(Some(ended));
                    }
                    match self.wait().await? {
                        Waited::Again => {}
                        Waited::Silence => return Ok(Some(Read::Silence)),
                        Waited::Stopped => return Ok(None),
                    }
                }
            }
        }
    }

    /// Looks at all that is there, a page at a time, to learn what still counts of it.
    async fn look(&self, ended: bool) -> Result<Phase, StoreError> {
        let (mut counting, mut until) = (Counting::default(), Place(0));
        loop {
            let page = self.store.frames(self.run_id, until, PAGE).await?;
            let Some(last) = page.last() else {
                if ended {
                    counting.end();
                }
                return Ok(Phase::Backlog { until, counting });
            };
            until = last.place;
            for frame in &page {
                counting.look(frame);
            }
        }
    }

    /// Frames that have not been read, if there are any.
    async fn follow(&mut self) -> Result<Option<Vec<Frame>>, StoreError> {
        let hinted = self.live.hinted();
        let frames = match self.live.after(self.at) {
            Seen::Frames(frames) => frames,
            // Why: what the store has is all there is; nothing may be left out before the response.
            Seen::Nothing if matches!(self.phase, Phase::Following) => return Ok(None),
            Seen::Nothing | Seen::Behind => {
                let frames = self.store.frames(self.run_id, self.at, PAGE).await?;
                // Why only where there are none: a page may not be all.
                if let Some(hints) = hinted.filter(|_| frames.is_empty()) {
                    self.live.followed(hints);
                }
                frames
            }
        };
        let Some(last) = frames.last() else { return Ok(None) };
        self.at = last.place;
        Ok(Some(frames))
    }

    /// Waits until there may be something to read.
    async fn wait(&mut self) -> Result<Waited, StoreError> {
        let silence = self.heard + SILENCE_AFTER;
        let look = match self.looked {
            Some(looked) => looked + LOOK_EVERY,
            // Why at first: what happened before this reader watched is in the store alone.
            None => return self.look_again().await,
        };
        tokio::select! {
            outcome = self.watch.outcome() => self.phase = Phase::Ending(outcome),
            () = self.live.changed(self.at) => {}
            () = tokio::time::sleep_until(silence) => return Ok(Waited::Silence),
            () = tokio::time::sleep_until(look) => return self.look_again().await,
            () = self.stop.cancelled() => return Ok(Waited::Stopped),
        }
        Ok(Waited::Again)
    }

    /// Looks in the store whether the run has ended, or has streamed more, without a word here.
    async fn look_again(&mut self) -> Result<Waited, StoreError> {
        let record = self.store.run(self.run_id).await?.ok_or(StoreError::RunNotFound)?;
        if let Some(outcome) = record.outcome {
            self.phase = Phase::Ending(Arc::new(outcome));
        } else if !self.store.frames(self.run_id, self.at, 1).await?.is_empty() {
            self.phase = Phase::behind();
        }
        self.looked = Some(Instant::now());
        Ok(Waited::Again)
    }
}

impl Phase {
    /// It reads what it has missed: all of that.
    fn behind() -> Self {
        Self::Backlog { until: Place(0), counting: Counting::default() }
    }
}

enum Waited {
    Again,
    Silence,
    Stopped,
}
