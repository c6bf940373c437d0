//! The newest frames of the streams that somebody reads: so that a reader who keeps up need not ask the store.

use std::collections::VecDeque;

use onward_core::stream::{Frame, FrameKind, Place};
use parking_lot::Mutex;
use tokio::sync::watch;

/// The most frames that are kept for readers who are a little behind.
const FRAMES_MAX: usize = 1_024;
/// The most bytes of them.
const BYTES_MAX: usize = 256 * 1024;

/// The end of one run's stream, as far as this process has seen it written.
#[derive(Debug)]
pub(crate) struct Live {
    recent: Mutex<Recent>,
    known: watch::Sender<Known>,
    /// Where the readers are that have read all they know of.
    waiting: Mutex<Vec<Place>>,
}

/// What is known of a stream's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    /// The last frame that was published here.
    last: Place,
    /// How often it was said that the store has more than was published.
    hints: u64,
}

#[derive(Debug, Default)]
struct Recent {
    frames: VecDeque<Frame>,
    bytes: usize,
}

/// What a reader finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// The frames that follow.
    Frames(Vec<Frame>),
    /// Nothing that it has not read.
    Nothing,
    /// More than is kept here: the store has it.
    Behind,
}

fn size(frame: &Frame) -> usize {
    match &frame.kind {
        FrameKind::Chunk(data) => data.len() + 64,
        FrameKind::Commit | FrameKind::Rollback => 64,
    }
}

impl Default for Live {
    fn default() -> Self {
        let known = Known { last: Place(0), hints: 0 };
        Self { recent: Mutex::default(), known: watch::Sender::new(known), waiting: Mutex::default() }
    }
}

impl Live {
    /// Frames are durable: whoever reads may have them.
    pub(crate) fn publish(&self, frames: &[Frame]) {
        let Some(last) = frames.last() else { return };
        let mut recent = self.recent.lock();
        for frame in frames {
            let newest = recent.frames.back().map(|newest| newest.place);
            if newest.is_some_and(|newest| frame.place <= newest) {
                continue; // it was told of later ones first: the store has it
            }
            // Why: after a gap (frames that another process wrote) what came before is no beginning any more.
            if newest.is_some_and(|newest| frame.place != newest.next()) {
                *recent = Recent::default();
            }
            recent.bytes += size(frame);
            recent.frames.push_back(frame.clone());
        }
        while recent.frames.len() > FRAMES_MAX || recent.bytes > BYTES_MAX {
            let Some(gone) = recent.frames.pop_front() else { break };
            recent.bytes -= size(&gone);
        }
        drop(recent);
        self.known.send_if_modified(|known| {
            let newer = last.place > known.last;
            known.last = last.place.max(known.last);
            newer
        });
    }

    /// Another process has written more: the store has it.
    pub(crate) fn hint(&self) {
        self.known.send_modify(|known| known.hints += 1);
    }

    /// How often that was said.
    pub(crate) fn hints(&self) -> u64 {
        self.known.borrow().hints
    }

    pub(crate) fn after(&self, place: Place) -> Seen {
        if self.known.borrow().last <= place {
            return Seen::Nothing;
        }
        let recent = self.recent.lock();
        let is_kept = recent.frames.front().is_some_and(|first| first.place <= place.next());
        let frames: Vec<_> = recent.frames.iter().filter(|frame| is_kept && frame.place > place).cloned().collect();
        if frames.is_empty() { Seen::Behind } else { Seen::Frames(frames) }
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<Known> {
        self.known.subscribe()
    }

    /// A reader waits there for more, until the guard is dropped.
    pub(crate) fn wait_at(&self, place: Place) -> Waiting<'_> {
        self.waiting.lock().push(place);
        Waiting { live: self, place }
    }

    /// The least place at which a reader waits.
    pub(crate) fn waits_at(&self) -> Option<Place> {
        self.waiting.lock().iter().min().copied()
    }
}

/// A reader that waits.
pub(crate) struct Waiting<'a> {
    live: &'a Live,
    place: Place,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut waiting = self.live.waiting.lock();
        if let Some(at) = waiting.iter().position(|place| *place == self.place) {
            waiting.swap_remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use onward_core::stream::{Frame, FrameKind, Place};

    use super::{FRAMES_MAX, Live, Seen};

    fn frame(place: usize) -> Frame {
        let kind = FrameKind::Chunk("1".into());
        Frame { place: Place(u32::try_from(place).unwrap()), step: None, kind }
    }

    #[test]
    fn a_reader_gets_what_follows_or_learns_that_it_is_behind() {
        let live = Live::default();
        assert_eq!(live.after(Place(0)), Seen::Nothing);
        live.publish(&[frame(3), frame(4)]);
        assert_eq!(live.after(Place(0)), Seen::Behind);
        assert_eq!(live.after(Place(2)), Seen::Frames(vec![frame(3), frame(4)]));
        assert_eq!(live.after(Place(3)), Seen::Frames(vec![frame(4)]));
        assert_eq!(live.after(Place(4)), Seen::Nothing);
        live.publish(&[frame(9)]);
        assert_eq!(live.after(Place(4)), Seen::Behind, "frames in between were written elsewhere");
        assert_eq!(live.after(Place(8)), Seen::Frames(vec![frame(9)]));
    }

    #[test]
    fn frames_that_are_told_late_or_with_a_gap_never_hide_others() {
        let live = Live::default();
        live.publish(&[frame(5)]);
        live.publish(&[frame(3), frame(4)]);
        assert_eq!(live.after(Place(4)), Seen::Frames(vec![frame(5)]));
        assert_eq!(live.after(Place(2)), Seen::Behind, "the store has them");
        live.publish(&[frame(6), frame(8)]);
        assert_eq!(live.after(Place(6)), Seen::Behind);
        assert_eq!(live.after(Place(7)), Seen::Frames(vec![frame(8)]));
    }

    #[test]
    fn the_least_place_counts_at_which_a_reader_waits() {
        let live = Live::default();
        assert_eq!(live.waits_at(), None);
        let (far, near) = (live.wait_at(Place(9)), live.wait_at(Place(3)));
        let again = live.wait_at(Place(3));
        assert_eq!(live.waits_at(), Some(Place(3)));
        drop(near);
        assert_eq!(live.waits_at(), Some(Place(3)), "another waits there");
        drop(again);
        assert_eq!(live.waits_at(), Some(Place(9)));
        drop(far);
        assert_eq!(live.waits_at(), None);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let live = Live::default();
        for place in 1..=FRAMES_MAX + 10 {
            live.publish(&[frame(place)]);
        }
        assert_eq!(live.after(Place(9)), Seen::Behind);
        let Seen::Frames(kept) = live.after(Place(10)) else { panic!("they are kept") };
        assert_eq!(kept.len(), FRAMES_MAX);
    }
}
