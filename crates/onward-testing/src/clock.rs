//! A clock that stands still until it is turned.

mod drive;
mod leaping;

use std::{
    collections::BTreeMap,
    fmt,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use onward_core::{BoxFuture, Clock, Timestamp};

pub(crate) use self::drive::{drive_until, settle};
pub use self::leaping::LeapingClock;

/// A [`Clock`] that a test turns: a wait of 24 hours takes as long as the work at its end.
///
/// Time stands still until one of the methods here moves it. Then exactly those sleepers wake whose time has come,
/// the earliest first. Clones are handles of the same clock.
///
/// Most tests need [`drive`](Self::drive) alone: it runs a future and moves time whenever nothing else can move.
///
/// # Example: a wait of 24 hours
///
/// ```
/// use std::time::Duration;
///
/// use onward_core::Clock;
/// use onward_testing::ManualClock;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let clock = ManualClock::new();
/// let start = clock.now();
///
/// let later = start.after(Duration::from_secs(24 * 60 * 60));
/// clock.drive(clock.sleep_until(later)).await;
///
/// assert_eq!(clock.now(), later);
/// # }
/// ```
///
/// # Example: a step at a time
///
/// ```
/// use std::time::Duration;
///
/// use onward_core::Clock;
/// use onward_testing::ManualClock;
///
/// let clock = ManualClock::new();
/// let deadline = clock.now().after(Duration::from_secs(30));
/// let sleeper = clock.sleep_until(deadline);
/// assert_eq!(clock.next_deadline(), Some(deadline));
///
/// clock.advance(Duration::from_secs(31));
/// assert_eq!(clock.sleepers(), 0);
/// # drop(sleeper);
/// ```
#[derive(Clone)]
pub struct ManualClock {
    inner: Arc<Inner>,
}

struct Inner {
    state: Mutex<State>,
    /// How often anything was done with the clock: while it grows, somebody is still moving.
    activity: AtomicU64,
}

#[derive(Default)]
struct State {
    now: Timestamp,
    sleepers: BTreeMap<Key, Option<Waker>>,
    sleepers_made: u64,
}

/// Sleepers by deadline, then in the order in which they began to sleep.
type Key = (Timestamp, u64);

impl ManualClock {
    /// A clock that stands at the first instant of 2026, UTC.
    pub fn new() -> Self {
        Self::starting_at(Timestamp::from_micros(1_767_225_600_000_000))
    }

    /// A clock that stands at `now`.
    pub fn starting_at(now: Timestamp) -> Self {
        let state = State { now, ..State::default() };
        Self { inner: Arc::new(Inner { state: Mutex::new(state), activity: AtomicU64::new(0) }) }
    }

    /// Moves time on by `duration` and wakes who is due, the earliest first. Gives the new time.
    ///
    /// All of them see the new time, not their own deadline. Where the order of things matters, use
    /// [`advance_through`](Self::advance_through), which stops at each deadline.
    pub fn advance(&self, duration: Duration) -> Timestamp {
        let at = self.now().after(duration);
        self.set(at);
        at
    }

    /// Moves time on to `at` and wakes who is due, the earliest first. Does nothing where `at` is past already.
    pub fn advance_to(&self, at: Timestamp) {
        if at > self.now() {
            self.set(at);
        }
    }

    /// Sets the time, also to an earlier one, as an operator may do to a machine's clock. Wakes who is due.
    pub fn set(&self, at: Timestamp) {
        let mut state = self.state();
        state.now = at;
        let later = state.sleepers.split_off(&(at, u64::MAX));
        let due = std::mem::replace(&mut state.sleepers, later);
        drop(state);
        self.note();
        due.into_values().flatten().for_each(Waker::wake);
    }

    /// Moves time on to the earliest deadline and wakes who sleeps until then. Gives it; `None` where nobody sleeps.
    pub fn advance_to_next(&self) -> Option<Timestamp> {
        let next = self.next_deadline()?;
        self.advance_to(next);
        Some(next)
    }

    /// The earliest time until which anybody sleeps. Who sleeps until [`Timestamp::NEVER`] does not count.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let earliest = self.state().sleepers.first_key_value().map(|((deadline, _), _)| *deadline);
        earliest.filter(|deadline| *deadline != Timestamp::NEVER)
    }

    /// How many sleep. A sleeper counts from the call of [`Clock::sleep_until`] until it wakes or is dropped.
    pub fn sleepers(&self) -> usize {
        self.state().sleepers.len()
    }

    /// How often anything was done with the clock.
    pub(crate) fn activity(&self) -> u64 {
        self.inner.activity.load(Ordering::Relaxed)
    }

    fn note(&self) {
        self.inner.activity.fetch_add(1, Ordering::Relaxed);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for ManualClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("ManualClock").field("now", &state.now).field("sleepers", &state.sleepers.len()).finish()
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.note();
        self.state().now
    }

    fn sleep_until(&self, at: Timestamp) -> BoxFuture<'static, ()> {
        self.note();
        let mut state = self.state();
        let key = (at, state.sleepers_made);
        state.sleepers_made += 1;
        if at > state.now {
            state.sleepers.insert(key, None);
        }
        drop(state);
        Box::pin(Sleep { clock: self.clone(), key })
    }
}

/// Sleeps until a deadline. It is among the sleepers exactly while its time has not come.
struct Sleep {
    clock: ManualClock,
    key: Key,
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // Why: a waker may own a task and that task a sleeper, so none is dropped while the state is locked.
        let sleeping = self.clock.state().sleepers.get_mut(&self.key).map(|waker| waker.replace(cx.waker().clone()));
        if sleeping.is_some() { Poll::Pending } else { Poll::Ready(()) }
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.clock.note();
        let waker = self.clock.state().sleepers.remove(&self.key);
        drop(waker);
    }
}

#[cfg(test)]
mod tests;
