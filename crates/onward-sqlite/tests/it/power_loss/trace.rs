//! The record of a child's I/O.

use std::{collections::BTreeMap, path::Path};

/// The file to which the child writes a line once it is told that a call is done.
pub(super) const ACKNOWLEDGED: &str = "acknowledged";

/// Bytes before a record's path: its kind, three numbers and the path's length.
const HEADER: usize = 27;

/// What was done to a file.
#[derive(Clone, Debug)]
pub(super) enum Action {
    Write { offset: usize, data: Vec<u8> },
    Truncate { len: usize },
    Unlink,
}

/// One deed, and when it was sure to survive.
#[derive(Clone, Debug)]
pub(super) struct Deed {
    /// Its place among the records, from 0.
    pub(super) place: usize,
    pub(super) file: String,
    pub(super) action: Action,
    /// The place of the record after which it is on disk.
    pub(super) durable_from: Option<usize>,
}

/// All that the child did to its files, in order.
#[derive(Debug, Default)]
pub(super) struct Trace {
    records: usize,
    pub(super) deeds: Vec<Deed>,
    sync_ends: Vec<usize>,
    acknowledged: Vec<(usize, String)>,
    /// When the directory's names were on disk: begin and end of each sync.
    pub(super) directory_syncs: Vec<(usize, usize)>,
}

impl Trace {
    pub(super) fn read(path: &Path, dir: &Path) -> Self {
        let bytes = std::fs::read(path).expect("the child was recorded");
        let mut rest = bytes.as_slice();
        let mut trace = Self::default();
        let mut begun: BTreeMap<u64, usize> = BTreeMap::new();
        // Why: the child may end while another of its threads still writes the last record. Nothing was
        // told on the strength of a deed whose record is cut off, so the trace ends before it.
        while let Some((header, after)) = rest.split_at_checked(HEADER) {
            let kind = header[0];
            let number = |from: usize| u64::from_ne_bytes(header[from..from + 8].try_into().expect("8 bytes"));
            let (id, offset, len) = (number(1), size(number(9)), size(number(17)));
            let path_len = usize::from(u16::from_ne_bytes([header[25], header[26]]));
            let Some((path, after)) = after.split_at_checked(path_len) else { break };
            let Some((data, after)) = after.split_at_checked(len) else { break };
            let path = std::str::from_utf8(path).expect("paths are UTF-8");
            let file = Path::new(path).strip_prefix(dir).expect("it is in the directory").display().to_string();
            trace.push(kind, id, &file, offset, data, &mut begun);
            rest = after;
        }
        trace
    }

    fn push(&mut self, kind: u8, id: u64, file: &str, offset: usize, data: &[u8], begun: &mut BTreeMap<u64, usize>) {
        let place = self.records;
        self.records += 1;
        let action = match kind {
            b'W' if file == ACKNOWLEDGED => {
                let lines = String::from_utf8_lossy(data);
                self.acknowledged.extend(lines.lines().map(|line| (place, line.to_owned())));
                return;
            }
            b'S' => {
                begun.insert(id, place);
                return;
            }
            b'E' => return self.synced(begun[&id], place, file),
            b'W' => Action::Write { offset, data: data.to_vec() },
            b'T' => Action::Truncate { len: offset },
            b'U' => Action::Unlink,
            other => panic!("no such record: {other}"),
        };
        self.deeds.push(Deed { place, file: file.to_owned(), action, durable_from: None });
    }

    /// All that was done to a file before its sync began is on disk when the sync ends.
    fn synced(&mut self, begun: usize, ended: usize, file: &str) {
        self.sync_ends.push(ended);
        if file.is_empty() {
            self.directory_syncs.push((begun, ended));
        }
        for deed in &mut self.deeds {
            let covered = match deed.action {
                Action::Unlink => file.is_empty(),
                Action::Write { .. } | Action::Truncate { .. } => deed.file == file,
            };
            if covered && deed.place < begun {
                deed.durable_from.get_or_insert(ended);
            }
        }
    }

    /// How many records there are: a cut is after so many of them.
    pub(super) const fn len(&self) -> usize {
        self.records
    }

    /// The moments just after each sync ended, and just before every second.
    pub(super) fn sync_ends(&self) -> Vec<usize> {
        let after = self.sync_ends.iter().map(|place| place + 1);
        after.chain(self.sync_ends.iter().step_by(2).copied()).collect()
    }

    /// What the child had been told at a cut.
    pub(super) fn acknowledged(&self, cut: usize) -> Vec<String> {
        self.acknowledged.iter().filter(|(place, _)| *place < cut).map(|(_, line)| line.clone()).collect()
    }
}

fn size(number: u64) -> usize {
    usize::try_from(number).expect("it fits into memory")
}
