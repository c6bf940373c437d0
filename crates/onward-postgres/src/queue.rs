//! Checkpoints that wait: those of one run one after the other, those of different runs together.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use onward_core::{RunId, StoreError, store::Checkpointed};
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, oneshot},
    time::Instant,
};

use crate::{
    error::unavailable,
    held::Known,
    pace::Pace,
    prepared::{Prepared, Way},
};

/// The most checkpoints, and about the most bytes, of one statement.
const GROUP_MAX: usize = 1_000;
const GROUP_BYTES: usize = 4 << 20;
/// Which part of what a lane has must wait for a statement beside one that is under way: a lane has about so many senders.
const SHARES: usize = 3;

/// A checkpoint that somebody waits for.
pub(crate) struct Job {
    pub(crate) prepared: Prepared,
    pub(crate) reply: oneshot::Sender<Result<Checkpointed, StoreError>>,
    /// A user's transaction waits for its turn, and writes the checkpoint itself.
    pub(crate) is_turn: bool,
}

impl Job {
    pub(crate) fn answer(self, answer: Result<Checkpointed, StoreError>) {
        // Who no longer waits need not be told.
        let _ = self.reply.send(answer);
    }

    fn only_appends(&self) -> bool {
        !self.is_turn && self.prepared.only_appends()
    }

    fn choose(&self, known: &Known) -> Result<Way, StoreError> {
        if self.is_turn { Ok(Way::Alone) } else { self.prepared.choose(known) }
    }
}

/// A job that does not follow what is stored was answered: the turn is that of the next.
struct Refused;

/// What waits, and whose turn it is.
pub(crate) struct Queue {
    state: Mutex<State>,
    starts: Notify,
    appends: Notify,
    len_max: usize,
}

#[derive(Default)]
struct State {
    /// Runs of which a job is ready or under way, with those that come after it.
    runs: BTreeMap<RunId, VecDeque<Job>>,
    starts: Lane,
    appends: Lane,
    pace: Pace,
    /// How many jobs have no answer.
    len: usize,
    closed: bool,
}

/// Checkpoints of one kind whose turn it is.
#[derive(Default)]
struct Lane {
    ready: VecDeque<Job>,
    /// Statements under way, and their checkpoints.
    under_way: usize,
    sent: usize,
}

impl Lane {
    /// Whether a statement should be sent now.
    fn is_due(&self, pace: &Pace) -> bool {
        // Why a share of all: several small ones at once would keep all senders busy while most wait.
        let share = (self.ready.len() + self.sent) / SHARES;
        !self.ready.is_empty() && (self.under_way == 0 || self.ready.len() >= pace.group_min().max(share))
    }
}

impl Queue {
    pub(crate) fn new(len_max: usize) -> Self {
        Self { state: Mutex::default(), starts: Notify::new(), appends: Notify::new(), len_max }
    }

    /// How many checkpoints have no answer.
    pub(crate) fn len(&self) -> usize {
        self.state.lock().len
    }

    /// Takes a checkpoint in. One whose turn it is and that is written alone is given back to be begun.
    pub(crate) fn submit(&self, job: Job, known: &Known) -> Option<Job> {
        let mut state = self.state.lock();
        if state.closed || state.len >= self.len_max {
            let why = if state.closed { "the store is closed" } else { "too many writes wait for the database" };
            drop(state);
            job.answer(Err(unavailable(why)));
            return None;
        }
        state.len += 1;
        let run_id = job.prepared.run_id();
        if let Some(waiting) = state.runs.get_mut(&run_id) {
            waiting.push_back(job);
            return None;
        }
        state.runs.insert(run_id, VecDeque::new());
        match self.route(&mut state, job, known) {
            Ok(alone) => alone,
            Err(Refused) => self.next(&mut state, run_id, known),
        }
    }

    /// A run's jobs are answered: the turn of the next. Gives it where it is written alone.
    ///
    /// Where one was not written, those that were submitted after it are not written either: they rest on it, even
    /// where they only take away what it has recorded.
    pub(crate) fn done(&self, run_id: RunId, jobs: usize, was_written: bool, known: &Known) -> Option<Job> {
        let mut state = self.state.lock();
        state.len -= jobs;
        if !was_written && let Some(waiting) = state.runs.get_mut(&run_id).map(std::mem::take) {
            state.len -= waiting.len();
            for job in waiting {
                job.answer(Err(unavailable("a checkpoint of the run before this one was not written")));
            }
        }
        self.next(&mut state, run_id, known)
    }

