//! What a run streams while it goes on: an append-only log of frames, of which some no longer count.
//!
//! A chunk is provisional until its step is committed; a rollback takes back what the step has streamed since. Chunks
//! outside of steps are permanent at once: nothing rolls them back.

pub mod format;

use std::collections::{BTreeMap, BTreeSet};

use crate::{Payload, StepKey};

/// The most frames a run's stream may have.
pub const FRAMES_MAX: u32 = (1 << 20) - 1;

/// A frame's place in its run's stream, from 1. Places have no gaps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place(pub u32);

impl Place {
    /// The place after this one.
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// One frame of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its place.
    pub place: Place,
    /// The step that it is about; `None` for what the handler streamed outside of steps.
    pub step: Option<StepKey>,
    /// What it says.
    pub kind: FrameKind,
}

/// What a frame says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FrameKind {
    /// A piece of output, as JSON.
    Chunk(Payload),
    /// The step succeeded: its chunks are permanent.
    Commit,
    /// An attempt failed: the step's chunks since its last commit or rollback no longer count.
    Rollback,
}

/// Which frames a reader gets who has seen nothing: those that still count. Chunks that were rolled back are left out,
/// and so are their rollbacks.
///
/// All frames are looked at first, in order, a page at a time; then each tells whether it counts.
#[derive(Clone, Debug, Default)]
pub struct Counting {
    open: BTreeMap<StepKey, Vec<Place>>,
    gone: BTreeSet<Place>,
}

impl Counting {
    /// Looks at the next frame.
    pub fn look(&mut self, frame: &Frame) {
        let Some(step) = frame.step else { return };
        match frame.kind {
            FrameKind::Chunk(_) => self.open.entry(step).or_default().push(frame.place),
            FrameKind::Commit => drop(self.open.remove(&step)),
            FrameKind::Rollback => {
                self.gone.insert(frame.place);
                self.gone.extend(self.open.remove(&step).unwrap_or_default());
            }
        }
    }

    /// The run has ended: what is neither committed nor rolled back never will be, and does not count.
    pub fn end(&mut self) {
        self.gone.extend(std::mem::take(&mut self.open).into_values().flatten());
    }

    /// Whether a frame that was looked at still counts.
    pub fn counts(&self, frame: &Frame) -> bool {
        !self.gone.contains(&frame.place)
    }
}

/// The state of a stream as its run goes on: what comes next, and which steps have streamed something that is neither
/// committed nor rolled back.
///
/// # Example
///
/// ```
/// use onward_core::{StepKey, stream::{FrameKind, Tail}};
///
/// let step = Some(StepKey::of("answer", 0));
/// let mut tail = Tail::default();
/// let chunk = tail.append(step, FrameKind::Chunk("\"Once\"".into()));
/// assert_eq!(chunk.place.0, 1);
/// assert!(tail.is_open(step));
/// tail.append(step, FrameKind::Rollback);
/// assert!(!tail.is_open(step));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Tail {
    last: Place,
    open: BTreeSet<StepKey>,
    outside: u32,
}

impl Tail {
    /// Takes the next frame of a log into account.
    pub fn replay(&mut self, frame: &Frame) {
        self.fold(frame.step, &frame.kind);
    }

    /// The next frame, which says this of this step.
    pub fn append(&mut self, step: Option<StepKey>, kind: FrameKind) -> Frame {
        let place = self.fold(step, &kind);
        Frame { place, step, kind }
    }

    fn fold(&mut self, step: Option<StepKey>, kind: &FrameKind) -> Place {
        self.last = self.last.next();
        match (step, kind) {
            (Some(step), FrameKind::Chunk(_)) => drop(self.open.insert(step)),
            (Some(step), FrameKind::Commit | FrameKind::Rollback) => drop(self.open.remove(&step)),
            (None, FrameKind::Chunk(_)) => self.outside += 1,
            (None, _) => {}
        }
        self.last
    }

    /// Gives the next place away before its frame is known; see [`Tail::settle`].
    pub const fn reserve(&mut self) -> Place {
        self.last = self.last.next();
        self.last
    }

    /// A frame takes a place that was given away.
    pub fn settle(&mut self, place: Place, step: StepKey, kind: FrameKind) -> Frame {
        self.open.remove(&step);
        Frame { place, step: Some(step), kind }
    }

    /// The place of the last frame; 0 where there is none.
    pub const fn last(&self) -> Place {
        self.last
    }

    /// Whether the step has streamed something that may yet be rolled back.
    pub fn is_open(&self, step: Option<StepKey>) -> bool {
        step.is_some_and(|step| self.open.contains(&step))
    }

    /// The steps that have.
    pub fn open(&self) -> impl Iterator<Item = StepKey> + '_ {
        self.open.iter().copied()
    }

    /// How many chunks were streamed outside of steps: a replay of the handler streams them again.
    pub const fn outside_len(&self) -> u32 {
        self.outside
    }
}

#[cfg(test)]
mod tests;
