//! How many waiting handlers are kept in memory, with how many bytes, and for how long.

use std::{sync::Arc, time::Duration};

use onward_core::Timestamp;
use parking_lot::Mutex;

/// The bounds on parked runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParkingLimits {
    /// How many runs may be parked at once.
    pub runs_max: usize,
    /// How many bytes they may have together.
    pub bytes_max: usize,
    /// How long a run may be parked.
    pub time_max: Duration,
}

impl Default for ParkingLimits {
    fn default() -> Self {
        Self { runs_max: 10_000, bytes_max: 256 << 20, time_max: Duration::from_secs(60) }
    }
}

/// Counts parked runs against their bounds.
#[derive(Clone, Debug)]
pub struct Parking {
    limits: ParkingLimits,
    parked: Arc<Mutex<Parked>>,
}

#[derive(Debug, Default)]
struct Parked {
    runs: usize,
    bytes: usize,
}

/// The right to stay parked; dropping it gives the place back.
#[derive(Debug)]
#[must_use = "dropping it gives the place back"]
pub struct Permit {
    parked: Arc<Mutex<Parked>>,
    bytes: usize,
}

impl Parking {
    /// With nobody parked.
    pub fn new(limits: ParkingLimits) -> Self {
        Self { limits, parked: Arc::default() }
    }

    /// A place for a run of so many bytes, if there is one.
    pub fn try_park(&self, bytes: usize) -> Option<Permit> {
        let mut parked = self.parked.lock();
        let has_room =
            parked.runs < self.limits.runs_max && bytes <= self.limits.bytes_max.saturating_sub(parked.bytes);
        if !has_room {
            return None;
        }
        parked.runs += 1;
        parked.bytes += bytes;
        drop(parked);
        Some(Permit { parked: Arc::clone(&self.parked), bytes })
    }

    /// How long a run may be parked.
    pub const fn time_max(&self) -> Duration {
        self.limits.time_max
    }

    /// How many runs are parked.
    pub fn parked_len(&self) -> usize {
        self.parked.lock().runs
    }

    /// Whether a wait may end while the run is parked: one that is known to be longer is not worth a place.
    pub fn worth_parking(&self, now: Timestamp, until: Option<Timestamp>) -> bool {
        until.is_none_or(|until| until <= now.after(self.limits.time_max))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut parked = self.parked.lock();
        parked.runs -= 1;
        parked.bytes -= self.bytes;
    }
}

#[cfg(test)]
mod tests;
