//! From a journal to the state it tells.

use std::collections::{BTreeMap, BTreeSet};

use onward_core::{
    Attempt, RetryPolicy, Seq, Timestamp,
    journal::{Change, Entry},
    step::StepKind,
};

use super::{Discovery, Group, Plan, Silence, State, Step, step::event_id};

impl Plan {
    /// A run of which nothing is known yet but that its client's own request executes it.
    pub(crate) fn new(policy: RetryPolicy, steps_max: usize) -> Self {
        Self {
            policy,
            steps_max,
            in_first_request: true,
            steps: BTreeMap::new(),
            bytes: 0,
            done: BTreeMap::new(),
            next: Seq(0),
            discovery: Discovery { wanted: false, ..Discovery::FRESH },
            silence: None,
            got: BTreeSet::new(),
            ended: false,
        }
    }

    /// A run that no request of a client executes: that of a function.
    pub(crate) fn called(policy: RetryPolicy, steps_max: usize) -> Self {
        Self { in_first_request: false, discovery: Discovery::FRESH, ..Self::new(policy, steps_max) }
    }

    /// The state that a journal tells. Nothing of it is under way.
    ///
    /// The endpoint is called to learn what comes next where nothing is outstanding, and also where something is and
    /// something else is done: it may have been about to be told of that.
    #[must_use]
    pub(crate) fn replay(mut self, journal: &[Entry]) -> Self {
        let (mut first, mut at) = (Seq(0), None);
        for entry in journal {
            self.next = entry.seq.next();
            // Why: what was asked for together was recorded at once.
            if at.replace(entry.at) != Some(entry.at) {
                first = entry.seq;
            }
            if entry.kind == StepKind::Handler {
                self.fold_handler(entry);
            } else {
                self.fold(entry, first);
            }
        }
        if !self.in_first_request && !self.discovery.wanted {
            self.discovery.wanted = self.outstanding_len() == 0 || !self.done.is_empty();
        }
        self
    }

    fn fold_handler(&mut self, entry: &Entry) {
        if matches!(entry.change, Change::LetGo | Change::Blocked { .. }) {
            return; // the library alone records these, where it executes the handler
        }
        self.in_first_request = false;
        self.discovery = match entry.change {
            Change::AttemptFailed { attempt, retry_at, .. } => {
                self.fold_silence(entry, attempt, self.discovery.attempt);
                Discovery { attempt: attempt.next(), at: retry_at, ..Discovery::FRESH }
            }
            _ => Discovery::FRESH,
        };
    }

    /// A call that was not answered is journaled with the attempt before its own, which it has not used up.
    fn fold_silence(&mut self, entry: &Entry, failed: Attempt, current: Attempt) {
        if failed < current {
            let silence = self.silence.get_or_insert(Silence { since: entry.at, times: 0 });
            silence.times += 1;
        } else {
            self.silence = None;
        }
    }

    fn fold(&mut self, entry: &Entry, first: Seq) {
        if matches!(entry.change, Change::LetGo | Change::Blocked { .. }) {
            return;
        }
        let key = entry.key();
        match (&entry.change, self.steps.get(&key).map(|step| &step.state)) {
            (Change::AttemptFailed { attempt: failed, .. }, Some(State::Planned { attempt, .. })) => {
                let current = *attempt;
                self.fold_silence(entry, *failed, current);
            }
            _ => self.silence = None,
        }
        let before = self.steps.get(&key).map(|step| &step.state);
        let state = match &entry.change {
            Change::Succeeded { output, .. } => {
                if entry.kind == StepKind::WaitForEvent {
                    self.got.extend(event_id(output));
                }
                State::Done { outcome: Ok(output.clone()) }
            }
            Change::Failed { error, .. } => State::Done { outcome: Err(error.clone()) },
            Change::AttemptFailed { attempt, retry_at, .. } => {
                self.in_first_request = false;
                let (attempt, at) = (attempt.next(), *retry_at);
                match before {
                    Some(State::Planned { .. }) => State::Planned { attempt, at, under_way: false },
                    Some(State::Calling { request, .. }) => {
                        State::Calling { attempt, at, request: request.clone(), under_way: false }
                    }
                    _ => {
                        self.discovery = Discovery { attempt, at, ..Discovery::FRESH };
                        State::Failing { attempt }
                    }
                }
            }
            Change::Waiting { until, subject } => {
                self.in_first_request = false;
                // Why: whatever attempt of a discovery asked for it, has succeeded.
                self.discovery = Discovery { wanted: false, ..Discovery::FRESH };
                State::waiting(entry.kind, entry.at, *until, subject.clone())
            }
            Change::Reset | Change::LetGo | Change::Blocked { .. } => {
                self.in_first_request = false;
                self.discovery = Discovery::FRESH;
                self.done.retain(|_, done| *done != key);
                if let Some(step) = self.steps.remove(&key) {
                    self.bytes -= step.state.bytes();
                }
                return;
            }
        };
        // Why not for a step's success: the client's own request reports those and goes on by itself.
        if matches!(entry.change, Change::Failed { .. }) {
            self.in_first_request = false;
        }
        if matches!(state, State::Done { .. }) {
            self.done.insert(entry.seq, key);
            // Why not for others: a discovery that is to be tried again stays so while targeted calls end beside it.
            if matches!(before, None | Some(State::Failing { .. })) {
                self.discovery = Discovery { wanted: false, ..Discovery::FRESH };
            }
        }
        // Why a race: the journal does not tell, and one call too many does no harm. The next discovery tells.
        let group = self.steps.get(&key).map_or(Group { first, is_race: true }, |step| step.group);
        self.put(key, Step { id: entry.step.clone(), kind: entry.kind, state, group });
    }
}

impl State {
    /// What a journaled wait is, by the kind of its step.
    pub(super) fn waiting(kind: StepKind, at: Timestamp, until: Option<Timestamp>, subject: String) -> Self {
        match kind {
            StepKind::Run => Self::Planned { attempt: Attempt::FIRST, at: Timestamp::EPOCH, under_way: false },
            StepKind::Fetch | StepKind::Ai => {
                Self::Calling { attempt: Attempt::FIRST, at: Timestamp::EPOCH, request: subject, under_way: false }
            }
            _ => Self::Waiting { at, until, subject },
        }
    }
}
