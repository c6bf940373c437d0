//! The handle: every method of the port, submitted to the writer or to the readers.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use onward_core::{
    BoxFuture, NodeId, Payload, RunId, Store, StoreError, Timestamp,
    event::Event,
    run::RunRecord,
    store::{
        Checkpoint, Checkpointed, ClaimRequest, Claims, Control, Loaded, RunFilter, RunPage, Swept, Unserved,
        UnservedQuery, Woken,
    },
    stream::{self, Frame},
    waiter::{Delivery, Signal},
};
use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::{
    connection::Place,
    engine::{Engine, prepare},
    error::{Abort, Done, misconfigured, unavailable},
    location::Location,
    options::Options,
    queue::{Care, Queue},
    read,
    readers::Readers,
    writer::Writer,
};

/// A [`Store`] in an SQLite database that this process owns.
///
/// Clones share the database. When the last is dropped, or on [`close`](Self::close), what was submitted is still
/// done, the write-ahead log is copied into the database and the lock is released.
///
/// # Example
///
/// ```
/// use onward_core::Store;
/// use onward_sqlite::{Options, SqliteStore};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("onward.db");
/// let store = SqliteStore::open(&path, Options::new())?;
/// let page = store.runs(Default::default()).await?;
/// assert!(page.runs.is_empty());
/// store.close().await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct SqliteStore(Arc<Inner>);

struct Inner {
    queue: Arc<Queue>,
    readers: Option<Arc<Readers>>,
    /// `None` in memory.
    file: Option<OpenFile>,
    writer: Mutex<Option<JoinHandle<()>>>,
    closing: Mutex<Closing>,
}

/// After how many looks that have not found it a file is lost.
const LOST_AFTER: u32 = 2;

/// The database's file, as it was when it was opened.
struct OpenFile {
    path: PathBuf,
    identity: Option<(u64, u64)>,
    /// How many looks in a row have not found it.
    missed: AtomicU32,
}

impl OpenFile {
    fn new(path: &Path) -> Self {
        // The process may go to another folder.
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        Self { identity: identity(&path).ok(), path, missed: AtomicU32::new(0) }
    }

    /// Looks whether the path still leads to the file that is open.
    fn look(&self) {
        let found = identity(&self.path);
        let is_missing = match (&found, self.identity) {
            (_, None) => false,
            (Ok(found), Some(own)) => *found != own,
            // A file system may not answer now.
            (Err(error), Some(_)) => error.kind() == io::ErrorKind::NotFound,
        };
        if is_missing {
            self.missed.fetch_add(1, Ordering::Relaxed);
        } else if found.is_ok() && self.missed.load(Ordering::Relaxed) < LOST_AFTER {
            self.missed.store(0, Ordering::Relaxed);
        }
    }

    /// The refusal of all calls where the file is lost, because its new rows would end with the process.
    fn lost(&self) -> Option<StoreError> {
        (self.missed.load(Ordering::Relaxed) >= LOST_AFTER).then(|| {
            unavailable(format!(
                "the file {} was removed or replaced while the app runs: put the one that was opened back if you can, and \
                 restart the app",
                self.path.display()
            ))
        })
    }
}

/// The device and number of a file, which tell it from another file of the same name.
#[cfg(unix)]
fn identity(path: &Path) -> io::Result<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).map(|file| (file.dev(), file.ino()))
}

#[cfg(not(unix))]
fn identity(_: &Path) -> io::Result<(u64, u64)> {
    Err(io::ErrorKind::Unsupported.into())
}

#[derive(Default)]
struct Closing {
    ended: bool,
    waiting: Vec<oneshot::Sender<()>>,
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore").finish_non_exhaustive()
    }
}

impl SqliteStore {
    /// Opens the database at `path`, or makes it, directories included. [`Options::schema_unchanged`] makes and changes
    /// nothing.
    ///
    /// It is locked: a second process, or a second handle, gets [`StoreError::Unavailable`]. So does who opens a file
    /// of another application or of a newer release; a file that is no database is [`StoreError::Corrupt`]. Blocks
    /// for a few milliseconds of file work.
    #[expect(clippy::needless_pass_by_value, reason = "options are made for one store")]
    pub fn open(path: impl AsRef<Path>, options: Options) -> Result<Self, StoreError> {
        Self::start(&Place::File(path.as_ref().to_owned()), &options)
    }

