//! What a run does next: the rules over its journal, as pure functions of state, input, time and draw.
//!
//! A machine is folded from a journal and then told what its handler asks for and what happens. It answers with the
//! entry to append. The order in which completed steps reach the handler is the order of their entries, live and in
//! a replay alike, so that a race is decided the same way each time.

mod delivery;
mod fold;

pub use self::delivery::Offer;

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    Attempt, Draw, InvalidId, Payload, RetryPolicy, Seq, StepKey, Timestamp,
    journal::{BlockedBy, Change, Entry},
    step::{StepId, StepKind},
};

/// The id under which what happens to the handler itself is journaled, as in the SDK protocol.
pub const HANDLER_STEP: &str = "complete";

/// A run's state, as far as its journal and its handler have told.
#[derive(Clone, Debug, Default)]
pub struct Machine {
    /// Each in a box: a map reserves room for many, and a run that waits in memory has few.
    steps: BTreeMap<StepKey, Box<Step>>,
    uses: BTreeMap<String, Use>,
    next: Seq,
    /// A place that was given away before its entry is known: nothing after it may reach the handler.
    undecided: Option<Seq>,
    /// That place, to be used next.
    reserved: Option<Seq>,
    handler_attempt: u32,
    /// The steps that the handler wants and that wait for time or a fact: few, however long the journal.
    active: BTreeSet<StepKey>,
    /// When time moves them, the earliest first.
    deadlines: BTreeSet<(Timestamp, StepKey)>,
    /// Completed steps on their way to the handler, by the places of their entries.
    queue: BTreeMap<Seq, StepKey>,
    offered: Option<(StepKey, u8)>,
    /// How many bytes the outcomes of its steps have.
    outcome_bytes: usize,
    /// The ids of steps that the handler no longer has, on purpose.
    retired: BTreeSet<String>,
    blocked: Option<Blocked>,
}

/// A run with whose journal its handler could not go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// Since when.
    pub since: Timestamp,
    /// The id of the step at which it could not, with its index.
    pub step: String,
    /// The reason.
    pub cause: BlockedBy,
}

/// How often this execution of the handler has used an id, and for what.
#[derive(Clone, Copy, Debug)]
struct Use {
    count: u32,
    kind: StepKind,
}

#[derive(Clone, Debug)]
struct Step {
    id: StepId,
    kind: StepKind,
    state: State,
    /// Whether this execution of the handler asked for it.
    requested: bool,
    /// Whether the handler has let go of it: it lost a race.
    dropped: bool,
    /// The place of its first entry, where the journal had one when the execution began.
    replayed: Option<Seq>,
    /// Whether the journal says that the handler has let go of it.
    let_go: bool,
}

#[derive(Clone, Debug)]
enum State {
    /// An attempt runs, or may.
    Ready { attempt: Attempt },
    /// The last attempt failed; this one may start at a time.
    Retrying { attempt: Attempt, at: Timestamp },
    /// A wait was registered.
    Waiting { until: Option<Timestamp> },
    /// It has its output or its last error.
    Done {
        outcome: Result<Payload, Payload>,
        at: Timestamp,
        /// The place of the entry that tells it.
        seq: Seq,
        durable: bool,
        way: Way,
    },
}

/// How far a completed step has come on its way to the handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// In the queue, in the order of the journal.
    Queued { again: bool },
    /// Out of the queue: nobody asked for it when its turn came. When somebody does, it goes back to its place;
    /// where it was there `again`, it is given at once.
    Deferred { again: bool },
    /// With the handler.
    Delivered,
}

/// A step that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidStep {
    /// Its id is not allowed.
    #[error(transparent)]
    Id(#[from] InvalidId),
    /// Its id stands for another kind of operation already.
    #[error("step id {name:?} is used for {now} but was used for {was}: the handler is not deterministic")]
    NonDeterminism {
        /// The id.
        name: String,
        /// What it stood for first.
        was: StepKind,
        /// What it is asked for now.
        now: StepKind,
    },
    /// The run has as many steps as a run may have.
    #[error("the run has {0} steps, the most it may have")]
    TooMany(usize),
}

/// A step that the handler asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requested {
    /// Its id with its index.
    pub step: StepId,
    /// Its key.
    pub key: StepKey,
    /// What is to be done with it.
    pub next: Next,
}

