//! The thread that writes, and the one that brings what it wrote to disk.
//!
//! While the disk is busy with one group, the next is applied; it is committed when the disk is free. So groups grow
//! with the load, a caller who is alone waits for nobody, and the processor does not wait for the disk.

use std::{
    collections::VecDeque,
    fs::File,
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    thread::{self, JoinHandle},
};

use onward_core::StoreError;
use rusqlite::Connection;

use crate::{
    checkpointer::{self, Checkpointer},
    connection::{self, Place},
    disk::Disk,
    engine::Engine,
    error::{failed_commit, store_error, unavailable},
    guard::Guard,
    options::{Durability, Options},
    queue::{Care, Job, Queue, Taken, Undo},
    readers::Readers,
};

/// The most calls in one group.
const GROUP_MAX: usize = 2_000;
/// A group of so few calls is brought to disk by the writer itself: waking another thread would cost more.
const INLINE_MAX: usize = 4;

/// What the writer's thread owns, and leaves behind in order.
pub(crate) struct Writer {
    conn: Connection,
    guard: Guard,
    queue: Arc<Queue>,
    readers: Option<Arc<Readers>>,
    threads: Vec<JoinHandle<()>>,
    flusher: Option<JoinHandle<()>>,
    checkpointer: Option<Checkpointer>,
    disk: Option<Arc<Disk>>,
    /// Keeps other processes out until all is closed.
    lock: Option<File>,
}

impl Writer {
    /// Opens the database and starts the threads beside the writer.
    pub(crate) fn open(place: &Place, options: &Options, queue: &Arc<Queue>) -> Result<Self, StoreError> {
        let lock = match place {
            Place::Memory => None,
            Place::File(path) => {
                connection::check_file(path, options)?;
                Some(connection::lock(path)?)
            }
        };
        let mut conn = connection::writer(place, options)?;
        let guard = Guard::install(&mut conn).map_err(store_error)?;
        let mut writer = Self {
            conn,
            guard,
            queue: Arc::clone(queue),
            readers: None,
            threads: Vec::new(),
            flusher: None,
            checkpointer: None,
            disk: None,
            lock,
        };
        // Reads all that it must know once before anybody relies on it.
        Engine::new(&writer.conn, writer.guard.clone())?;
        if let Place::File(path) = place {
            writer.open_beside(place, path, options)?;
        }
        Ok(writer)
    }

