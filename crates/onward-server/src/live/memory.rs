//! How many bytes the runs under way have in memory.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Mutex, MutexGuard, Notify},
    time::Instant,
};

/// The cost of a run under way beside its request and the outputs of its steps.
const OVERHEAD: usize = 2 * 1024;
/// How often the log says that no run can begin.
const SAID_EVERY: Duration = Duration::from_secs(60);

/// The bytes of all runs under way, and their bound.
#[derive(Debug)]
pub(crate) struct Memory {
    bytes_max: usize,
    taken: AtomicUsize,
    freed: Notify,
    /// The turn to load a run.
    turn: Mutex<()>,
    said_at: parking_lot::Mutex<Option<Instant>>,
}

/// The bytes of one run. They are given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Weight {
    memory: Arc<Memory>,
    bytes: AtomicUsize,
}

impl Memory {
    pub(crate) fn new(bytes_max: usize) -> Arc<Self> {
        let (turn, said_at) = (Mutex::new(()), parking_lot::Mutex::new(None));
        Arc::new(Self { bytes_max, taken: AtomicUsize::new(0), freed: Notify::new(), turn, said_at })
    }

    /// How many bytes are taken.
    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// Whether a run with a request of so many bytes may begin. Others begin at the same time, so they may together take a
    /// little more than there is.
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        self.taken().saturating_add(bytes) <= self.bytes_max
    }

    /// Logs that runs cannot begin, once a minute at most.
    pub(crate) fn say_full(&self) {
        let mut said = self.said_at.lock();
        if said.is_none_or(|said| said.elapsed() >= SAID_EVERY) {
            *said = Some(Instant::now());
            tracing::warn!(
                bytes_max = self.bytes_max,
                "runs under way take all the memory that they may: \
                none begins (--limit-runs-bytes)"
            );
        }
    }

    /// Waits until a run may be loaded, whose size nobody knows before: past the half of what there is, one at a time,
    /// while the guard is held. **Cancel-safe**.
    pub(crate) async fn turn(&self) -> Option<MutexGuard<'_, ()>> {
        if self.taken() < self.bytes_max / 2 {
            return None;
        }
        let turn = self.turn.lock().await;
        loop {
            let mut freed = std::pin::pin!(self.freed.notified());
            freed.as_mut().enable();
            if self.taken() < self.bytes_max {
                return Some(turn);
            }
            freed.await;
        }
    }

    /// The weight of a run with so many bytes.
    pub(crate) fn weigh(self: &Arc<Self>, bytes: usize) -> Weight {
        let weight = Weight { memory: Arc::clone(self), bytes: AtomicUsize::new(0) };
        weight.set(bytes);
        weight
    }
}

impl Weight {
    /// The run has so many bytes now. Called by one at a time.
    pub(crate) fn set(&self, bytes: usize) {
        let bytes = bytes.saturating_add(OVERHEAD);
        let before = self.bytes.swap(bytes, Ordering::Relaxed);
        self.memory.taken.fetch_add(bytes, Ordering::Relaxed);
        self.memory.taken.fetch_sub(before, Ordering::Relaxed);
        if bytes < before {
            self.memory.freed.notify_waiters();
        }
    }

    /// How many bytes the run has.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }
}

impl Drop for Weight {
    fn drop(&mut self) {
        self.memory.taken.fetch_sub(self.bytes(), Ordering::Relaxed);
        self.memory.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::FutureExt;

    use super::{Memory, OVERHEAD};

    #[tokio::test]
    async fn runs_are_loaded_one_after_the_other_past_the_half_and_wait_past_the_whole() {
        let memory = Memory::new(10 * OVERHEAD);
        let first = memory.weigh(3 * OVERHEAD);
        assert_eq!((first.bytes(), memory.taken()), (4 * OVERHEAD, 4 * OVERHEAD));
        assert!(memory.turn().await.is_none(), "below the half nobody waits");
        first.set(5 * OVERHEAD);
        let turn = memory.turn().await;
        assert!(turn.is_some() && memory.turn().now_or_never().is_none(), "one at a time");
        let second = memory.weigh(3 * OVERHEAD);
        drop(turn);
        let mut waits = Box::pin(memory.turn());
        assert!((&mut waits).now_or_never().is_none() && !memory.has_room(1));
        second.set(0);
        assert!(waits.now_or_never().is_some_and(|turn| turn.is_some()), "there is room again");
        assert!(memory.has_room(3 * OVERHEAD) && !memory.has_room(3 * OVERHEAD + 1));
        drop((first, second));
        assert_eq!((memory.taken(), Arc::strong_count(&memory)), (0, 1));
    }
}
