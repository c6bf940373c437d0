//! What the driver of an execution asks of its context: what has become durable, what is due, how it stands, its end.

use super::{
    Ack, Advanced, Arc, Checkpoint, Checkpointed, Closed, Context, Draw, Entry, Halt, Lease, Offer, Outcome, Poll,
    Rest, RunId, Standing, State, StepError, StepKind, StoreError, TaskContext, Then, Timestamp, VecDeque, Written,
};
use crate::onward::Shared;
use std::time::Duration;

/// How long a task of its own has to ask for its next step.
const SETTLES_AFTER: Duration = Duration::from_millis(50);

impl Context {
    /// Remembers whom to wake when the run is cancelled, and tells why the execution cannot go on, if it cannot.
    pub(crate) fn poll_halted(&self, cx: &TaskContext<'_>) -> Poll<Halt> {
        let mut state = self.lock();
        state.driver.register(cx);
        state.halted.take().map_or(Poll::Pending, Poll::Ready)
    }

    /// Why the execution cannot go on, if it cannot.
    pub(crate) fn halted(&self) -> Option<Halt> {
        self.lock().halted.take()
    }

    /// Looks which checkpoints have become durable. Whether any has.
    pub(crate) fn poll_acks(&self, cx: &mut TaskContext<'_>) -> bool {
        let (mut woken, mut written) = (Vec::new(), Vec::new());
        let mut state = self.lock();
        let mut progress = false;
        while let Some(under_way) = state.acks.front_mut() {
            under_way.is_polled = true;
            let Poll::Ready(answer) = under_way.ack.as_mut().poll(cx) else { break };
            progress = true;
            let Some(Written { key, frames, .. }) = state.acks.pop_front() else { break };
            state.stream.written(&frames);
            match answer {
                Ok(done) => {
                    if let Some(key) = key {
                        state.machine.durable(key);
                        state.suspect = None;
                    }
                    written.extend(frames);
                    state.nudged |= done.woken.iter().any(|woken| woken.run_id == self.run_id);
                    woken.extend(done.woken);
                }
                Err(error) => state.halted = Some(Halt::of(error)),
            }
        }
        drop(state); // what is woken may be this run, which takes the lock
        self.publish(&written);
        if !woken.is_empty() {
            self.shared.scheduler.woken(&woken);
        }
        progress
    }

    /// The execution cannot go on.
    pub(crate) fn halt(&self, halt: Halt) {
        let mut state = self.lock();
        state.halted = Some(halt);
        state.driver.wake();
    }

    /// Whether user code may begin: the node has its lease by its own stopwatch, read now.
    ///
    /// A process that is stopped between this and the first instruction of the user's code begins late all the same.
    /// Nothing of that can be written, but what the code did outside is done twice.
    pub(crate) fn may_execute(&self) -> bool {
        let scheduler = &self.shared.scheduler;
        if !scheduler.is_shared() {
            return true; // nobody else can have the run
        }
        let node = self.lock().lease.map(|lease| lease.node);
        node.or_else(|| scheduler.node()).is_some_and(|node| scheduler.holds_lease(node))
    }

    /// The lease under which the run is written, if the store knows the run.
    pub(crate) fn lease_held(&self) -> Option<Lease> {
        self.lock().lease
    }

    /// Lets go of the places where the process can reach this execution.
    pub(crate) fn detach(&self) {
        let (attached, acks) = {
            let mut state = self.lock();
            state.driver.forget();
            state.stream.end();
            state.close(Closed::Over);
            (state.attached.take(), std::mem::take(&mut state.acks))
        };
        drop(attached);
        if !acks.is_empty() {
            // Whom they woke is told, though nobody waits for them.
            let (shared, run_id) = (Arc::clone(&self.shared), self.run_id);
            self.shared.tasks.spawn("acknowledgements", async move {
                for written in acks {
                    _ = acknowledged(&shared, run_id, written).await;
                }
            });
        }
    }

