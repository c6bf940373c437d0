//! How many waiting handlers are kept in memory, and for how long.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use onward_core::Timestamp;

/// The bounds on parked runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParkingLimits {
    /// How many runs may be parked at once.
    pub runs_max: usize,
    /// How long a run may be parked.
    pub time_max: Duration,
}

impl Default for ParkingLimits {
    fn default() -> Self {
        Self { runs_max: 10_000, time_max: Duration::from_secs(60) }
    }
}

/// Counts parked runs against their bounds.
#[derive(Clone, Debug)]
pub struct Parking {
    limits: ParkingLimits,
    parked: Arc<AtomicUsize>,
}

/// The right to stay parked; dropping it gives the place back.
#[derive(Debug)]
#[must_use = "dropping it gives the place back"]
pub struct Permit(Arc<AtomicUsize>);

impl Parking {
    /// With nobody parked.
    pub fn new(limits: ParkingLimits) -> Self {
        Self { limits, parked: Arc::default() }
    }

    /// A place, if there is one.
    pub fn try_park(&self) -> Option<Permit> {
        let max = self.limits.runs_max;
        let taken = self
            .parked
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |parked| (parked < max).then_some(parked + 1));
        taken.ok().map(|_| Permit(Arc::clone(&self.parked)))
    }

    /// How long a run may be parked.
    pub const fn time_max(&self) -> Duration {
        self.limits.time_max
    }

    /// How many runs are parked.
    pub fn parked_len(&self) -> usize {
        self.parked.load(Ordering::Relaxed)
    }

    /// Whether a wait may end while the run is parked: one that is known to be longer is not worth a place.
    pub fn worth_parking(&self, now: Timestamp, until: Option<Timestamp>) -> bool {
        until.is_none_or(|until| until <= now.after(self.limits.time_max))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
