//! Figures of what was claimed, how late, and of what hung.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// How claims and executions have gone so far.
///
/// Lateness is that of the longest due run of each claim whose due time was known beforehand: from that time to when
/// the store has handed the run out. What was woken by a fact from outside is due at once and does not count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Runs claimed.
    pub claimed: u64,
    /// Claims that the store refused or could not answer.
    pub failures: u64,
    /// Executions that hung and whose runs were given back: each is a bug of this project.
    pub hung: u64,
    /// The greatest lateness, in whole microseconds.
    pub lateness_max: Duration,
    /// The mean lateness, in whole microseconds.
    pub lateness_mean: Duration,
}

#[derive(Debug, Default)]
pub(super) struct Meter {
    claimed: AtomicU64,
    failures: AtomicU64,
    hung: AtomicU64,
    late: AtomicU64,
    late_micros: AtomicU64,
    late_micros_max: AtomicU64,
}

impl Meter {
    pub(super) fn claimed(&self, runs: usize) {
        self.claimed.fetch_add(runs as u64, Ordering::Relaxed);
    }

    pub(super) fn failed(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn hung(&self) {
        self.hung.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn late(&self, by: Duration) {
        let micros = u64::try_from(by.as_micros()).unwrap_or(u64::MAX);
        self.late.fetch_add(1, Ordering::Relaxed);
        self.late_micros.fetch_add(micros, Ordering::Relaxed);
        self.late_micros_max.fetch_max(micros, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> Stats {
        let late = self.late.load(Ordering::Relaxed).max(1);
        Stats {
            claimed: self.claimed.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
            hung: self.hung.load(Ordering::Relaxed),
            lateness_max: Duration::from_micros(self.late_micros_max.load(Ordering::Relaxed)),
            lateness_mean: Duration::from_micros(self.late_micros.load(Ordering::Relaxed) / late),
        }
    }
}
