//! An endpoint with the SDK, its client's request, time, facts and crashes, around a plan. What no plan may do is
//! asserted where it would happen.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use onward_core::{
    Attempt, Draw, Payload, RetryPolicy, StepKey, Timestamp,
    event::Matcher,
    journal::{Change, Entry},
    step::StepKind,
    waiter::Subject,
};

use super::{
    super::{Ask, Asked, Call, Discovery, Failure, Plan, State, Told, Unit, wire},
    program::{Does, Found, Memos, Outcome, Program, Step},
};

/// More things than happen to any run that ends.
const TICKS_MAX: u32 = 5_000;

/// A call that was made.
#[derive(Debug)]
struct Flight {
    call: Call,
    /// What the endpoint answers, once it has read the memos and run.
    answer: Option<Answer>,
    /// The step that it has run.
    ran: Option<StepKey>,
    /// How many outcomes it has read.
    read: usize,
}

#[derive(Clone, Debug)]
enum Answer {
    Ops(Vec<Op>),
    Completed(String),
    Threw(String),
    Missing,
}

/// What the endpoint says of a step.
#[derive(Clone, Debug)]
struct Op {
    step: Step,
    is_race: bool,
    said: Said,
}

#[derive(Clone, Debug)]
enum Said {
    Ran,
    Failed,
    Asks,
}

/// What may happen next.
#[derive(Clone, Copy, Debug)]
enum Action {
    /// The client's request comes to its next step.
    Request,
    Start(usize),
    Answer(usize),
    Fetched(usize),
    /// Time goes on to when the plan wants to be woken.
    Wake,
    LeaseRunsOut,
    Fact(StepKey),
    // What follows happens only while there are choices.
    Lose(usize),
    Garble(usize),
    Hurry,
    Restart,
    Repeat(usize),
    RequestDies,
}

pub(super) struct World<'a> {
    program: &'a Program,
    policy: RetryPolicy,
    is_function: bool,
    pub(super) plan: Plan,
    pub(super) journal: Vec<Entry>,
    now: Timestamp,
    choices: VecDeque<u8>,
    calls: Vec<Flight>,
    fetches: Vec<(StepKey, Attempt)>,
    /// What the client's request has run, while it is executing.
    request: Option<Memos>,
    /// Whether the run was taken from the client's request, which may be executing still.
    is_abandoned: bool,
    reports: Vec<Vec<Asked>>,
    executions: BTreeMap<StepKey, u32>,
    waiters: BTreeSet<StepKey>,
    /// Of how many outcomes the endpoint has made what follows from them.
    heard: usize,
    pub(super) outcome: Option<Outcome>,
}

fn text(payload: &Payload) -> String {
    String::from_utf8(payload.as_ref().to_vec()).unwrap()
}

impl<'a> World<'a> {
    pub(super) fn new(program: &'a Program, policy: RetryPolicy, is_function: bool, choices: Vec<u8>) -> Self {
        Self {
            program,
            policy,
            is_function,
            plan: Self::plan(policy, is_function),
            journal: Vec::new(),
            now: Timestamp::from_micros(1_000),
            choices: choices.into(),
            calls: Vec::new(),
            fetches: Vec::new(),
            request: (!is_function).then(Memos::new),
            is_abandoned: false,
            reports: Vec::new(),
            executions: BTreeMap::new(),
            waiters: BTreeSet::new(),
            heard: 0,
            outcome: None,
        }
    }

    fn plan(policy: RetryPolicy, is_function: bool) -> Plan {
        if is_function { Plan::called(policy, 100) } else { Plan::new(policy, 100) }
    }

    /// The plan that the journal tells.
    pub(super) fn folded(&self) -> Plan {
        Self::plan(self.policy, self.is_function).replay(&self.journal)
    }

    /// The outcomes that the plan has, in its order.
    pub(super) fn memos(plan: &Plan) -> Memos {
        let outcomes = plan.outcomes().enumerate();
        outcomes.map(|(place, (id, outcome))| (wire(id), (place, outcome.map(text).map_err(text)))).collect()
    }

