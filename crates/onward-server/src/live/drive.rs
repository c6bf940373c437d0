//! What moves a run: facts that have come, time, and calls of its endpoint.

use std::sync::Arc;

use onward_core::{
    StepKey, StoreError, Timestamp,
    store::Then,
    waiter::{Delivery, Fact, Subject, Waiter},
};
use onward_scheduler::AttachGuard;

use super::{
    Handle, Live, State,
    write::{NotWritten, Write},
};
use crate::{
    call::{self, gateway},
    observe::Metrics,
    plan::{Call, Told, error},
    record::result_of,
    shared::draw,
};

/// How long a run rests whose call had no place.
const UNPLACED: std::time::Duration = std::time::Duration::from_secs(1);

/// A run that is being moved. If that panics, the run is given back: else nobody would look at it again.
struct Driven {
    live: Arc<Live>,
    is_over: bool,
}

impl Drop for Driven {
    fn drop(&mut self) {
        if !self.is_over {
            self.live.abandon();
        }
    }
}

/// What is to be done now.
enum Next {
    /// Look again when all that was submitted is durable.
    Look,
    /// Wait in memory, at most until then. Where there is no place for that, it is due at `due_at`.
    Wait { until: Timestamp, due_at: Timestamp },
    /// Leave memory until then.
    Suspend(Timestamp),
}

impl Next {
    const fn wait(until: Timestamp) -> Self {
        Self::Wait { until, due_at: until }
    }
}

impl Live {
    /// Starts moving the run.
    pub(super) fn start(self: &Arc<Self>) {
        let guard = self.shared.hub.attach(self.run_id, Arc::new(Handle(Arc::clone(self))));
        let live = Arc::clone(self);
        self.shared.tasks.spawn("drive", async move { live.drive(guard).await });
    }

    async fn drive(self: Arc<Self>, guard: AttachGuard) {
        let mut driven = Driven { live: Arc::clone(&self), is_over: false };
        self.settle_left_output();
        // Why the result is not needed: a run that is not written is no longer under way here.
        let _ = self.drive_on().await;
        driven.is_over = true;
        drop(guard);
    }

