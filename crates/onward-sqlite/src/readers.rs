//! A few threads that read, each with its own connection.

use std::{
    collections::VecDeque,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
};

use onward_core::{BoxFuture, StoreError};
use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::{
    connection::{self, Place},
    disk::Disk,
    error::{store_error, unavailable},
};

type Read = Box<dyn FnOnce(&Connection) + Send>;

/// The waiting reads.
pub(crate) struct Readers {
    state: Mutex<State>,
    work: Condvar,
    len_max: usize,
    /// Where acknowledged is on disk: what is read must be there, too.
    disk: Option<Arc<Disk>>,
}

#[derive(Default)]
struct State {
    reads: VecDeque<Read>,
    closed: bool,
}

impl fmt::Debug for Readers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readers").field("len_max", &self.len_max).finish_non_exhaustive()
    }
}

impl Readers {
    /// Opens the connections and starts the threads.
    pub(crate) fn start(
        place: &Place,
        threads: usize,
        len_max: usize,
        disk: Option<&Arc<Disk>>,
    ) -> Result<(Arc<Self>, Vec<JoinHandle<()>>), StoreError> {
        let readers = Arc::new(Self { state: Mutex::default(), work: Condvar::new(), len_max, disk: disk.cloned() });
        let mut handles = Vec::with_capacity(threads);
        for _ in 0..threads {
            let conn = connection::reader(place)?;
            let shared = Arc::clone(&readers);
            let handle = thread::Builder::new()
                .name("onward-sqlite-read".to_owned())
                .spawn(move || shared.serve(&conn))
                .map_err(|error| unavailable(format!("cannot start a reader: {error}")))?;
            handles.push(handle);
        }
        Ok((readers, handles))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, conn: &Connection) {
        loop {
            let mut state = self.lock();
            let read = loop {
                if let Some(read) = state.reads.pop_front() {
                    break read;
                }
                if state.closed {
                    return;
                }
                state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
            };
            drop(state);
            // A read that panics must not end its thread: the other reads would wait for ever once no thread is left.
            if catch_unwind(AssertUnwindSafe(|| read(conn))).is_err() && !conn.is_autocommit() {
                drop(conn.execute_batch("ROLLBACK"));
            }
        }
    }

    /// Submits a read now; it sees one state of the database, and is answered when that state is durable.
    pub(crate) fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, StoreError>> {
        let (reply, outcome) = oneshot::channel();
        let disk = self.disk.clone();
        let read: Read = Box::new(move |conn| {
            if reply.is_closed() {
                return;
            }
            let outcome = in_one_state(conn, work);
            let answer = move |durable: Result<(), StoreError>| {
                // Nobody may be waiting any more.
                let _ = reply.send(durable.and(outcome));
            };
            match disk {
                Some(disk) => disk.when_settled(Box::new(answer)),
                None => answer(Ok(())),
            }
        });
        let mut state = self.lock();
        if state.closed {
            return Box::pin(std::future::ready(Err(unavailable("the store is closed"))));
        }
        if state.reads.len() >= self.len_max {
            return Box::pin(std::future::ready(Err(unavailable("too many reads are waiting"))));
        }
        state.reads.push_back(read);
        drop(state);
        self.work.notify_one();
        Box::pin(async move {
            outcome.await.unwrap_or_else(|_| Err(unavailable("the store has stopped, or the read panicked")))
        })
    }

    /// Takes no more reads; those that wait are still done.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.work.notify_all();
    }
}

fn in_one_state<T>(
    conn: &Connection,
    work: impl FnOnce(&Connection) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let transaction = conn.unchecked_transaction().map_err(store_error)?;
    let outcome = work(&transaction);
    transaction.finish().map_err(store_error)?;
    outcome
}

#[cfg(test)]
mod tests {
    use super::{Readers, unavailable};
    use crate::connection::Place;

    #[tokio::test]
    async fn readers_survive_what_panics() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.db");
        drop(rusqlite::Connection::open(&path).unwrap());
        let (readers, threads) = Readers::start(&Place::File(path), 2, 10, None).unwrap();
        for _ in 0..5 {
            let panics = readers.call::<()>(|_| panic!("as a damaged row might have it"));
            assert!(panics.await.is_err());
        }
        let answer = readers.call(|conn| {
            conn.query_row("SELECT 7", [], |row| row.get::<_, i64>(0)).map_err(|error| unavailable(error.to_string()))
        });
        assert_eq!(answer.await.unwrap(), 7);
        readers.close();
        for thread in threads {
            thread.join().unwrap();
        }
    }
}