    /// Lets what comes after entries that the handler no longer asks for through.
    pub(crate) fn skip(&self) {
        let mut state = self.lock();
        let Some((first, count)) = state.machine.skip() else { return };
        let said = state.machine.blocked().is_some();
        drop(state);
        if said {
            return; // each execution of a run that is blocked comes here
        }
        tracing::warn!(run_id = %self.run_id, endpoint = %self.endpoint.id, %first, count,
            "the journal has steps that the handler did not ask for again, or not in this order");
    }

    /// A poll of the execution begins.
    pub(crate) fn begin_poll(&self) {
        self.lock().driver.begin_poll();
    }

    /// Does what time brings by `now`, offers the next completed step to the handler, and tells how the execution then
    /// stands.
    ///
    /// One lock and one reading of the clock serve all three, because two readings may disagree: a deadline that the first
    /// finds in the future would be past by the second, and neither would wake the run.
    pub(crate) fn advance(self: &Arc<Self>, now: Timestamp, cx: &TaskContext<'_>) -> Advanced {
        let mut state = self.lock();
        state.driver.register(cx);
        let fired = self.fire(&mut state, now, cx);
        let offer = state.machine.offer();
        if let Offer::Step(key) = offer {
            state.wake(key, Some(cx));
        }
        let is_elsewhere = match offer {
            // One that nobody waits for yet is a task's, where there are tasks.
            Offer::Step(key) => state.elsewhere.contains(&key) || (state.active_at.is_some() && !state.has_waker(key)),
            Offer::Nothing | Offer::Unrequested => false,
        };
        let idle = state.acks.is_empty() && state.running == 0 && state.gate.is_none();
        let only_waits = idle && state.machine.is_waiting() && !state.nudged && !is_elsewhere;
        let settles_in = state.active_at.and_then(|at| SETTLES_AFTER.checked_sub(at.elapsed()));
        let settles_in = settles_in.filter(|left| only_waits && !left.is_zero());
        let next_wake = [state.machine.next_wake_after(now), self.timeout_at].into_iter().flatten().min();
        let standing = Standing {
            quiescent: only_waits && settles_in.is_none(),
            nudged: state.nudged,
            asynchronous: state.asynchronous && state.acks.is_empty() && state.gate.is_none(),
            next_wake,
            settles_in,
        };
        Advanced { fired, offer, is_elsewhere, standing }
    }

    /// Ends the waits whose time has come. Whether there were any.
    ///
    /// What came for a wait before its time was over counts, however late the run gets to see it: so a wait for a fact
    /// ends by time when it is known that nothing came. Until then the run is nudged to read what has come.
    fn fire(self: &Arc<Self>, state: &mut State, now: Timestamp, cx: &TaskContext<'_>) -> bool {
        if state.machine.next_wake().is_none_or(|at| at > now) {
            return false;
        }
        let mut progress = false;
        for (key, kind, until) in state.machine.due(now) {
            if kind == StepKind::Sleep || until <= state.fetched_at {
                self.end_wait(state, key, kind, now);
                progress = true;
            } else {
                state.nudged = true;
            }
        }
        for key in state.machine.retries_due(now) {
            state.wake(key, Some(cx));
            progress = true;
        }
        progress
    }

    /// The handler is pending, and the driver rests. The execution is polled again if something came that the driver has
    /// not seen.
    pub(crate) fn rest(&self, rest: Rest) {
        let mut state = self.lock();
        state.driver.rest(rest);
        if state.missed(rest, self.timeout_at).is_some() {
            state.driver.wake_if_resting();
        }
    }

    /// Whether deliveries may have come since the last look.
    pub(crate) fn take_nudge(&self) -> bool {
        std::mem::take(&mut self.lock().nudged)
    }

    /// Waits until no transaction keeps checkpoints back. A last checkpoint must come after what it commits.
    pub(crate) async fn ungated(&self) {
        loop {
            let opened = self.ungated.notified();
            if self.lock().gate.is_none() {
                return;
            }
            opened.await;
        }
    }