    async fn drive_on(self: &Arc<Self>) -> Result<(), NotWritten> {
        while !self.over.is_cancelled() {
            self.driver.begin_turn();
            // The only reading of the clock until the driver looks again: every decision below is by it.
            let now = self.shared.clock.now();
            self.take_facts(now).await?;
            match self.decide(now) {
                Next::Look => {
                    self.all_durable().await?;
                }
                Next::Wait { until, due_at } => {
                    let (is_busy, in_first_request) = {
                        let state = self.state.lock();
                        (state.plan.is_busy(), state.plan.in_first_request())
                    };
                    if self.shared.is_draining() && !is_busy {
                        break; // it is given back as the node leaves
                    }
                    // For this wait alone, because the run may grow until the next one.
                    let parks = !is_busy && !in_first_request;
                    let permit = parks.then(|| self.shared.parking.try_park(self.bytes())).flatten();
                    if parks && permit.is_none() && self.suspend(due_at).await? {
                        break; // as many wait in memory as may
                    }
                    self.driver.rest(until);
                    tokio::select! {
                        () = self.driver.woken() => {}
                        () = self.shared.clock.sleep_until(until) => {}
                        () = self.over.cancelled() => {}
                        () = self.shared.tasks.shutdown_token().cancelled(), if !self.shared.is_draining() => {}
                    }
                    drop(permit);
                }
                Next::Suspend(due_at) => {
                    if self.suspend(due_at).await? {
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    /// Takes what has come for waiting steps, and what time brings.
    async fn take_facts(self: &Arc<Self>, now: Timestamp) -> Result<(), NotWritten> {
        let (nudged, due) = {
            let mut state = self.state.lock();
            (std::mem::take(&mut state.nudged), state.plan.due(now))
        };
        // Why the store is read before a wait ends by time: what came in time counts.
        if !nudged && due.is_empty() {
            return Ok(());
        }
        self.all_durable().await?;
        let deliveries = match self.shared.store.deliveries(self.run_id).await {
            Ok(deliveries) => deliveries,
            Err(error @ StoreError::Corrupt(_)) => {
                // The run rests as the next attempt to load it fails.
                tracing::debug!(run_id = %self.run_id, error = &error as &dyn std::error::Error, "facts are unreadable");
                self.lose();
                self.shared.scheduler.release(self.lease, std::time::Duration::ZERO);
                return Err(NotWritten);
            }
            Err(error) => {
                tracing::warn!(run_id = %self.run_id, error = &error as &dyn std::error::Error, "facts cannot be read");
                self.state.lock().nudged = true;
                tokio::time::sleep(std::time::Duration::from_millis(200)).await;
                return Ok(());
            }
        };
        let mut state = self.state.lock();
        let mut told = Told::default();
        for delivery in deliveries {
            told = told.and(deliver(self, &mut state, delivery));
        }
        for (until, key) in due {
            told = told.and(time_out(&self.shared.metrics, &mut state, key, until, now));
        }
        drop(self.submit(&mut state, Write::of(told)));
        Ok(())
    }

    /// Makes the calls that are to be made, and says what to wait for.
    fn decide(self: &Arc<Self>, now: Timestamp) -> Next {
        let mut state = self.state.lock();
        if state.outcome.is_some() {
            return Next::wait(Timestamp::NEVER);
        }
        if state.plan.in_first_request() {
            let until = state.heard.after(self.shared.options.first_request_lease);
            if now < until {
                return Next::wait(until);
            }
            tracing::warn!(run_id = %self.run_id, endpoint = %self.endpoint,
                "the first request was not heard of for its lease: the endpoint is called again");
            let told = state.plan.leave_first_request(now);
            drop(self.submit(&mut state, Write::of(told)));
        }
        if !self.is_durable(&state) {
            return Next::Look;
        }
        if self.shared.is_draining() {
            return Next::wait(Timestamp::NEVER); // nothing more is begun
        }
        for call in state.plan.calls(now) {
            state.made += 1;
            let made = state.made;
            state.calls.insert(call.unit, made);
            self.call(call);
        }
        for (key, kind, attempt, request) in state.plan.requests(now) {
            let live = Arc::clone(self);
            self.shared.tasks.spawn("gateway", async move {
                gateway::request(live, key, kind, attempt, request).await;
            });
        }
        let wake_at = state.plan.wake_at();
        let parks = self.shared.parking.worth_parking(now, wake_at) && wake_at.is_some();
        let due_at = wake_at.unwrap_or(Timestamp::NEVER);
        if state.plan.is_busy() || parks {
            return Next::wait(due_at);
        }
        match self.output_until(&state).filter(|until| now < *until) {
            Some(until) => Next::Wait { until: until.min(due_at), due_at },
            None => Next::Suspend(due_at),
        }
    }

    /// Tells what a driver that sleeps until a time has missed, if anything. Nothing that it waits for will move the run on.
    pub(super) fn missed(&self, until: Timestamp) -> Option<&'static str> {
        let state = self.state.lock();
        if state.is_elsewhere() || state.outcome.is_some() || !self.is_durable(&state) || self.shared.is_draining() {
            return None;
        }
        if state.nudged {
            return Some("deliveries that nobody reads");
        }
        let wake_at = if state.plan.in_first_request() {
            Some(state.heard.after(self.shared.options.first_request_lease))
        } else {
            state.plan.wake_at()
        };
        (wake_at? < until).then_some("a time for which no timer is set")
    }

    /// Whether the endpoint, or a URL of a step, may be called: the node has its lease by its own stopwatch, read now.
    /// Otherwise the run is given back, because another node may have called already.
    ///
    /// A process that is stopped between this and the first byte of the request calls late all the same.
    pub(crate) fn may_call(self: &Arc<Self>) -> bool {
        let scheduler = &self.shared.scheduler;
        if !scheduler.is_shared() || scheduler.holds_lease(self.lease.node) {
            return true;
        }
        tracing::warn!(run_id = %self.run_id, "call dropped: the node's lease has run out");
        self.lose();
        scheduler.release(self.lease, std::time::Duration::ZERO);
        false
    }

    /// Gives the run back whose only call has no place yet. Nothing of it is under way then, so nothing is done twice.
    pub(crate) fn give_back_unplaced(self: &Arc<Self>) -> bool {
        {
            let state = self.state.lock();
            if state.outcome.is_some()
                || state.is_elsewhere()
                || !self.is_durable(&state)
                || state.plan.under_way_len() != 1
            {
                return false;
            }
        }
        tracing::debug!(run_id = %self.run_id, "call has no place, and memory is short: the run is given back");
        self.lose();
        self.shared.scheduler.release(self.lease, UNPLACED);
        true
    }

    fn call(self: &Arc<Self>, call: Call) {
        let live = Arc::clone(self);
        self.shared.tasks.spawn("re-entry", async move { call::make(live, call).await });
    }

    /// Suspends the run, unless something has come meanwhile. Whether it is suspended.
    async fn suspend(self: &Arc<Self>, due_at: Timestamp) -> Result<bool, NotWritten> {
        let receipt = {
            let mut state = self.state.lock();
            if state.nudged || state.outcome.is_some() || state.plan.is_busy() || !self.is_durable(&state) {
                return Ok(false);
            }
            // Why before it is durable: whoever has news of the run now waits for it to be claimed again.
            state.is_suspended = true;
            self.shared.live.remove(self);
            self.submit(&mut state, Write { then: Then::Suspend { due_at }, ..Write::of(Told::default()) })
        };
        tracing::debug!(run_id = %self.run_id, "suspended");
        let suspended = receipt.durable().await;
        self.leave();
        suspended.map(|()| true)
    }

    /// Output of attempts that are gone, because the process that made their calls is, no longer counts.
    fn settle_left_output(self: &Arc<Self>) {
        let mut state = self.state.lock();
        let frames = state.settle_output(|_| true);
        drop(self.submit(&mut state, Write { frames, ..Write::of(Told::default()) }));
    }

    /// A wait for an event goes on, after one that came at a time.
    fn waits_again(&self, step: StepKey, subject: &str, at: Timestamp) -> Option<Waiter> {
        let since = Some(Timestamp::from_micros(at.as_micros().saturating_add(1)));
        let matcher = crate::ask::matcher_again(subject, &self.origin)?;
        Some(Waiter { step, subject: Subject::Event { matcher, since } })
    }

    /// Something came that a call, or a URL, has answered.
    pub(crate) fn request_answered(self: &Arc<Self>, key: StepKey, output: onward_core::Payload) {
        let mut state = self.state.lock();
        let told = state.plan.arrive(key, Ok(output), self.shared.clock.now());
        drop(self.submit(&mut state, Write::of(told)));
    }

    /// A request to a URL has failed.
    pub(crate) fn request_failed(
        self: &Arc<Self>,
        key: StepKey,
        attempt: onward_core::Attempt,
        failure: crate::plan::Failure,
    ) {
        let mut state = self.state.lock();
        let told = state.plan.fail_request(key, attempt, failure, self.shared.clock.now(), draw());
        drop(self.submit(&mut state, Write::of(told)));
        self.driver.wake();
    }
}

/// A fact has come for a step. What nobody waits for is taken away.
fn deliver(live: &Live, state: &mut State, delivery: Delivery) -> Told {
    let Delivery { step, at, fact } = delivery;
    let (since, subject) = match state.plan.waiting(step) {
        Some((_, since, subject)) => (since, subject.to_owned()),
        // Why not again: it is taken away with the outcome that was submitted, or not at all.
        None if state.taken.contains(&step) => return Told::default(),
        None => return Told { settled: vec![step], ..Told::default() },
    };
    let outcome = match fact {
        // Why not: it came before this wait, and another wait of the run got it. No event counts twice so; what came
        // after it may.
        Fact::Event(event) if at < since && state.plan.has_got(&event) => {
            if let Some(waiter) = live.waits_again(step, &subject, at) {
                return Told { settled: vec![step], waiters: vec![waiter], ..Told::default() };
            }
            Ok(event)
        }
        Fact::Event(event) => Ok(event),
        Fact::Signal(data) => Ok(signal(&subject, data.as_ref())),
        Fact::SignalTaken => Err(error("SignalConflict", "another run waits for this signal")),
        Fact::Outcome(outcome) => result_of(&outcome),
    };
    state.taken.insert(step);
    state.plan.arrive(step, outcome, at)
}

/// A signal as a waiting step gets it.
fn signal(name: &str, data: &[u8]) -> onward_core::Payload {
    let name = serde_json::Value::from(name);
    let data = std::str::from_utf8(data).ok().filter(|data| !data.is_empty()).unwrap_or("null");
    onward_core::Payload::from(format!("{{\"signal\":{name},\"data\":{data}}}"))
}

/// A wait's time has come.
fn time_out(metrics: &Metrics, state: &mut State, key: StepKey, until: Timestamp, now: Timestamp) -> Told {
    use onward_core::step::StepKind;
    let outcome = match state.plan.waiting(key) {
        Some((StepKind::Invoke, ..)) => {
            let message = "Timed out waiting for invoked function to complete";
            let error =
                serde_json::json!({ "name": "InngestInvokeTimeoutError", "message": message, "error": message });
            Err(onward_core::Payload::from(error.to_string()))
        }
        _ => Ok(onward_core::Payload::from("null")),
    };
    let told = state.plan.arrive(key, outcome, now);
    if !told.is_empty() {
        metrics.timer(now.since(until));
    }
    told
}