/// What is to be done with a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Run this attempt now; for a wait: register it.
    Attempt(Attempt),
    /// Run this attempt when its time has come.
    AttemptAt(Attempt, Timestamp),
    /// It waits already.
    Waiting,
    /// It is done; its outcome comes when it is its turn.
    Recorded,
}

/// What a failed attempt leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AfterFailure {
    /// The entry to append.
    pub entry: Entry,
    /// What is to be done with the step.
    pub next: Next,
}

/// How an attempt failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedAttempt {
    /// Which attempt.
    pub attempt: Attempt,
    /// The error as the handler would see it.
    pub error: Payload,
    /// Whether another attempt may help.
    pub retryable: bool,
    /// How long to wait before it, where the error says so.
    pub retry_after: Option<std::time::Duration>,
}

impl FailedAttempt {
    /// When the next attempt is due; `None` when this one was the last.
    fn retry_at(&self, policy: &RetryPolicy, now: Timestamp, draw: Draw) -> Option<Timestamp> {
        let delay = policy.delay_after(self.attempt, draw).filter(|_| self.retryable)?;
        Some(now.after(self.retry_after.unwrap_or(delay)))
    }
}

// ===== impl Machine: what the handler asks =====

impl Machine {
    /// The handler asks for a step. The same id again gets the next index.
    pub fn request(&mut self, name: &str, kind: StepKind, steps_max: usize) -> Result<Requested, InvalidStep> {
        let used = self.uses.get(name).copied();
        let mut step = StepId::try_new(name, used.map_or(0, |used| used.count))?;
        // Why: the second `a` has the key of the first `a:1`; the one that comes later takes its next index.
        while self.steps.get(&step.key()).is_some_and(|known| known.requested) {
            step = StepId::try_new(name, step.index() + 1)?;
        }
        let key = step.key();
        let known = self.steps.get(&key).map(|step| step.kind);
        let kinds = [used.map(|used| used.kind), known];
        if let Some(was) = kinds.into_iter().flatten().find(|was| *was != kind) {
            return Err(InvalidStep::NonDeterminism { name: name.to_owned(), was, now: kind });
        }
        if known.is_none() && self.steps.len() >= steps_max {
            return Err(InvalidStep::TooMany(self.steps.len()));
        }
        let count = step.index() + 1;
        if let Some(used) = self.uses.get_mut(name) {
            used.count = count;
        } else {
            self.uses.insert(name.to_owned(), Use { count, kind });
        }
        let entry = self.steps.entry(key).or_insert_with(|| {
            Box::new(Step {
                id: step.clone(),
                kind,
                state: State::Ready { attempt: Attempt::FIRST },
                requested: false,
                dropped: false,
                replayed: None,
                let_go: false,
            })
        });
        entry.requested = true;
        let next = match entry.state {
            State::Ready { attempt } => Next::Attempt(attempt),
            State::Retrying { attempt, at } => Next::AttemptAt(attempt, at),
            State::Waiting { .. } => Next::Waiting,
            State::Done { .. } => Next::Recorded,
        };
        self.activate(key);
        Ok(Requested { step, key, next })
    }

    /// The handler no longer has steps of this id, on purpose: a replay need not ask for them.
    pub fn retire(&mut self, name: &str) {
        self.retired.insert(name.to_owned());
    }

    /// The first step of the journal, as it was when the execution began, that the handler should have asked for and has
    /// not. At its return there is none: otherwise the handler has gone another way than the one that the journal tells.
    ///
    /// A step that it let go of need not be asked for, and neither need one that is [retired](Machine::retire), that is to begin
    /// anew, or that came after a failure which is to be tried again: the handler goes another way then.
    pub fn unasked(&self) -> Option<&StepId> {
        let missing = self.steps.values().filter_map(|step| {
            let place = step.replayed?;
            let counts = !matches!(step.state, State::Ready { .. });
            (counts && !step.requested && !step.let_go && !self.is_retired(step)).then_some((place, &step.id))
        });
        missing.min_by_key(|(place, _)| *place).map(|(_, id)| id)
    }

    fn is_retired(&self, step: &Step) -> bool {
        !self.retired.is_empty() && self.retired.contains(step.id.name())
    }

