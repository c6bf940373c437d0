//! What a run's endpoint streams: frames of its stream, which go to its readers when they are durable.
//!
//! A step's output is committed or rolled back with the outcome that the engine records of the step, not when the
//! endpoint says so: else a crash between the two would leave output committed of a step that runs again.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use onward_core::{
    Payload, StepKey, Timestamp,
    stream::{FRAMES_MAX, Frame, FrameKind},
};
use onward_protocol::sse::{self, Content};
use tokio_util::sync::CancellationToken;

use super::{
    Live, State, Tee,
    write::{Receipt, Write},
};
use crate::plan::{Told, Unit, read_key};

/// One stream of output that an endpoint has opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TeeId(u64);

static TEES: AtomicU64 = AtomicU64::new(1);

/// What a frame of an endpoint's stream leads to.
pub(crate) enum Teed {
    /// It is to be written.
    Written(Receipt),
    /// The step's output is complete: nothing more comes that counts.
    Complete,
    /// The run has streamed as much as it may.
    TooMuch,
}

impl Live {
    /// The endpoint begins to stream. The token is cancelled when nothing more of it counts.
    pub(crate) fn open_tee(&self) -> (TeeId, CancellationToken) {
        let id = TeeId(TEES.fetch_add(1, Ordering::Relaxed));
        let stop = CancellationToken::new();
        let mut state = self.state.lock();
        let opened = state.made;
        state.last_tee = Some(opened);
        state.tees.insert(id, Tee { opened, step: None, is_past: false, stop: stop.clone() });
        drop(state);
        self.teed.notify_waiters();
        if self.over.is_cancelled() {
            stop.cancel();
        }
        (id, stop)
    }

    /// The endpoint's stream has ended.
    pub(crate) fn close_tee(self: &Arc<Self>, id: TeeId) {
        let mut state = self.state.lock();
        let step = state.tees.remove(&id).and_then(|tee| tee.step);
        if state.outcome.is_none() && !state.is_elsewhere() {
            let frames: Vec<_> = step.and_then(|key| state.settle_late(id, key)).into_iter().collect();
            drop(self.submit(&mut state, Write { frames, ..Write::of(Told::default()) }));
        }
        drop(state);
        self.teed.notify_waiters();
        self.driver.wake();
    }

    /// Takes chunks that came together. `outside`: how many chunks this stream has had that belong to no step.
    pub(crate) fn tee(self: &Arc<Self>, id: TeeId, frames: Vec<sse::Frame>, outside: &mut u32) -> Teed {
        let limits = self.shared.options.limits;
        let mut state = self.state.lock();
        let (mut written, mut complete, mut too_much) = (Vec::new(), false, false);
        if !state.tees.contains_key(&id) || state.outcome.is_some() || state.is_elsewhere() {
            return Teed::Complete;
        }
        for frame in frames {
            match frame {
                sse::Frame::Chunk { data, step } => {
                    let len = data.get().len();
                    let step = step.as_deref().and_then(read_key);
                    if len > limits.chunk_bytes
                        || state.streamed + len > limits.stream_bytes
                        || state.tail.last().0 + 16 >= FRAMES_MAX
                    {
                        too_much = true;
                        break;
                    }
                    match step {
                        Some(key) => {
                            let Some(tee) = state.tees.get_mut(&id) else { continue };
                            tee.step = Some(key);
                            let (opened, is_past) = (tee.opened, tee.is_past);
                            if is_past || !state.counts(opened, key) {
                                continue;
                            }
                            written.extend(state.takes_over(id, key));
                        }
                        // Why: the handler streams this again in each call; what is there already is not repeated.
                        None => {
                            *outside += 1;
                            if *outside <= state.tail.outside_len() {
                                continue;
                            }
                        }
                    }
                    state.streamed += len;
                    let data = Payload::from(String::from(Box::<str>::from(data)));
                    written.push(state.tail.append(step, FrameKind::Chunk(data)));
                }
                sse::Frame::Commit { step } => {
                    if let Some(key) = state.told_step(id, step.as_deref()) {
                        complete = true;
                        // Where the call's answer was faster than this, what it said is the truth.
                        written.extend(state.settle_late(id, key));
                    }
                }
                sse::Frame::Rollback { step } => {
                    if let Some(key) = state.told_step(id, step.as_deref()) {
                        complete = true;
                        if state.is_streamer(id, key) && state.tail.is_open(Some(key)) {
                            // Whatever has become of the step since: this was an attempt that failed.
                            written.push(state.close(key, FrameKind::Rollback));
                        }
                    }
                }
                sse::Frame::Response { content, .. } => {
                    state.response = Some(content);
                    complete = true;
                }
                sse::Frame::Metadata { .. } | sse::Frame::RedirectInfo { .. } => {}
            }
        }
        // Why in any case: frames that have got their places must be written.
        let receipt = self.submit(&mut state, Write { frames: written, ..Write::of(Told::default()) });
        drop(state);
        if too_much {
            return Teed::TooMuch;
        }
        if complete {
            // The endpoint may leave the connection open for ever.
            self.close_tee(id);
            return Teed::Complete;
        }
        Teed::Written(receipt)
    }

    /// Waits until what a call has streamed is here, as far as that can be known: its answer may be faster.
    /// `step`: the one that it ran; `None`: it ended the run, so its response comes.
    pub(super) async fn await_tees(&self, step: Option<StepKey>, made: u64) {
        // Why not those of earlier calls: the endpoint may leave them open for ever.
        let own = |tee: &&Tee| tee.opened >= made;
        let here = |state: &State| match step {
            Some(key) => state.tees.values().filter(own).all(|tee| tee.step.is_some_and(|step| step != key)),
            None => state.response.is_some() && state.tees.values().all(|tee| tee.step.is_none()),
        };
        if step.is_some() {
            self.await_opening(made).await;
        }
        let all = async {
            loop {
                let changed = self.teed.notified();
                if here(&self.state.lock()) {
                    return;
                }
                changed.await;
            }
        };
        tokio::select! {
            () = all => {}
            () = tokio::time::sleep(if step.is_some() { STEP_WAIT } else { RESPONSE_WAIT }) => {}
            () = self.over.cancelled() => {}
        }
    }