    fn open_beside(&mut self, place: &Place, path: &std::path::Path, options: &Options) -> Result<(), StoreError> {
        let pages = Arc::new(AtomicU32::new(0));
        let told = Arc::clone(&pages);
        self.conn
            .wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, pages: std::ffi::c_int| {
                told.store(pages.unsigned_abs(), Ordering::Relaxed);
                Ok(())
            }))
            .map_err(store_error)?;
        // A write makes the log; from then on its file stays the same until the store is closed.
        self.conn
            .execute_batch("BEGIN IMMEDIATE; UPDATE onward_settings SET value = value WHERE name = ''; COMMIT;")
            .map_err(store_error)?;
        let log_conn = connection::checkpointer(place, options)?;
        let (checkpointer, handle) = Checkpointer::start(log_conn, pages, options.wal_pages)?;
        self.checkpointer = Some(checkpointer);
        self.threads.push(handle);
        if options.durability == Durability::Full {
            connection::sync_directory(path)?;
            let log_path = connection::beside(path, "-wal");
            let log = File::options()
                .write(true)
                .open(&log_path)
                .map_err(|error| unavailable(format!("cannot open {}: {error}", log_path.display())))?;
            // A disk that is too full for it is met, and told, by the first write.
            let _ = connection::fill_log(&log, options.wal_pages.min(checkpointer::PAGES_MIN));
            let disk = Arc::new(Disk::new(log));
            self.disk = Some(Arc::clone(&disk));
            let queue = Arc::clone(&self.queue);
            let flusher = thread::Builder::new()
                .name("onward-sqlite-sync".to_owned())
                .spawn(move || flush(&queue, &disk))
                .map_err(|error| unavailable(format!("cannot start the flusher: {error}")))?;
            self.flusher = Some(flusher);
        }
        let (readers, handles) = Readers::start(place, options.readers, options.queue_len, self.disk.as_ref())?;
        self.readers = Some(readers);
        self.threads.extend(handles);
        Ok(())
    }

    /// The threads that read; `None` where the writer must.
    pub(crate) fn readers(&self) -> Option<Arc<Readers>> {
        self.readers.clone()
    }

    /// Serves the queue until it is closed and empty, then closes all.
    pub(crate) fn serve(mut self) {
        let mut checkpointer = self.checkpointer.take();
        let served = std::panic::catch_unwind(AssertUnwindSafe(|| {
            let mut engine = match Engine::new(&self.conn, self.guard.clone()) {
                Ok(engine) => engine,
                Err(error) => return self.queue.break_off(&error.to_string()),
            };
            let mut groups = Groups { queue: &self.queue, disk: self.disk.as_deref(), waiting: VecDeque::new() };
            while groups.serve_one(&mut engine) {
                if let Some(checkpointer) = &mut checkpointer {
                    checkpointer.look(engine.conn());
                }
            }
        }));
        for job in self.queue.abandon() {
            let why = if served.is_err() { "the writer has failed" } else { "the store is closed" };
            job.refuse(unavailable(why));
        }
        if let (true, Some(disk)) = (served.is_err(), &self.disk) {
            disk.fail("the writer has failed");
        }
        if let Some(checkpointer) = checkpointer {
            checkpointer.end();
        }
        if let Some(readers) = &self.readers {
            readers.close();
        }
        self.queue.end_flusher();
        for thread in self.threads.drain(..).chain(self.flusher.take()) {
            // A thread that panicked has said so; nothing of it is needed any more.
            let _ = thread.join();
        }
        if self.queue.broken().is_none() && self.lock.is_some() {
            // What is not copied now is copied when the database is next opened.
            let _ = self.conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        }
        let Self { conn, lock, .. } = self;
        drop(conn);
        drop(lock);
    }
}

/// Makes groups of the calls that wait.
struct Groups<'a> {
    queue: &'a Queue,
    disk: Option<&'a Disk>,
    waiting: VecDeque<Box<dyn Job>>,
}

