//! One execution of a handler as its steps see it: the run's machine, and the checkpoints under way.

pub(crate) mod blocked;
mod closed;
mod deliver;
mod drive;
mod driver;
mod locked;
mod room;
pub(crate) mod stream;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod transact;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub(crate) use self::transact::{Answer, Transacting, Undone};
pub(crate) use self::{driver::Rest, room::Room};

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    task::{Context as TaskContext, Poll, Waker},
    time::Duration,
};

use onward_core::{
    BoxFuture, Draw, Payload, RetryPolicy, RunId, StepKey, StoreError, Timestamp,
    journal::Entry,
    run::{
        NewRun, Outcome,
        machine::{FailedAttempt, Machine, Next, Offer, Requested},
    },
    step::StepKind,
    store::{Checkpoint, Checkpointed, Lease, Loaded, Then},
    stream::Frame,
    waiter::{Delivery, Waiter},
};
use onward_host::bodies::Share;
use onward_scheduler::{AttachGuard, Attached, Hung};
use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};

use self::{blocked::Missing, closed::Closed, driver::Driver, locked::Locked, stream::StreamState};
use crate::{StepError, crashes::Place, endpoint::Endpoint, onward::Shared, record::KeptRequest};

/// A checkpoint that was submitted and is not known to be durable.
type Ack = BoxFuture<'static, Result<Checkpointed, StoreError>>;

/// A checkpoint under way: which step it tells the end of, and what it streams.
struct Written {
    ack: Ack,
    /// Whether the driver has polled the acknowledgement, which then wakes it.
    is_polled: bool,
    key: Option<StepKey>,
    frames: Vec<Frame>,
}

impl Written {
    const fn new(ack: Ack, key: Option<StepKey>, frames: Vec<Frame>) -> Self {
        Self { ack, is_polled: false, key, frames }
    }
}

/// One execution of a handler.
pub(crate) struct Context {
    pub(crate) shared: Arc<Shared>,
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) run_id: RunId,
    pub(crate) created_at: Timestamp,
    pub(crate) timeout_at: Option<Timestamp>,
    pub(crate) request: KeptRequest,
    state: Mutex<State>,
    ungated: Notify,
}

#[derive(Default)]
struct State {
    machine: Machine,
    /// `None` until the run is known to the store.
    lease: Option<Lease>,
    attached: Option<AttachGuard>,
    wakers: BTreeMap<StepKey, Waker>,
    /// Wakers to call when the lock is let go of.
    woken: Vec<Waker>,
    /// Steps for which tasks of their own wait.
    elsewhere: BTreeSet<StepKey>,
    /// When such a task asked for a step last, or got its outcome: it may be about to ask for the next one.
    active_at: Option<Instant>,
    driver: Driver,
    acks: VecDeque<Written>,
    stream: StreamState,
    /// Steps whose waiter or delivery goes with the next checkpoint.
    settled: BTreeSet<StepKey>,
    /// Steps whose outcome was submitted together with what came for them.
    taken: BTreeSet<StepKey>,
    /// All that came for the run before this time has been taken.
    fetched_at: Timestamp,
    /// While a transaction decides what the next entry is, later checkpoints wait here.
    gate: Option<Vec<(Checkpoint, Option<StepKey>)>>,
    /// The body's share of the memory for bodies. A parked run gives it back, because parked runs have a bound of their own.
    share: Option<Share>,
    /// Closures of steps that are running now.
    running: usize,
    asynchronous: bool,
    /// The run has been submitted for the first time, and developers are to be warned of what it lacks.
    has_begun: bool,
    nudged: bool,
    /// Steps of the journal that the handler has let go of: the next checkpoint says so.
    let_go: BTreeSet<StepKey>,
    /// The run has crashed before: its place among such runs, until it gets further.
    suspect: Option<Place>,
    /// Steps are only asked for, and none begins. Those that the handler asked for.
    only_asked: Option<Vec<String>>,
    /// The handler takes no more steps, because it has returned, or because this execution of it is over.
    closed: Option<Closed>,
    halted: Option<Halt>,
}

