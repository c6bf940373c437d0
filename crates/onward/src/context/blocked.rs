//! A handler that cannot go on with its run's journal: a deploy, a flag or a missing header sends it another way.

use std::time::Duration;

use onward_core::{
    Timestamp,
    journal::{BlockedBy, Entry},
};

use super::{Arc, Context};
use crate::{Options, StepError, error::ErrorKind};

/// The shortest and the longest rest of a blocked run between two executions.
const RESTS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));

/// The step at which a handler cannot go on, and the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Missing {
    /// The step's id; of a carried value its name.
    pub(crate) step: String,
    pub(crate) cause: BlockedBy,
}

/// The next thing to do with a blocked run.
pub(crate) enum Rest {
    /// The run is tried again then.
    Until(Timestamp),
    /// The run was blocked for as long as it may be.
    Over(StepError),
}

impl Missing {
    /// The fault in words.
    pub(crate) fn text(&self) -> String {
        let step = &self.step;
        match self.cause {
            BlockedBy::NotAsked => format!("the handler returned without asking for step {step:?} of its journal"),
            BlockedBy::Unreadable => {
                format!("the kept output of step {step:?} is not of the type that the handler asks for")
            }
            BlockedBy::NotCarried => format!("the run keeps a value {step:?} that the endpoint does not carry"),
            BlockedBy::CarriedUnreadable => {
                format!("the kept value {step:?} is not of the type that the endpoint carries under that name")
            }
        }
    }

    /// The advice for a developer.
    const fn advice(&self) -> &'static str {
        match self.cause {
            BlockedBy::NotAsked => {
                "deploy a handler that asks for it, or calls step.retired for it; an extractor that refuses the request may \
                 miss a header that is not kept (keep_header) or an extension of outer middleware (carry)"
            }
            BlockedBy::Unreadable => {
                "deploy a handler whose type reads what the one before it wrote, or give the step another id"
            }
            BlockedBy::NotCarried => {
                "deploy an endpoint that carries a value of this name (carry), or calls carry_retired for it"
            }
            BlockedBy::CarriedUnreadable => {
                "deploy a type that reads what the one before it wrote, or carry the new type under another name and call \
                 carry_retired for this one"
            }
        }
    }
}

/// Returns when a blocked run is tried again; `None` where its time is over. A run rests for as long as it has been blocked,
/// so that its rests double, and no longer than its timeout and `blocked_for` allow.
fn rest(since: Timestamp, now: Timestamp, timeout_at: Option<Timestamp>, blocked_for: Duration) -> Option<Timestamp> {
    let over_at = since.after(blocked_for);
    if now >= over_at {
        return None;
    }
    let next = now.after(now.since(since).clamp(RESTS.0, RESTS.1)).min(over_at);
    Some(timeout_at.map_or(next, |timeout_at| next.min(timeout_at)))
}

impl Context {
    /// The first step of the journal that the handler should have asked for before it returned, if there is one.
    pub(crate) fn missing(&self) -> Option<Missing> {
        let step = self.lock().machine.unasked()?.to_string();
        if self.endpoint.options.lenient_replay {
            tracing::warn!(run_id = %self.run_id, endpoint = %self.endpoint.id, %step,
                "the handler returned without asking for a step of its journal: its response counts all the same");
            return None;
        }
        Some(Missing { step, cause: BlockedBy::NotAsked })
    }

    /// Records that the run is blocked, where its journal does not say so yet, and tells what becomes of it.
    pub(crate) fn block(self: &Arc<Self>, missing: &Missing) -> (Vec<Entry>, Rest) {
        let now = self.now();
        let (since, entry) = self.lock().machine.block(missing.step.clone(), missing.cause, now);
        if entry.is_some() {
            self.shared.blocked.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            tracing::error!(run_id = %self.run_id, endpoint = %self.endpoint.id, step = missing.step,
                what = missing.text(), advice = missing.advice(), "run blocked");
        }
        let Options { blocked_for, .. } = *self.endpoint.options;
        let rest = rest(since, now, self.timeout_at, blocked_for)
            .map_or_else(|| Rest::Over(StepError::new(ErrorKind::NonDeterminism, missing.text(), false)), Rest::Until);
        (entry.into_iter().collect(), rest)
    }

    /// Tells developers, before production does, of headers that the request had and a replay will lack.
    pub(super) fn warn_of_headers(&self) {
        for name in self.request.lacks.iter().filter(|name| self.endpoint.warns_of(name)) {
            tracing::warn!(endpoint = %self.endpoint.id, header = name,
                "requests have a header that is not kept, and that replays of the handler lack: keep it with \
                 Options::keep_header, or say with Options::drop_header that the handler does not need it");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Duration, Timestamp, rest};

    #[test]
    fn a_blocked_run_rests_twice_as_long_each_time_up_to_five_minutes_and_fails_after_its_time() {
        let at = |secs| Timestamp::EPOCH.after(Duration::from_secs(secs));
        let day = Duration::from_secs(24 * 3600);
        let (mut now, mut rests) = (0, Vec::new());
        while let Some(next) = rest(at(0), at(now), None, day) {
            rests.push(next.since(at(now)).as_secs());
            now += rests.last().unwrap();
        }
        assert_eq!(rests[..12], [1, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        assert_eq!((now, rests.len() < 310), (24 * 3600, true));
        assert_eq!(rest(at(0), at(1_000), Some(at(1_100)), day), Some(at(1_100)), "its timeout comes first");
        assert_eq!(rest(at(0), at(0), None, Duration::ZERO), None);
    }
}