impl Groups<'_> {
    /// Applies, commits and passes on one group; `false` when there will be no more.
    fn serve_one(&mut self, engine: &mut Engine<'_>) -> bool {
        if self.waiting.is_empty() && matches!(self.queue.take(&mut self.waiting, false), Taken::Closed) {
            return false;
        }
        if let Some(why) = self.queue.broken() {
            self.waiting.drain(..).for_each(|job| job.refuse(unavailable(why.clone())));
            return true;
        }
        let mut group = Vec::with_capacity(self.waiting.len());
        let done = self.fill(engine, &mut group);
        if let Some(disk) = self.disk {
            disk.expect_group();
        }
        match done.and_then(|()| engine.commit()) {
            Ok(()) => self.pass_on(group),
            Err(error) => {
                let _failed_again = engine.rollback().map_err(|error| {
                    self.queue.break_off(&format!("what is stored cannot be read back: {error}"));
                });
                for job in group {
                    job.refuse(failed_commit(&error));
                }
                if let Some(disk) = self.disk {
                    self.await_flusher();
                    disk.settle();
                }
            }
        }
        true
    }

    /// Applies what waits, and what comes while the disk is busy.
    fn fill(&mut self, engine: &mut Engine<'_>, group: &mut Vec<Box<dyn Job>>) -> rusqlite::Result<()> {
        let begun = engine.begin();
        if begun.is_err() {
            group.extend(self.waiting.drain(..));
            return begun;
        }
        loop {
            while let Some(job) = self.waiting.pop_front() {
                let alone = job.care() == Care::Alone;
                if alone && !group.is_empty() {
                    self.waiting.push_front(job);
                    return Ok(());
                }
                group.push(job);
                let job = group.last_mut().expect("it was pushed above");
                apply(job.as_mut(), engine)?;
                if alone || group.len() >= GROUP_MAX {
                    return Ok(());
                }
            }
            match self.queue.take(&mut self.waiting, true) {
                Taken::Jobs => {}
                Taken::Idle { waited: true } if self.disk.is_some() => {
                    self.queue.gather(&mut self.waiting);
                    if self.waiting.is_empty() {
                        return Ok(());
                    }
                }
                Taken::Idle { .. } | Taken::Closed => return Ok(()),
            }
        }
    }

    /// A committed group is acknowledged once it is on disk.
    fn pass_on(&mut self, group: Vec<Box<dyn Job>>) {
        let Some(disk) = self.disk else {
            group.into_iter().for_each(Job::acknowledge);
            return;
        };
        // Only a full group or a lone call comes here while the disk is busy.
        self.await_flusher();
        if group.len() <= INLINE_MAX && self.waiting.is_empty() && self.queue.is_empty() {
            let synced = sync(self.queue, disk);
            settle(disk, group, synced);
        } else {
            self.queue.hand_over(group);
        }
    }

    /// Waits until the group before is on disk; what is called meanwhile belongs to the next group.
    fn await_flusher(&mut self) {
        while self.queue.is_flushing() {
            self.queue.take(&mut self.waiting, true);
        }
    }
}

fn apply(job: &mut dyn Job, engine: &mut Engine<'_>) -> rusqlite::Result<()> {
    let savepoint = job.care() == Care::Savepoint;
    if savepoint {
        engine.savepoint()?;
    }
    // Why: who calls must not be able to end the writer. What a call that panicked has done is undone with its group.
    let run = std::panic::catch_unwind(AssertUnwindSafe(|| job.run(engine)));
    let run =
        run.unwrap_or_else(|_| Err(Undo::Group(rusqlite::Error::ToSqlConversionFailure("a call panicked".into()))));
    match run {
        Ok(()) if savepoint => engine.release(),
        Err(Undo::Savepoint) if savepoint => engine.undo(),
        // A call that is alone undid by itself what it did.
        Ok(()) | Err(Undo::Savepoint) => Ok(()),
        Err(Undo::Group(error)) => Err(error),
    }
}

#[expect(clippy::disallowed_methods, reason = "it measures the disk; no time that is stored comes from it")]
fn stopwatch() -> std::time::Instant {
    std::time::Instant::now()
}

/// Brings groups to disk, one after the other.
fn flush(queue: &Queue, disk: &Disk) {
    while let Some(group) = queue.next_group() {
        let begun = stopwatch();
        let synced = sync(queue, disk);
        queue.flushed(group.len(), begun.elapsed());
        settle(disk, group, synced);
    }
}

fn sync(queue: &Queue, disk: &Disk) -> Result<(), String> {
    if let Some(why) = queue.broken() {
        return Err(why);
    }
    disk.sync().map_err(|error| {
        // The kernel may have dropped the pages: nobody can say what is on disk until the file is opened anew.
        let why = format!("the log could not be brought to disk: {error}");
        queue.break_off(&why);
        // Why here: nobody may be told that he has read what is on disk from now on, whichever group he waits for.
        disk.fail(&why);
        why
    })
}

/// Tells the callers, then those who have read what they wrote.
fn settle(disk: &Disk, group: Vec<Box<dyn Job>>, synced: Result<(), String>) {
    match synced {
        Ok(()) => {
            group.into_iter().for_each(Job::acknowledge);
            disk.settle();
        }
        Err(why) => {
            for job in group {
                job.refuse(unavailable(why.clone()));
            }
        }
    }
}