    /// Ends the execution with a last checkpoint; the future is its acknowledgement.
    pub(crate) fn finish(self: &Arc<Self>, entries: Vec<Entry>, then: Then) -> Ack {
        let now = self.now();
        let mut state = self.lock();
        let start = state.lease.is_none();
        let Some(lease) = self.lease(&mut state) else {
            return Box::pin(async { Err(StoreError::Unavailable("this node has not joined its store".into())) });
        };
        let mut checkpoint = Checkpoint::new(lease, now);
        checkpoint.start = start.then(|| self.new_run());
        if matches!(then, Then::Finish(_)) {
            state.stream.roll_back_all();
        }
        checkpoint.settled = state.take_settled();
        checkpoint.frames = state.take_frames();
        checkpoint.entries = entries;
        if !matches!(then, Then::Finish(_)) {
            checkpoint.entries.extend(state.take_let_go(now));
        }
        checkpoint.then = then;
        if checkpoint.frames.is_empty() && state.acks.iter().all(|written| written.frames.is_empty()) {
            return self.shared.store.checkpoint(checkpoint);
        }
        let before = std::mem::take(&mut state.acks);
        let shared = Arc::clone(&self.shared);
        Box::pin(finish_stream(shared, before, checkpoint))
    }

    /// The handler failed outside its steps: what to append, and when it is tried again.
    pub(crate) fn fail_handler(&self, error: &StepError) -> (Entry, Option<Timestamp>) {
        let policy = self.endpoint.options.retry;
        let draw = Draw(rand::random());
        self.lock().machine.fail_handler(error.to_payload(), &policy, self.now(), draw)
    }

    /// Whether everyone who waits must find the outcome stored before anyone gets it.
    pub(crate) fn is_asynchronous(&self) -> bool {
        self.lock().asynchronous
    }

    pub(crate) fn set_asynchronous(&self) {
        self.lock().asynchronous = true;
    }

    /// Tells the rest of the process how the run ended.
    pub(crate) fn announce(&self, outcome: &Arc<Outcome>) {
        self.shared.hub.finish(self.run_id, Arc::clone(outcome));
    }
}

impl State {
    /// Tells what a resting driver has missed, if anything. Nothing that the driver waits for will ever move the run on.
    ///
    /// A handler that waits for neither a step nor a checkpoint runs code of its own, of which nothing is known here.
    pub(super) fn missed(&self, rest: Rest, timeout_at: Option<Timestamp>) -> Option<&'static str> {
        if self.halted.is_some() {
            return Some("to be told that it was ended");
        }
        if self.closed.is_some() || self.running > 0 || self.gate.is_some() || rest.reads || rest.stalls {
            return None;
        }
        if let Some(first) = self.acks.front() {
            return (!first.is_polled).then_some("a checkpoint that nobody polls");
        }
        if self.machine.has_offer() {
            return Some("an outcome that nobody is offered");
        }
        if self.nudged {
            return Some("deliveries that nobody reads");
        }
        let wake = [self.machine.next_wake(), timeout_at].into_iter().flatten().min()?;
        rest.timer.is_none_or(|timer| timer > wake).then_some("a time for which no timer is set")
    }
}

/// Waits until a checkpoint is durable, and tells whom it concerns.
async fn acknowledged(shared: &Shared, run_id: RunId, written: Written) -> Result<(), StoreError> {
    let done = written.ack.await?;
    shared.scheduler.woken(&done.woken);
    shared.hub.publish(run_id, &written.frames);
    Ok(())
}

/// Ends an execution that has streamed: a run must not end before all that it streamed is durable, and its readers hear
/// of that in order.
async fn finish_stream(
    shared: Arc<Shared>,
    before: VecDeque<Written>,
    last: Checkpoint,
) -> Result<Checkpointed, StoreError> {
    let run_id = last.lease.run_id;
    for written in before {
        acknowledged(&shared, run_id, written).await?;
    }
    let frames = last.frames.clone();
    let done = shared.store.checkpoint(last).await?;
    shared.hub.publish(run_id, &frames);
    Ok(done)
}

#[cfg(test)]
mod tests;
