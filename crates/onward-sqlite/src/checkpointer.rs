//! Copies the write-ahead log into the database from a thread of its own, so that the writer seldom has to.

use std::{
    fmt,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    thread::{self, JoinHandle},
};

use onward_core::StoreError;
use rusqlite::Connection;

use crate::{connection, error::unavailable};

/// The length at which the log is copied first.
pub(crate) const PAGES_MIN: u32 = 1024;
/// What is left when the writer may finish: copying it takes about a millisecond.
const REST_PAGES: u32 = 128;
/// How often the thread tries to catch up before it leaves the rest to the writer.
const PASSES: usize = 4;
/// At so many times its aim, the log is copied by the writer whatever it takes: its growth is bounded.
const GROWTH_MAX: u32 = 8;

#[derive(Debug, Default)]
struct State {
    wanted: bool,
    /// The thread is done; this many pages of the log are in the database.
    copied: Option<u32>,
    ends: bool,
}

/// The log's length, and the thread that keeps it short.
pub(crate) struct Checkpointer {
    state: Arc<(Mutex<State>, Condvar)>,
    pages: Arc<AtomicU32>,
    aim: u32,
    aim_max: u32,
    trigger: u32,

    seen: u32,
    busy: bool,
}

impl fmt::Debug for Checkpointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checkpointer").field("aim", &self.aim).finish_non_exhaustive()
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Checkpointer {
    /// Starts the thread. `pages` is told the log's length after each commit.
    pub(crate) fn start(
        conn: Connection,
        pages: Arc<AtomicU32>,
        aim_max: u32,
    ) -> Result<(Self, JoinHandle<()>), StoreError> {
        let state = Arc::new((Mutex::new(State::default()), Condvar::new()));
        let shared = Arc::clone(&state);
        let handle = thread::Builder::new()
            .name("onward-sqlite-wal".to_owned())
            .spawn(move || serve(&conn, &shared))
            .map_err(|error| unavailable(format!("cannot start the checkpointer: {error}")))?;
        let aim = aim_max.min(PAGES_MIN);
        Ok((Self { state, pages, aim, aim_max, trigger: aim, seen: 0, busy: false }, handle))
    }

    /// Looks at the log after a commit of the writer, whose connection this is.
    pub(crate) fn look(&mut self, conn: &Connection) {
        let pages = self.pages.load(Ordering::Relaxed);
        if pages < self.seen {
            // The log began anew. Long laps cost less, but the file grows by appends, which cost more: so, little by
            // little.
            self.aim = self.aim.saturating_mul(2).min(self.aim_max);
            self.trigger = self.aim;
        }
        self.seen = pages;
        if pages < self.trigger {
            return;
        }
        let copied = lock(&self.state.0).copied.take();
        let finish = match copied {
            Some(copied) => {
                self.busy = false;
                pages.saturating_sub(copied) <= REST_PAGES.max(self.aim / 8)
            }
            None => false,
        };
        if finish || pages >= self.aim.saturating_mul(GROWTH_MAX) {
            // Where a reader holds an old state the log cannot begin anew yet: try again an aim later.
            // A failure leaves the log as it is; the next try, or the next commit, meets it again.
            let _ = connection::checkpoint_log(conn);
            self.trigger = pages.saturating_add((self.aim / 2).max(1));
        } else if !self.busy {
            self.busy = true;
            lock(&self.state.0).wanted = true;
            self.state.1.notify_one();
        }
    }

    /// Lets the thread end.
    pub(crate) fn end(&self) {
        lock(&self.state.0).ends = true;
        self.state.1.notify_one();
    }
}

fn serve(conn: &Connection, shared: &(Mutex<State>, Condvar)) {
    let mut state = lock(&shared.0);
    loop {
        if state.ends {
            return;
        }
        if !state.wanted {
            state = shared.1.wait(state).unwrap_or_else(PoisonError::into_inner);
            continue;
        }
        state.wanted = false;
        drop(state);
        let copied = catch_up(conn);
        state = lock(&shared.0);
        state.copied = Some(copied);
    }
}

/// Copies until little is left.
fn catch_up(conn: &Connection) -> u32 {
    let mut copied = 0;
    for _ in 0..PASSES {
        let Ok((pages, done)) = connection::checkpoint_log(conn) else { break };
        copied = done;
        if pages.saturating_sub(done) <= REST_PAGES {
            break;
        }
    }
    copied
}
