//! Which frames count, for every order of chunks, commits and rollbacks.

use proptest::prelude::*;

use super::{Counting, Frame, FrameKind, Place, Tail, format};
use crate::{Payload, StepKey};

fn step(number: u8) -> Option<StepKey> {
    (number > 0).then(|| StepKey::of(&number.to_string(), 0))
}

fn log(said: &[(u8, u8)]) -> Vec<Frame> {
    let mut tail = Tail::default();
    let frame = |(place, (number, kind)): (usize, &(u8, u8))| {
        let kind = match (number, kind) {
            (0, _) | (_, 0..=2) => FrameKind::Chunk(Payload::from(place.to_string())),
            (_, 3) => FrameKind::Commit,
            _ => FrameKind::Rollback,
        };
        tail.append(step(*number), kind)
    };
    said.iter().enumerate().map(frame).collect()
}

fn counting(frames: Vec<Frame>) -> Vec<Frame> {
    let mut counting = Counting::default();
    for frame in &frames {
        counting.look(frame);
    }
    frames.into_iter().filter(|frame| counting.counts(frame)).collect()
}

/// What a reader shows who takes frames one by one: the chunks that count.
fn shown(frames: &[Frame]) -> Vec<Payload> {
    let mut shown: Vec<(Option<StepKey>, bool, Payload)> = Vec::new();
    for frame in frames {
        match &frame.kind {
            FrameKind::Chunk(data) => shown.push((frame.step, frame.step.is_none(), data.clone())),
            FrameKind::Commit => {
                shown
                    .iter_mut()
                    .filter(|(step, ..)| *step == frame.step)
                    .for_each(|(_, permanent, _)| *permanent = true);
            }
            FrameKind::Rollback => shown.retain(|(step, permanent, _)| *permanent || *step != frame.step),
        }
    }
    shown.into_iter().map(|(.., data)| data).collect()
}

proptest! {
    #[test]
    fn a_late_reader_shows_what_one_shows_who_was_there(said in proptest::collection::vec((0_u8..3, 0_u8..5), 0..40)) {
        let all = log(&said);
        let late = counting(all.clone());
        prop_assert_eq!(shown(&late), shown(&all));
        prop_assert!(late.iter().all(|frame| frame.kind != FrameKind::Rollback));
        prop_assert!(late.windows(2).all(|pair| pair[0].place < pair[1].place));
    }

    #[test]
    fn who_goes_on_after_any_frame_shows_the_same(said in proptest::collection::vec((0_u8..3, 0_u8..5), 0..40), cut in 0_usize..40) {
        let all = log(&said);
        let cut = cut.min(all.len());
        let mut seen = counting(all[..cut].to_vec());
        seen.extend_from_slice(&all[cut..]);
        prop_assert_eq!(shown(&seen), shown(&all));
    }

    #[test]
    fn a_log_tells_its_tail_and_survives_storage(said in proptest::collection::vec((0_u8..3, 0_u8..5), 1..40)) {
        let all = log(&said);
        let mut tail = Tail::default();
        for frame in &all {
            tail.replay(frame);
        }
        prop_assert_eq!(tail.last(), Place(u32::try_from(all.len()).unwrap()));
        prop_assert_eq!(format::decode(all[0].place, &format::encode(&all)).unwrap(), all);
    }

    #[test]
    fn damaged_frames_are_an_error_and_never_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
        let _ = format::decode(Place(1), &bytes);
    }
}
