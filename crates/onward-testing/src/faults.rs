//! A store that fails, or takes its process with it, at a chosen write.

use std::{
    fmt,
    future::pending,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use onward_core::{
    BoxFuture, NodeId, Payload, RunId, Store, StoreError, Timestamp,
    event::Event,
    run::RunRecord,
    store::{
        Checkpoint, Checkpointed, ClaimRequest, Claims, Control, Lease, Loaded, News, RunFilter, RunPage, Swept,
        Unserved, UnservedQuery, Watched, Woken,
    },
    stream::{Frame, Place},
    waiter::{Delivery, Signal},
};

/// The methods of a [`Store`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Call {
    /// [`Store::join`].
    Join,
    /// [`Store::heartbeat`].
    Heartbeat,
    /// [`Store::leave`].
    Leave,
    /// [`Store::uncount_crashes`].
    UncountCrashes,
    /// [`Store::can_checkpoint`].
    CanCheckpoint,
    /// [`Store::checkpoint`].
    Checkpoint,
    /// [`Store::claim`].
    Claim,
    /// [`Store::load`].
    Load,
    /// [`Store::deliveries`].
    Deliveries,
    /// [`Store::frames`].
    Frames,
    /// [`Store::run`].
    Run,
    /// [`Store::runs`].
    Runs,
    /// [`Store::send_events`].
    SendEvents,
    /// [`Store::send_signal`].
    SendSignal,
    /// [`Store::control`].
    Control,
    /// [`Store::unserved`].
    Unserved,
    /// [`Store::sweep`].
    Sweep,
    /// [`Store::setting`].
    Setting,
    /// [`Store::register`].
    Register,
    /// [`Store::announce`].
    Announce,
    /// [`Store::unregister`].
    Unregister,
    /// [`Store::registrations`].
    Registrations,
    /// [`Store::look`].
    Look,
}

impl Call {
    /// Whether the call may write.
    pub const fn is_write(self) -> bool {
        !matches!(
            self,
            Self::Load | Self::Deliveries | Self::Frames | Self::Run | Self::Runs | Self::Registrations | Self::Look
        )
    }

    /// Whether the call writes what a run did or what was said to it, and not only keeps house: a checkpoint, events,
    /// a signal, an operator's word. These are the moments at which a crash makes a difference.
    pub const fn is_fact(self) -> bool {
        matches!(self, Self::Checkpoint | Self::SendEvents | Self::SendSignal | Self::Control)
    }
}

/// What goes wrong at a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It gets [`StoreError::Unavailable`] and nothing is written. The calls after it are served.
    Fail,
    /// The call is written, but gets [`StoreError::Unavailable`], as when its answer is lost.
    FailAfter,
    /// The call gets [`StoreError::Rejected`] and nothing is written, as with a value that the store never takes.
    Reject,
    /// The process dies before it is written: neither it nor any other call that still waits is answered, ever.
    CrashBefore,
    /// The process dies when it is durable and before anybody hears of it: no call is answered from then on.
    CrashAfter,
}

/// A store around another one in which writes go wrong as told.
///
/// Writes are counted from 1, in the order of the calls; which calls count is chosen when it is made. A crash is that
/// of the process, as its store sees it: what was submitted before is durable, no future of the store completes any
/// more, and later calls do nothing. To go on "after the restart", put a new `FaultyStore` around the inner store.
///
/// Clones share the count and the faults.
///
/// # Example: a write that fails
///
/// ```
/// use std::sync::Arc;
///
/// use onward_core::{Store, StoreError};
/// use onward_testing::{Call, Fault, FaultyStore, MemoryStore};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), StoreError> {
/// let store = FaultyStore::new(Arc::new(MemoryStore::new())).with_fault(2, Fault::Fail);
/// store.setting("a", Some("1".into())).await?;
/// assert!(matches!(store.setting("b", Some("2".into())).await, Err(StoreError::Unavailable(_))));
/// assert_eq!(store.setting("b", None).await?, None);
/// assert_eq!(store.calls(), [Call::Setting, Call::Setting, Call::Setting]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct FaultyStore {
    inner: Arc<dyn Store>,
    shared: Arc<Shared>,
}

struct Shared {
    counts: fn(Call) -> bool,
    plan: Mutex<Plan>,
    crashed: AtomicBool,
    unavailable: AtomicBool,
    activity: AtomicU64,
}

#[derive(Default)]
struct Plan {
    faults: Vec<(usize, Fault)>,
    calls: Vec<Call>,
    writes: usize,
}

impl FaultyStore {
    /// Wraps a store; every call that may write counts (see [`Call::is_write`]).
    pub fn new(inner: Arc<dyn Store>) -> Self {
        Self::counting(inner, Call::is_write)
    }

