//! Checkpoints: on a held run, mostly, and wrong in one way at most.

use std::time::Duration;

use onward_core::{
    Attempt, Fence, NodeId, Payload, RunId, Seq, Timestamp,
    event::{MatchValue, Matcher, matching::When},
    journal::{Change, Entry},
    run::{IdempotencyKey, NewRun, Parent, Status},
    step::{StepId, StepKind},
    store::{Checkpoint, Lease, Then},
    waiter::{Subject, Waiter},
};
use serde_json::json;

use super::{Model, NAMES};
use crate::contract::fixture;

/// What is wrong with a checkpoint. One thing at most, as a store may look for them in any order.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flaw {
    Fence,
    Holder,
    Gap,
    KnownRun,
    AnyRun,
}

impl Model {
    pub(super) fn checkpoint(&mut self, node: NodeId) -> Checkpoint {
        let flaw = self
            .draws
            .chance(10)
            .then(|| self.draws.one([Flaw::Fence, Flaw::Holder, Flaw::Gap, Flaw::KnownRun, Flaw::AnyRun]));
        if flaw == Some(Flaw::AnyRun) {
            let lease = Lease { run_id: self.some_run(), fence: Fence(self.draws.below(4)), node };
            return Checkpoint::new(lease, self.now);
        }
        let held: Vec<Lease> = self.records.values().filter_map(held).collect();
        let start = held.is_empty() || flaw == Some(Flaw::KnownRun) || self.draws.chance(25);
        let held = if start { None } else { self.draws.pick(&held).copied() };
        let mut checkpoint = match held {
            Some(lease) => Checkpoint::new(lease, self.now),
            None => self.start(node, flaw),
        };
        match flaw {
            Some(Flaw::Fence) if held.is_some() => checkpoint.lease.fence = checkpoint.lease.fence.next(),
            Some(Flaw::Holder) => checkpoint.lease.node = NodeId(self.joined + 5),
            _ => {}
        }
        self.fill(&mut checkpoint, flaw);
        checkpoint
    }

    fn start(&mut self, node: NodeId, flaw: Option<Flaw>) -> Checkpoint {
        let mut new = self.new_run(flaw.is_none());
        if flaw == Some(Flaw::KnownRun) {
            new.run_id = self.some_run();
        }
        let lease = Lease { run_id: new.run_id, fence: Fence::FIRST, node };
        Checkpoint { start: Some(new), ..Checkpoint::new(lease, self.now) }
    }

    fn new_run(&mut self, may_have_key: bool) -> NewRun {
        self.runs_made += 1;
        let draws = &mut self.draws;
        let key = (may_have_key && draws.chance(30)).then(|| {
            let digest = u8::try_from(draws.below(20)).unwrap_or(0);
            let fingerprint = u8::try_from(draws.below(2)).unwrap_or(0);
            IdempotencyKey { digest: [digest; 32], fingerprint: [fingerprint; 32] }
        });
        let retention = draws.one([Duration::from_secs(5), Duration::from_secs(60), Duration::MAX]);
        let request = vec![u8::try_from(draws.below(256)).unwrap_or(0); usize::try_from(draws.below(40)).unwrap_or(0)];
        let draw_pin = draws.chance(40);
        let draw = u128::from(draws.below(1 << 40)) << 32 | u128::from(self.runs_made);
        let version = self.version();
        NewRun {
            run_id: RunId::new(self.now, draw),
            endpoint: self.endpoint(),
            pinned: version.is_some() && draw_pin,
            version,
            created_at: self.now,
            request: request.into(),
            timeout_at: self.some_time(20),
            retention,
            key,
            parent: None,
        }
    }