/// Why an execution cannot go on.
#[derive(Debug)]
pub(crate) enum Halt {
    /// Somebody else ended the run, or has its lease.
    LeaseLost,
    /// The node's lease has run out by its own stopwatch: the run may be another's already, so no user code begins.
    LeaseExpired,
    /// The store could not write a checkpoint.
    Store(StoreError),
    /// The handler cannot go on with the journal.
    Blocked(Missing),
}

impl Halt {
    fn of(error: StoreError) -> Self {
        match error {
            StoreError::LeaseLost | StoreError::RunNotFound => Self::LeaseLost,
            error => Self::Store(error),
        }
    }
}

/// What an execution is waiting for, once its handler is pending.
#[derive(Default)]
pub(crate) struct Standing {
    /// Waits for time or facts, and for nothing else.
    pub(crate) quiescent: bool,
    /// Deliveries may have come that nobody has looked for.
    pub(crate) nudged: bool,
    /// The client may be told that the run goes on without it: that is durable.
    pub(crate) asynchronous: bool,
    /// When time moves it next.
    pub(crate) next_wake: Option<Timestamp>,
    /// How long a task of its own still has to ask for its next step, before the run counts as one that only waits.
    pub(crate) settles_in: Option<Duration>,
}

/// The news that time, and the order of the journal, bring to an execution.
pub(crate) struct Advanced {
    /// Time has ended a wait, or made a retry ready.
    pub(crate) fired: bool,
    /// The completion that is next on its way to the handler.
    pub(crate) offer: Offer,
    /// Whether a task of its own is to take that: it is not polled with the handler, and needs a moment.
    pub(crate) is_elsewhere: bool,
    /// How the execution stands after both.
    pub(crate) standing: Standing,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context")
            .field("run_id", &self.run_id)
            .field("endpoint", &self.endpoint.id)
            .finish_non_exhaustive()
    }
}

// ===== making one =====

impl Context {
    /// The first execution of a new run. Nothing is stored yet.
    pub(crate) fn first(
        shared: Arc<Shared>,
        endpoint: Arc<Endpoint>,
        run_id: RunId,
        created_at: Timestamp,
        request: KeptRequest,
        share: Share,
    ) -> Arc<Self> {
        let timeout_at = endpoint.options.timeout.map(|timeout| created_at.after(timeout));
        let (state, ungated) = (Mutex::new(State { share: Some(share), ..State::default() }), Notify::new());
        Arc::new(Self { shared, endpoint, run_id, created_at, timeout_at, request, state, ungated })
    }

    /// A replay of a run under a new lease. `loaded_at` is from when on the store was read.
    pub(crate) fn replay(
        shared: Arc<Shared>,
        endpoint: Arc<Endpoint>,
        lease: Lease,
        loaded: &mut Loaded,
        loaded_at: Timestamp,
        request: KeptRequest,
        stream: StreamState,
    ) -> Arc<Self> {
        let record = &loaded.record;
        let machine = Machine::replay(&loaded.journal);
        let lease = Some(lease);
        let state = State { machine, lease, asynchronous: true, fetched_at: loaded_at, stream, ..State::default() };
        let this = Arc::new(Self {
            shared,
            endpoint,
            run_id: record.run_id,
            created_at: record.created_at,
            timeout_at: record.timeout_at,
            request,
            state: Mutex::new(state),
            ungated: Notify::new(),
        });
        this.attach();
        // Why first: what came before the run was looked at comes before what time brings.
        this.take_deliveries(std::mem::take(&mut loaded.deliveries));
        this
    }

    fn attach(self: &Arc<Self>) {
        let guard = self.shared.hub.attach(self.run_id, Arc::clone(self) as Arc<dyn Attached>);
        self.lock().attached = Some(guard);
    }

