//! The pace of the machine. Checkers measure deadlines by it, so that a slow machine is no finding.

use std::{
    sync::{Arc, Weak},
    thread,
    time::Duration,
};

use parking_lot::Mutex;

use crate::record::stopwatch;

/// How long the calibrated task takes on a machine with nothing else to do. The task takes several of the system's time
/// slices, so that it must share its core with other processes.
const TASK: Duration = Duration::from_millis(25);
/// How often the task is done: a tenth of a core goes into it.
const EVERY: Duration = Duration::from_millis(250);

/// A clock that slows down as the machine does: where a calibrated task takes three times as long as on the idle
/// machine, a second of it lasts three.
#[derive(Clone, Debug)]
pub(crate) struct Pace(Arc<Mutex<Measured>>);

#[derive(Debug, Default)]
struct Measured {
    /// Points of the stopwatch and what this clock showed then, both in microseconds, the earliest first.
    points: Vec<(u64, f64)>,
    /// How many times as long as on an idle machine the task took last.
    slowness: f64,
}

impl Measured {
    fn begun() -> Self {
        Self { points: vec![(stopwatch(), 0.0)], slowness: 1.0 }
    }

    fn measure(&mut self, at: u64, slowness: f64) {
        self.slowness = slowness.max(1.0);
        let now = self.at(at);
        self.points.push((at, now));
    }

    /// Returns what the clock showed at a point of the stopwatch.
    #[expect(clippy::cast_precision_loss, reason = "microseconds of hours are exact")]
    fn at(&self, stopwatch: u64) -> f64 {
        let after = self.points.partition_point(|(at, _)| *at <= stopwatch);
        let Some((from, then)) = after.checked_sub(1).map(|before| self.points[before]) else { return 0.0 };
        let passed = (stopwatch - from) as f64;
        match self.points.get(after) {
            Some((to, next)) => then + (next - then) * passed / (to - from) as f64,
            None => then + passed / self.slowness,
        }
    }
}

impl Pace {
    /// Calibrates the task, and does it now and then for as long as the clock is there.
    pub(crate) fn start() -> Self {
        let rounds = calibrate();
        let measured = Arc::new(Mutex::new(Measured::begun()));
        let weak = Arc::downgrade(&measured);
        thread::spawn(move || measure_for_ever(&weak, rounds));
        Self(measured)
    }

    /// Returns the clock of a machine that is never slow.
    #[cfg(test)]
    pub(crate) fn steady() -> Self {
        Self(Arc::new(Mutex::new(Measured { points: vec![(0, 0.0)], slowness: 1.0 })))
    }

    /// Returns what the clock shows.
    pub(crate) fn now(&self) -> Duration {
        micros(self.0.lock().at(stopwatch()))
    }

    /// How long it was between two points of the stopwatch.
    pub(crate) fn between(&self, from: u64, to: u64) -> Duration {
        let measured = self.0.lock();
        micros(measured.at(to) - measured.at(from))
    }
}

fn micros(micros: f64) -> Duration {
    Duration::from_secs_f64(micros.max(0.0) / 1e6)
}

fn measure_for_ever(measured: &Weak<Mutex<Measured>>, rounds: u64) {
    loop {
        let took = timed(|| task(rounds));
        let Some(measured) = measured.upgrade() else { return };
        measured.lock().measure(stopwatch(), took.as_secs_f64() / TASK.as_secs_f64());
        drop(measured);
        thread::sleep(EVERY.saturating_sub(took));
    }
}

/// How many rounds of the task fill its time: by the quickest of several tries, as others may be in the way.
#[expect(clippy::cast_precision_loss, clippy::cast_sign_loss, clippy::cast_possible_truncation, reason = "a ratio")]
fn calibrate() -> u64 {
    const ROUNDS: u64 = 200_000;
    let quickest = (0..20).map(|_| timed(|| task(ROUNDS))).min().unwrap_or(TASK).max(Duration::from_micros(1));
    (ROUNDS as f64 * TASK.as_secs_f64() / quickest.as_secs_f64()) as u64
}

fn timed(work: impl FnOnce() -> u64) -> Duration {
    let began = stopwatch();
    std::hint::black_box(work());
    Duration::from_micros(stopwatch() - began)
}

/// Work for a processor that no compiler leaves out.
pub(crate) fn task(rounds: u64) -> u64 {
    (0..rounds).fold(1, |sum, round| std::hint::black_box(sum ^ round).rotate_left(7).wrapping_mul(0x9e37_79b9))
}

#[cfg(test)]
mod tests {
    use super::Measured;

    #[test]
    fn a_slow_machine_has_more_time() {
        let mut measured = Measured { points: vec![(1_000, 0.0)], slowness: 1.0 };
        measured.measure(2_000, 0.9);
        measured.measure(4_000, 4.0);
        let shown = [500, 1_500, 2_000, 3_000, 4_000, 8_000].map(|at| measured.at(at).round().to_string());
        assert_eq!(shown, ["0", "500", "1000", "1250", "1500", "2500"]);
    }
}