    /// Lets things happen until the run has ended.
    pub(super) fn execute(&mut self) {
        for _ in 0..TICKS_MAX {
            if self.choices.is_empty() || self.choose(4) > 0 {
                self.dispatch();
            }
            if self.outcome.is_some() {
                return;
            }
            let actions = self.actions();
            assert!(!actions.is_empty(), "the run is stuck: {:#?} {:#?}", self.plan, self.journal);
            let action = actions[self.choose(actions.len())];
            self.act(action);
        }
        panic!("the run does not end: {:#?} {:#?}", self.plan, self.journal);
    }

    /// The next choice among `len`; the first, when the choices have run out.
    fn choose(&mut self, len: usize) -> usize {
        self.choices.pop_front().map_or(0, |choice| usize::from(choice) % len)
    }

    fn draw(&mut self) -> Draw {
        Draw(self.choose(256) as u64)
    }

    fn actions(&self) -> Vec<Action> {
        let mut actions = Vec::new();
        actions.extend(self.request.is_some().then_some(Action::Request));
        for (place, flight) in self.calls.iter().enumerate() {
            actions.push(if flight.answer.is_some() { Action::Answer(place) } else { Action::Start(place) });
        }
        actions.extend((0..self.fetches.len()).map(Action::Fetched));
        actions.extend(self.plan.wake_at().map(|_| Action::Wake));
        actions.extend(self.plan.in_first_request().then_some(Action::LeaseRunsOut));
        actions.extend(self.waiters.iter().map(|key| Action::Fact(*key)));
        if !self.choices.is_empty() {
            actions.extend([Action::Hurry, Action::Restart]);
            for (place, flight) in self.calls.iter().enumerate() {
                if self.may_lose(flight.call.attempt) {
                    actions.extend([Action::Lose(place), Action::Garble(place)]);
                }
            }
            actions.extend((0..self.reports.len()).map(Action::Repeat));
            actions.extend(self.request.is_some().then_some(Action::RequestDies));
        }
        actions
    }

