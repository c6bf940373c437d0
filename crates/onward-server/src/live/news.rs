//! News of a run: what its client's own request reports, and what calls of its endpoint answer.

use std::sync::Arc;

use onward_core::{
    Attempt, Payload, StepKey,
    journal::Change,
    run::{NewRun, Outcome, Status},
    step::StepKind,
    store::Then,
};
use onward_protocol::sdk::{
    Memos, memo,
    op::{COMPLETE, Op, OpKind},
    reply::Reply,
};
use serde_json::value::RawValue;

use super::{
    Live, State,
    write::{NotWritten, Receipt, Write},
};
use crate::{
    ask::{self, Reading, Said, payload},
    plan::{Call, Failure, Plan, Told, Unit, error, wire},
    record::{Answer, Origin, Target, ended, from_millis},
    shared::{Shared, draw},
};

/// Why a report was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotTaken {
    /// The run is not under way here any more: it is suspended, or others have it.
    Elsewhere,
    /// The run has ended otherwise.
    Ended(Status),
    /// The store cannot write now.
    Unavailable,
    /// The runs under way have the memory that they may have.
    Full,
}

impl From<NotWritten> for NotTaken {
    fn from(NotWritten: NotWritten) -> Self {
        Self::Unavailable
    }
}

impl Live {
    /// Begins a run with the first report of its client's own request; where it has begun already, the report is one
    /// like others. When this returns, it is durable.
    pub(crate) async fn begin(shared: &Arc<Shared>, new: NewRun, origin: Origin, ops: Vec<Op>) -> Result<(), NotTaken> {
        let Some(lease) = shared.first_lease(new.run_id) else { return Err(NotTaken::Unavailable) };
        if !shared.memory.has_room(new.request.len()) {
            shared.memory.say_full();
            return Err(NotTaken::Full);
        }
        let live = Self::begun(shared, lease, &new, origin);
        // Why the lock first: whoever finds the run in the registry reports after its beginning was submitted.
        let receipt = {
            let mut state = live.state.lock();
            if let Err(there) = shared.live.add(Arc::clone(&live)) {
                drop(state);
                return there.report(ops).await;
            }
            shared.metrics.run_started();
            tracing::info!(target: "onward::run", run_id = %live.run_id, endpoint = %live.endpoint, "run began");
            live.take_report(&mut state, Some(new), ops)
        };
        // Why before it is durable: who reports may go away, and the run must be moved all the same.
        let receipt = receipt?;
        if live.outcome().is_none() {
            live.start();
        }
        Ok(receipt.durable().await?)
    }

    /// Takes a report of the client's own request. What is known already is not recorded again. When this returns, it is
    /// durable.
    pub(crate) async fn report(self: &Arc<Self>, ops: Vec<Op>) -> Result<(), NotTaken> {
        let receipt = {
            let mut state = self.state.lock();
            self.take_report(&mut state, None, ops)
        };
        let receipt = receipt?;
        self.driver.wake();
        receipt.durable().await?;
        // Why: what the report repeats may have been submitted by another, and not be durable yet.
        Ok(self.all_durable().await?)
    }

    fn take_report(
        self: &Arc<Self>,
        state: &mut State,
        start: Option<NewRun>,
        ops: Vec<Op>,
    ) -> Result<Receipt, NotTaken> {
        if let Some(outcome) = &state.outcome {
            return if knows_all(&state.plan, &ops, true) {
                Ok(Receipt::NOTHING)
            } else {
                Err(NotTaken::Ended(outcome.status))
            };
        }
        if state.is_elsewhere() {
            return Err(NotTaken::Elsewhere);
        }
        state.heard = self.shared.clock.now();
        let said = self.read(ops, None, true);
        let (told, then) = self.take(state, Unit::FirstRequest, Attempt::FIRST, said);
        Ok(self.submit(state, Write { start, told, frames: Vec::new(), then }))
    }

    /// Reads ops into what they ask for.
    fn read(&self, ops: Vec<Op>, retry_after: Option<std::time::Duration>, first: bool) -> Said {
        ask::read(
            ops,
            &Reading {
                run_id: self.run_id,
                origin: &self.origin,
                functions: &self.shared.functions,
                now: self.shared.clock.now(),
                retention: self.shared.options.retention,
                retry_after,
                forgives: first && self.origin.retries == 1,
                since: from_millis(self.origin.event_ts),
            },
        )
    }

