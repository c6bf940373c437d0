//! A step whose own writes commit with its checkpoint.
//!
//! Whether the step's next entry says "succeeded" or "failed" is decided on the store's writer, while other steps of
//! the run may go on. So its place in the journal is given away first, and checkpoints that come after it wait until
//! it is decided.

use super::{Ack, Arc, Context, StepError, StepKey, Written};
use onward_core::{
    Attempt, BoxFuture, Draw, Payload, RetryPolicy, Seq, StoreError,
    journal::{Change, Entry},
    run::machine::{FailedAttempt, Next},
    step::{StepId, StepKind},
    store::{Checkpoint, Checkpointed, Lease},
    stream::{Frame, FrameKind, Place},
};
use tokio::sync::oneshot;

use crate::{context::Halt, error::ErrorKind};

/// What a store makes of a transaction.
pub(crate) type Answer = Result<(Checkpointed, Payload), Undone>;

/// Why nothing of a transaction was written.
pub(crate) enum Undone {
    /// The store refused it.
    Store(StoreError),
    /// The user's code gave this error.
    Work(StepError),
    /// The user's code panicked with this message.
    Panicked(String),
}

/// What a store needs to commit a step with its writes: the lease, and the checkpoint that its output makes.
pub(crate) struct Transacting {
    pub(crate) lease: Lease,
    pub(crate) checkpoint: Box<dyn FnOnce(&Payload) -> Checkpoint + Send>,
}

/// A transaction that is being decided.
struct Deciding {
    key: StepKey,
    id: StepId,
    seq: Seq,
    attempt: Attempt,
    policy: RetryPolicy,
    /// The place that its commit or rollback has in the stream.
    place: Option<Place>,
}

impl Context {
    /// Runs one attempt of a transactional step. The answer is recorded even if nobody waits for it any more.
    pub(crate) async fn transact(
        self: &Arc<Self>,
        (key, id): (StepKey, StepId),
        attempt: Attempt,
        policy: RetryPolicy,
        run: impl FnOnce(Transacting) -> BoxFuture<'static, Answer>,
    ) -> Result<Next, StepError> {
        let begun = loop {
            self.ungated().await;
            let now = self.now();
            let mut state = self.lock();
            if let Some(closed) = state.closed {
                return Err(closed.error());
            }
            if state.gate.is_some() {
                continue;
            }
            if state.lease.is_none() {
                self.submit(&mut state, now, None, |_| ());
            }
            if state.stream.has_pending() {
                self.submit(&mut state, now, None, |_| ());
            }
            let Some(lease) = state.lease else { break None };
            state.gate = Some(Vec::new());
            break Some((lease, state.machine.reserve(), state.stream.reserve()));
        };
        let unjoined = || StepError::new(ErrorKind::Invalid, "the app is not joined to its store", false);
        let (lease, seq, place) = begun.ok_or_else(unjoined)?;
        let (sealer, now, step) = (self.shared.sealer.clone(), self.now(), id.clone());
        let checkpoint = move |output: &Payload| {
            let mut checkpoint = Checkpoint::new(lease, now);
            let change = Change::Succeeded { attempt, output: output.clone() };
            let commit = |place| Frame { place, step: Some(key), kind: FrameKind::Commit };
            checkpoint.frames.extend(place.map(commit));
            checkpoint.entries.push(Entry { seq, at: now, step, kind: StepKind::Transaction, change });
            if let Some(sealer) = sealer {
                sealer.seal_checkpoint(&mut checkpoint);
            }
            checkpoint
        };
        let answer = run(Transacting { lease, checkpoint: Box::new(checkpoint) });
        let (decided, next) = oneshot::channel();
        let this = Arc::clone(self);
        let deciding = Deciding { key, id, seq, attempt, policy, place };
        self.shared.tasks.spawn("transaction", async move {
            let answer = answer.await;
            let _ = decided.send(this.decide(&deciding, answer));
        });
        match next.await {
            Ok(Some(next)) => Ok(next),
            // The run cannot go on here: its driver ends it.
            Ok(None) | Err(_) => std::future::pending().await,
        }
    }

    /// Records what came of a transaction, and lets the checkpoints go that waited for it.
    fn decide(self: &Arc<Self>, deciding: &Deciding, answer: Answer) -> Option<Next> {
        let now = self.now();
        let mut state = self.lock();
        let waiting = state.gate.take().unwrap_or_default();
        // The entries about them come after the checkpoints that wait.
        let let_go = std::mem::take(&mut state.let_go);
        state.machine.use_reserved(deciding.seq);
        let next = match answer {
            Ok((_, output)) => {
                // The entry is in the store already.
                drop(state.machine.succeed(deciding.key, output, now, true));
                if let Some(place) = deciding.place {
                    // It is told in its turn: after the frames before it, which may be on their way.
                    let frames = vec![state.stream.settle(place, deciding.key, FrameKind::Commit)];
                    state.stream.submitted(&frames);
                    let ack: Ack = Box::pin(std::future::ready(Ok(Checkpointed::default())));
                    state.acks.push_back(Written::new(ack, None, frames));
                }
                Some(Next::Recorded)
            }
            Err(Undone::Work(error)) => Some(self.undone(&mut state, deciding, &error)),
            Err(Undone::Panicked(text)) => {
                let error = StepError::new(ErrorKind::Panic, text, true);
                Some(self.undone(&mut state, deciding, &error))
            }
            Err(Undone::Store(error)) => {
                state.halted = Some(Halt::of(error));
                None
            }
        };
        if next.is_some() {
            for (checkpoint, key) in waiting {
                self.send(&mut state, checkpoint, key);
            }
        }
        state.let_go.extend(let_go);
        state.driver.wake();
        drop(state);
        self.ungated.notify_waiters();
        next
    }

    /// The transaction was rolled back: its place goes to the failure.
    fn undone(self: &Arc<Self>, state: &mut super::State, deciding: &Deciding, error: &StepError) -> Next {
        let now = self.now();
        let failed = FailedAttempt {
            attempt: deciding.attempt,
            error: error.to_payload(),
            retryable: error.is_retryable(),
            retry_after: error.delay(),
        };
        let after = state.machine.fail_attempt(deciding.key, failed, &deciding.policy, now, Draw(rand::random()));
        let (entry, next) = match after {
            Some(after) => (after.entry, after.next),
            // The handler has let go of the step: the place is taken by an entry that says nothing.
            None => {
                let (step, kind) = (deciding.id.clone(), StepKind::Transaction);
                (Entry { seq: deciding.seq, at: now, step, kind, change: Change::Reset }, Next::Recorded)
            }
        };
        let done = next == Next::Recorded;
        state.asynchronous |= !done;
        // Its place comes before that of all that waited for it.
        let later = state.stream.take();
        let rollback = deciding.place.map(|place| state.stream.settle(place, deciding.key, FrameKind::Rollback));
        state.stream.put(rollback.into_iter().collect());
        self.submit(state, now, done.then_some(deciding.key), |checkpoint| checkpoint.entries.push(entry));
        state.stream.put(later);
        next
    }
}
