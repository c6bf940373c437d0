//! How many bytes the runs under way have in memory.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Mutex, MutexGuard, Semaphore, SemaphorePermit},
    time::Instant,
};

/// The cost of a run under way beside its request and the outputs of its steps.
const OVERHEAD: usize = 2 * 1024;
/// How many runs are loaded at the same time.
const LOADS_MAX: usize = 64;
/// How often the log says that no run can begin.
const SAID_EVERY: Duration = Duration::from_secs(60);

/// The bytes of all runs under way, and their bound.
#[derive(Debug)]
pub(crate) struct Memory {
    bytes_max: usize,
    taken: AtomicUsize,
    /// The runs that are being loaded.
    loads: Semaphore,
    /// The run that is being loaded past the half.
    alone: Mutex<()>,
    said_at: parking_lot::Mutex<Option<Instant>>,
}

/// The turn of a run to be loaded.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    _place: SemaphorePermit<'a>,
    _alone: Option<MutexGuard<'a, ()>>,
}

/// The bytes of one run. They are given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Weight {
    memory: Arc<Memory>,
    bytes: AtomicUsize,
}

impl Memory {
    pub(crate) fn new(bytes_max: usize) -> Arc<Self> {
        let (loads, alone) = (Semaphore::new(LOADS_MAX), Mutex::new(()));
        Arc::new(Self { bytes_max, taken: AtomicUsize::new(0), loads, alone, said_at: parking_lot::Mutex::new(None) })
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

    /// Whether the runs of one host must no longer wait here for places.
    pub(crate) fn is_half_full(&self) -> bool {
        self.taken() >= self.bytes_max / 2
    }

    /// Waits for others that are loaded, because nobody knows the size of a run before: some at the same time, and one past
    /// the half. `None` where there is no room. **Cancel-safe**.
    pub(crate) async fn turn(&self) -> Option<Turn<'_>> {
        let place = self.loads.acquire().await.expect("nobody closes it");
        let alone = if self.is_half_full() { Some(self.alone.lock().await) } else { None };
        (self.taken() < self.bytes_max).then_some(Turn { _place: place, _alone: alone })
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
    }

    /// How many bytes the run has.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }
}

impl Drop for Weight {
    fn drop(&mut self) {
        self.memory.taken.fetch_sub(self.bytes(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::FutureExt;

    use super::{LOADS_MAX, Memory, OVERHEAD};

    #[tokio::test]
    async fn few_runs_are_loaded_at_a_time_one_past_the_half_and_none_where_nothing_is_left() {
        let memory = Memory::new(10 * OVERHEAD);
        let first = memory.weigh(3 * OVERHEAD);
        assert_eq!((first.bytes(), memory.taken()), (4 * OVERHEAD, 4 * OVERHEAD));
        let turns: Vec<_> = std::iter::from_fn(|| memory.turn().now_or_never().flatten()).collect();
        assert_eq!(turns.len(), LOADS_MAX);
        drop(turns);

        first.set(5 * OVERHEAD);
        let turn = memory.turn().await;
        assert!(memory.is_half_full() && turn.is_some() && memory.turn().now_or_never().is_none(), "one at a time");
        let second = memory.weigh(3 * OVERHEAD);
        drop(turn);
        assert!(memory.turn().await.is_none() && !memory.has_room(1), "nothing is left");
        second.set(0);
        assert!(memory.turn().await.is_some());
        assert!(memory.has_room(3 * OVERHEAD) && !memory.has_room(3 * OVERHEAD + 1));
        drop((first, second));
        assert_eq!((memory.taken(), Arc::strong_count(&memory)), (0, 1));
    }
}