    fn next(&self, state: &mut State, run_id: RunId, known: &Known) -> Option<Job> {
        while let Some(job) = state.runs.get_mut(&run_id).and_then(VecDeque::pop_front) {
            if let Ok(alone) = self.route(state, job, known) {
                return alone;
            }
        }
        state.runs.remove(&run_id);
        None
    }

    /// Puts a job where it is written; gives it back where that is alone.
    fn route(&self, state: &mut State, job: Job, known: &Known) -> Result<Option<Job>, Refused> {
        match job.choose(known) {
            Ok(Way::Start) => {
                state.starts.ready.push_back(job);
                self.notify(state, Way::Start);
                Ok(None)
            }
            Ok(Way::Append) => {
                state.appends.ready.push_back(job);
                self.notify(state, Way::Append);
                Ok(None)
            }
            Ok(Way::Alone) => Ok(Some(job)),
            Err(error) => {
                job.answer(Err(error));
                state.len -= 1;
                Err(Refused)
            }
        }
    }

    /// Has one who sends such statements look, where there is something to send.
    fn notify(&self, state: &mut State, way: Way) {
        if state.is_due(way) {
            let notify = if way == Way::Start { &self.starts } else { &self.appends };
            notify.notify_one();
        }
    }

    /// The jobs of the next statement, once there are some; none when there will be no more. It is under way until
    /// [`sent`](Self::sent).
    pub(crate) async fn group(&self, way: Way, known: &Known) -> Vec<Job> {
        let notify = if way == Way::Start { &self.starts } else { &self.appends };
        loop {
            let notified = notify.notified();
            {
                let mut state = self.state.lock();
                if state.is_due(way) {
                    let group = state.take(way, known);
                    self.notify(&mut state, way);
                    return group;
                }
                if state.closed && state.len == 0 {
                    return Vec::new();
                }
            }
            notified.await;
        }
    }

    /// A statement that took so long has its answer.
    pub(crate) fn sent(&self, way: Way, jobs: usize, took: Duration, now: Instant) {
        let mut state = self.state.lock();
        state.pace.took(took, now);
        let lane = state.lane(way);
        lane.under_way -= 1;
        lane.sent -= jobs;
        self.notify(&mut state, way);
    }

    /// Takes no more. Groups go on until all that is here has been answered.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.wake();
    }

    /// Whether it was closed, and all is answered.
    pub(crate) fn is_over(&self) -> bool {
        let state = self.state.lock();
        state.closed && state.len == 0
    }

    /// Has all who send statements look again.
    pub(crate) fn wake(&self) {
        self.starts.notify_waiters();
        self.appends.notify_waiters();
    }
}

impl State {
    fn is_due(&self, way: Way) -> bool {
        let lane = if way == Way::Start { &self.starts } else { &self.appends };
        lane.is_due(&self.pace)
    }

    const fn lane(&mut self, way: Way) -> &mut Lane {
        match way {
            Way::Start => &mut self.starts,
            Way::Append | Way::Alone => &mut self.appends,
        }
    }

    fn take(&mut self, way: Way, known: &Known) -> Vec<Job> {
        let (mut group, mut bytes) = (Vec::new(), 0);
        self.lane(way).under_way += 1;
        while group.len() < GROUP_MAX && bytes < GROUP_BYTES {
            let Some(job) = self.lane(way).ready.pop_front() else { break };
            let run_id = job.prepared.run_id();
            bytes += job.prepared.len();
            let mut goes_on = job.only_appends();
            group.push(job);
            // What else the same run only appends goes with it.
            while goes_on
                && group.len() < GROUP_MAX
                && bytes < GROUP_BYTES
                && let Some(waiting) = self.runs.get_mut(&run_id)
                && waiting.front().is_some_and(Job::only_appends)
                && let Some(next) = waiting.pop_front()
            {
                match next.choose(known) {
                    Ok(Way::Append) => {
                        bytes += next.prepared.len();
                        group.push(next);
                    }
                    Ok(_) => {
                        waiting.push_front(next);
                        goes_on = false;
                    }
                    Err(error) => {
                        next.answer(Err(error));
                        self.len -= 1;
                    }
                }
            }
        }
        self.lane(way).sent += group.len();
        group
    }
}
