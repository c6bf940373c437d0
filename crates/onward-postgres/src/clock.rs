//! The database's clock, read on this machine.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use onward_core::{BoxFuture, Clock, Timestamp};
use parking_lot::Mutex;
use tokio::time::Instant;

/// How long a sleep goes without looking at the clock again: it is corrected now and then.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// How quickly the database answers where its answer is taken as it is.
const QUICK: Duration = Duration::from_millis(100);

/// The database's time, as this process knows it: the time at which the database was last asked, and what a stopwatch
/// has measured since. The machine's own clock is not looked at, so it may be wrong, and may be set.
///
/// It is off by half a round trip at most and by what the stopwatch drifts until it is asked again, every few seconds.
/// It never goes back.
///
/// # Example
///
/// ```no_run
/// use onward_core::Clock;
/// use onward_postgres::{Options, PostgresStore};
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let store = PostgresStore::open("postgres://app@localhost/app", Options::new()).await?;
/// println!("{:?}", store.clock().now());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct DatabaseClock(Arc<State>);

#[derive(Debug)]
struct State {
    newest: AtomicI64,
    measured: Mutex<Measured>,
}

/// What the database said, and when it was heard here.
#[derive(Clone, Copy, Debug)]
struct Measured {
    at: Instant,
    time: i64,
}

impl DatabaseClock {
    pub(crate) fn new(asked: Instant, answered: Instant, time: i64) -> Self {
        let measured = Mutex::new(measure(asked, answered, time));
        Self(Arc::new(State { newest: AtomicI64::new(0), measured }))
    }

    /// Corrects it. An answer that took long, as a connection had to be made first, tells little: it counts only where
    /// the clock is further off than that, as after the machine was asleep, when its stopwatch stood still.
    pub(crate) fn correct(&self, asked: Instant, answered: Instant, time: i64) {
        let heard = measure(asked, answered, time);
        let took = answered.duration_since(asked);
        let mut measured = self.0.measured.lock();
        let passed = i64::try_from(answered.saturating_duration_since(measured.at).as_micros()).unwrap_or(i64::MAX);
        let off = Duration::from_micros(heard.time.abs_diff(measured.time.saturating_add(passed)));
        if took < QUICK || off > took {
            *measured = heard;
        }
    }
}

/// The database read its clock between the two, most likely in the middle.
fn measure(asked: Instant, answered: Instant, time: i64) -> Measured {
    let half = i64::try_from(answered.duration_since(asked).as_micros() / 2).unwrap_or(0);
    Measured { at: answered, time: time.saturating_add(half) }
}

impl Clock for DatabaseClock {
    fn now(&self) -> Timestamp {
        let Measured { at, time } = *self.0.measured.lock();
        let passed = i64::try_from(stopwatch().duration_since(at).as_micros()).unwrap_or(i64::MAX);
        let now = time.saturating_add(passed);
        Timestamp::from_micros(self.0.newest.fetch_max(now, Ordering::Relaxed).max(now))
    }

    fn sleep_until(&self, at: Timestamp) -> BoxFuture<'static, ()> {
        let clock = self.clone();
        Box::pin(async move {
            loop {
                let left = at.since(clock.now());
                if left.is_zero() {
                    return;
                }
                tokio::time::sleep(left.min(LOOK_EVERY)).await;
            }
        })
    }
}

/// The stopwatch.
pub(crate) fn stopwatch() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use onward_core::{Clock, Timestamp};

    use super::{DatabaseClock, stopwatch};

    #[tokio::test(start_paused = true)]
    async fn it_goes_on_from_what_the_database_said_and_never_goes_back() {
        let began = stopwatch();
        tokio::time::advance(Duration::from_micros(200)).await;
        let clock = DatabaseClock::new(began, stopwatch(), 1_000_000);
        assert_eq!(clock.now(), Timestamp::from_micros(1_000_100), "half of the round trip later");
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(clock.now(), Timestamp::from_micros(2_000_100));

        clock.correct(stopwatch(), stopwatch(), 1_500_000);
        assert_eq!(clock.now(), Timestamp::from_micros(2_000_100), "it waits until it is caught up");
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(clock.now(), Timestamp::from_micros(2_500_000));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_answer_counts_where_the_clock_is_further_off() {
        let clock = DatabaseClock::new(stopwatch(), stopwatch(), 0);
        let slow = async |time| {
            let asked = stopwatch();
            tokio::time::advance(Duration::from_secs(1)).await;
            clock.correct(asked, stopwatch(), time);
            clock.now()
        };
        assert_eq!(slow(900_000).await, Timestamp::from_micros(1_000_000), "it may have been read at any time");
        assert_eq!(slow(60_000_000).await, Timestamp::from_micros(60_500_000), "the machine was asleep");
    }

    #[tokio::test(start_paused = true)]
    async fn a_sleep_ends_at_its_time() {
        let clock = DatabaseClock::new(stopwatch(), stopwatch(), 0);
        let slept = clock.sleep_until(Timestamp::from_micros(60_000_000));
        let began = stopwatch();
        slept.await;
        assert!(began.elapsed() >= Duration::from_secs(60));
        assert!(clock.now() >= Timestamp::from_micros(60_000_000), "never early");
    }
}