    /// Takes what a unit says into the plan.
    fn take(&self, state: &mut State, unit: Unit, attempt: Attempt, said: Said) -> (Told, Then) {
        let now = self.shared.clock.now();
        let Said { asked, failed, completed, again, unanswered, refused } = said;
        if let Some(data) = completed {
            // Steps that are reported beside the end are recorded before it.
            let told = state.plan.record(unit, attempt, asked, now, &mut draw);
            return (Told { failed: None, ..told }, Then::Finish(Answer::completed(data, state.take_response())));
        }
        let is_answer = !asked.is_empty() || (failed.is_none() && unanswered.is_none() && refused.is_none());
        let mut told = if is_answer { state.plan.apply(unit, attempt, asked, now, draw) } else { Told::default() };
        if let Some(error) = unanswered {
            let patience = self.shared.options.unreachable_for;
            told = told.and(state.plan.unanswered(unit, attempt, error, patience, now, draw()));
        }
        if let Some(error) = refused {
            told = told.and(state.plan.refuse(unit, attempt, error, now));
        }
        if let Some(failure) = failed {
            told = told.and(state.plan.fail(unit, attempt, failure, now, draw()));
        }
        if again {
            told = told.and(state.plan.leave_first_request(now));
        }
        let then = told.failed.take().map_or(Then::Keep, |error| Then::Finish(ended(Status::Failed, error)));
        (told, then)
    }

    /// A call was answered, or was not.
    pub(crate) async fn answered(self: &Arc<Self>, call: Call, reply: Reply) {
        let streams = matches!(self.origin.target, Target::Endpoint { .. });
        let made = self.state.lock().calls.get(&call.unit).copied().unwrap_or_default();
        match reply {
            Reply::Ops { ops, retry_after } => {
                let ends = ops.iter().any(|op| matches!(op.kind, OpKind::Complete { .. }));
                let ran = ops.iter().find(|op| matches!(op.kind, OpKind::Ran { .. } | OpKind::Failed { .. }));
                if let Some(op) = ran {
                    self.await_tees(Some(StepKey::from_bytes(op.key)), made).await;
                } else if ends && streams {
                    self.await_tees(None, made).await;
                }
                let after = retry_after.map(|after| after.retry_delay(self.shared.clock.now().as_millis()));
                self.told(call, |live| live.read(ops, after, false));
            }
            Reply::Result { data } => {
                self.told(call, |_| Said { completed: Some(data), ..Said::default() });
            }
            Reply::Failed { error } => {
                if streams {
                    self.await_tees(None, made).await;
                }
                let failure = Failure { retryable: false, ..Failure::passing(payload(&error)) };
                self.told(call, |_| Said { failed: Some(failure), ..Said::default() });
            }
            Reply::Error { error, retry_after } => {
                let after = retry_after.map(|after| after.retry_delay(self.shared.clock.now().as_millis()));
                let failure = Failure { retry_after: after, ..Failure::passing(payload(&error)) };
                self.told(call, |_| Said { failed: Some(failure), ..Said::default() });
            }
            Reply::Invalid { error } => self.refused(call, "InvalidAnswer", &error.to_string()),
            Reply::NotTheSdk { why } => self.unanswered(call, why),
        }
    }

    /// A call got no answer of the SDK.
    pub(crate) fn unanswered(self: &Arc<Self>, call: Call, why: &str) {
        tracing::warn!(target: "onward::run", run_id = %self.run_id, endpoint = %self.endpoint,
            attempt = call.attempt.0, why, "call failed");
        let unanswered = Some(error("EndpointUnreachable", why));
        self.told(call, |_| Said { unanswered, ..Said::default() });
    }

    /// A call's answer cannot be taken, and will not be another time.
    pub(crate) fn refused(self: &Arc<Self>, call: Call, name: &str, why: &str) {
        tracing::warn!(target: "onward::run", run_id = %self.run_id, endpoint = %self.endpoint,
            attempt = call.attempt.0, why, "answer refused");
        let refused = Some(error(name, why));
        self.told(call, |_| Said { refused, ..Said::default() });
    }

    fn told(self: &Arc<Self>, call: Call, said: impl FnOnce(&Self) -> Said) {
        let mut state = self.state.lock();
        if state.outcome.is_some() || state.is_elsewhere() {
            return;
        }
        let said = said(self);
        let begun = state.calls.remove(&call.unit);
        let (told, then) = self.take(&mut state, call.unit, call.attempt, said);
        if told.entries.iter().any(|entry| entry.kind == StepKind::Run) {
            state.ran_at = Some(self.shared.clock.now());
        }
        let frames = state.frames_after(call.unit, begun, &told, then != Then::Keep);
        drop(self.submit(&mut state, Write { start: None, told, frames, then }));
        drop(state);
        self.driver.wake();
    }

