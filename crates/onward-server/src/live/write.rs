//! Writing to a run: submitted in the order of decisions, followed up when it is durable.

use std::sync::Arc;

use onward_core::{
    RunId, StoreError,
    run::{NewRun, Outcome, Status},
    store::{Checkpoint, Then},
    stream::Frame,
};
use tokio::sync::oneshot;

use super::{Live, State};
use crate::{
    plan::{self, Told},
    record::ended,
};

/// How long a run stands back whose write was refused as wrong.
const REST: std::time::Duration = std::time::Duration::from_secs(5);

/// What a step costs in memory beside its output.
const STEP_BYTES: usize = 512;

/// What is to be written at once.
pub(super) struct Write {
    pub(super) start: Option<NewRun>,
    pub(super) told: Told,
    pub(super) frames: Vec<Frame>,
    pub(super) then: Then,
}

impl Write {
    pub(super) const fn of(told: Told) -> Self {
        Self { start: None, told, frames: Vec::new(), then: Then::Keep }
    }
}

/// What was submitted is not durable: nothing was written, or the run is others' now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotWritten;

/// Tells whether what was submitted is durable. Dropping it takes nothing back.
#[must_use = "it tells whether the write is durable"]
pub(crate) struct Receipt(Option<oneshot::Receiver<bool>>);

impl Receipt {
    /// Of nothing, which is durable.
    pub(super) const NOTHING: Self = Self(None);

    /// Ends when it is durable, or is known never to be. **Cancel-safe**.
    pub(crate) async fn durable(self) -> Result<(), NotWritten> {
        match self.0 {
            None => Ok(()),
            Some(told) => {
                if told.await == Ok(true) {
                    Ok(())
                } else {
                    Err(NotWritten)
                }
            }
        }
    }
}

impl Live {
    /// Submits a write, in the order of the decisions that are made under the lock.
    pub(super) fn submit(self: &Arc<Self>, state: &mut State, write: Write) -> Receipt {
        let Write { start, told, frames, then } = write;
        let then = self.bound_state(state, &told, then);
        let nothing = start.is_none() && told.is_empty() && frames.is_empty() && then == Then::Keep;
        if nothing {
            return Receipt::NOTHING;
        }
        let outcome = match &then {
            Then::Finish(outcome) => Some(Arc::new(outcome.clone())),
            _ => None,
        };
        if let Some(outcome) = &outcome {
            state.plan.end();
            state.outcome = Some(Arc::clone(outcome));
        }
        let due_at = match then {
            Then::Suspend { due_at } => Some(due_at),
            _ => None,
        };
        self.log(&told);
        state.submitted += 1;
        let number = state.submitted;
        let steps = told.entries.len();
        let checkpoint = Checkpoint {
            start,
            entries: told.entries,
            waiters: told.waiters,
            settled: told.settled,
            children: told.children,
            frames: frames.clone(),
            then,
            ..Checkpoint::new(self.lease, self.shared.clock.now())
        };
        tracing::trace!(run_id = %self.run_id, entries = steps, frames = frames.len(), "writes");
        let written = self.shared.store.checkpoint(checkpoint);
        let (tell, told) = oneshot::channel();
        let live = Arc::clone(self);
        self.shared.tasks.spawn("write", async move {
            let durable = match written.await {
                Ok(done) => {
                    live.durable.send_if_modified(|durable| {
                        let newer = number > *durable;
                        *durable = number.max(*durable);
                        newer
                    });
                    live.shared.hub.publish(live.run_id, &frames);
                    live.shared.scheduler.woken(&done.woken);
                    if let Some(due_at) = due_at {
                        live.shared.scheduler.due_at(due_at);
                    }
                    if done.woken.iter().any(|woken| woken.run_id == live.run_id) {
                        live.state.lock().nudged = true;
                    }
                    if let Some(outcome) = outcome {
                        live.ended(outcome);
                    }
                    true
                }
                Err(error) => {
                    live.not_written(&error);
                    false
                }
            };
            live.driver.wake();
            // Who no longer waits need not be told.
            let _ = tell.send(durable);
        });
        Receipt(Some(told))
    }

