//! Trying again while a store is being opened.

use std::time::Duration;

use onward_core::StoreError;
use tokio::time::Instant;

/// The first pause between two tries, and the longest.
const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(2);

/// How long a process that starts tries again what a store could not do: its database may be starting, too, or be slow.
///
/// Only [`StoreError::Unavailable`] is tried again: a misconfigured store stays misconfigured.
///
/// # Example
///
/// ```
/// use onward_core::StoreError;
/// use onward_scheduler::Patience;
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), StoreError> {
/// let patience = Patience::new(Duration::from_secs(30));
/// let mut tries = 0;
/// let opened = patience.with("store", || {
///     tries += 1;
///     let starting = || Err(StoreError::Unavailable("the database system is starting up".into()));
///     std::future::ready(if tries < 3 { starting() } else { Ok(tries) })
/// });
/// assert_eq!(opened.await?, 3);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    until: Instant,
}

impl Patience {
    /// Patience for so long, from now on; a time that no clock reaches is without end.
    pub fn new(time: Duration) -> Self {
        let now = Instant::now();
        Self { until: now.checked_add(time).unwrap_or_else(|| now + Duration::from_secs(86_400 * 365 * 30)) }
    }

    /// None: the first error counts.
    pub fn none() -> Self {
        Self::new(Duration::ZERO)
    }

    /// Makes a call until it succeeds, fails for good, or the time is over: then its last error counts. Each failure is
    /// logged with what is waited for. **Cancel-safe** where the call is.
    pub async fn with<T, Fut>(self, waits_for: &'static str, mut call: impl FnMut() -> Fut) -> Result<T, StoreError>
    where
        Fut: Future<Output = Result<T, StoreError>>,
    {
        let mut pause = FIRST;
        loop {
            let error = match call().await {
                Err(StoreError::Unavailable(error)) => StoreError::Unavailable(error),
                answer => return answer,
            };
            let left = self.until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(error);
            }
            warn(waits_for, &error, left);
            tokio::time::sleep(pause.min(left)).await;
            pause = (pause * 2).min(LONGEST);
        }
    }
}

fn warn(waits_for: &'static str, error: &StoreError, left: Duration) {
    let seconds_left = left.as_secs();
    tracing::warn!(waits_for, error = error as &dyn std::error::Error, seconds_left, "store unavailable: trying again");
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, future::ready, time::Duration};

    use onward_core::StoreError;
    use tokio::time::Instant;

    use super::Patience;

    fn unavailable() -> Result<(), StoreError> {
        Err(StoreError::Unavailable("the database took too long".into()))
    }

    #[tokio::test(start_paused = true)]
    async fn what_passes_is_tried_again_until_the_time_is_over() {
        let (began, tries) = (Instant::now(), Cell::new(0));
        let answer = Patience::new(Duration::from_secs(30)).with("a test", || {
            tries.set(tries.get() + 1);
            ready(unavailable())
        });
        assert!(matches!(answer.await, Err(StoreError::Unavailable(_))));
        assert_eq!(began.elapsed(), Duration::from_secs(30));
        assert!((15..40).contains(&tries.get()), "{tries:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_no_retry_helps_is_not_tried_again_and_no_patience_is_one_try() {
        let tries = Cell::new(0);
        let count = |answer: Result<(), StoreError>| {
            tries.set(tries.get() + 1);
            ready(answer)
        };
        let wrong = || count(Err(StoreError::Misconfigured("no such database".into())));
        assert!(Patience::new(Duration::from_secs(30)).with("a test", wrong).await.is_err());
        assert!(Patience::none().with("a test", || count(unavailable())).await.is_err());
        assert_eq!(tries.get(), 2);
    }
}
