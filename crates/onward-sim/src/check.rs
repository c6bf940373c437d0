//! Checkers: whether what nodes wrote down, what clients were told and what the database holds keep the promises.

mod outcomes;
mod steps;
mod takeover;
#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::{client::Told, cluster::Done, pace::Pace, record::Line};

pub(crate) use self::{outcomes::Money, takeover::takeovers};

/// All that is known of a seed's life.
#[derive(Debug)]
pub(crate) struct Life<'a> {
    pub(crate) lines: &'a [Line],
    pub(crate) told: &'a [Told],
    pub(crate) done: &'a Done,
    /// What the users' own table has.
    pub(crate) money: &'a [Money],
    /// How quickly the machine worked.
    pub(crate) pace: &'a Pace,
}

/// Everything that is wrong, and the figures.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) wrong: Vec<String>,
    /// Bodies of steps that began in a process that had lost the run: after a SIGSTOP nothing can keep it from that.
    pub(crate) strays: u32,
    /// By how much the earliest timer was early, in microseconds; below zero where none was.
    pub(crate) early_us: i64,
}

/// How many times slower than an idle machine one may be on which every lease is renewed in time.
const QUICK: u32 = 3;

impl Life<'_> {
    /// Whether the machine was quick enough for all leases to be renewed in time, so that a lost one is a finding.
    pub(crate) fn was_quick(&self) -> bool {
        let (Some(first), Some(last)) = (self.lines.first(), self.lines.last()) else { return false };
        self.pace.between(first.at, last.at) * QUICK > Duration::from_micros(last.at - first.at)
    }

    pub(crate) fn check(&self) -> Verdict {
        let mut verdict = Verdict { early_us: i64::MIN, ..Verdict::default() };
        steps::check(self, &mut verdict);
        outcomes::check(self, &mut verdict);
        verdict
    }
}