    /// Weighs the run, and ends it where its state is larger than it may be.
    fn bound_state(&self, state: &State, told: &Told, then: Then) -> Then {
        self.weight.set(self.request_bytes + state.plan.bytes() + state.plan.len() * STEP_BYTES);
        let state_max = self.shared.options.limits.state_bytes;
        if then != Then::Keep || told.entries.is_empty() || state.plan.bytes() <= state_max {
            return then;
        }
        let text = format!("the outputs of the run's steps have more than {state_max} bytes: --limit-state-bytes");
        tracing::warn!(target: "onward::run", run_id = %self.run_id, endpoint = %self.endpoint, "{text}");
        Then::Finish(ended(Status::Failed, plan::error("StateTooLarge", &text)))
    }

    /// Whether all that was submitted is durable: what follows from it may happen.
    pub(super) fn is_durable(&self, state: &State) -> bool {
        *self.durable.borrow() >= state.submitted
    }

    /// Ends when all that was submitted until now is durable. **Cancel-safe**.
    pub(crate) async fn all_durable(&self) -> Result<(), NotWritten> {
        let submitted = self.state.lock().submitted;
        let mut durable = self.durable.subscribe();
        tokio::select! {
            reached = durable.wait_for(|durable| *durable >= submitted) => reached.map(|_| ()).map_err(|_| NotWritten),
            () = self.over.cancelled() => {
                if *self.durable.borrow() >= submitted { Ok(()) } else { Err(NotWritten) }
            }
        }
    }

    /// The run has its outcome, durably.
    fn ended(&self, outcome: Arc<Outcome>) {
        tracing::info!(target: "onward::run", run_id = %self.run_id, endpoint = %self.endpoint,
            status = outcome.status.as_str(), "run ended");
        self.shared.metrics.run_finished(outcome.status.as_str());
        self.leave();
        self.shared.hub.finish(self.run_id, outcome);
    }

    /// The run is no longer under way here.
    pub(super) fn leave(&self) {
        self.shared.live.remove(self);
        self.over.cancel();
        for tee in self.state.lock().tees.values() {
            tee.stop.cancel();
        }
    }

    /// What was decided is not what is stored: the run goes on from its journal, here or elsewhere.
    fn not_written(self: &Arc<Self>, error: &StoreError) {
        let first = !std::mem::replace(&mut self.state.lock().is_lost, true);
        if !first {
            return;
        }
        tracing::warn!(run_id = %self.run_id, error = error as &dyn std::error::Error, "a checkpoint was not written");
        self.leave();
        if matches!(error, StoreError::Rejected(_)) {
            // Another execution would write the same again, and the store would refuse it again, without end.
            let outcome = ended(Status::Failed, plan::error("Error", "the store cannot keep what the run wrote"));
            let live = Arc::clone(self);
            self.shared.tasks.spawn("end", async move {
                if let Err(error) = live.shared.end(live.lease, outcome).await {
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(run_id = %live.run_id, error, "run not ended: it is given back");
                    live.shared.scheduler.release(live.lease, REST);
                }
            });
            return;
        }
        if matches!(error, StoreError::Unavailable(_) | StoreError::Corrupt(_)) {
            // Why a rest: what cannot be written once may not be another time.
            let corrupt = matches!(error, StoreError::Corrupt(_));
            let rest = if corrupt { REST } else { std::time::Duration::ZERO };
            // Else nobody would look at it before this node is gone.
            self.shared.scheduler.release(self.lease, rest);
        }
    }

    /// The lease is lost, or somebody else has ended the run.
    pub(super) fn lose(self: &Arc<Self>) {
        self.state.lock().is_lost = true;
        self.leave();
        self.driver.wake();
    }

    /// What moved the run has panicked: it is given back.
    pub(super) fn abandon(self: &Arc<Self>) {
        tracing::error!(run_id = %self.run_id, "moving a run panicked: it is given back");
        self.lose();
        self.shared.scheduler.release(self.lease, REST);
    }
}

impl std::fmt::Debug for Receipt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Receipt(…)")
    }
}

/// Which run a write is about, for logs.
impl std::fmt::Debug for Write {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let start: Option<RunId> = self.start.as_ref().map(|start| start.run_id);
        f.debug_struct("Write").field("start", &start).field("then", &self.then).finish_non_exhaustive()
    }
}