    /// Says what has become of steps.
    pub(super) fn log(&self, told: &Told) {
        for entry in told.entries.iter().filter(|entry| entry.kind != StepKind::Handler) {
            let (what, attempt) = match &entry.change {
                Change::Succeeded { attempt, .. } => ("succeeded", Some(attempt.0)),
                Change::Failed { attempt, .. } => ("failed", Some(attempt.0)),
                Change::AttemptFailed { attempt, .. } => ("attempt failed", Some(attempt.0)),
                Change::Waiting { .. } if entry.kind == StepKind::Run => ("is planned", None),
                Change::Waiting { .. } => ("waits", None),
                Change::Reset => ("is reset", None),
                Change::LetGo | Change::Blocked { .. } => continue, // the library alone records these
            };
            if matches!(entry.change, Change::Succeeded { .. } | Change::Failed { .. }) {
                self.shared.metrics.step_finished(entry.kind.as_str(), what);
            }
            tracing::info!(target: "onward::run", run_id = %self.run_id, endpoint = %self.endpoint,
                step = %entry.step, kind = %entry.kind, attempt, "step {what}");
        }
    }

    /// Ends the run from here: whoever executes it is told to stop.
    pub(crate) async fn finish(self: &Arc<Self>, outcome: Outcome) -> Result<(), NotTaken> {
        let receipt = {
            let mut state = self.state.lock();
            if let Some(outcome) = &state.outcome {
                return Err(NotTaken::Ended(outcome.status));
            }
            if state.is_elsewhere() {
                return Err(NotTaken::Elsewhere);
            }
            self.submit(&mut state, Write { then: Then::Finish(outcome), ..Write::of(Told::default()) })
        };
        Ok(receipt.durable().await?)
    }

    /// The outcomes of the run's steps as the SDK reads them, once they are durable: the body of `/actions`.
    pub(crate) async fn memos(&self) -> Result<String, NotTaken> {
        let memos = {
            let state = self.state.lock();
            memos(&state.plan).to_json()
        };
        self.all_durable().await?;
        Ok(memos)
    }

    /// The outcomes of the run's steps, for a call of a registered function.
    pub(crate) fn steps(&self) -> Memos {
        memos(&self.state.lock().plan)
    }

    /// The key by which the SDK knows a step.
    pub(crate) fn wire_of(&self, key: StepKey) -> Option<StepKey> {
        self.state.lock().plan.wire_of(key)
    }
}

/// The outcomes of steps as the SDK reads them, in the order in which they came.
pub(crate) fn memos(plan: &Plan) -> Memos {
    let memo_of = |outcome: Result<&Payload, &Payload>| match outcome {
        Ok(output) => memo::data(raw(output)),
        Err(error) => memo::error(raw(error)),
    };
    plan.outcomes().map(|(id, outcome)| (wire(id).to_bytes(), memo_of(outcome))).collect()
}

/// What was stored as JSON.
fn raw(payload: &Payload) -> &RawValue {
    serde_json::from_slice(payload.as_ref()).unwrap_or(RawValue::NULL)
}

/// Whether a run's journal has all that ops report: they were taken before. Those about the run itself were if it has
/// ended.
pub(crate) fn knows_all(plan: &Plan, ops: &[Op], has_ended: bool) -> bool {
    ops.iter().all(|op| {
        let step = || crate::plan::step_id(&op.id, op.index, op.key).ok().map(|id| id.key());
        match op.kind {
            OpKind::Nothing | OpKind::Deferred => true,
            OpKind::Complete { .. } | OpKind::Again => has_ended,
            _ if op.key == COMPLETE => has_ended,
            OpKind::Ran { .. } => step().is_some_and(|key| plan.is_done(key)),
            _ => step().is_some_and(|key| plan.has(key)),
        }
    })
}

impl State {
    /// The frames that settle what steps have streamed, now that a unit is over; `ends`: and the run with it.
    fn frames_after(
        &mut self,
        unit: Unit,
        begun: Option<u64>,
        told: &Told,
        ends: bool,
    ) -> Vec<onward_core::stream::Frame> {
        let mut frames = Vec::new();
        for entry in &told.entries {
            if matches!(entry.change, Change::Succeeded { .. }) && entry.kind == StepKind::Run {
                let key = wire(&entry.step);
                frames.extend(self.commit(key));
                self.ran_by.extend(begun.map(|begun| (key, begun)));
            }
        }
        if ends {
            for tee in std::mem::take(&mut self.tees).into_values() {
                tee.stop.cancel();
            }
            frames.extend(self.settle_output(|_| true));
            return frames;
        }
        let beside = self.plan.targeted_under_way();
        let own = match unit {
            Unit::Targeted(key) => self.plan.wire_of(key),
            _ => None,
        };
        let is_over = move |key: StepKey| own.map_or_else(|| !beside.contains(&key), |own| own == key);
        frames.extend(self.settle_output(&is_over));
        frames
    }
}