    /// Draws what a checkpoint does.
    fn fill(&mut self, checkpoint: &mut Checkpoint, flaw: Option<Flaw>) {
        let run_id = checkpoint.lease.run_id;
        let (next, delivered) = match self.seen.get(&run_id) {
            Some(seen) if checkpoint.start.is_none() => {
                (seen.journal.len(), seen.deliveries.iter().map(|delivery| delivery.step).collect())
            }
            _ => (0, Vec::new()),
        };
        let first = u32::try_from(next).unwrap_or(0) + u32::from(flaw == Some(Flaw::Gap));
        let entries = self.draws.below(4) + u64::from(flaw == Some(Flaw::Gap));
        checkpoint.entries = (first..).zip(0..entries).map(|(seq, _)| self.entry(Seq(seq))).collect();

        checkpoint.settled = delivered;
        checkpoint.settled.retain(|_| self.draws.chance(60));
        for (_, step) in self.waited.iter().filter(|(waited, _)| *waited == run_id) {
            if self.draws.chance(10) {
                checkpoint.settled.push(*step);
            }
        }
        while self.draws.chance(40) {
            let waiter = self.waiter();
            self.waited.push((run_id, waiter.step));
            checkpoint.waiters.push(waiter);
        }
        while self.draws.chance(15) {
            checkpoint.events.push(self.event());
        }
        while self.draws.chance(10) {
            checkpoint.signals.push(self.signal());
        }
        if self.draws.chance(15) {
            let has_key = checkpoint.start.as_ref().is_some_and(|new| new.key.is_some());
            let new = self.new_run(flaw.is_none() && !has_key);
            let step = self.step().key();
            checkpoint.children.push(NewRun { parent: Some(Parent { run_id, step }), ..new });
        }
        checkpoint.then = self.then();
    }

    /// A step that was never used before.
    fn step(&mut self) -> StepId {
        self.steps_made += 1;
        StepId::try_new(format!("step {}", self.steps_made), 0).expect("it is short")
    }

    fn entry(&mut self, seq: Seq) -> Entry {
        let attempt = Attempt(u32::try_from(self.draws.below(5)).unwrap_or(0));
        let payload = Payload::from(format!("payload {}", self.draws.below(1000)));
        let change = match self.draws.below(5) {
            0 => Change::AttemptFailed { attempt, error: payload, retry_at: self.now },
            1 => Change::Waiting { until: self.some_time(50), subject: self.draws.one(NAMES).to_owned() },
            2 | 3 => Change::Succeeded { attempt, output: payload },
            _ => Change::Failed { attempt, error: payload },
        };
        let step = StepId::try_new(self.draws.one(NAMES), self.draws.one([0, 1, 2])).expect("it is short");
        Entry { seq, at: self.now, step, kind: self.draws.one(StepKind::ALL), change }
    }

    fn waiter(&mut self) -> Waiter {
        let name = self.draws.one(NAMES).to_owned();
        let subject = if self.draws.chance(30) {
            Subject::Signal { name, replace: self.draws.chance(50) }
        } else {
            let text = self.draws.below(3).to_string();
            let value = self.draws.chance(40).then(|| MatchValue { path: "data.id".to_owned(), text });
            let when = self.draws.chance(30).then(|| {
                let expression = self.draws.one(["async.data.sum > 10", "async.data.id == event.data.id", "async.no"]);
                let request = json!({ "data": { "id": self.draws.below(3) } });
                When::try_new(expression, request).expect("it is CEL")
            });
            Subject::Event { matcher: Matcher { name, value, when }, since: self.some_time(30) }
        };
        Waiter { step: self.step().key(), subject }
    }

    fn then(&mut self) -> Then {
        match self.draws.below(100) {
            0..45 => Then::Keep,
            45..65 => Then::Suspend { due_at: Timestamp::NEVER },
            65..85 => Then::Suspend { due_at: self.some_time(100).unwrap_or(fixture::at(0)) },
            _ => {
                let status = self.draws.one([Status::Completed, Status::Failed, Status::Failed]);
                Then::Finish(self.outcome(status))
            }
        }
    }
}

/// The newest lease of a running run.
fn held(record: &onward_core::run::RunRecord) -> Option<Lease> {
    Some(Lease { run_id: record.run_id, fence: record.fence, node: record.node? })
}