    /// Whether an attempt may fail in addition to those that fail anyway, and each step still end as it does by itself.
    fn may_lose(&self, attempt: Attempt) -> bool {
        let left = |step: &Step| step.fails().saturating_sub(self.executions.get(&step.wire()).copied().unwrap_or(0));
        let left = self.program.steps().into_iter().map(left).max().unwrap_or(0);
        attempt.0 + left <= self.policy.retries()
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Request => self.go_on(),
            Action::Start(place) => self.begin(place),
            Action::Answer(place) => self.answer(place),
            Action::Fetched(place) => self.fetched(place),
            Action::Wake => self.now = self.plan.wake_at().unwrap_or(self.now).max(self.now),
            Action::LeaseRunsOut => {
                self.is_abandoned = true;
                let told = self.plan.leave_first_request(self.now);
                self.write(told);
            }
            Action::Fact(key) => {
                let step = self.step(key).clone();
                let told = self.plan.arrive(key, Ok(Payload::from(step.output())), self.now);
                self.write(told);
            }
            Action::Lose(place) => {
                let Call { unit, attempt, .. } = self.calls.remove(place).call;
                let (failure, draw) = (Failure::passing(Payload::from("unreachable")), self.draw());
                let told = self.plan.fail(unit, attempt, failure, self.now, draw);
                self.write(told);
            }
            Action::Garble(place) => {
                let Call { unit, attempt, .. } = self.calls.remove(place).call;
                if unit == Unit::Discovery {
                    // Where steps are outstanding, it is an answer: nothing follows.
                    self.heard = Self::memos(&self.plan).len();
                }
                let draw = self.draw();
                let told = self.plan.apply(unit, attempt, Vec::new(), self.now, || draw);
                self.write(told);
            }
            Action::Hurry => self.now = self.now.after(Duration::from_micros(self.choose(20) as u64)),
            Action::Restart => {
                self.plan = self.folded();
                self.calls.clear();
                self.fetches.clear();
            }
            Action::Repeat(place) => {
                let before = format!("{:?}", self.plan);
                let (report, draw) = (self.reports[place].clone(), self.draw());
                let told = self.plan.apply(Unit::FirstRequest, Attempt::FIRST, report, self.now, || draw);
                assert!(told.is_empty(), "a repeated report is recorded again: {told:?}");
                assert_eq!(before, format!("{:?}", self.plan), "a repeated report changes something");
            }
            Action::RequestDies => self.request = None,
        }
    }

    fn step(&self, key: StepKey) -> &'a Step {
        self.program.steps().into_iter().find(|step| step.id().key() == key).unwrap()
    }

    // ===== what the plan wants =====

    /// What the plan wants now, which must be all until it wants to be woken.
    fn dispatch(&mut self) {
        for (until, key) in self.plan.due(self.now) {
            let told_until = self.journal.iter().rev().find_map(|entry| match entry.change {
                Change::Waiting { until, .. } if entry.key() == key => until,
                _ => None,
            });
            assert_eq!(Some(until), told_until);
            assert!(until <= self.now, "a wait ends before its time");
            let told = self.plan.arrive(key, Ok(Payload::from("null")), self.now);
            self.write(told);
        }
        for call in self.plan.calls(self.now) {
            self.check_call(call);
            self.calls.push(Flight { call, answer: None, ran: None, read: 0 });
        }
        for (key, kind, attempt, request) in self.plan.requests(self.now) {
            assert_eq!((kind, request.as_str()), (StepKind::Fetch, "request"));
            assert!(self.fetches.iter().all(|(other, _)| *other != key), "a request is made twice at once");
            assert_eq!(attempt, self.attempt_due(key));
            self.fetches.push((key, attempt));
        }
        self.check_wake();
        self.check_heard();
    }

    /// The endpoint is called for what it has not heard of: at once where it is of a race, else when all of the group is
    /// done but what only waits.
    fn check_heard(&self) {
        let racing = self.program.racing();
        let memos = Self::memos(&self.plan);
        let mut unheard = memos.iter().filter(|(_, (place, _))| *place >= self.heard).peekable();
        if self.outcome.is_some() || self.plan.in_first_request() || unheard.peek().is_none() {
            return;
        }
        let groups = self.groups();
        let left = self.program.steps().into_iter().filter(|step| self.is_outstanding(step.id().key()));
        let runs = |step: &&Step| !matches!(step.does, Does::Sleep(_) | Does::Wait(_));
        let running: BTreeSet<_> = left.filter(runs).map(|step| groups[&step.wire()]).collect();
        if unheard.any(|(key, _)| racing.contains(key) || !running.contains(&groups[key])) {
            let Discovery { wanted, under_way, .. } = self.plan.discovery;
            assert!(wanted || under_way.is_some(), "the endpoint is not called for what it has not heard of");
        }
    }

    /// The groups of steps: what was recorded together.
    fn groups(&self) -> BTreeMap<StepKey, usize> {
        let mut groups = BTreeMap::new();
        let mut first = 0;
        for (place, entry) in self.journal.iter().enumerate() {
            if place > 0 && self.journal[place - 1].at != entry.at {
                first = place;
            }
            groups.entry(wire(&entry.step)).or_insert(first);
        }
        groups
    }

    fn check_call(&self, call: Call) {
        assert!(self.request.is_none() || self.is_abandoned, "the client's request executes the run");
        assert!(self.calls.iter().all(|flight| flight.call.unit != call.unit), "{:?} is under way twice", call.unit);
        match call.unit {
            Unit::FirstRequest => panic!("nobody can call that"),
            Unit::Targeted(key) => {
                assert!(!self.has_outcome(key), "a call for a step that has its outcome");
                assert!(call.plan_only);
                assert_eq!(call.attempt, self.attempt_due(key));
            }
            Unit::Discovery => {
                let is_outstanding = self.journal.iter().any(|entry| self.is_outstanding(entry.key()));
                assert_eq!(call.plan_only, is_outstanding, "steps run beside others");
                let expected = match self.journal.last().map(|last| (last.key(), &last.change)) {
                    Some((key, Change::AttemptFailed { attempt, retry_at, .. })) if !self.is_outstanding(key) => {
                        assert!(*retry_at <= self.now, "an attempt comes before its time");
                        attempt.next()
                    }
                    // A failure before what others have done meanwhile.
                    Some(_) if call.attempt > Attempt::FIRST => {
                        let retries = self.journal.iter().rev().filter_map(|entry| match entry.change {
                            Change::AttemptFailed { attempt, retry_at, .. } if !self.has_waited(entry.key()) => {
                                Some((entry.key(), attempt, retry_at))
                            }
                            _ => None,
                        });
                        let (key, attempt, retry_at) = { retries }.next().expect("an attempt has failed");
                        assert!(!self.has_outcome(key), "a step is tried again that is done");
                        assert!(retry_at <= self.now, "an attempt comes before its time");
                        attempt.next()
                    }
                    _ => Attempt::FIRST,
                };
                assert_eq!(call.attempt, expected);
            }
        }
    }

    /// Which attempt of a step is to be made, whose time must have come.
    fn attempt_due(&self, key: StepKey) -> Attempt {
        let failed = self.journal.iter().rev().find_map(|entry| match entry.change {
            Change::AttemptFailed { attempt, retry_at, .. } if entry.key() == key => Some((attempt, retry_at)),
            _ => None,
        });
        failed.map_or(Attempt::FIRST, |(attempt, retry_at)| {
            assert!(retry_at <= self.now, "an attempt comes before its time");
            attempt.next()
        })
    }

    fn has_outcome(&self, key: StepKey) -> bool {
        let is_outcome = |entry: &Entry| matches!(entry.change, Change::Succeeded { .. } | Change::Failed { .. });
        self.journal.iter().any(|entry| entry.key() == key && is_outcome(entry))
    }

    fn has_waited(&self, key: StepKey) -> bool {
        self.journal.iter().any(|entry| entry.key() == key && matches!(entry.change, Change::Waiting { .. }))
    }

    fn is_outstanding(&self, key: StepKey) -> bool {
        self.has_waited(key) && !self.has_outcome(key)
    }

    /// All that was to be done is done, and at the time when the plan wants to be woken there is something.
    fn check_wake(&self) {
        let idle = |plan: &Plan, at: Timestamp| {
            let mut plan = plan.clone();
            plan.due(at).is_empty() && plan.calls(at).is_empty() && plan.requests(at).is_empty()
        };
        if self.outcome.is_some() {
            return;
        }
        let wake_at = self.plan.wake_at();
        assert!(wake_at.is_none_or(|at| at > self.now), "it wakes again and again");
        let last = wake_at.map_or(i64::MAX - 1, |at| at.as_micros() - 1);
        assert!(idle(&self.plan, Timestamp::from_micros(last)), "it is not woken for what is due");
        assert!(wake_at.is_none_or(|at| !idle(&self.plan, at)), "it is woken for nothing");
    }

    // ===== what the endpoint does =====

    /// The client's request runs a step and reports it, or hands the run over.
    fn go_on(&mut self) {
        let mut memos = self.request.take().unwrap();
        let Found { result, open } = self.program.run(&memos);
        if let (Some(result), true) = (&result, open.is_empty()) {
            return self.end(Unit::FirstRequest, Attempt::FIRST, Ok(result.clone().unwrap()));
        }
        let memos_len = memos.len();
        let ops = match &open[..] {
            [(step, false)] if step.runs() => {
                let said = self.run_step(step, true);
                if matches!(said, Said::Ran) {
                    memos.insert(step.wire(), (memos.len(), Ok(step.output())));
                    self.request = Some(memos);
                }
                vec![Op { step: step.clone(), is_race: false, said }]
            }
            _ => open.into_iter().map(|(step, is_race)| Op { step, is_race, said: Said::Asks }).collect(),
        };
        if !self.is_abandoned && ops.iter().any(|op| matches!(op.said, Said::Asks)) {
            self.heard = memos_len;
        }
        let report = self.asked(ops, true);
        self.reports.push(report.clone());
        let draw = self.draw();
        let told = self.plan.apply(Unit::FirstRequest, Attempt::FIRST, report, self.now, || draw);
        self.write(told);
    }

    /// The endpoint gets a call, reads the memos, and runs what it is to run.
    fn begin(&mut self, place: usize) {
        let Call { unit, plan_only, .. } = self.calls[place].call;
        let memos = Self::memos(&self.plan);
        self.calls[place].read = memos.len();
        let Found { result, open } = self.program.run(&memos);
        let own = match unit {
            Unit::Targeted(key) => {
                let wire = self.plan.wire_of(key).unwrap();
                let own = open.iter().find(|(step, _)| step.wire() == wire).cloned();
                if own.is_none() {
                    self.calls[place].answer = Some(Answer::Missing);
                    return;
                }
                own
            }
            _ => match &open[..] {
                [own @ (step, false)] if step.runs() && !plan_only => Some(own.clone()),
                _ => None,
            },
        };
        if let (Some(Err(error)), None) = (&result, &own) {
            self.calls[place].answer = Some(Answer::Threw(error.clone()));
            return;
        }
        let answer = match (result, own) {
            (_, Some((step, is_race))) => {
                let said = self.run_step(&step, false);
                self.calls[place].ran = Some(step.wire());
                Answer::Ops(vec![Op { step, is_race, said }])
            }
            (Some(Ok(value)), None) if open.is_empty() => Answer::Completed(value),
            _ => {
                let op = |(step, is_race)| Op { step, is_race, said: Said::Asks };
                Answer::Ops(open.into_iter().map(op).collect())
            }
        };
        self.calls[place].answer = Some(answer);
    }

    fn run_step(&mut self, step: &Step, by_request: bool) -> Said {
        let is_late = by_request && self.is_abandoned;
        assert!(is_late || !self.has_outcome(step.id().key()), "{step:?} runs again after its outcome is recorded");
        let is_running = self.calls.iter().any(|flight| flight.ran == Some(step.wire()));
        assert!(self.is_abandoned || !is_running, "{step:?} runs twice at once");
        let executions = self.executions.entry(step.wire()).or_default();
        *executions += 1;
        match step.does {
            Does::Run { fails, .. } if *executions > fails => Said::Ran,
            _ => Said::Failed,
        }
    }

    fn answer(&mut self, place: usize) {
        let Flight { call: Call { unit, attempt, .. }, answer, read, .. } = self.calls.remove(place);
        if unit == Unit::Discovery {
            self.heard = read;
        }
        let draw = self.draw();
        let told = match answer.unwrap() {
            Answer::Ops(ops) => {
                let asked = self.asked(ops, false);
                self.plan.apply(unit, attempt, asked, self.now, || draw)
            }
            Answer::Completed(value) => return self.end(unit, attempt, Ok(value)),
            Answer::Threw(error) => {
                let failure = Failure { retryable: false, ..Failure::passing(Payload::from(error)) };
                self.plan.fail(unit, attempt, failure, self.now, draw)
            }
            Answer::Missing => {
                let failure = Failure::passing(Payload::from("step not found"));
                self.plan.fail(unit, attempt, failure, self.now, draw)
            }
        };
        self.write(told);
    }

    /// A unit has answered with the handler's output.
    fn end(&mut self, unit: Unit, attempt: Attempt, outcome: Outcome) {
        let told = self.plan.record(unit, attempt, Vec::new(), self.now, &mut || Draw(0));
        self.write(told);
        self.plan.end();
        self.outcome = Some(outcome);
    }

    /// The engine's own request of a URL is answered.
    fn fetched(&mut self, place: usize) {
        let (key, attempt) = self.fetches.remove(place);
        let step = self.step(key);
        assert!(!self.has_outcome(key), "a request for a step that has its outcome");
        let executions = self.executions.entry(step.wire()).or_default();
        *executions += 1;
        let told = match step.does {
            Does::Fetch { fails } if *executions > fails => {
                self.plan.arrive(key, Ok(Payload::from(step.output())), self.now)
            }
            _ => {
                let (failure, draw) = (Failure::passing(Payload::from(step.error())), self.draw());
                self.plan.fail_request(key, attempt, failure, self.now, draw)
            }
        };
        self.write(told);
    }

    /// What ops ask for, waits first.
    fn asked(&self, ops: Vec<Op>, by_request: bool) -> Vec<Asked> {
        let wait = |step: &Step| matches!(step.does, Does::Wait(_));
        let (waits, others): (Vec<_>, Vec<_>) = ops.into_iter().partition(|op| wait(&op.step));
        let later = |micros: u64| self.now.after(Duration::from_micros(micros));
        let ask = |Op { step, is_race, said }: Op| {
            let ask = match (said, step.does) {
                (Said::Ran, _) => Ask::Ran(Payload::from(step.output())),
                (Said::Failed, does) => {
                    // In its client's request, the SDK does not say how long to wait.
                    let retry_after = match does {
                        Does::Run { retry_after, .. } if !by_request => retry_after,
                        _ => None,
                    };
                    let retry_after = retry_after.map(Duration::from_micros);
                    let error = Payload::from(step.error());
                    Ask::Failed { error, retryable: !matches!(does, Does::Fatal), retry_after }
                }
                (Said::Asks, Does::Run { .. } | Does::Fatal) => Ask::Planned,
                (Said::Asks, Does::Sleep(micros)) => Ask::Sleep(later(micros)),
                (Said::Asks, Does::Wait(timeout)) => {
                    let (name, kind) = (step.output(), StepKind::WaitForEvent);
                    let matcher = Matcher { name: name.clone(), value: None, when: None };
                    let subject = Subject::Event { matcher, since: None };
                    Ask::Wait { kind, name, subject, until: timeout.map(later) }
                }
                (Said::Asks, Does::Fetch { .. }) => {
                    Ask::Request { kind: StepKind::Fetch, request: "request".to_owned() }
                }
            };
            Asked { id: step.id(), is_race, ask }
        };
        waits.into_iter().chain(others).map(ask).collect()
    }

    // ===== what is written =====

    fn write(&mut self, told: Told) {
        for entry in told.entries {
            self.check_entry(&entry);
            self.journal.push(entry);
        }
        self.waiters.extend(told.waiters.iter().map(|waiter| waiter.step));
        for key in told.settled {
            assert!(matches!(self.step(key).does, Does::Sleep(_) | Does::Wait(_)));
            self.waiters.remove(&key);
        }
        for key in &self.waiters {
            assert!(!self.has_outcome(*key), "a step waits that has its outcome");
        }
        if let Some(error) = told.failed {
            self.outcome = Some(Err(text(&error)));
        } else if self.outcome.is_none() {
            self.check_folded();
        }
    }

    fn check_entry(&self, entry: &Entry) {
        let key = entry.key();
        assert_eq!(entry.seq.0 as usize, self.journal.len(), "places have no gaps and are used once");
        assert!(!self.has_outcome(key), "{entry:?} comes after the step was done");
        let failed =
            self.journal.iter().filter(|before| before.key() == key).filter_map(|before| match before.change {
                Change::AttemptFailed { attempt, .. } => Some(attempt),
                _ => None,
            });
        match entry.change {
            Change::AttemptFailed { attempt, retry_at, .. } => {
                assert!(attempt.0 <= self.policy.retries(), "an attempt too many");
                assert!(retry_at >= self.now);
                if entry.kind != StepKind::Handler {
                    assert!(failed.max() < Some(attempt), "an attempt of a step is counted twice");
                }
            }
            Change::Waiting { .. } => assert!(!self.has_waited(key), "a wait is registered twice"),
            Change::Succeeded { attempt, .. } | Change::Failed { attempt, .. } => {
                assert!(attempt.0 <= self.policy.retries() + 1);
            }
            Change::Reset => assert_eq!(entry.kind, StepKind::Handler),
            Change::LetGo | Change::Blocked { .. } => panic!("the library alone records {entry:?}"),
        }
    }

    /// The journal tells all that the plan knows, but for what is under way.
    fn check_folded(&self) {
        let state = |state: &State| match state.clone() {
            State::Planned { attempt, at, .. } => State::Planned { attempt, at, under_way: false },
            State::Calling { attempt, at, request, .. } => State::Calling { attempt, at, request, under_way: false },
            state => state,
        };
        let view = |plan: &Plan| {
            let steps = plan.steps.values();
            let steps: Vec<_> = steps.map(|step| (step.id.clone(), step.kind, state(&step.state))).collect();
            (steps, plan.done.clone(), plan.next, plan.in_first_request, plan.got.clone())
        };
        let folded = self.folded();
        assert_eq!(view(&folded), view(&self.plan), "the journal tells another state");
        let (own, other) = (&self.plan.discovery, &folded.discovery);
        if self.is_abandoned {
            // What the client's request asks for late is as good as what a discovery does.
            let goes_on = other.wanted || folded.outstanding_len() > 0;
            assert!(goes_on || !(own.wanted || own.under_way.is_some()), "a discovery is forgotten");
            return;
        }
        assert!(other.wanted || !(own.wanted || own.under_way.is_some()), "a discovery is forgotten");
        // Why not the first attempt: the journal does not tell that one under way would have been the next of another.
        if own.wanted && own.attempt > Attempt::FIRST {
            assert_eq!((other.attempt, other.at), (own.attempt, own.at), "the journal tells another discovery");
        }
    }
}
