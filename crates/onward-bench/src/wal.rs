//! The floor: one shared log, group commit, `fdatasync`; no index, no replay, no names.

use std::{fs::File, io::Write, path::Path, sync::mpsc};

use tokio::sync::oneshot;

type Append = (Vec<u8>, oneshot::Sender<()>);

/// A log whose appends are on disk when they are acknowledged.
#[derive(Clone)]
pub(crate) struct Wal(mpsc::Sender<Append>);

impl Wal {
    pub(crate) fn open(path: &Path) -> Self {
        let mut file = File::create(path).expect("the folder can be written to");
        let (sender, queue) = mpsc::channel::<Append>();
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            while let Ok(first) = queue.recv() {
                let group: Vec<_> = std::iter::once(first).chain(queue.try_iter()).collect();
                bytes.clear();
                for (each, _) in &group {
                    bytes.extend_from_slice(each);
                }
                file.write_all(&bytes).expect("the disk has room");
                file.sync_data().expect("the disk syncs");
                for (_, done) in group {
                    let _ = done.send(());
                }
            }
        });
        Self(sender)
    }

    pub(crate) async fn append(&self, bytes: Vec<u8>) {
        let (done, waits) = oneshot::channel();
        self.0.send((bytes, done)).expect("the writer lives");
        waits.await.expect("the writer acknowledges");
    }
}
