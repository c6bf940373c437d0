//! What an endpoint's news changes.

use std::time::Duration;

use onward_core::{
    Attempt, Draw, Payload, Seq, StepKey, Timestamp,
    journal::{Change, Entry},
    run::{NewRun, machine::HANDLER_STEP},
    step::{StepId, StepKind},
    waiter::Waiter,
};

use super::{Ask, Discovery, Group, Plan, Silence, State, Step, Unit};

/// The longest that an endpoint is left alone which does not answer.
const SPACING_MAX: Duration = Duration::from_secs(60);

/// What an endpoint asks for, of which step.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// The step.
    pub(crate) id: StepId,
    /// Whether the handler goes on with the first of its group.
    pub(crate) is_race: bool,
    /// What is asked.
    pub(crate) ask: Ask,
}

/// How an attempt failed.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    /// The error, as the SDK reads errors.
    pub(crate) error: Payload,
    /// Whether another attempt may help.
    pub(crate) retryable: bool,
    /// How long to wait before it, where the error says so.
    pub(crate) retry_after: Option<Duration>,
}

impl Failure {
    /// One after which another attempt may help.
    pub(crate) const fn passing(error: Payload) -> Self {
        Self { error, retryable: true, retry_after: None }
    }
}

/// What is to be written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    /// Entries to append.
    pub(crate) entries: Vec<Entry>,
    /// Waiters to register.
    pub(crate) waiters: Vec<Waiter>,
    /// Steps that wait no longer.
    pub(crate) settled: Vec<StepKey>,
    /// Runs to start.
    pub(crate) children: Vec<NewRun>,
    /// The error with which the run has failed for good.
    pub(crate) failed: Option<Payload>,
}

impl Told {
    /// This and what comes after it.
    #[must_use]
    pub(crate) fn and(mut self, then: Self) -> Self {
        self.entries.extend(then.entries);
        self.waiters.extend(then.waiters);
        self.settled.extend(then.settled);
        self.children.extend(then.children);
        self.failed = self.failed.or(then.failed);
        self
    }

    /// Whether it changes nothing.
    pub(crate) const fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.settled.is_empty() && self.failed.is_none()
    }
}

impl Plan {
    /// A unit has answered with what it asks for. What is known already is not recorded again.
    pub(crate) fn apply(
        &mut self,
        unit: Unit,
        attempt: Attempt,
        asked: Vec<Asked>,
        now: Timestamp,
        mut draw: impl FnMut() -> Draw,
    ) -> Told {
        let attempt = self.counted(unit, attempt);
        let mut told = self.record(unit, attempt, asked, now, &mut draw);
        if !self.ended {
            self.check_progress(unit, attempt, now, &mut draw, &mut told);
        }
        told
    }

    /// Like [`apply`](Plan::apply), of a unit that ends the run: it need bring nothing more.
    pub(crate) fn record(
        &mut self,
        unit: Unit,
        attempt: Attempt,
        asked: Vec<Asked>,
        now: Timestamp,
        draw: &mut impl FnMut() -> Draw,
    ) -> Told {
        let mut told = Told::default();
        if self.ended {
            return told;
        }
        let attempt = self.counted(unit, attempt);
        self.over(unit);
        self.answered(unit);
        let is_late = unit == Unit::FirstRequest && !self.in_first_request;
        let (mut settled, first) = (Vec::new(), self.next);
        for Asked { id, is_race, ask } in asked {
            let key = id.key();
            if self.is_known(unit, is_late, key, &ask) {
                if unit == Unit::Discovery
                    && let Some(step) = self.steps.get_mut(&key)
                {
                    step.group.is_race = is_race;
                }
                continue;
            }
            if !self.steps.contains_key(&key) && self.steps.len() >= self.steps_max {
                let error = format!("the run has {} steps, the most it may have", self.steps_max);
                told.failed = Some(super::step::error("TooManySteps", &error));
                self.ended = true;
                return told;
            }
            if !matches!(ask, Ask::Ran(_)) {
                self.in_first_request = false;
            }
            if self.ask(unit, attempt, (id, Group { first, is_race }, ask), now, draw, &mut told) {
                settled.push(key);
            }
        }
        self.settle(&settled);
        told
    }

