//! How frames are stored, several in one piece: a version byte, then records of that version.

use serde::{Deserialize, Serialize};

use super::{FRAMES_MAX, Frame, FrameKind, Place};
use crate::{Payload, StepKey, journal::format::Raw};

/// The version that is written. Older ones stay readable.
const VERSION: u8 = 1;

/// Stored frames that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("stored stream frames cannot be read")]
pub struct InvalidFrames;

#[derive(Serialize, Deserialize)]
struct FrameV1<'a> {
    step: Option<[u8; 20]>,
    #[serde(borrow)]
    kind: KindV1<'a>,
}

#[derive(Serialize, Deserialize)]
enum KindV1<'a> {
    Chunk(#[serde(borrow)] Raw<'a>),
    Commit,
    Rollback,
}

/// The stored bytes of frames that follow one another. The first one's place is not among them: it is the row's key.
pub fn encode(frames: &[Frame]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(frames.len() * 64 + 1);
    bytes.push(VERSION);
    for frame in frames {
        let kind = match &frame.kind {
            FrameKind::Chunk(data) => KindV1::Chunk(Raw(data.as_ref())),
            FrameKind::Commit => KindV1::Commit,
            FrameKind::Rollback => KindV1::Rollback,
        };
        let record = FrameV1 { step: frame.step.map(StepKey::to_bytes), kind };
        bytes = postcard::to_extend(&record, bytes).expect("a record of slices and numbers always encodes");
    }
    bytes
}

/// Reads frames back.
pub fn decode(first: Place, bytes: &[u8]) -> Result<Vec<Frame>, InvalidFrames> {
    let Some((&VERSION, mut rest)) = bytes.split_first() else { return Err(InvalidFrames) };
    let (mut frames, mut place) = (Vec::new(), first);
    while !rest.is_empty() {
        let (record, after) = postcard::take_from_bytes::<FrameV1<'_>>(rest).map_err(|_| InvalidFrames)?;
        let kind = match record.kind {
            KindV1::Chunk(Raw(data)) => FrameKind::Chunk(Payload::from(data.to_vec())),
            KindV1::Commit => FrameKind::Commit,
            KindV1::Rollback => FrameKind::Rollback,
        };
        if place.0 > FRAMES_MAX {
            return Err(InvalidFrames);
        }
        frames.push(Frame { place, step: record.step.map(StepKey::from_bytes), kind });
        place = place.next();
        rest = after;
    }
    Ok(frames)
}