    /// The run as the store learns of it.
    pub(crate) fn new_run(&self) -> NewRun {
        let options = &self.endpoint.options;
        NewRun {
            run_id: self.run_id,
            endpoint: self.endpoint.id.clone(),
            version: options.version.clone(),
            pinned: options.pinned,
            created_at: self.created_at,
            request: self.request.payload(),
            timeout_at: self.timeout_at,
            retention: options.retention,
            key: None,
            parent: None,
        }
    }

    /// The run was stored under this lease before its handler was called.
    pub(crate) fn begun(self: &Arc<Self>, lease: Lease) {
        self.lock().lease = Some(lease);
        self.attach();
    }
}

// ===== what steps do =====

impl Context {
    pub(crate) fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    pub(crate) fn request_step(&self, name: &str, kind: StepKind) -> Result<Requested, StepError> {
        let steps_max = self.endpoint.options.steps_max;
        let mut state = self.lock();
        if let Some(closed) = state.closed {
            drop(state);
            self.say_late(name, closed);
            return Err(closed.error());
        }
        let mut requested = state.machine.request(name, kind, steps_max)?;
        if let Some(asked) = &mut state.only_asked
            && matches!(requested.next, Next::Attempt(_) | Next::AttemptAt(..))
        {
            asked.push(requested.step.to_string());
            requested.next = Next::Waiting;
        }
        if !stream::is_inside(self.run_id) {
            state.active_at = Some(Instant::now());
        }
        state.driver.wake_if_resting();
        Ok(requested)
    }

    /// The run has crashed before, and has this place among such runs.
    pub(crate) fn suspect(&self, place: Place) {
        self.lock().suspect = Some(place);
    }

    /// Whether the run has crashed, and has not got further since.
    pub(crate) fn is_suspect(&self) -> bool {
        self.lock().suspect.is_some()
    }

    /// From now on steps are only asked for, and none begins.
    pub(crate) fn only_ask(&self) {
        self.lock().only_asked = Some(Vec::new());
    }