    /// Until when a run stays in memory for what its last step has streamed: it may come after the call's answer, and
    /// by way of another engine. What comes once the run is suspended is nobody's.
    pub(super) fn output_until(&self, state: &State) -> Option<Timestamp> {
        let streams = state.last_tee.is_some() || state.tail.last().0 > 0 || self.shared.store.is_shared();
        let ran_at = state.ran_at.filter(|_| streams)?;
        let comes = |tee: &Tee| tee.step.is_none_or(|key| state.plan.succeeded(key) == Some(true));
        Some(ran_at.after(if state.tees.values().any(comes) { STEP_WAIT } else { LATE_WAIT }))
    }

    /// Waits a little for a stream that a call may have opened: a run that streams may have one which is not here yet.
    async fn await_opening(&self, made: u64) {
        let opened = async {
            loop {
                let changed = self.teed.notified();
                {
                    let state = self.state.lock();
                    if state.tail.last().0 == 0 && state.last_tee.is_none() || state.last_tee >= Some(made) {
                        return;
                    }
                }
                changed.await;
            }
        };
        tokio::select! {
            () = opened => {}
            () = tokio::time::sleep(OPEN_WAIT) => {}
            () = self.over.cancelled() => {}
        }
    }
}

/// How long an answer waits for a stream to be opened, where the run has had one.
const OPEN_WAIT: std::time::Duration = std::time::Duration::from_millis(25);
/// How long a run that would be suspended waits for a stream of the step that ran last.
const LATE_WAIT: std::time::Duration = std::time::Duration::from_millis(500);
/// How long an answer waits for what its step streamed.
const STEP_WAIT: std::time::Duration = std::time::Duration::from_secs(2);
/// How long the end of a run waits for its handler's own response.
const RESPONSE_WAIT: std::time::Duration = std::time::Duration::from_secs(1);

impl State {
    /// The frames that settle what steps have streamed: it is committed where the step succeeded, and taken back
    /// where it did not. A step that succeeded and whose stream goes on to come is left until it has come.
    pub(super) fn settle_output(&mut self, of: impl Fn(StepKey) -> bool) -> Vec<Frame> {
        let open: Vec<_> = self.tail.open().filter(|key| of(*key)).collect();
        let mut frames = Vec::new();
        for key in open {
            let comes = self.tees.values().any(|tee| tee.step == Some(key) && !tee.is_past);
            match self.plan.succeeded(key) {
                Some(true) if comes => {}
                Some(true) => frames.push(self.close(key, FrameKind::Commit)),
                _ => frames.push(self.close(key, FrameKind::Rollback)),
            }
        }
        frames
    }

    /// The step that a stream says it is about.
    fn told_step(&mut self, id: TeeId, step: Option<&str>) -> Option<StepKey> {
        let key = step.and_then(read_key)?;
        self.tees.get_mut(&id)?.step = Some(key);
        Some(key)
    }

    /// Whether the step's output comes by this stream.
    fn is_streamer(&self, id: TeeId, key: StepKey) -> bool {
        self.streamers.get(&key) == Some(&id)
    }

    /// A step's output comes by this stream from now on. What another has brought is of another attempt, such as one
    /// that an engine has called which is gone: it is taken back.
    fn takes_over(&mut self, id: TeeId, key: StepKey) -> Option<Frame> {
        let before = self.streamers.insert(key, id).filter(|before| *before != id)?;
        if let Some(tee) = self.tees.get_mut(&before) {
            tee.is_past = true;
        }
        let is_open = self.tail.is_open(Some(key));
        is_open.then(|| self.close(key, FrameKind::Rollback))
    }

    /// Whether output of a step counts that comes by a stream which was opened when so many calls had been made. The
    /// answer of a call may be faster than what it streamed: that belongs to the attempt which the call was.
    fn counts(&self, opened: u64, key: StepKey) -> bool {
        match self.plan.succeeded(key) {
            Some(true) => self.ran_by.get(&key).is_some_and(|made| opened >= *made),
            Some(false) => false,
            None => self.calls.iter().any(|(unit, made)| {
                let runs_it = match unit {
                    Unit::Targeted(step) => self.plan.wire_of(*step) == Some(key),
                    Unit::Discovery => true,
                    Unit::FirstRequest => false,
                };
                runs_it && opened >= *made
            }),
        }
    }

    /// The frame that settles what a step has streamed this way, where its outcome is known already.
    fn settle_late(&mut self, id: TeeId, key: StepKey) -> Option<Frame> {
        if !self.is_streamer(id, key) {
            return None;
        }
        let kind = if self.plan.succeeded(key)? { FrameKind::Commit } else { FrameKind::Rollback };
        self.tail.is_open(Some(key)).then(|| self.close(key, kind))
    }

    /// The frame that commits a step's output, where it has any.
    pub(super) fn commit(&mut self, key: StepKey) -> Option<Frame> {
        self.tail.is_open(Some(key)).then(|| self.close(key, FrameKind::Commit))
    }

    fn close(&mut self, key: StepKey, kind: FrameKind) -> Frame {
        self.tail.append(Some(key), kind)
    }

    pub(super) fn take_response(&mut self) -> Option<Content> {
        self.response.take()
    }
}