    /// The handler lets go of a step: it lost a race. Gives whether a registered wait of its ends with it.
    pub fn let_go(&mut self, key: StepKey) -> bool {
        let Some(step) = self.steps.get_mut(&key) else { return false };
        step.dropped = true;
        let waits = matches!(step.state, State::Waiting { .. });
        if let State::Done { seq, .. } = step.state {
            self.queue.remove(&seq);
        }
        self.deactivate(key);
        waits
    }
}

// ===== impl Machine: what happened =====

impl Machine {
    /// Records that the handler has let go of a step, where the journal has entries of it and does not say so yet.
    pub fn record_let_go(&mut self, key: StepKey, now: Timestamp) -> Option<Entry> {
        let step = self.steps.get_mut(&key)?;
        if step.let_go || matches!(step.state, State::Ready { .. }) {
            return None;
        }
        step.let_go = true;
        Some(self.entry(key, now, Change::LetGo))
    }

    /// The handler cannot go on with the journal. Gives since when it cannot, for this reason, and what to append where the
    /// journal does not say so yet.
    pub fn block(&mut self, step: String, cause: BlockedBy, now: Timestamp) -> (Timestamp, Option<Entry>) {
        // Since the last progress: another reason is no progress.
        let since = self.blocked.as_ref().map_or(now, |blocked| blocked.since);
        if self.blocked.as_ref().is_some_and(|blocked| blocked.step == step && blocked.cause == cause) {
            return (since, None);
        }
        self.blocked = Some(Blocked { since, step: step.clone(), cause });
        (since, Some(self.handler_entry(now, Change::Blocked { step, cause })))
    }

    /// The handler has gone on with the journal.
    fn progress(&mut self, key: StepKey) {
        self.blocked = None;
        if let Some(step) = self.steps.get_mut(&key) {
            step.let_go = false;
        }
    }

    /// Whether the run is blocked, as far as its journal tells.
    pub const fn blocked(&self) -> Option<&Blocked> {
        self.blocked.as_ref()
    }

    /// The step begins to wait. `None` where it is done, or where the handler has let go of it.
    pub fn wait(&mut self, key: StepKey, until: Option<Timestamp>, subject: String, now: Timestamp) -> Option<Entry> {
        let step = self.steps.get_mut(&key).filter(|step| step.is_open())?;
        step.state = State::Waiting { until };
        self.progress(key);
        self.activate(key);
        Some(self.entry(key, now, Change::Waiting { until, subject }))
    }

    /// The step is done. `None` where it already was, or where the handler has let go of it: nothing is recorded.
    ///
    /// The output reaches the handler when it is durable (see [`Machine::durable`]); an output that can be derived
    /// again from what is stored may be `derivable`, and reaches it at once: whatever the run writes later commits
    /// after it.
    pub fn succeed(&mut self, key: StepKey, output: Payload, now: Timestamp, derivable: bool) -> Option<Entry> {
        let (seq, attempt) = self.complete(key, Ok(output.clone()), now, derivable)?;
        Some(self.entry_at(seq, key, now, Change::Succeeded { attempt, output }))
    }

    /// The step failed for good, whatever its attempts.
    pub fn fail(&mut self, key: StepKey, error: Payload, now: Timestamp, derivable: bool) -> Option<Entry> {
        let (seq, attempt) = self.complete(key, Err(error.clone()), now, derivable)?;
        Some(self.entry_at(seq, key, now, Change::Failed { attempt, error }))
    }

    /// An attempt of the step failed: it is tried again, or fails for good. `None` as for [`Machine::succeed`].
    pub fn fail_attempt(
        &mut self,
        key: StepKey,
        failed: FailedAttempt,
        policy: &RetryPolicy,
        now: Timestamp,
        draw: Draw,
    ) -> Option<AfterFailure> {
        let Some(retry_at) = failed.retry_at(policy, now, draw) else {
            let entry = self.fail(key, failed.error, now, false)?;
            return Some(AfterFailure { entry, next: Next::Recorded });
        };
        if !self.steps.get(&key).is_some_and(|step| step.is_open()) {
            self.reserved = None;
            return None;
        }
        self.deactivate(key);
        let step = self.steps.get_mut(&key)?;
        let attempt = failed.attempt.next();
        step.state = State::Retrying { attempt, at: retry_at };
        self.progress(key);
        self.activate(key);
        let change = Change::AttemptFailed { attempt: failed.attempt, error: failed.error, retry_at };
        Some(AfterFailure { entry: self.entry(key, now, change), next: Next::AttemptAt(attempt, retry_at) })
    }

