//! What a run streams: frames on their way into the store, in the order in which they were made.
//!
//! A frame is given away when it is durable, so no reader sees one that a crash takes back. What is made while a write
//! is under way goes with the next one: a fast stream makes larger writes and not more of them.

use std::{cell::RefCell, collections::BTreeMap, task::Waker};

use onward_core::{
    RunId, StepKey, Timestamp,
    step::StepId,
    stream::{FRAMES_MAX, Frame, FrameKind, Place, Tail},
};

use super::{Arc, Context, Payload, Poll, State, TaskContext};
use crate::{StepError, error::ErrorKind};

/// The most frames that may wait for the store, and the most bytes of chunks.
pub(crate) const WAITING_MAX: usize = 65_536;
pub(crate) const WAITING_BYTES_MAX: usize = 4 << 20;
/// The largest chunk, in bytes of JSON.
pub(crate) const CHUNK_BYTES_MAX: usize = 256 * 1024;

/// A run's stream, as its execution writes it.
#[derive(Default)]
pub(crate) struct StreamState {
    tail: Tail,
    /// Frames that go with the next checkpoint.
    pending: Vec<Frame>,
    bytes: usize,
    /// Checkpoints with frames that are not known to be durable.
    writing: usize,
    /// The last frame that is.
    durable: Place,
    /// The execution has ended: nothing is streamed any more.
    ended: bool,
    /// Somebody reads, or may: every step's commits and rollbacks are told, and frames need not wait for a checkpoint.
    told: bool,
    /// So many chunks outside of steps are in the log already: a replayed handler streams them again.
    skip: u32,
    /// Why a step, or the handler, cannot be said to have streamed what it meant to.
    failed: BTreeMap<Option<StepKey>, StepError>,
    waiting: Vec<Waker>,
    /// Wakers to call when the lock is let go of.
    woken: Vec<Waker>,
}

impl StreamState {
    /// The stream of a replay: what attempts that were cut off have streamed no longer counts.
    pub(crate) fn replay(tail: Tail, told: bool) -> Self {
        let (skip, durable) = (tail.outside_len(), tail.last());
        let told = told || durable > Place(0);
        let mut this = Self { tail, durable, told, skip, ..Self::default() };
        this.roll_back_all();
        this
    }

    fn append(&mut self, step: Option<StepKey>, kind: FrameKind) {
        let frame = self.tail.append(step, kind);
        self.pending.push(frame);
    }

    fn chunk(&mut self, step: Option<StepKey>, data: Payload) -> Result<(), StepError> {
        if step.is_none() && self.skip > 0 {
            self.skip -= 1;
            return Ok(());
        }
        let too_much = |text: String| Err(StepError::new(ErrorKind::TooLarge, text, false));
        if data.len() > CHUNK_BYTES_MAX {
            return too_much(format!("a chunk has {} bytes of JSON, the limit is {CHUNK_BYTES_MAX}", data.len()));
        }
        if self.pending.len() >= WAITING_MAX || self.bytes + data.len() > WAITING_BYTES_MAX {
            return too_much(
                "it streams faster than the store can keep: `flush` or `pipe` wait for the store".to_owned(),
            );
        }
        // Room is left for the commits and rollbacks of all steps.
        if self.tail.last() >= Place(FRAMES_MAX / 2) {
            return too_much(format!("the run has streamed {} frames, the most it may", self.tail.last().0));
        }
        self.bytes += data.len();
        self.append(step, FrameKind::Chunk(data));
        Ok(())
    }

    /// A step succeeded.
    pub(super) fn commit(&mut self, step: StepKey) {
        if self.told || self.tail.is_open(Some(step)) {
            self.append(Some(step), FrameKind::Commit);
        }
    }

    /// An attempt of a step failed.
    pub(super) fn roll_back(&mut self, step: StepKey) {
        if self.told || self.tail.is_open(Some(step)) {
            self.append(Some(step), FrameKind::Rollback);
        }
    }

    /// The handler has let go of a step.
    pub(super) fn let_go(&mut self, step: StepKey) {
        if self.tail.is_open(Some(step)) {
            self.append(Some(step), FrameKind::Rollback);
        }
    }

