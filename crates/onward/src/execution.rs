//! Drives a handler: polls it, and brings it what its steps wait for.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context as TaskContext, Poll},
    time::Duration,
};

use onward_core::{BoxFuture, StoreError, Timestamp, run::machine::Offer, waiter::Delivery};

use tokio::time::Sleep;

use crate::{
    StepError,
    context::{Advanced, Context, Halt, Rest, Standing, blocked::Missing, stream},
    error::{BoxError, ErrorKind, chain},
};

/// How long a handler that only something else than a step can move is given before the journal moves on without it.
const STALL: Duration = Duration::from_millis(50);

/// How often the handler is polled before others have their turn: a replay has as many outcomes to give at once as its
/// journal has.
const TURNS_MAX: u32 = 256;

/// How an execution of a handler ended.
#[derive(Debug)]
pub(crate) enum Ended<T> {
    /// The handler returned.
    Returned(T),
    /// The handler panicked, or its service gave an error, outside its steps.
    Panicked(String),
    /// The run as a whole took too long.
    TimedOut,
    /// The handler was not called, because its request could not be restored; or it has streamed what cannot be kept.
    Refused(StepError),
    /// The handler's response is too large to keep, or its body failed.
    TooLarge(StepError),
    /// The run's process ended too often.
    Crashed(StepError),
    /// The handler cannot go on with its journal.
    Blocked(Missing),
    /// The run can't go on here.
    Halted(Halt),
}

impl<T> Ended<T> {
    /// An execution that cannot go on. A run whose writes the store will never take has failed, because its next execution
    /// would write the same.
    pub(crate) fn of(halt: Halt) -> Self {
        match halt {
            Halt::Store(StoreError::Rejected(why)) => {
                let text = format!("the store cannot keep what the run wrote: {}", chain(&*why));
                Self::Refused(StepError::new(ErrorKind::TooLarge, text, false))
            }
            Halt::Blocked(missing) => Self::Blocked(missing),
            halt => Self::Halted(halt),
        }
    }
}

/// Deliveries on their way from the store.
type Fetch = BoxFuture<'static, Result<Vec<Delivery>, StoreError>>;

