//! What an app lives in while it is killed again and again.

use std::{
    collections::BTreeMap,
    fmt,
    future::pending,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use onward_core::{Clock, Store, Timestamp};

use super::journals::Journals;
use crate::{Call, Fault, FaultyStore, ManualClock, MemoryStore, clock};

/// The store and the clock of one life of an app; clones are handles of the same.
///
/// [`crash_everywhere`](crate::crash_everywhere) makes it.
#[derive(Clone)]
pub struct World {
    pub(super) shared: Arc<Shared>,
    store: FaultyStore,
    clock: ManualClock,
    life: usize,
    /// The write of this life at which the process is killed.
    kill: Option<(usize, Fault)>,
}

/// What outlives a crash.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub(super) memory: MemoryStore,
    ledger: Mutex<Ledger>,
}

#[derive(Debug, Default)]
struct Ledger {
    ran: BTreeMap<String, usize>,
    violations: Vec<String>,
}

impl World {
    pub(super) fn new(kill: Option<(usize, Fault)>) -> Self {
        let shared = Arc::new(Shared::default());
        Self::on(shared, ManualClock::new(), 0, kill)
    }

    fn on(shared: Arc<Shared>, clock: ManualClock, life: usize, kill: Option<(usize, Fault)>) -> Self {
        let store = FaultyStore::counting(Arc::new(shared.memory.clone()), Call::is_fact);
        let store = kill.into_iter().fold(store, |store, (nth, fault)| store.with_fault(nth, fault));
        Self { shared, store, clock, life, kill }
    }

    /// The next life, on what this one has stored. It is killed where this one was to be and was not.
    ///
    /// Its clock is another one: who slept in the dead process never wakes.
    pub(super) fn restarted(&self, downtime: Duration) -> Self {
        let clock = ManualClock::starting_at(self.clock.now().after(downtime));
        let kill = self.kill.filter(|_| !self.is_killed());
        let kill = kill.map(|(nth, fault)| (nth - self.writes(), fault));
        Self::on(Arc::clone(&self.shared), clock, self.life + 1, kill)
    }

    /// The store that the app must use.
    pub fn store(&self) -> Arc<dyn Store> {
        Arc::new(self.store.clone())
    }

    /// The clock that the app must use.
    pub fn clock(&self) -> ManualClock {
        self.clock.clone()
    }

    /// Which life of the app this is: 0 until the process dies for the first time, 1 after it, and so on.
    pub fn life(&self) -> usize {
        self.life
    }

    /// To be called by a step's closure: notes that the step runs, and that it must not where its success is durable.
    ///
    /// `step` is the step's id; from its second use in a run on with its index, as in `charge:1`. It counts for every
    /// run of the world: where several runs have the step, give each of them a name of its own. Gives how often the
    /// step has run in this world, this time and other lives included.
    pub fn ran(&self, step: &str) -> usize {
        let mut ledger = self.shared.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        let ran = ledger.ran.entry(step.to_owned()).or_default();
        // A task of a dead process may still be about to do what it could not have done.
        if self.is_dead() {
            return *ran;
        }
        *ran += 1;
        let ran = *ran;
        if Journals::of(&self.shared.memory).has_succeeded(step) {
            ledger.violations.push(format!("step {step:?} ran again, though its success was durable"));
        }
        ran
    }

    /// How often a step has run: see [`ran`](Self::ran).
    pub fn times_run(&self, step: &str) -> usize {
        let ledger = self.shared.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        ledger.ran.get(step).copied().unwrap_or(0)
    }

    /// Waits until all other tasks wait, without moving time: what was under way in the app is done then.
    pub async fn settle(&self) {
        clock::settle(|| self.activity()).await;
    }

    /// Takes the process down: for a step that aborts, or needs more memory than there is.
    ///
    /// The process is dead from this call on. Nothing that it does afterwards is stored or counts as
    /// [run](Self::ran), the future never ends, and the next life begins a second later. A step that dies each time is
    /// executed again after longer and longer rests until its run fails. [`crash_everywhere`](crate::crash_everywhere)
    /// moves the clock past these rests.
    ///
    /// The request needs an idempotency key: without one a run is stored with its first step, and a run that takes the
    /// process down before that is unknown to the next life.
    ///
    /// # Example
    ///
    /// The step takes the process down twice. Here nothing is stored; with `onward` the closure of a step calls `die`.
    ///
    /// ```
    /// use onward_testing::{World, crash_everywhere};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let report = crash_everywhere(async |world: World| {
    ///     if world.ran("render") <= 2 {
    ///         world.die().await;
    ///     }
    ///     "rendered"
    /// })
    /// .await;
    /// assert_eq!(report.deaths, 2);
    /// # }
    /// ```
    pub async fn die(&self) -> ! {
        self.store.crash();
        loop {
            pending::<()>().await;
        }
    }

    pub(super) fn writes(&self) -> usize {
        self.store.writes()
    }

    pub(super) fn is_dead(&self) -> bool {
        self.store.is_crashed()
    }

    /// Whether the process was killed at the write at which it was to be.
    pub(super) fn is_killed(&self) -> bool {
        self.kill.is_some_and(|(nth, _)| self.writes() >= nth)
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// How often anything was done with the store or the clock.
    pub(super) fn activity(&self) -> u64 {
        self.store.activity().wrapping_add(self.clock.activity())
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").field("life", &self.life).field("clock", &self.clock).finish_non_exhaustive()
    }
}

impl Shared {
    pub(super) fn violations(&self) -> Vec<String> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner).violations.clone()
    }
}