    /// Whether what is asked, or reported, is known already, or comes too late: it changes nothing.
    fn is_known(&self, unit: Unit, is_late: bool, key: StepKey, ask: &Ask) -> bool {
        let state = self.steps.get(&key).map(|step| &step.state);
        // Why: the client's request tries a step once and reports it again and again, until it is heard. Where others
        // have the run by then, they try the step by themselves.
        match (unit, ask) {
            (Unit::FirstRequest, Ask::Failed { retryable, .. }) => return state.is_some() || (is_late && *retryable),
            (Unit::FirstRequest, Ask::NotYet { .. }) => return state.is_some() || is_late,
            _ => {}
        }
        match state {
            None | Some(State::Failing { .. }) => false,
            Some(State::Planned { .. }) => match ask {
                Ask::Ran(_) | Ask::Refused { .. } => false,
                // Why: its own call counts its attempts. A discovery tries the step too where the client's request, late,
                // has handed it over while that discovery was under way.
                Ask::Failed { retryable, .. } => *retryable && unit != Unit::Targeted(key),
                _ => true,
            },
            Some(_) => true,
        }
    }

    /// Takes one thing that is asked. Whether the step is done with it.
    fn ask(
        &mut self,
        unit: Unit,
        attempt: Attempt,
        (id, group, ask): (StepId, Group, Ask),
        now: Timestamp,
        draw: &mut impl FnMut() -> Draw,
        told: &mut Told,
    ) -> bool {
        let key = id.key();
        match ask {
            Ask::Ran(output) => {
                self.begin(&id, StepKind::Run, group);
                self.finish(key, Ok(output), now, told);
                return true;
            }
            Ask::Failed { error, retryable, retry_after } => {
                self.begin(&id, StepKind::Run, group);
                let failure = Failure { error, retryable, retry_after };
                return self.fail_step(unit, key, attempt, failure, now, draw(), told);
            }
            Ask::Refused { kind, error } => {
                self.begin(&id, kind, group);
                self.finish(key, Err(error), now, told);
                return true;
            }
            Ask::NotYet { kind, error } => {
                self.begin(&id, kind, group);
                return self.fail_step(unit, key, attempt, Failure::passing(error), now, draw(), told);
            }
            Ask::Planned => self.wait(&id, StepKind::Run, group, None, String::new(), now, told),
            Ask::Sleep(until) => self.wait(&id, StepKind::Sleep, group, Some(until), String::new(), now, told),
            Ask::Request { kind, request } => self.wait(&id, kind, group, None, request, now, told),
            Ask::Wait { kind, name, subject, until } => {
                self.wait(&id, kind, group, until, name, now, told);
                told.waiters.push(Waiter { step: key, subject });
            }
            Ask::Invoke { child, until } => {
                let subject = child.run_id.to_string();
                self.wait(&id, StepKind::Invoke, group, Some(until), subject, now, told);
                told.children.push(*child);
            }
        }
        false
    }

    /// A step's state before its news, where it has none.
    fn begin(&mut self, id: &StepId, kind: StepKind, group: Group) {
        self.steps.entry(id.key()).or_insert_with(|| Step {
            id: id.clone(),
            kind,
            state: State::Failing { attempt: Attempt::FIRST },
            group,
        });
    }

    #[expect(clippy::too_many_arguments, reason = "each is a column of the entry")]
    fn wait(
        &mut self,
        id: &StepId,
        kind: StepKind,
        group: Group,
        until: Option<Timestamp>,
        subject: String,
        now: Timestamp,
        told: &mut Told,
    ) {
        let state = State::waiting(kind, now, until, subject.clone());
        self.put(id.key(), Step { id: id.clone(), kind, state, group });
        let entry = self.entry(id.clone(), kind, now, Change::Waiting { until, subject });
        told.entries.push(entry);
    }

