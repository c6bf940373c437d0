//! Metrics, as Prometheus scrapes them.

use std::{
    fmt,
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram, info::Info},
    registry::{Registry, Unit},
};

/// The content type of [`Metrics::render`].
pub const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// From a fast endpoint to one that takes hours.
const REENTRY_SECONDS: [f64; 16] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0];
/// From a fast disk to one that is in trouble.
const CHECKPOINT_SECONDS: [f64; 12] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

/// What the engine counts. Counting takes no lock that is held for long; labels come from closed sets.
///
/// ```
/// use onward_server::observe::Metrics;
///
/// let metrics = Metrics::new();
/// metrics.run_started();
/// assert!(metrics.render().contains("onward_runs_started_total 1\n"));
/// ```
pub struct Metrics {
    registry: Registry,
    runs_started: Counter,
    runs_finished: Family<Status, Counter>,
    steps_finished: Family<Step, Counter>,
    reentries: Family<Outcome, Counter>,
    reentry_seconds: Histogram,
    checkpoints: Family<Outcome, Counter>,
    checkpoint_seconds: Histogram,
    events_accepted: Counter,
    executions_hung: Counter,
    runs_unreadable: Counter,
    live_runs: Gauge<i64, AtomicI64>,
    streams_open: Gauge<i64, AtomicI64>,
    bodies_bytes: Gauge<i64, AtomicI64>,
    runs_bytes: Gauge<i64, AtomicI64>,
    timer_lateness: Histogram,
}

/// What is measured when it is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Levels {
    /// Runs that have not ended.
    pub live_runs: usize,
    /// Streams that are being read.
    pub streams_open: usize,
    /// Bytes of the request bodies under way, as they are counted against their limit.
    pub bodies_bytes: usize,
    /// Bytes of the runs in memory, as they are counted against their limit.
    pub runs_bytes: usize,
    /// Executions that hung, since the process began.
    pub executions_hung: u64,
    /// Runs whose record could not be read, since the process began.
    pub runs_unreadable: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Status {
    status: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Step {
    kind: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    result: &'static str,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All at zero.
    pub fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("onward"),
            runs_started: Counter::default(),
            runs_finished: Family::default(),
            steps_finished: Family::default(),
            reentries: Family::default(),
            reentry_seconds: Histogram::new(REENTRY_SECONDS),
            checkpoints: Family::default(),
            checkpoint_seconds: Histogram::new(CHECKPOINT_SECONDS),
            events_accepted: Counter::default(),
            executions_hung: Counter::default(),
            runs_unreadable: Counter::default(),
            live_runs: Gauge::default(),
            streams_open: Gauge::default(),
            bodies_bytes: Gauge::default(),
            runs_bytes: Gauge::default(),
            timer_lateness: Histogram::new(CHECKPOINT_SECONDS),
        };
        metrics.register();
        metrics
    }

    /// The one place where they are named. What is registered is shared with the fields.
    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register("build", "What is running", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        registry.register("runs_started", "Runs that began", self.runs_started.clone());
        registry.register("runs_finished", "Runs that ended, by how", self.runs_finished.clone());
        registry.register("steps_finished", "Steps that ended, by kind and how", self.steps_finished.clone());
        registry.register("reentries", "Calls of endpoints, by how they ended", self.reentries.clone());
        let seconds = || Unit::Seconds;
        let reentry = self.reentry_seconds.clone();
        registry.register_with_unit("reentry", "How long endpoints took to answer a call", seconds(), reentry);
        registry.register("checkpoints", "Checkpoints that were taken, by how that ended", self.checkpoints.clone());
        let checkpoint = self.checkpoint_seconds.clone();
        registry.register_with_unit("checkpoint", "How long checkpoints took to be on disk", seconds(), checkpoint);
        registry.register("events_accepted", "Events that were taken", self.events_accepted.clone());
        let hung = self.executions_hung.clone();
        registry.register("executions_hung", "Executions that hung and whose runs were given back: bugs", hung);
        let unreadable = self.runs_unreadable.clone();
        registry.register("runs_unreadable", "Runs whose record could not be read, each cause once", unreadable);
        registry.register("live_runs", "Runs that have not ended", self.live_runs.clone());
        registry.register("streams_open", "Streams that are being read", self.streams_open.clone());
        let (bodies, runs) = (self.bodies_bytes.clone(), self.runs_bytes.clone());
        registry.register_with_unit("bodies", "Memory of request bodies under way", Unit::Bytes, bodies);
        registry.register_with_unit("runs", "Memory of runs under way", Unit::Bytes, runs);
        let late = self.timer_lateness.clone();
        registry.register_with_unit("timer_lateness", "How late sleeps and waits ended by time", seconds(), late);
    }

    /// A run began.
    pub fn run_started(&self) {
        self.runs_started.inc();
    }

    /// A run ended.
    pub fn run_finished(&self, status: &'static str) {
        self.runs_finished.get_or_create(&Status { status }).inc();
    }

    /// A step ended.
    pub fn step_finished(&self, kind: &'static str, outcome: &'static str) {
        self.steps_finished.get_or_create(&Step { kind, outcome }).inc();
    }

    /// A call of an endpoint ended.
    pub fn reentry(&self, result: &'static str, took: Duration) {
        self.reentries.get_or_create(&Outcome { result }).inc();
        self.reentry_seconds.observe(took.as_secs_f64());
    }

    /// A checkpoint was taken, or not.
    pub fn checkpoint(&self, result: &'static str, took: Duration) {
        self.checkpoints.get_or_create(&Outcome { result }).inc();
        self.checkpoint_seconds.observe(took.as_secs_f64());
    }

    /// A sleep or wait ended by time, this late.
    pub fn timer(&self, late: Duration) {
        self.timer_lateness.observe(late.as_secs_f64());
    }

    /// Events were taken.
    pub fn events_accepted(&self, count: u64) {
        self.events_accepted.inc_by(count);
    }

    /// What was measured just now; to be called before [`render`](Self::render).
    pub fn measured(&self, levels: &Levels) {
        for (gauge, level) in [
            (&self.live_runs, levels.live_runs),
            (&self.streams_open, levels.streams_open),
            (&self.bodies_bytes, levels.bodies_bytes),
            (&self.runs_bytes, levels.runs_bytes),
        ] {
            gauge.set(i64::try_from(level).unwrap_or(i64::MAX));
        }
        self.executions_hung.inner().store(levels.executions_hung, Ordering::Relaxed);
        self.runs_unreadable.inner().store(levels.runs_unreadable, Ordering::Relaxed);
    }

    /// All of it, as text of the type [`METRICS_TYPE`].
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}