    /// Wraps a store; the calls that `counts` lets through count.
    ///
    /// Count [`Call::is_fact`] alone where a scheduler runs: how often that keeps house depends on timing, so the
    /// n-th write would not be the same one twice.
    pub fn counting(inner: Arc<dyn Store>, counts: fn(Call) -> bool) -> Self {
        let shared = Shared {
            counts,
            plan: Mutex::default(),
            crashed: AtomicBool::new(false),
            unavailable: AtomicBool::new(false),
            activity: AtomicU64::new(0),
        };
        Self { inner, shared: Arc::new(shared) }
    }

    /// Makes the `nth` of the counted calls go wrong, counted from 1. May be called again for others.
    #[must_use]
    pub fn with_fault(self, nth: usize, fault: Fault) -> Self {
        self.plan().faults.push((nth, fault));
        self
    }

    /// How many of the calls so far count.
    pub fn writes(&self) -> usize {
        self.plan().writes
    }

    /// Every call so far, in order. A call after a crash is not among them.
    pub fn calls(&self) -> Vec<Call> {
        self.plan().calls.clone()
    }

    /// Whether a crash has happened.
    pub fn is_crashed(&self) -> bool {
        self.shared.crashed.load(Ordering::Acquire)
    }

    /// Crashes now, whatever the count is.
    pub fn crash(&self) {
        self.shared.crashed.store(true, Ordering::Release);
    }

    /// From now on, or no longer, every call gets [`StoreError::Unavailable`]: an outage.
    pub fn set_unavailable(&self, unavailable: bool) {
        self.shared.unavailable.store(unavailable, Ordering::Release);
    }

    /// How often anything was done with the store.
    pub(crate) fn activity(&self) -> u64 {
        self.shared.activity.load(Ordering::Relaxed)
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.shared.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call and says what goes wrong with it.
    fn next(&self, call: Call) -> Option<Fault> {
        self.shared.activity.fetch_add(1, Ordering::Relaxed);
        let mut plan = self.plan();
        plan.calls.push(call);
        if !(self.shared.counts)(call) {
            return None;
        }
        plan.writes += 1;
        let nth = plan.writes;
        plan.faults.iter().find(|(at, _)| *at == nth).map(|(_, fault)| *fault)
    }

    fn call<T: Send + 'static>(
        &self,
        call: Call,
        submit: impl FnOnce(&dyn Store) -> BoxFuture<'static, Result<T, StoreError>>,
    ) -> BoxFuture<'static, Result<T, StoreError>> {
        if self.is_crashed() {
            return Box::pin(pending());
        }
        match self.next(call) {
            _ if self.shared.unavailable.load(Ordering::Acquire) => {
                Box::pin(std::future::ready(Err(StoreError::Unavailable("an outage was made".into()))))
            }
            None => {
                let answer = submit(&*self.inner);
                Box::pin(UntilCrash { answer, shared: Arc::clone(&self.shared) })
            }
            Some(Fault::Fail) => {
                let error = StoreError::Unavailable(format!("{call:?} was made to fail").into());
                Box::pin(std::future::ready(Err(error)))
            }
            Some(Fault::FailAfter) => {
                let answer = submit(&*self.inner);
                let lost = async move {
                    let _ = answer.await;
                    Err(StoreError::Unavailable(format!("the answer of {call:?} was lost").into()))
                };
                Box::pin(UntilCrash { answer: Box::pin(lost), shared: Arc::clone(&self.shared) })
            }
            Some(Fault::Reject) => {
                let error = StoreError::Rejected(format!("{call:?} is never written").into());
                Box::pin(std::future::ready(Err(error)))
            }
            Some(Fault::CrashBefore) => {
                self.crash();
                Box::pin(pending())
            }
            Some(Fault::CrashAfter) => {
                // Dropping it takes nothing back: the work is done by the call.
                drop(submit(&*self.inner));
                self.crash();
                Box::pin(pending())
            }
        }
    }
}

impl fmt::Debug for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyStore")
            .field("inner", &self.inner)
            .field("writes", &self.writes())
            .field("crashed", &self.is_crashed())
            .finish_non_exhaustive()
    }
}

/// An answer that is not heard after a crash, even if it was under way.
struct UntilCrash<T> {
    answer: BoxFuture<'static, T>,
    shared: Arc<Shared>,
}

impl<T> Future for UntilCrash<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        if self.shared.crashed.load(Ordering::Acquire) {
            return Poll::Pending;
        }
        self.answer.as_mut().poll(cx)
    }
}

