//! Files as a power cut could have left them.

use std::{collections::BTreeMap, path::Path};

use super::trace::{Action, Deed, Trace};

/// What a disk writes whole or not at all.
const SECTOR: usize = 512;

/// Seeded draws (splitmix64).
#[derive(Debug)]
pub(super) struct Draws(u64);

impl Draws {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn below(&mut self, limit: usize) -> usize {
        let limit = u64::try_from(limit.max(1)).expect("it fits");
        usize::try_from(self.next() % limit).expect("it is below a usize")
    }

    fn happens(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}

/// One file from its creation to its removal: a name may be used again.
#[derive(Debug, Default)]
struct File {
    created: usize,
    content: Vec<u8>,
    /// When its removal was recorded, and from when it is sure.
    removed: Option<(usize, Option<usize>)>,
}

/// Makes the files as they may be after a cut. What was on disk is there; of the rest, `kept` percent of the writes
/// are, and of those every third is torn.
pub(super) fn make(trace: &Trace, cut: usize, kept: usize, draws: &mut Draws, dir: &Path) {
    let mut names: BTreeMap<&str, Vec<File>> = BTreeMap::new();
    let done = trace.deeds.iter().filter(|deed| deed.place < cut && !deed.file.ends_with("-shm"));
    for deed in done {
        let files = names.entry(&deed.file).or_default();
        if files.last().is_none_or(|file| file.removed.is_some()) {
            files.push(File { created: deed.place, ..File::default() });
        }
        let file = files.last_mut().expect("it was pushed above");
        apply(file, deed, deed.durable_from.is_some_and(|place| place < cut), kept, draws);
    }
    for (name, files) in names {
        if let Some(content) = visible(&files, trace, cut, kept, draws) {
            std::fs::write(dir.join(name), content).expect("an image can be written");
        }
    }
}

fn apply(file: &mut File, deed: &Deed, durable: bool, kept: usize, draws: &mut Draws) {
    match &deed.action {
        Action::Unlink => file.removed = Some((deed.place, deed.durable_from)),
        Action::Truncate { len } => {
            if durable || draws.happens(kept) {
                file.content.resize(*len, 0);
            }
        }
        Action::Write { offset, data } => {
            if durable {
                write(&mut file.content, *offset, data);
            } else if draws.happens(kept) {
                let torn = draws.happens(33);
                let mut from = 0;
                while from < data.len() {
                    // Up to the next border of a sector of the file.
                    let to = (from + SECTOR - (offset + from) % SECTOR).min(data.len());
                    if !torn || draws.happens(50) {
                        write(&mut file.content, offset + from, &data[from..to]);
                    }
                    from = to;
                }
            }
        }
    }
}

fn write(content: &mut Vec<u8>, offset: usize, data: &[u8]) {
    if content.len() < offset + data.len() {
        content.resize(offset + data.len(), 0);
    }
    content[offset..offset + data.len()].copy_from_slice(data);
}

/// Which of the files that had a name has it after the cut.
fn visible<'a>(files: &'a [File], trace: &Trace, cut: usize, kept: usize, draws: &mut Draws) -> Option<&'a [u8]> {
    for file in files.iter().rev() {
        let named = trace.directory_syncs.iter().any(|(begun, ended)| file.created < *begun && *ended < cut);
        if !named && !draws.happens(kept) {
            continue;
        }
        let gone = match file.removed {
            None => false,
            Some((_, durable_from)) => durable_from.is_some_and(|place| place < cut) || draws.happens(kept),
        };
        return (!gone).then_some(file.content.as_slice());
    }
    None
}