    /// The handler itself failed outside its steps: when it is tried again, or `None` where the run fails.
    pub fn fail_handler(
        &mut self,
        error: Payload,
        policy: &RetryPolicy,
        now: Timestamp,
        draw: Draw,
    ) -> (Entry, Option<Timestamp>) {
        self.handler_attempt += 1;
        let attempt = Attempt(self.handler_attempt);
        let failed = FailedAttempt { attempt, error, retryable: true, retry_after: None };
        let retry_at = failed.retry_at(policy, now, draw);
        let error = failed.error;
        let change = match retry_at {
            Some(retry_at) => Change::AttemptFailed { attempt, error, retry_at },
            None => Change::Failed { attempt, error },
        };
        (self.handler_entry(now, change), retry_at)
    }

    fn handler_entry(&mut self, now: Timestamp, change: Change) -> Entry {
        let step = StepId::try_new(HANDLER_STEP, 0).expect("the constant is an id");
        Entry { seq: self.take_seq(), at: now, step, kind: StepKind::Handler, change }
    }

    /// Returns the attempt that may start, once [`Machine::retries_due`] has found that its time has come.
    ///
    /// The method takes no time: two readings of a clock for one retry could disagree about whether it is due, and
    /// the step would then wait for a time that has passed.
    pub fn begin_retry(&self, key: StepKey) -> Option<Attempt> {
        match self.steps.get(&key)?.state {
            State::Ready { attempt } => Some(attempt),
            _ => None,
        }
    }

    /// The waits that the handler still wants and whose time has come, in the order of their deadlines.
    pub fn due(&self, now: Timestamp) -> Vec<(StepKey, StepKind, Timestamp)> {
        let due = self.past(now).filter_map(|(until, key)| {
            let step = self.steps.get(&key)?;
            matches!(step.state, State::Waiting { .. }).then_some((key, step.kind, until))
        });
        due.collect()
    }

    /// Makes the retries ready whose time has come, and returns their steps, to be woken. Each is returned once: the
    /// handler may take its time to poll the step, and time has nothing more to bring to it.
    pub fn retries_due(&mut self, now: Timestamp) -> Vec<StepKey> {
        let retries = self.past(now).filter_map(|(_, key)| match self.steps.get(&key)?.state {
            State::Retrying { attempt, .. } => Some((key, attempt)),
            _ => None,
        });
        let due: Vec<_> = retries.collect();
        for (key, attempt) in &due {
            self.deactivate(*key);
            if let Some(step) = self.steps.get_mut(key) {
                step.state = State::Ready { attempt: *attempt };
            }
        }
        due.into_iter().map(|(key, _)| key).collect()
    }

    /// When the next wait or retry is due; `None` where only a fact from outside can move the run.
    pub fn next_wake(&self) -> Option<Timestamp> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// The earliest deadline after `now`: when to look again, once all that was due at `now` has been seen to.
    pub fn next_wake_after(&self, now: Timestamp) -> Option<Timestamp> {
        self.deadlines.iter().map(|(at, _)| *at).find(|at| *at > now)
    }

    /// How many steps wait for time or a fact: of those that the handler has asked for, or, before it has asked for
    /// any, of all that the journal has.
    pub fn waiting_len(&self) -> usize {
        if !self.uses.is_empty() {
            return self.active.len();
        }
        let states = self.steps.values().map(|step| &step.state);
        states.filter(|state| matches!(state, State::Waiting { .. } | State::Retrying { .. })).count()
    }

    /// Whether the handler wants something that only time or a fact from outside can bring.
    pub fn is_waiting(&self) -> bool {
        !self.active.is_empty()
    }

    /// From when on an event counts for a wait that looks back: the run's start, or just after the last event that
    /// this step's id got before. A wait that gave up got none.
    pub fn look_back(&self, id: &str, created_at: Timestamp) -> Timestamp {
        let own = self.steps.values().filter(|step| step.kind == StepKind::WaitForEvent && step.id.name() == id);
        let got = own.filter_map(|step| match &step.state {
            State::Done { outcome: Ok(event), at, .. } if event.as_ref() != b"null" => {
                Some(Timestamp::from_micros(at.as_micros() + 1))
            }
            _ => None,
        });
        got.max().map_or(created_at, |after| after.max(created_at))
    }

