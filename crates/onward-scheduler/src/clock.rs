//! The machine's clock.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use onward_core::{BoxFuture, Clock, Timestamp};

/// How long a sleep goes without looking at the wall clock again: that may be set while it sleeps.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// The wall clock in microseconds. Within a process it never goes back: set back, it stands until it is caught up.
///
/// ```
/// use onward_core::Clock;
///
/// let clock = onward_scheduler::SystemClock::default();
/// assert!(clock.now() <= clock.now());
/// ```
#[derive(Clone, Debug, Default)]
pub struct SystemClock {
    newest: Arc<AtomicI64>,
}

impl SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock that everyone else is given")]
    fn read(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let micros = i64::try_from(since.as_micros()).unwrap_or(i64::MAX);
        let newest = self.newest.fetch_max(micros, Ordering::Relaxed);
        Timestamp::from_micros(micros.max(newest))
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        self.read()
    }

    fn sleep_until(&self, at: Timestamp) -> BoxFuture<'static, ()> {
        let clock = self.clone();
        Box::pin(async move {
            loop {
                let left = at.since(clock.read());
                if left.is_zero() {
                    return;
                }
                tokio::time::sleep(left.min(LOOK_EVERY)).await;
            }
        })
    }
}