    /// Records a step's outcome, once.
    fn finish(&mut self, key: StepKey, outcome: Result<Payload, Payload>, now: Timestamp, told: &mut Told) {
        let Some(step) = self.steps.get_mut(&key) else { return };
        let attempt = match step.state {
            State::Failing { attempt } | State::Planned { attempt, .. } | State::Calling { attempt, .. } => attempt,
            State::Waiting { .. } => Attempt::FIRST,
            State::Done { .. } => return,
        };
        if let State::Waiting { .. } = &step.state {
            told.settled.push(key);
            if step.kind == StepKind::WaitForEvent {
                self.got.extend(outcome.as_ref().ok().and_then(super::step::event_id));
            }
        }
        // Why: who is late has done what was to be tried again, or is tried again now. What comes next is not tried yet,
        // and need not wait.
        if matches!(step.state, State::Failing { .. }) {
            let under_way = self.discovery.under_way.map(|_| Attempt::FIRST);
            let next = if self.discovery.wanted { Discovery::FRESH } else { self.discovery };
            self.discovery = Discovery { under_way, ..next };
        }
        self.bytes -= step.state.bytes();
        step.state = State::Done { outcome: outcome.clone() };
        self.bytes += step.state.bytes();
        let (id, kind) = (step.id.clone(), step.kind);
        let change = match outcome {
            Ok(output) => Change::Succeeded { attempt, output },
            Err(error) => Change::Failed { attempt, error },
        };
        let entry = self.entry(id, kind, now, change);
        self.done.insert(entry.seq, key);
        told.entries.push(entry);
    }

    /// An attempt of a step failed: it is tried again, or fails for good. Whether it does.
    #[expect(clippy::too_many_arguments, reason = "a failure has as many sides")]
    fn fail_step(
        &mut self,
        unit: Unit,
        key: StepKey,
        attempt: Attempt,
        failure: Failure,
        now: Timestamp,
        draw: Draw,
        told: &mut Told,
    ) -> bool {
        // Why not as the call counts: that begins anew with what others have done, and the step does not.
        let attempt = match self.steps.get(&key).map(|step| &step.state) {
            Some(State::Failing { attempt: due }) => attempt.max(*due),
            _ => attempt,
        };
        let Some(retry_at) = self.retry_at(attempt, &failure, now, draw) else {
            self.finish(key, Err(failure.error), now, told);
            return true;
        };
        let Some(step) = self.steps.get_mut(&key) else { return false };
        let next = attempt.next();
        match &mut step.state {
            State::Planned { attempt, at, .. } | State::Calling { attempt, at, .. } => {
                (*attempt, *at) = (next, retry_at);
            }
            state => {
                *state = State::Failing { attempt: next };
                let under_way = self.discovery.under_way.filter(|_| unit != Unit::Discovery);
                self.discovery = Discovery { wanted: true, attempt: next, at: retry_at, under_way };
            }
        }
        let (id, kind) = (step.id.clone(), step.kind);
        let change = Change::AttemptFailed { attempt, error: failure.error, retry_at };
        let entry = self.entry(id, kind, now, change);
        told.entries.push(entry);
        false
    }

    fn retry_at(&self, attempt: Attempt, failure: &Failure, now: Timestamp, draw: Draw) -> Option<Timestamp> {
        let delay = self.policy.delay_after(attempt, draw).filter(|_| failure.retryable)?;
        Some(now.after(failure.retry_after.unwrap_or(delay)))
    }

    /// Steps are done: whether the endpoint is to hear of it now.
    ///
    /// It hears of a group when all of it is done, because each call replays the handler. It hears of each at once where
    /// the group is a race, or where what is left of it only waits: for that may take weeks.
    fn settle(&mut self, settled: &[StepKey]) {
        if self.in_first_request {
            return;
        }
        // Why not all that is outstanding: those that lost a race may take long, and the handler is past them.
        let rest_only_waits = |first: Seq| {
            let mut rest = self.steps.values().filter(|step| step.group.first == first && step.is_outstanding());
            rest.all(|step| matches!(step.state, State::Waiting { .. }))
        };
        let mut groups = settled.iter().filter_map(|key| self.steps.get(key)).map(|step| step.group);
        if groups.any(|group| group.is_race || rest_only_waits(group.first)) {
            self.want_discovery();
        }
    }