    /// The kind of a step, if it is known.
    pub fn kind(&self, key: StepKey) -> Option<StepKind> {
        self.steps.get(&key).map(|step| step.kind)
    }

    /// The id of a step, if it is known.
    pub fn id(&self, key: StepKey) -> Option<&StepId> {
        self.steps.get(&key).map(|step| &step.id)
    }

    /// How many steps the run has.
    pub fn steps_len(&self) -> usize {
        self.steps.len()
    }

    /// How many bytes the outputs and errors of its completed steps have.
    pub const fn outcome_bytes(&self) -> usize {
        self.outcome_bytes
    }

    /// Where the next entry goes.
    pub const fn next_seq(&self) -> Seq {
        self.next
    }

    /// The deadlines that have come.
    fn past(&self, now: Timestamp) -> impl Iterator<Item = (Timestamp, StepKey)> {
        self.deadlines.iter().copied().take_while(move |(at, _)| *at <= now)
    }

    /// A step that the handler wants and that waits is looked at when its time comes.
    fn activate(&mut self, key: StepKey) {
        let deadline = match self.steps.get(&key).map(|step| &step.state) {
            Some(State::Retrying { at, .. }) => Some(*at),
            Some(State::Waiting { until }) => *until,
            _ => return,
        };
        self.active.insert(key);
        self.deadlines.extend(deadline.map(|at| (at, key)));
    }

    /// Nothing more is brought to a step by time. To be called before its state changes.
    fn deactivate(&mut self, key: StepKey) {
        if !self.active.remove(&key) {
            return;
        }
        let deadline = match self.steps.get(&key).map(|step| &step.state) {
            Some(State::Retrying { at, .. }) => Some(*at),
            Some(State::Waiting { until }) => *until,
            _ => None,
        };
        if let Some(at) = deadline {
            self.deadlines.remove(&(at, key));
        }
    }

    fn complete(
        &mut self,
        key: StepKey,
        outcome: Result<Payload, Payload>,
        at: Timestamp,
        derivable: bool,
    ) -> Option<(Seq, Attempt)> {
        if !self.steps.get(&key).is_some_and(|step| step.is_open()) {
            self.reserved = None;
            return None;
        }
        let seq = self.take_seq();
        self.deactivate(key);
        let step = self.steps.get_mut(&key)?;
        let attempt = match &step.state {
            State::Ready { attempt } | State::Retrying { attempt, .. } => *attempt,
            State::Waiting { .. } => Attempt::FIRST,
            State::Done { .. } => return None,
        };
        self.outcome_bytes += size(&outcome);
        step.state = State::Done { outcome, at, seq, durable: derivable, way: Way::NEW };
        self.queue.insert(seq, key);
        self.progress(key);
        Some((seq, attempt))
    }

    fn entry(&mut self, key: StepKey, now: Timestamp, change: Change) -> Entry {
        let seq = self.take_seq();
        self.entry_at(seq, key, now, change)
    }

    fn entry_at(&self, seq: Seq, key: StepKey, now: Timestamp, change: Change) -> Entry {
        let step = &self.steps[&key];
        Entry { seq, at: now, step: step.id.clone(), kind: step.kind, change }
    }

    /// Gives away the next place before its entry is known: of a transaction that decides what it is.
    ///
    /// Until it is decided, what comes after it does not reach the handler: its own entry comes first in a replay.
    pub fn reserve(&mut self) -> Seq {
        let seq = self.take_seq();
        self.undecided = Some(seq);
        seq
    }

    /// What a reserved place is for has been decided: what is recorded next takes it, and where nothing is recorded
    /// because the handler has let go of the step, it is the caller's to fill.
    pub fn use_reserved(&mut self, seq: Seq) {
        self.undecided = None;
        self.reserved = Some(seq);
    }

    fn take_seq(&mut self) -> Seq {
        if let Some(seq) = self.reserved.take() {
            return seq;
        }
        let seq = self.next;
        self.next = seq.next();
        seq
    }
}

/// How many bytes an outcome has.
fn size(outcome: &Result<Payload, Payload>) -> usize {
    outcome.as_ref().unwrap_or_else(|error| error).len()
}

impl Step {
    /// Whether anything may still be recorded of it.
    const fn is_open(&self) -> bool {
        !self.dropped && !matches!(self.state, State::Done { .. })
    }
}

#[cfg(test)]
mod tests;
