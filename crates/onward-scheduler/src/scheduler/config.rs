//! The scheduler's figures and their limits.

use std::time::Duration;

use tokio::sync::Semaphore;

/// By which time a scheduler does what no run waits for: renewing its lease, sweeping, and polling for what
/// notifications have missed. When runs are due is always the clock's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Upkeep {
    /// The machine's stopwatch. The lease is kept on a thread of its own, so that steps that block every thread of the
    /// runtime do not cost the node its lease.
    #[default]
    ByMachine,
    /// The runtime's: for tests, which may pause it. A manual clock then has only the deadlines of runs, and a test's 24
    /// hours are one jump.
    ByRuntime,
    /// The clock's: for a simulation whose whole time is that of one clock.
    ByClock,
}

/// How a scheduler goes about its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// How long a node that is not heard of keeps its runs.
    pub lease: Duration,
    /// In a store that several processes share: how often a node renews its lease, looks for nodes that are gone, and
    /// claims whatever it has heard. A third of the lease where that is shorter.
    ///
    /// So the runs of a node that died are taken over at most `lease + heartbeat_max` after that, and a claim later;
    /// and where the store's notifications are lost, or there are none, a fact for a run on another node is as late.
    /// It costs each node a small write and a small read each time.
    pub heartbeat_max: Duration,
    /// How many runs are resumed at once. Parked ones do not count.
    pub resumes_max: usize,
    /// How many runs one claim takes.
    pub claim_batch: usize,
    /// How often runs past their retention are looked for.
    pub sweep_every: Duration,
    /// How many are removed in one transaction.
    pub sweep_batch: usize,
    /// How long events are kept for waits that look back.
    pub event_retention: Duration,
    /// How long a due run or a delivery may go unnoticed if every notification is lost; in a store that several
    /// processes share, also how long a run goes on here that was ended elsewhere.
    pub poll_max: Duration,
    /// In a store that several processes share: how soon it is looked whether a run that somebody here waits for has
    /// ended or streamed elsewhere. While nothing has, the time doubles to `look_max`.
    ///
    /// This is what a database without notifications costs: a read each time, for all such runs together, and none
    /// while there are none. Where the store's [news](onward_core::Store::news) are the first to tell, it is only
    /// looked each `look_max`.
    pub look_min: Duration,
    /// The longest time between two such looks: how late somebody hears of the end of a run if notifications are lost.
    pub look_max: Duration,
    /// In a store that several processes share: how long every thread of the app's runtime may be blocked until its runs are
    /// left to others. Blocking code costs no lease before; a runtime that is stuck for good loses its own.
    pub blocked_max: Duration,
    /// How long an execution may wait for nothing that can come before its run is given back; found at most as long
    /// again after that.
    pub hung_after: Duration,
    /// By which time the lease, the sweep and the poll go.
    pub upkeep: Upkeep,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(10),
            heartbeat_max: Duration::from_millis(500),
            resumes_max: 1_024,
            claim_batch: 256,
            sweep_every: Duration::from_secs(60),
            sweep_batch: 500,
            event_retention: Duration::from_secs(7 * 24 * 3600),
            poll_max: Duration::from_secs(5),
            look_min: Duration::from_millis(50),
            look_max: Duration::from_secs(1),
            blocked_max: Duration::from_secs(300),
            hung_after: Duration::from_secs(5),
            upkeep: Upkeep::default(),
        }
    }
}

/// A figure outside its limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidConfig(&'static str);

impl Config {
    /// Whether every figure is inside its limits.
    pub fn check(&self) -> Result<(), InvalidConfig> {
        for (wrong, text) in [
            (self.lease < Duration::from_millis(100), "lease must be 100 ms or more"),
            (self.heartbeat_max.is_zero(), "heartbeat_max must not be zero"),
            (self.resumes_max == 0, "resumes_max must not be zero"),
            (self.resumes_max > Semaphore::MAX_PERMITS, "resumes_max is too large"),
            (self.claim_batch == 0, "claim_batch must not be zero"),
            (self.sweep_every.is_zero(), "sweep_every must not be zero"),
            (self.sweep_batch == 0, "sweep_batch must not be zero"),
            (self.poll_max.is_zero(), "poll_max must not be zero"),
            (self.blocked_max < self.lease, "blocked_max must not be less than the lease"),
            (self.hung_after.is_zero(), "hung_after must not be zero"),
            (self.look_min.is_zero(), "look_min must not be zero"),
            (self.look_max < self.look_min, "look_max must not be less than look_min"),
        ] {
            if wrong {
                return Err(InvalidConfig(text));
            }
        }
        Ok(())
    }
}