    pub(super) fn tell(&mut self) {
        self.told = true;
    }

    pub(super) fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// The frames that go with a checkpoint.
    pub(super) fn take(&mut self) -> Vec<Frame> {
        self.bytes = 0;
        std::mem::take(&mut self.pending)
    }

    /// A checkpoint with frames was submitted.
    pub(super) fn submitted(&mut self, frames: &[Frame]) {
        self.writing += usize::from(!frames.is_empty());
    }

    /// It is durable, or never will be.
    pub(super) fn written(&mut self, frames: &[Frame]) {
        let Some(last) = frames.last() else { return };
        self.writing -= 1;
        self.durable = self.durable.max(last.place);
        self.woken.append(&mut self.waiting);
    }

    /// Nothing is streamed any more; who waits for it need not.
    pub(super) fn end(&mut self) {
        self.ended = true;
        self.woken.append(&mut self.waiting);
    }

    pub(super) const fn has_woken(&self) -> bool {
        !self.woken.is_empty()
    }

    pub(super) fn take_woken(&mut self) -> Vec<Waker> {
        std::mem::take(&mut self.woken)
    }

    /// What was begun and will not be ended does not count.
    pub(super) fn roll_back_all(&mut self) {
        for step in self.tail.open().collect::<Vec<_>>() {
            self.append(Some(step), FrameKind::Rollback);
        }
    }
}

/// What transactional steps need: a place that is given away before it is known what they say.
#[cfg(any(feature = "sqlite", feature = "postgres"))]
impl StreamState {
    /// A place for what a transactional step will say, if it says anything.
    pub(super) fn reserve(&mut self) -> Option<Place> {
        self.told.then(|| self.tail.reserve())
    }

    /// What a transactional step says, at the place that was kept for it.
    pub(super) fn settle(&mut self, place: Place, step: StepKey, kind: FrameKind) -> Frame {
        self.tail.settle(place, step, kind)
    }

    /// Puts frames back that wait for the next checkpoint.
    pub(super) fn put(&mut self, frames: Vec<Frame>) {
        let len = |frame: &Frame| if let FrameKind::Chunk(data) = &frame.kind { data.len() } else { 0 };
        self.bytes = frames.iter().map(len).sum();
        self.pending = frames;
    }
}

impl Context {
    /// Streams a chunk. What cannot be streamed is the error of its step, when its attempt ends. Whether it could be.
    pub(crate) fn push(&self, step: Option<StepKey>, data: Result<Payload, String>) -> bool {
        // Why: a handler's writer that is used inside a step streams for that step. A replay does not run the step.
        let inside = || current().filter(|(context, _)| context.run_id == self.run_id).and_then(|(_, step)| step);
        let step = step.or_else(inside);
        let mut state = self.lock();
        if state.stream.ended || state.closed.is_some() && step.is_none() {
            return true;
        }
        let pushed = data
            .map_err(|text| {
                StepError::new(ErrorKind::Unserialisable, format!("a chunk does not become JSON: {text}"), false)
            })
            .and_then(|data| state.stream.chunk(step, data));
        let is_pushed = pushed.is_ok();
        if let Err(error) = pushed {
            state.stream.failed.entry(step).or_insert(error);
        }
        state.driver.wake();
        is_pushed
    }

    /// The place of the last frame that was made.
    pub(crate) fn streamed(&self) -> Place {
        self.lock().stream.tail.last()
    }

    /// Why a step cannot be said to have streamed what it meant to.
    pub(crate) fn take_stream_error(&self, step: Option<StepKey>) -> Option<StepError> {
        self.lock().stream.failed.remove(&step)
    }

    /// Frames need not wait for a checkpoint from now on, and every step tells how it went.
    pub(crate) fn tell(&self) {
        self.lock().stream.tell();
    }

    /// Writes the frames that wait for nothing but a checkpoint.
    pub(crate) fn write_frames(self: &Arc<Self>) {
        let mut state = self.lock();
        let wanted = state.stream.told || state.asynchronous;
        if wanted && state.stream.has_pending() && state.stream.writing == 0 && state.gate.is_none() {
            let now: Timestamp = self.now();
            self.submit(&mut state, now, None, |_| ());
        }
        let has_begun = std::mem::take(&mut state.has_begun);
        drop(state);
        if has_begun {
            self.warn_of_headers();
        }
    }