    /// The steps that were asked for and did not begin.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.lock().only_asked.clone().unwrap_or_default()
    }

    /// The handler no longer has steps of this id.
    pub(crate) fn retire(&self, id: &str) {
        let mut state = self.lock();
        state.machine.retire(id);
        state.driver.wake_if_resting();
    }

    /// A step failed for good before it began: it fails in a replay, too, whatever has changed meanwhile.
    pub(crate) fn fail(self: &Arc<Self>, key: StepKey, error: &StepError) {
        let now = self.now();
        let Some(mut state) = self.open(key) else { return };
        if let Some(entry) = state.machine.fail(key, error.to_payload(), now, false) {
            self.submit(&mut state, now, Some(key), |checkpoint| checkpoint.entries.push(entry));
        }
    }

    /// A closure of a step runs while the guard lives.
    pub(crate) fn running(self: &Arc<Self>) -> Running {
        self.lock().running += 1;
        Running(Arc::clone(self))
    }

    pub(crate) fn succeed(self: &Arc<Self>, key: StepKey, output: Payload, more: impl FnOnce(&mut Checkpoint)) {
        let now = self.now();
        let Some(mut state) = self.open(key) else { return };
        if let Err(too_large) = state.has_room(&self.endpoint.options, output.len()) {
            if let Some(entry) = state.machine.fail(key, too_large.to_payload(), now, false) {
                state.stream.roll_back(key);
                self.submit(&mut state, now, Some(key), |checkpoint| checkpoint.entries.push(entry));
            }
            return;
        }
        if let Some(entry) = state.machine.succeed(key, output, now, false) {
            state.stream.commit(key);
            self.submit(&mut state, now, Some(key), |checkpoint| {
                checkpoint.entries.push(entry);
                more(checkpoint);
            });
        }
    }

    pub(crate) fn fail_attempt(
        self: &Arc<Self>,
        key: StepKey,
        attempt: onward_core::Attempt,
        error: &StepError,
        policy: &RetryPolicy,
    ) -> Option<Next> {
        let now = self.now();
        let draw = Draw(rand::random());
        let failed = FailedAttempt {
            attempt,
            error: error.to_payload(),
            retryable: error.is_retryable(),
            retry_after: error.delay(),
        };
        let mut state = self.open(key)?;
        let after = state.machine.fail_attempt(key, failed, policy, now, draw)?;
        state.stream.roll_back(key);
        let done = after.next == Next::Recorded;
        self.submit(&mut state, now, done.then_some(key), |checkpoint| checkpoint.entries.push(after.entry));
        state.asynchronous |= !done;
        Some(after.next)
    }

    /// Registers a wait: with a waiter for a fact from outside, or with the run that is to be invoked.
    pub(crate) fn wait(
        self: &Arc<Self>,
        key: StepKey,
        until: Option<Timestamp>,
        subject: String,
        waiter: impl FnOnce(&Machine) -> Option<Waiter>,
        child: Option<NewRun>,
    ) {
        let now = self.now();
        let Some(mut state) = self.open(key) else { return };
        let waiter = waiter(&state.machine);
        if let Some(entry) = state.machine.wait(key, until, subject, now) {
            self.submit(&mut state, now, None, |checkpoint| {
                checkpoint.entries.push(entry);
                checkpoint.waiters.extend(waiter);
                checkpoint.children.extend(child);
            });
            state.asynchronous = true;
        }
    }

    /// The outcome of a step, once it is its turn.
    pub(crate) fn poll_outcome(&self, key: StepKey, cx: &TaskContext<'_>) -> Poll<Result<Payload, Payload>> {
        let mut state = self.lock();
        match state.machine.take(key) {
            Some(outcome) => {
                state.wakers.remove(&key);
                if state.elsewhere.remove(&key) {
                    state.active_at = Some(Instant::now());
                    state.driver.wake_if_resting(); // the next outcome may be offered
                }
                Poll::Ready(outcome)
            }
            None if let Some(closed) = state.closed => Poll::Ready(Err(closed.error().to_payload())),
            None => {
                state.wait_for(key, cx);
                if !stream::is_inside(self.run_id) && state.elsewhere.insert(key) {
                    state.active_at = Some(Instant::now());
                }
                // A task of its own may have asked late for an outcome that was passed over, and now gets another offer.
                if state.machine.has_offer() {
                    state.driver.wake_if_resting();
                }
                Poll::Pending
            }
        }
    }

    /// The next attempt of a step, once its time has come; `None` where the handler takes no more steps.
    pub(crate) fn poll_retry(&self, key: StepKey, cx: &TaskContext<'_>) -> Poll<Option<onward_core::Attempt>> {
        let mut state = self.lock();
        match state.machine.begin_retry(key) {
            _ if state.closed.is_some() => Poll::Ready(None),
            Some(attempt) => Poll::Ready(Some(attempt)),
            None => {
                state.wait_for(key, cx);
                Poll::Pending
            }
        }
    }

    /// The handler let go of a step.
    pub(crate) fn let_go(&self, key: StepKey) {
        let mut state = self.lock();
        state.wakers.remove(&key);
        state.stream.let_go(key);
        // Why: a handler that panics has not decided against a step. Its replay asks for it again, and the journal
        // says that it waits.
        let waits = state.machine.let_go(key);
        // Why not afterwards: the handler has not decided against a step that goes with its future, or with a task.
        if state.closed.is_none() && !std::thread::panicking() {
            state.let_go.insert(key);
            if waits {
                state.settled.insert(key);
            }
        }
    }

    /// The handler failed outside its steps: what it let go of as it ended waits on, for its replay.
    pub(crate) fn keep_waits(&self) {
        let mut state = self.lock();
        state.settled.clear();
        state.let_go.clear();
    }

    /// Submits one transaction. What the run has to tell anyway goes with it.
    fn submit(
        self: &Arc<Self>,
        state: &mut State,
        now: Timestamp,
        key: Option<StepKey>,
        fill: impl FnOnce(&mut Checkpoint),
    ) {
        let start = state.lease.is_none();
        state.has_begun |= start;
        let Some(lease) = self.lease(state) else {
            state.halted = Some(Halt::Store(StoreError::Unavailable("this node has not joined its store".into())));
            return;
        };
        let mut checkpoint = Checkpoint::new(lease, now);
        checkpoint.start = start.then(|| self.new_run());
        checkpoint.settled = state.take_settled();
        checkpoint.frames = state.take_frames();
        fill(&mut checkpoint);
        checkpoint.entries.extend(state.take_let_go(now));
        if let Some(gate) = &mut state.gate {
            gate.push((checkpoint, key));
            return;
        }
        self.send(state, checkpoint, key);
    }

    /// Gives a checkpoint to the store.
    fn send(&self, state: &mut State, checkpoint: Checkpoint, key: Option<StepKey>) {
        let frames = checkpoint.frames.clone();
        let ack = self.shared.store.checkpoint(checkpoint);
        state.acks.push_back(Written::new(ack, key, frames));
        state.driver.wake_if_resting();
    }

    /// The run's lease; a run that nobody knows of gets its first one here.
    fn lease(self: &Arc<Self>, state: &mut State) -> Option<Lease> {
        if state.lease.is_none() {
            state.lease = Some(self.shared.first_lease(self.run_id)?);
            let attached = Arc::clone(self) as Arc<dyn Attached>;
            state.attached = Some(self.shared.hub.attach(self.run_id, attached));
        }
        state.lease
    }
}