    /// Opens the database that a URL names: see [`Location`].
    ///
    /// # Errors
    /// As [`SqliteStore::open`]; also for a URL that is none, and for a file that is not there with `mode=rw`.
    pub fn open_url(url: &str, options: Options) -> Result<Self, StoreError> {
        match Location::parse(url)? {
            Location::Memory => Self::start(&Place::Memory, &options),
            Location::File { path, make } if make || path.exists() => Self::open(path, options),
            Location::File { path, .. } => {
                Err(misconfigured(format!("there is no file {}, and mode=rw makes none", path.display())))
            }
        }
    }

    /// Opens a database that lives in memory and ends with the store.
    pub fn in_memory() -> Result<Self, StoreError> {
        Self::start(&Place::Memory, &Options::new())
    }

    fn start(place: &Place, options: &Options) -> Result<Self, StoreError> {
        let queue = Arc::new(Queue::new(options.queue_len));
        let writer = Writer::open(place, options, &queue)?;
        let readers = writer.readers();
        let file = match place {
            Place::File(path) => Some(OpenFile::new(path)),
            Place::Memory => None,
        };
        let inner = Arc::new(Inner { queue, readers, file, writer: Mutex::default(), closing: Mutex::default() });
        let ended = Arc::downgrade(&inner);
        let handle = thread::Builder::new()
            .name("onward-sqlite-write".to_owned())
            .spawn(move || {
                writer.serve();
                if let Some(inner) = ended.upgrade() {
                    inner.end();
                }
            })
            .map_err(|error| unavailable(format!("cannot start the writer: {error}")))?;
        *inner.writer.lock().unwrap_or_else(PoisonError::into_inner) = Some(handle);
        Ok(Self(inner))
    }

    /// Takes no more calls, does those that were submitted, and closes the database. Completes when the file is free
    /// for another process; dropping the future takes nothing back.
    pub fn close(&self) -> BoxFuture<'static, ()> {
        let mut closing = self.0.closing.lock().unwrap_or_else(PoisonError::into_inner);
        if closing.ended {
            return Box::pin(std::future::ready(()));
        }
        let (tell, told) = oneshot::channel();
        closing.waiting.push(tell);
        drop(closing);
        self.0.queue.close();
        Box::pin(async move {
            // The sender goes when all is closed, one way or the other.
            let _ = told.await;
        })
    }

    pub(crate) fn call<T: Send + 'static>(
        &self,
        care: Care,
        work: impl FnOnce(&mut Engine<'_>) -> Done<T> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, StoreError>> {
        if let Some(error) = self.0.file.as_ref().and_then(OpenFile::lost) {
            return Box::pin(std::future::ready(Err(error)));
        }
        self.0.queue.call(care, work)
    }

    fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, StoreError>> {
        match &self.0.readers {
            Some(readers) => readers.call(work),
            None => self.call(Care::None, move |engine| work(engine.conn_to_read()?).map_err(Abort::Refused)),
        }
    }
}

impl Inner {
    fn end(&self) {
        let mut closing = self.closing.lock().unwrap_or_else(PoisonError::into_inner);
        closing.ended = true;
        closing.waiting.drain(..).for_each(|tell| {
            // Who no longer waits need not be told.
            let _ = tell.send(());
        });
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.queue.close();
        let writer = self.writer.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        // A call may own the last handle and so drop it on the writer's thread, which cannot wait for itself.
        if let Some(writer) = writer.filter(|writer| writer.thread().id() != thread::current().id()) {
            let _ = writer.join();
        }
    }
}