    /// Ready when there is room again for who streams more than the store keeps, or nobody is there to wait for.
    pub(crate) fn poll_room(&self, cx: &TaskContext<'_>) -> Poll<()> {
        let mut state = self.lock();
        let stream = &state.stream;
        if stream.ended || stream.bytes <= WAITING_BYTES_MAX / 4 && stream.pending.len() <= WAITING_MAX / 4 {
            return Poll::Ready(());
        }
        // Why: where nobody reads, chunks wait for a checkpoint; so many of them do not.
        state.stream.told = true;
        state.wait_for_stream(cx);
        Poll::Pending
    }

    /// Ready when all up to this frame is durable, or waits for a checkpoint because nobody reads.
    pub(crate) fn poll_durable(&self, place: Place, cx: &TaskContext<'_>) -> Poll<()> {
        let mut state = self.lock();
        let told = state.stream.told || state.asynchronous;
        if state.stream.ended || state.stream.durable >= place || !told {
            return Poll::Ready(());
        }
        state.wait_for_stream(cx);
        Poll::Pending
    }

    /// Tells readers of frames that are durable.
    pub(crate) fn publish(&self, frames: &[Frame]) {
        if !frames.is_empty() {
            self.shared.hub.publish(self.run_id, frames);
        }
    }
}

impl Context {
    /// The id of the step of this run whose closure is being polled.
    pub(crate) fn inside_step(&self) -> Option<String> {
        let transaction = TRANSACTION.with_borrow(|inside| {
            inside.as_ref().filter(|(run_id, _)| *run_id == self.run_id).map(|(_, step)| step.to_string())
        });
        let step = || {
            let key = CURRENT.with_borrow(|current| {
                let (context, step) = current.as_ref()?;
                step.filter(|_| context.run_id == self.run_id)
            })?;
            self.lock().machine.id(key).map(ToString::to_string)
        };
        transaction.or_else(step)
    }
}

impl State {
    fn wait_for_stream(&mut self, cx: &TaskContext<'_>) {
        if !self.stream.waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            self.stream.waiting.push(cx.waker().clone());
        }
        self.driver.wake();
    }

    /// Puts the frames that wait into a checkpoint.
    pub(super) fn take_frames(&mut self) -> Vec<Frame> {
        let frames = self.stream.take();
        self.stream.submitted(&frames);
        frames
    }
}

/// What is being polled: the context, and the step whose closure it is.
type Current = (Arc<Context>, Option<StepKey>);

thread_local! {
    static CURRENT: RefCell<Option<Current>> = const { RefCell::new(None) };
}

thread_local! {
    static TRANSACTION: RefCell<Option<(RunId, StepId)>> = const { RefCell::new(None) };
}

/// Runs the closure of a transactional step, or polls its future: on the store's threads, and outside of any stream.
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub(crate) fn within_transaction<T>((run_id, step): &(RunId, StepId), work: impl FnOnce() -> T) -> T {
    struct Restore;
    impl Drop for Restore {
        fn drop(&mut self) {
            drop(TRANSACTION.take());
        }
    }
    let _restore = Restore;
    TRANSACTION.set(Some((*run_id, step.clone())));
    work()
}

/// Polls something of a run: what asks meanwhile is told which run, and which step, it is in.
pub(crate) fn within<T>(context: &Arc<Context>, step: Option<StepKey>, poll: impl FnOnce() -> T) -> T {
    struct Restore(Option<Current>);
    impl Drop for Restore {
        fn drop(&mut self) {
            let before = self.0.take();
            drop(CURRENT.replace(before));
        }
    }
    let _restore = Restore(CURRENT.replace(Some((Arc::clone(context), step))));
    poll()
}

/// Whether a run's handler is being polled here. A task of its own is not part of it.
pub(crate) fn is_inside(run_id: RunId) -> bool {
    CURRENT.with_borrow(|current| current.as_ref().is_some_and(|(context, _)| context.run_id == run_id))
}

/// The run that is being polled, and the step.
pub(crate) fn current() -> Option<Current> {
    CURRENT.with_borrow(Clone::clone)
}
