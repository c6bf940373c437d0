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

/// The most frames of one piece, and the most bytes of their chunks: a reader reads whole pieces.
const PIECE_FRAMES: usize = 256;
const PIECE_BYTES: usize = 128 * 1024;

/// Frames as rows keep them: several in one, where they follow one another. The place of the first of each, how many
/// there are, and their bytes.
pub fn pieces(frames: &[Frame]) -> Vec<(Place, u32, Payload)> {
    let (mut pieces, mut begin, mut bytes) = (Vec::new(), 0, 0);
    for (at, frame) in frames.iter().enumerate() {
        bytes += if let FrameKind::Chunk(data) = &frame.kind { data.len() } else { 0 };
        let ends = frames.get(at + 1).is_none_or(|next| next.place != frame.place.next());
        if ends || bytes >= PIECE_BYTES || at + 1 - begin >= PIECE_FRAMES {
            let piece = &frames[begin..=at];
            let count = u32::try_from(piece.len()).unwrap_or(u32::MAX);
            pieces.push((piece[0].place, count, Payload::from(encode(piece))));
            (begin, bytes) = (at + 1, 0);
        }
    }
    pieces
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