impl Store for SqliteStore {
    fn join(&self, now: Timestamp, _lease: Duration) -> BoxFuture<'static, Result<NodeId, StoreError>> {
        self.call(Care::Savepoint, move |engine| engine.join(now))
    }

    fn heartbeat(&self, node: NodeId, _now: Timestamp, _lease: Duration) -> BoxFuture<'static, Result<(), StoreError>> {
        if let Some(file) = &self.0.file {
            file.look();
        }
        self.call(Care::None, move |engine| engine.heartbeat(node))
    }

    fn leave(&self, node: NodeId, now: Timestamp) -> BoxFuture<'static, Result<(), StoreError>> {
        self.call(Care::Savepoint, move |engine| engine.leave(node, now))
    }

    fn uncount_crashes(&self, node: NodeId) -> BoxFuture<'static, Result<(), StoreError>> {
        self.call(Care::None, move |engine| engine.uncount_crashes(node))
    }

    fn can_checkpoint(&self, _: NodeId, _: Duration) -> BoxFuture<'static, Result<(), StoreError>> {
        Box::pin(async { Ok(()) }) // one writer writes both
    }

    fn checkpoint(&self, checkpoint: Checkpoint) -> BoxFuture<'static, Result<Checkpointed, StoreError>> {
        let prepared = prepare(checkpoint);
        self.call(prepared.care(), move |engine| engine.checkpoint(&prepared))
    }

    fn claim(&self, request: ClaimRequest) -> BoxFuture<'static, Result<Claims, StoreError>> {
        self.call(Care::Savepoint, move |engine| engine.claim(&request))
    }

    fn load(&self, run_id: RunId) -> BoxFuture<'static, Result<Option<Loaded>, StoreError>> {
        self.read(move |conn| read::load(conn, run_id))
    }

    fn frames(
        &self,
        run_id: RunId,
        after: stream::Place,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<Frame>, StoreError>> {
        self.read(move |conn| read::frames(conn, run_id, after, limit))
    }

    fn deliveries(&self, run_id: RunId) -> BoxFuture<'static, Result<Vec<Delivery>, StoreError>> {
        self.read(move |conn| read::deliveries(conn, run_id))
    }

    fn run(&self, run_id: RunId) -> BoxFuture<'static, Result<Option<RunRecord>, StoreError>> {
        self.read(move |conn| read::run(conn, run_id))
    }

    fn runs(&self, filter: RunFilter) -> BoxFuture<'static, Result<RunPage, StoreError>> {
        self.read(move |conn| read::runs(conn, &filter))
    }

    fn send_events(&self, events: Vec<Event>, now: Timestamp) -> BoxFuture<'static, Result<Vec<Woken>, StoreError>> {
        self.call(Care::Savepoint, move |engine| engine.send_events(&events, now))
    }

    fn send_signal(&self, signal: Signal, now: Timestamp) -> BoxFuture<'static, Result<Option<Woken>, StoreError>> {
        self.call(Care::Savepoint, move |engine| engine.send_signal(&signal, now))
    }

    fn control(
        &self,
        run_id: RunId,
        control: Control,
        now: Timestamp,
    ) -> BoxFuture<'static, Result<Vec<Woken>, StoreError>> {
        self.call(Care::Savepoint, move |engine| engine.control(run_id, &control, now))
    }

    fn unserved(&self, query: UnservedQuery) -> BoxFuture<'static, Result<Unserved, StoreError>> {
        self.read(move |conn| read::unserved(conn, &query))
    }

    fn sweep(
        &self,
        now: Timestamp,
        events_before: Timestamp,
        limit: usize,
    ) -> BoxFuture<'static, Result<Swept, StoreError>> {
        self.call(Care::Savepoint, move |engine| engine.sweep(now, events_before, limit))
    }

    fn setting(
        &self,
        name: &'static str,
        proposal: Option<Payload>,
    ) -> BoxFuture<'static, Result<Option<Payload>, StoreError>> {
        self.call(Care::Savepoint, move |engine| engine.setting(name, proposal.as_ref()))
    }

    fn register(&self, name: String, value: Payload) -> BoxFuture<'static, Result<bool, StoreError>> {
        self.call(Care::Savepoint, move |engine| engine.put_registration(&name, &value, None))
    }

    fn announce(&self, node: NodeId, name: String, value: Payload) -> BoxFuture<'static, Result<bool, StoreError>> {
        self.call(Care::Savepoint, move |engine| engine.put_registration(&name, &value, Some(node)))
    }

    fn unregister(&self, name: String) -> BoxFuture<'static, Result<bool, StoreError>> {
        self.call(Care::Savepoint, move |engine| engine.remove_registration(&name))
    }

    fn registrations(&self) -> BoxFuture<'static, Result<Vec<(String, Payload)>, StoreError>> {
        self.read(read::registrations)
    }
}
