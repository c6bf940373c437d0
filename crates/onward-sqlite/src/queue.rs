//! The writer's queue: calls in the order in which they were made, and the group that is on its way to disk.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use onward_core::{BoxFuture, StoreError};
use tokio::sync::oneshot;

use crate::{
    engine::Engine,
    error::{Abort, Done, unavailable},
};

/// One call on the writer's thread.
pub(crate) trait Job: Send {
    /// What the writer must do around it.
    fn care(&self) -> Care;
    /// Does the work inside the group's transaction and keeps the outcome.
    fn run(&mut self, engine: &mut Engine<'_>) -> Result<(), Undo>;
    /// Tells the caller, after the commit.
    fn acknowledge(self: Box<Self>);
    /// Tells the caller that the group was not committed.
    fn refuse(self: Box<Self>, error: StoreError);
}

/// What the writer must do around a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Care {
    /// It is refused before it writes, or fails with its whole group.
    None,
    /// It may fail half-way: a savepoint is set before it.
    Savepoint,
    /// It gets a transaction of its own.
    Alone,
}

/// What a job that failed wants undone.
#[derive(Debug)]
pub(crate) enum Undo {
    /// All since its savepoint.
    Savepoint,
    /// The whole group.
    Group(rusqlite::Error),
}

type Work<T> = Box<dyn FnOnce(&mut Engine<'_>) -> Done<T> + Send>;

/// A job whose outcome somebody awaits.
pub(crate) struct Call<T> {
    care: Care,
    work: Option<Work<T>>,
    outcome: Option<Result<T, StoreError>>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T: Send> Job for Call<T> {
    fn care(&self) -> Care {
        self.care
    }

    fn run(&mut self, engine: &mut Engine<'_>) -> Result<(), Undo> {
        let Some(work) = self.work.take() else { return Ok(()) };
        match work(engine) {
            Ok(value) => self.outcome = Some(Ok(value)),
            Err(Abort::Refused(error)) => self.outcome = Some(Err(error)),
            Err(Abort::Damaged(error)) if self.care == Care::None => {
                return Err(Undo::Group(rusqlite::Error::ToSqlConversionFailure(error.into())));
            }
            Err(Abort::Damaged(error)) => {
                self.outcome = Some(Err(error));
                return Err(Undo::Savepoint);
            }
            Err(Abort::Failed(error)) => return Err(Undo::Group(error)),
        }
        Ok(())
    }

    fn acknowledge(self: Box<Self>) {
        let outcome = self.outcome.unwrap_or_else(|| Err(unavailable("the writer skipped the call")));
        // Nobody may be waiting any more; what was committed stays.
        let _ = self.reply.send(outcome);
    }

    fn refuse(self: Box<Self>, error: StoreError) {
        let _ = self.reply.send(Err(error));
    }
}

/// The waiting calls, and the group that the disk is busy with.
pub(crate) struct Queue {
    state: Mutex<State>,
    /// The writer waits here.
    work: Condvar,
    /// The flusher waits here.
    flush: Condvar,
    len_max: usize,
}

#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is another fact about another thread")]
struct State {
    jobs: VecDeque<Box<dyn Job>>,
    writer_waits: bool,
    /// With how many waiting calls the writer wants to be woken.
    wake_at: usize,
    closed: bool,
    /// The flusher has a group, or is about to take one.
    flushing: bool,
    /// How many calls the last group had, and how long the disk took for it.
    flushed_len: usize,
    flush_time: Duration,
    group: Option<Vec<Box<dyn Job>>>,
    flusher_ends: bool,
    /// Why nothing can be written any more.
    broken: Option<String>,
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("len_max", &self.len_max).finish_non_exhaustive()
    }
}

/// What the writer finds.
pub(crate) enum Taken {
    /// Calls to apply.
    Jobs,
    /// None now; the disk is free. Whether the writer had to wait for it.
    Idle { waited: bool },
    /// None, and there will be none.
    Closed,
}

impl Queue {
    pub(crate) fn new(len_max: usize) -> Self {
        Self { state: Mutex::default(), work: Condvar::new(), flush: Condvar::new(), len_max }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Submits a call now; the future only waits for its outcome.
    pub(crate) fn call<T: Send + 'static>(
        &self,
        care: Care,
        work: impl FnOnce(&mut Engine<'_>) -> Done<T> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, StoreError>> {
        let (reply, outcome) = oneshot::channel();
        let job = Call { care, work: Some(Box::new(work)), outcome: None, reply };
        if let Err(error) = self.submit(Box::new(job)) {
            return Box::pin(std::future::ready(Err(error)));
        }
        Box::pin(async move { outcome.await.unwrap_or_else(|_| Err(unavailable("the store has stopped"))) })
    }

    fn submit(&self, job: Box<dyn Job>) -> Result<(), StoreError> {
        let mut state = self.lock();
        if state.closed {
            return Err(unavailable("the store is closed"));
        }
        if let Some(why) = &state.broken {
            return Err(unavailable(why.clone()));
        }
        if state.jobs.len() >= self.len_max {
            return Err(unavailable("too many writes are waiting"));
        }
        state.jobs.push_back(job);
        let wake = state.writer_waits && state.jobs.len() >= state.wake_at;
        if wake {
            state.writer_waits = false;
        }
        drop(state);
        if wake {
            self.work.notify_one();
        }
        Ok(())
    }

    /// Moves waiting calls to `into`. Waits for one where there is none: until the store is closed or, where
    /// `group_open`, until the disk is free.
    pub(crate) fn take(&self, into: &mut VecDeque<Box<dyn Job>>, group_open: bool) -> Taken {
        let mut state = self.lock();
        let mut waited = false;
        loop {
            if !state.jobs.is_empty() {
                into.append(&mut state.jobs);
                return Taken::Jobs;
            }
            if group_open && !state.flushing {
                return Taken::Idle { waited };
            }
            if state.closed && !group_open {
                return Taken::Closed;
            }
            waited = true;
            state.writer_waits = true;
            state.wake_at = 1;
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.writer_waits = false;
        }
    }

    /// Waits a little for the callers of the group that was just brought to disk: where the disk is what everybody
    /// waits for, one large group is better than two that take turns.
    pub(crate) fn gather(&self, into: &mut VecDeque<Box<dyn Job>>) {
        let mut state = self.lock();
        let (wanted, patience) = (state.flushed_len * 3 / 4, state.flush_time / 4);
        if state.jobs.len() < wanted && !state.closed {
            state.writer_waits = true;
            state.wake_at = wanted;
            // Woken too early or too late, it only commits a smaller or a larger group.
            state = self.work.wait_timeout(state, patience).unwrap_or_else(PoisonError::into_inner).0;
            state.writer_waits = false;
        }
        into.append(&mut state.jobs);
    }

    /// Whether a group is on its way to disk.
    pub(crate) fn is_flushing(&self) -> bool {
        self.lock().flushing
    }

    /// Whether no call is waiting.
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().jobs.is_empty()
    }

    /// Gives a committed group to the flusher, which must be free.
    pub(crate) fn hand_over(&self, group: Vec<Box<dyn Job>>) {
        let mut state = self.lock();
        state.flushing = true;
        state.group = Some(group);
        drop(state);
        self.flush.notify_one();
    }

    /// The next group to bring to disk; `None` when there will be none.
    pub(crate) fn next_group(&self) -> Option<Vec<Box<dyn Job>>> {
        let mut state = self.lock();
        loop {
            if let Some(group) = state.group.take() {
                return Some(group);
            }
            if state.flusher_ends {
                return None;
            }
            state = self.flush.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The disk is free again, after it took so long for so many calls.
    pub(crate) fn flushed(&self, calls: usize, took: Duration) {
        let mut state = self.lock();
        state.flushing = false;
        state.flushed_len = calls;
        state.flush_time = took;
        let wake = std::mem::take(&mut state.writer_waits);
        drop(state);
        if wake {
            self.work.notify_one();
        }
    }

    /// Lets the flusher end after the groups that it has.
    pub(crate) fn end_flusher(&self) {
        self.lock().flusher_ends = true;
        self.flush.notify_one();
    }

    /// Takes no more calls; those that wait are still done.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.work.notify_one();
    }

    /// Refuses every call from now on: what the disk holds is no longer known.
    pub(crate) fn break_off(&self, why: &str) {
        self.lock().broken.get_or_insert_with(|| why.to_owned());
    }

    /// Why nothing can be written any more, if that is so.
    pub(crate) fn broken(&self) -> Option<String> {
        self.lock().broken.clone()
    }

    /// Closes and gives away the calls that wait: their outcome can only be a refusal.
    pub(crate) fn abandon(&self) -> VecDeque<Box<dyn Job>> {
        let mut state = self.lock();
        state.closed = true;
        std::mem::take(&mut state.jobs)
    }
}