impl Store for FaultyStore {
    fn join(&self, now: Timestamp, lease: Duration) -> BoxFuture<'static, Result<NodeId, StoreError>> {
        self.call(Call::Join, |store| store.join(now, lease))
    }

    fn heartbeat(&self, node: NodeId, now: Timestamp, lease: Duration) -> BoxFuture<'static, Result<(), StoreError>> {
        self.call(Call::Heartbeat, |store| store.heartbeat(node, now, lease))
    }

    fn leave(&self, node: NodeId, now: Timestamp) -> BoxFuture<'static, Result<(), StoreError>> {
        self.call(Call::Leave, |store| store.leave(node, now))
    }

    fn uncount_crashes(&self, node: NodeId) -> BoxFuture<'static, Result<(), StoreError>> {
        self.call(Call::UncountCrashes, |store| store.uncount_crashes(node))
    }

    fn can_checkpoint(&self, node: NodeId, within: Duration) -> BoxFuture<'static, Result<(), StoreError>> {
        self.call(Call::CanCheckpoint, |store| store.can_checkpoint(node, within))
    }

    fn checkpoint(&self, checkpoint: Checkpoint) -> BoxFuture<'static, Result<Checkpointed, StoreError>> {
        self.call(Call::Checkpoint, |store| store.checkpoint(checkpoint))
    }

    fn claim(&self, request: ClaimRequest) -> BoxFuture<'static, Result<Claims, StoreError>> {
        self.call(Call::Claim, |store| store.claim(request))
    }

    fn load(&self, run_id: RunId) -> BoxFuture<'static, Result<Option<Loaded>, StoreError>> {
        self.call(Call::Load, |store| store.load(run_id))
    }

    fn frames(&self, run_id: RunId, after: Place, limit: usize) -> BoxFuture<'static, Result<Vec<Frame>, StoreError>> {
        self.call(Call::Frames, |store| store.frames(run_id, after, limit))
    }

    fn deliveries(&self, run_id: RunId) -> BoxFuture<'static, Result<Vec<Delivery>, StoreError>> {
        self.call(Call::Deliveries, |store| store.deliveries(run_id))
    }

    fn run(&self, run_id: RunId) -> BoxFuture<'static, Result<Option<RunRecord>, StoreError>> {
        self.call(Call::Run, |store| store.run(run_id))
    }

    fn runs(&self, filter: RunFilter) -> BoxFuture<'static, Result<RunPage, StoreError>> {
        self.call(Call::Runs, |store| store.runs(filter))
    }

    fn send_events(&self, events: Vec<Event>, now: Timestamp) -> BoxFuture<'static, Result<Vec<Woken>, StoreError>> {
        self.call(Call::SendEvents, |store| store.send_events(events, now))
    }

    fn send_signal(&self, signal: Signal, now: Timestamp) -> BoxFuture<'static, Result<Option<Woken>, StoreError>> {
        self.call(Call::SendSignal, |store| store.send_signal(signal, now))
    }

    fn control(
        &self,
        run_id: RunId,
        control: Control,
        now: Timestamp,
    ) -> BoxFuture<'static, Result<Vec<Woken>, StoreError>> {
        self.call(Call::Control, |store| store.control(run_id, control, now))
    }

    fn unserved(&self, query: UnservedQuery) -> BoxFuture<'static, Result<Unserved, StoreError>> {
        self.call(Call::Unserved, |store| store.unserved(query))
    }

    fn sweep(
        &self,
        now: Timestamp,
        events_before: Timestamp,
        limit: usize,
    ) -> BoxFuture<'static, Result<Swept, StoreError>> {
        self.call(Call::Sweep, |store| store.sweep(now, events_before, limit))
    }

    fn setting(
        &self,
        name: &'static str,
        proposal: Option<Payload>,
    ) -> BoxFuture<'static, Result<Option<Payload>, StoreError>> {
        self.call(Call::Setting, |store| store.setting(name, proposal))
    }

    fn register(&self, name: String, value: Payload) -> BoxFuture<'static, Result<bool, StoreError>> {
        self.call(Call::Register, |store| store.register(name, value))
    }

    fn announce(&self, node: NodeId, name: String, value: Payload) -> BoxFuture<'static, Result<bool, StoreError>> {
        self.call(Call::Announce, |store| store.announce(node, name, value))
    }

    fn unregister(&self, name: String) -> BoxFuture<'static, Result<bool, StoreError>> {
        self.call(Call::Unregister, |store| store.unregister(name))
    }

    fn registrations(&self) -> BoxFuture<'static, Result<Vec<(String, Payload)>, StoreError>> {
        self.call(Call::Registrations, |store| store.registrations())
    }

    fn is_shared(&self) -> bool {
        self.inner.is_shared()
    }

    /// Not a call that counts: it waits most of the time, and nothing is lost with it.
    fn news(&self) -> BoxFuture<'static, Vec<News>> {
        Box::pin(UntilCrash { answer: self.inner.news(), shared: Arc::clone(&self.shared) })
    }

    fn watch(&self, runs: Vec<RunId>) {
        self.inner.watch(runs);
    }

    fn held(&self, node: NodeId) -> BoxFuture<'static, Result<Vec<Lease>, StoreError>> {
        self.call(Call::Look, |store| store.held(node))
    }

    fn look(&self, watched: Vec<Watched>) -> BoxFuture<'static, Result<Vec<News>, StoreError>> {
        self.call(Call::Look, |store| store.look(watched))
    }
}

#[cfg(test)]
mod tests;