    fn want_discovery(&mut self) {
        if !self.discovery.wanted {
            self.discovery = Discovery { under_way: self.discovery.under_way, ..Discovery::FRESH };
        }
    }

    /// As which attempt a unit's news counts, which was begun as another perhaps.
    fn counted(&self, unit: Unit, attempt: Attempt) -> Attempt {
        if unit == Unit::Discovery { self.discovery.under_way.unwrap_or(attempt) } else { attempt }
    }

    /// A call is over that was under way.
    fn over(&mut self, unit: Unit) {
        match unit {
            Unit::FirstRequest => {}
            Unit::Discovery => {
                self.discovery.under_way = None;
                self.discovery.attempt = if self.discovery.wanted { self.discovery.attempt } else { Attempt::FIRST };
            }
            Unit::Targeted(key) => {
                if let Some(State::Planned { under_way, .. }) = self.steps.get_mut(&key).map(|step| &mut step.state) {
                    *under_way = false;
                }
            }
        }
    }

    /// A call that brought nothing is a failed attempt: else the endpoint would be called again and again.
    fn check_progress(
        &mut self,
        unit: Unit,
        attempt: Attempt,
        now: Timestamp,
        draw: &mut impl FnMut() -> Draw,
        told: &mut Told,
    ) {
        let stuck = match unit {
            Unit::FirstRequest => false,
            Unit::Discovery => told.is_empty() && !self.discovery.wanted && self.outstanding_len() == 0,
            Unit::Targeted(key) => {
                let state = self.steps.get(&key).map(|step| &step.state);
                matches!(state, Some(State::Planned { attempt: planned, .. }) if *planned == attempt)
            }
        };
        if stuck {
            let error = super::step::error("NoProgress", "the endpoint's answer held nothing new");
            let failed = self.fail(unit, attempt, Failure::passing(error), now, draw());
            told.entries.extend(failed.entries);
            told.failed = told.failed.take().or(failed.failed);
        }
    }

    /// A unit has failed outside of the steps that it reports: the handler threw, or the endpoint could not be reached.
    pub(crate) fn fail(&mut self, unit: Unit, attempt: Attempt, failure: Failure, now: Timestamp, draw: Draw) -> Told {
        let mut told = Told::default();
        if self.ended || (unit == Unit::FirstRequest && !self.in_first_request) {
            return told;
        }
        let attempt = self.counted(unit, attempt);
        self.over(unit);
        self.answered(unit);
        self.in_first_request = false;
        if let Unit::Targeted(key) = unit
            && failure.retryable
        {
            if self.steps.get(&key).is_some_and(|step| matches!(step.state, State::Planned { .. }))
                && self.fail_step(unit, key, attempt, failure, now, draw, &mut told)
            {
                self.settle(&[key]);
            }
            return told;
        }
        let Some(retry_at) = self.retry_at(attempt, &failure, now, draw) else {
            let change = Change::Failed { attempt, error: failure.error.clone() };
            told.entries.push(self.handler_entry(now, change));
            told.failed = Some(failure.error);
            self.ended = true;
            return told;
        };
        let under_way = self.discovery.under_way;
        self.discovery = Discovery { wanted: true, attempt: attempt.next(), at: retry_at, under_way };
        let change = Change::AttemptFailed { attempt, error: failure.error, retry_at };
        told.entries.push(self.handler_entry(now, change));
        told
    }