/// A handler with what its run waits for.
pub(crate) struct Execution<F> {
    pub(crate) context: Arc<Context>,
    handler: Pin<Box<F>>,
    timer: Option<(Timestamp, BoxFuture<'static, ()>)>,
    /// What is being read, and since when.
    deliveries: Option<(Timestamp, Fetch)>,
    stall: Option<Pin<Box<Sleep>>>,
    /// The moment that a task of its own has to take the outcome that is offered to it.
    turn: Option<Pin<Box<Sleep>>>,
    /// The moment that such a task has to ask for its next step.
    settling: Option<Pin<Box<Sleep>>>,
    standing: Standing,
    detaches: bool,
}

impl<F, T> Execution<F>
where
    F: Future<Output = Result<T, BoxError>>,
{
    pub(crate) fn new(context: Arc<Context>, handler: F) -> Self {
        let (handler, standing) = (Box::pin(handler), Standing::default());
        let (turn, settling) = (None, None);
        Self { context, handler, timer: None, deliveries: None, stall: None, turn, settling, standing, detaches: true }
    }

    /// Whether the handler waits for time or facts and for nothing else, as of the last poll.
    pub(crate) fn is_quiescent(&self) -> bool {
        self.standing.quiescent && self.deliveries.is_none() && self.stall.is_none()
    }

    /// Drops the handler; the run can still be reached.
    pub(crate) fn end(mut self) {
        self.detaches = false;
    }

    /// Whether the client may be told that the run goes on without it, as of the last poll.
    pub(crate) fn is_asynchronous(&self) -> bool {
        self.standing.asynchronous
    }

    /// When time moves the run next, as of the last poll.
    pub(crate) fn next_wake(&self) -> Option<Timestamp> {
        self.standing.next_wake
    }

    /// Drives the handler as far as it goes. Cancel-safe: it may be called again from another task.
    pub(crate) fn poll(&mut self, cx: &mut TaskContext<'_>) -> Poll<Ended<T>> {
        self.context.begin_poll();
        let now = self.context.now();
        self.poll_outside(now, cx);
        self.context.poll_acks(cx);
        self.context.advance(now, cx);
        let mut turns = 0;
        loop {
            if let Some(halt) = self.context.halted() {
                return Poll::Ready(Ended::of(halt));
            }
            turns += 1;
            if turns > TURNS_MAX {
                // There is more to do at once, so it neither waits nor rests.
                self.standing = Standing::default();
                // The future wakes the task when the runtime has polled its sockets and timers, too.
                return pin!(tokio::task::yield_now()).poll(cx).map(|()| unreachable!("it is pending at first"));
            }
            if !self.context.may_execute() {
                return Poll::Ready(Ended::Halted(Halt::LeaseExpired));
            }
            if let Some(ended) = self.poll_handler(cx) {
                return Poll::Ready(ended);
            }
            self.context.write_frames();
            // The only reading of the clock until the handler is polled again: every decision below is by it.
            let now = self.context.now();
            let progress = self.poll_outside(now, cx) | self.context.poll_acks(cx);
            let Advanced { fired, offer, is_elsewhere, standing } = self.context.advance(now, cx);
            self.standing = standing;
            if self.context.timeout_at.is_some_and(|at| at <= now) {
                return Poll::Ready(Ended::TimedOut);
            }
            let stalled = offer == Offer::Unrequested && self.poll_stall(cx);
            if offer != Offer::Unrequested {
                self.stall = None;
            }
            let waits_for_task = wait(&mut self.turn, is_elsewhere.then_some(STALL), cx) == Some(false);
            let settled = wait(&mut self.settling, self.standing.settles_in, cx) == Some(true);
            let nudged = self.standing.nudged && self.deliveries.is_none();
            let progress = progress || fired || stalled || settled || nudged;
            let offered = matches!(offer, Offer::Step(_)) && !waits_for_task;
            if progress || offered || self.poll_timer(cx) {
                continue;
            }
            if let Some(halt) = self.context.halted() {
                return Poll::Ready(Ended::of(halt));
            }
            self.context.rest(Rest {
                timer: self.timer.as_ref().map(|(at, _)| *at),
                reads: self.deliveries.is_some(),
                stalls: self.stall.is_some() || self.turn.is_some() || self.settling.is_some(),
            });
            return Poll::Pending;
        }
    }

    fn poll_handler(&mut self, cx: &mut TaskContext<'_>) -> Option<Ended<T>> {
        let (context, handler) = (&self.context, &mut self.handler);
        match catch_unwind(AssertUnwindSafe(|| stream::within(context, None, || handler.as_mut().poll(cx)))) {
            Ok(Poll::Pending) => None,
            Ok(Poll::Ready(Ok(output))) => Some(Ended::Returned(output)),
            Ok(Poll::Ready(Err(error))) => {
                self.context.keep_waits();
                Some(Ended::Panicked(error.to_string()))
            }
            Err(panic) => Some(Ended::Panicked(panic_text(&*panic))),
        }
    }

    /// Fetches deliveries where there may be some. Whether any reached a step.
    fn poll_outside(&mut self, now: Timestamp, cx: &mut TaskContext<'_>) -> bool {
        if self.deliveries.is_none() && self.context.take_nudge() {
            let fetch = self.context.shared.store.deliveries(self.context.run_id);
            self.deliveries = Some((now, fetch));
        }
        let Some((begun, fetch)) = &mut self.deliveries else { return false };
        let Poll::Ready(answer) = fetch.as_mut().poll(cx) else { return false };
        let begun = *begun;
        self.deliveries = None;
        match answer {
            Ok(deliveries) => {
                self.context.fetched(begun);
                self.context.take_deliveries(deliveries)
            }
            // What cannot be read would not be read another time: the run is given back, and rests.
            Err(error) if self.context.is_overdue(now) || matches!(error, StoreError::Corrupt(_)) => {
                self.context.halt(Halt::Store(error));
                false
            }
            Err(error) => {
                // Why: the scheduler nudges again while the deliveries are there.
                let error = &error as &dyn std::error::Error;
                tracing::warn!(run_id = %self.context.run_id, error, "deliveries could not be read");
                false
            }
        }
    }

    /// Sleeps until time moves the run. Whether it has.
    fn poll_timer(&mut self, cx: &mut TaskContext<'_>) -> bool {
        let Some(wake) = self.standing.next_wake else {
            self.timer = None;
            return false;
        };
        if self.timer.as_ref().is_none_or(|(at, _)| *at != wake) {
            self.timer = Some((wake, self.context.shared.clock.sleep_until(wake)));
        }
        let ready = self.timer.as_mut().is_some_and(|(_, timer)| timer.as_mut().poll(cx).is_ready());
        if ready {
            self.timer = None;
        }
        ready
    }

    /// Waits a moment for a handler to ask for what the journal has next. Whether the moment has passed.
    fn poll_stall(&mut self, cx: &mut TaskContext<'_>) -> bool {
        let stall = self.stall.get_or_insert_with(|| Box::pin(tokio::time::sleep(STALL)));
        if stall.as_mut().poll(cx).is_pending() {
            return false;
        }
        self.stall = None;
        self.context.skip();
        true
    }
}

impl<F> Drop for Execution<F> {
    fn drop(&mut self) {
        if self.detaches {
            self.context.detach();
        }
    }
}

/// Waits for a moment, as long as there is one to wait for. Whether it has passed.
fn wait(timer: &mut Option<Pin<Box<Sleep>>>, time: Option<Duration>, cx: &mut TaskContext<'_>) -> Option<bool> {
    let Some(time) = time else {
        *timer = None;
        return None;
    };
    let is_over = timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(time))).as_mut().poll(cx).is_ready();
    if is_over {
        *timer = None;
    }
    Some(is_over)
}

/// What a panic said.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic without a message").to_owned()
}