impl State {
    fn take_settled(&mut self) -> Vec<StepKey> {
        std::mem::take(&mut self.settled).into_iter().collect()
    }

    /// The entries which say that the handler has let go of steps that the journal has.
    fn take_let_go(&mut self, now: Timestamp) -> Vec<Entry> {
        let let_go = std::mem::take(&mut self.let_go);
        let_go.into_iter().filter_map(|key| self.machine.record_let_go(key, now)).collect()
    }

    fn has_waker(&self, key: StepKey) -> bool {
        self.wakers.contains_key(&key)
    }

    fn wait_for(&mut self, key: StepKey, cx: &TaskContext<'_>) {
        match self.wakers.get_mut(&key) {
            Some(waker) if waker.will_wake(cx.waker()) => {}
            Some(waker) => waker.clone_from(cx.waker()),
            None => drop(self.wakers.insert(key, cx.waker().clone())),
        }
    }

    /// Wakes who waits for a step. The driver's own task need not be: the driver polls the handler anyway.
    fn wake(&mut self, key: StepKey, driver: Option<&TaskContext<'_>>) {
        if let Some(waker) = self.wakers.get(&key)
            && !driver.is_some_and(|cx| waker.will_wake(cx.waker()))
        {
            self.woken.push(waker.clone());
        }
    }
}

impl Attached for Context {
    fn nudge(&self) {
        let mut state = self.lock();
        state.nudged = true;
        state.driver.wake();
    }

    fn cancel(&self) {
        let mut state = self.lock();
        state.halted = Some(Halt::LeaseLost);
        state.driver.wake();
    }

    fn hung(&self) -> Option<Hung> {
        let state = self.lock();
        let (rest, polls) = state.driver.resting()?;
        let waits_for = state.missed(rest, self.timeout_at)?;
        Some(Hung { lease: state.lease?, polls, waits_for })
    }
}

/// A closure of a step that runs.
pub(crate) struct Running(Arc<Context>);

impl Drop for Running {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.running -= 1;
        if state.running == 0 {
            state.driver.wake_if_resting(); // a task that was aborted tells nobody else
        }
    }
}