    /// A call got no answer of the SDK. It is made again without using up an attempt: what was tried is to reach the
    /// endpoint. When that has failed for as long as `patience`, it counts as [refused](Plan::refuse).
    pub(crate) fn unanswered(
        &mut self,
        unit: Unit,
        attempt: Attempt,
        error: Payload,
        patience: Duration,
        now: Timestamp,
        draw: Draw,
    ) -> Told {
        if self.ended {
            return Told::default();
        }
        let attempt = self.counted(unit, attempt);
        let silence = self.silence.get_or_insert(Silence { since: now, times: 0 });
        silence.times += 1;
        let Silence { since, times } = *silence;
        if now.since(since) >= patience {
            return self.refuse(unit, attempt, error, now);
        }
        self.over(unit);
        let retry_at = now.after(self.spacing(times, draw));
        let change = Change::AttemptFailed { attempt: Attempt(attempt.0.saturating_sub(1)), error, retry_at };
        let mut told = Told::default();
        if let Unit::Targeted(key) = unit {
            let Some(step) = self.steps.get_mut(&key) else { return told };
            let State::Planned { at, .. } = &mut step.state else { return told };
            *at = retry_at;
            let (id, kind) = (step.id.clone(), step.kind);
            told.entries.push(self.entry(id, kind, now, change));
        } else {
            let under_way = self.discovery.under_way;
            self.discovery = Discovery { wanted: true, attempt, at: retry_at, under_way };
            told.entries.push(self.handler_entry(now, change));
        }
        told
    }

    /// How long to leave an endpoint alone that has not answered so many times.
    fn spacing(&self, times: u32, draw: Draw) -> Duration {
        let retries = onward_core::retry::RETRIES_MAX;
        let policy = self.policy.with_retries(retries).unwrap_or(self.policy);
        let delay = policy.delay_after(Attempt(times.clamp(1, retries)), draw);
        delay.unwrap_or(SPACING_MAX).min(SPACING_MAX)
    }

    /// A call's answer cannot be taken, now or later: the step fails for good, or the run where it was for no one step.
    pub(crate) fn refuse(&mut self, unit: Unit, attempt: Attempt, error: Payload, now: Timestamp) -> Told {
        let mut told = Told::default();
        if self.ended {
            return told;
        }
        self.over(unit);
        if let Unit::Targeted(key) = unit {
            if self.steps.get(&key).is_some_and(|step| matches!(step.state, State::Planned { .. })) {
                self.finish(key, Err(error), now, &mut told);
                self.settle(&[key]);
            }
            return told;
        }
        told.entries.push(self.handler_entry(now, Change::Failed { attempt, error: error.clone() }));
        told.failed = Some(error);
        self.ended = true;
        told
    }

    /// The SDK has answered a call.
    const fn answered(&mut self, unit: Unit) {
        if !matches!(unit, Unit::FirstRequest) {
            self.silence = None;
        }
    }

    /// The endpoint asks to be called again, or has not been heard of in its client's request: that is over.
    pub(crate) fn leave_first_request(&mut self, now: Timestamp) -> Told {
        let mut told = Told::default();
        if self.in_first_request && !self.ended {
            self.in_first_request = false;
            self.want_discovery();
            told.entries.push(self.handler_entry(now, Change::Reset));
        }
        told
    }

    /// What a step waited for has come, or the time has. Nothing where it waits no longer.
    pub(crate) fn arrive(&mut self, key: StepKey, outcome: Result<Payload, Payload>, now: Timestamp) -> Told {
        let mut told = Told::default();
        let open = self
            .steps
            .get(&key)
            .is_some_and(|step| matches!(step.state, State::Waiting { .. } | State::Calling { .. }));
        if open && !self.ended {
            self.finish(key, outcome, now, &mut told);
            self.settle(&[key]);
        }
        told
    }

    /// A request that the engine made for a step has failed.
    pub(crate) fn fail_request(
        &mut self,
        key: StepKey,
        attempt: Attempt,
        failure: Failure,
        now: Timestamp,
        draw: Draw,
    ) -> Told {
        let mut told = Told::default();
        if self.ended {
            return told;
        }
        let Some(State::Calling { under_way, .. }) = self.steps.get_mut(&key).map(|step| &mut step.state) else {
            return told;
        };
        *under_way = false;
        if self.fail_step(Unit::Discovery, key, attempt, failure, now, draw, &mut told) {
            self.settle(&[key]);
        }
        told
    }

    /// The run has its outcome: nothing more is to be done.
    pub(crate) const fn end(&mut self) {
        self.ended = true;
    }

    fn handler_entry(&mut self, now: Timestamp, change: Change) -> Entry {
        let id = StepId::try_new(HANDLER_STEP, 0).expect("the constant is an id");
        self.entry(id, StepKind::Handler, now, change)
    }
}
