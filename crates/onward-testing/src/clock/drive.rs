//! Moves time by itself while nothing else can move.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use onward_core::{Clock, Timestamp};

use super::ManualClock;

/// After how many turns of the runtime without any sign of life all are taken to be waiting.
const QUIET_TURNS: u32 = 32;

/// How often time may jump before a future is given up: a day of sleeps of a second each is 86,400.
const JUMPS_MAX: u32 = 1_000_000;

/// How long something outside (a thread, a socket) may take while nobody sleeps: [`PATIENCE_TURNS`] times this.
const PATIENCE: Duration = Duration::from_millis(1);
const PATIENCE_TURNS: u32 = 10_000;

impl ManualClock {
    /// Runs a future to its end. Whenever it waits, and all other tasks do so too, time jumps to the next deadline.
    ///
    /// "All wait" is seen from outside: for 32 turns of the runtime nobody woke the future or touched the clock. That
    /// is sure on a runtime with one thread (a plain `#[tokio::test]`) with tasks that wait for each other and for
    /// this clock. Real sockets, files and timers take real time, for which the clock does not wait while somebody
    /// sleeps on it; use fakes of them, or turn the clock by hand. While nobody sleeps on it, the runtime is left idle,
    /// so real timers fire, and those of a paused tokio do so at once.
    ///
    /// Dropping the future drops the driven one; time stays where it is.
    ///
    /// # Panics
    ///
    /// If for 10 s (real ones) everything waits and nobody sleeps, or after a million jumps: the future would never
    /// end.
    ///
    /// # Example: a task in the background
    ///
    /// ```
    /// use std::{sync::Arc, time::Duration};
    ///
    /// use onward_core::Clock;
    /// use onward_testing::ManualClock;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let clock = ManualClock::new();
    /// let other = clock.clone();
    /// let task = tokio::spawn(async move {
    ///     for _ in 0..7 {
    ///         other.sleep_until(other.now().after(Duration::from_secs(24 * 60 * 60))).await;
    ///     }
    ///     "a week later"
    /// });
    ///
    /// assert_eq!(clock.drive(task).await?, "a week later");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn drive<F: Future>(&self, future: F) -> F::Output {
        let future = pin!(future);
        let driven = drive_until(self, || self.activity(), || false, future).await;
        driven.expect("nothing stops it before its end")
    }

    /// Waits until all other tasks wait, without moving time: see [`drive`](Self::drive) for what that means.
    pub async fn settle(&self) {
        settle(|| self.activity()).await;
    }

    /// Moves time on by `duration`, stopping at each deadline on the way until all who woke there wait again.
    ///
    /// So a task that sleeps a second at a time gets its turn at every second. Gives the new time.
    pub async fn advance_through(&self, duration: Duration) -> Timestamp {
        let end = self.now().after(duration);
        self.settle().await;
        while let Some(next) = self.next_deadline().filter(|next| *next <= end) {
            self.advance_to(next);
            self.settle().await;
        }
        self.advance_to(end);
        end
    }
}

/// Waits until `activity` stops growing.
pub(crate) async fn settle(activity: impl Fn() -> u64) {
    let mut quiet = Quiet::default();
    poll_fn(|cx| {
        if quiet.turn(activity()) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Runs a future, moving time whenever it and all that shows up in `activity` wait. `None` once `stop` says so.
pub(crate) async fn drive_until<F: Future>(
    clock: &ManualClock,
    activity: impl Fn() -> u64,
    stop: impl Fn() -> bool,
    mut future: Pin<&mut F>,
) -> Option<F::Output> {
    let woken = Arc::new(Woken { flag: AtomicBool::new(true), driver: Mutex::new(Waker::noop().clone()) });
    let waker = Waker::from(Arc::clone(&woken));
    let mut quiet = Quiet::default();
    let mut jumps = 0;
    let mut patience = 0;
    poll_fn(move |cx| {
        if stop() {
            return Poll::Ready(None);
        }
        woken.report_to(cx.waker());
        if woken.flag.swap(false, Ordering::AcqRel) {
            quiet = Quiet::default();
            patience = 0;
            if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                return Poll::Ready(Some(output));
            }
        }
        if quiet.turn(activity()) {
            quiet = Quiet::default();
            if clock.advance_to_next().is_none() {
                patience += 1;
                assert!(patience < PATIENCE_TURNS, "everything waits and nobody sleeps: the future will never end");
                come_back(cx.waker().clone());
                return Poll::Pending;
            }
            jumps += 1;
            patience = 0;
            assert!(
                jumps < JUMPS_MAX,
                "time jumped {jumps} times and the future has not ended; it is {:?}",
                clock.now()
            );
        }
        // Why: it must come back without being woken, as nobody tells it that all are waiting.
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await
}

/// Wakes after a moment and leaves the runtime idle until then, so that its own timers and sockets get their turn.
fn come_back(waker: Waker) {
    std::thread::spawn(move || {
        std::thread::sleep(PATIENCE);
        waker.wake();
    });
}

/// Counts turns without a sign of life.
#[derive(Default)]
struct Quiet {
    turns: u32,
    seen: Option<u64>,
}

impl Quiet {
    /// Counts a turn; whether it has been quiet for long enough.
    fn turn(&mut self, activity: u64) -> bool {
        if self.seen == Some(activity) {
            self.turns += 1;
        } else {
            *self = Self { turns: 0, seen: Some(activity) };
        }
        self.turns >= QUIET_TURNS
    }
}

/// Remembers that a future was woken, and wakes who drives it.
struct Woken {
    flag: AtomicBool,
    driver: Mutex<Waker>,
}

impl Woken {
    fn report_to(&self, waker: &Waker) {
        let mut driver = self.driver.lock().unwrap_or_else(PoisonError::into_inner);
        if !driver.will_wake(waker) {
            driver.clone_from(waker);
        }
    }
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.flag.store(true, Ordering::Release);
        let driver = self.driver.lock().unwrap_or_else(PoisonError::into_inner).clone();
        driver.wake();
    }
}
