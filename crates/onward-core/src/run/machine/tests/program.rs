//! Random handlers, and an executor for them that is as the library's own: acknowledgements in order, closures and
//! timers and events whenever, crashes that keep what was durable.

use std::{
    cell::{RefCell, RefMut},
    collections::{BTreeMap, BTreeSet, VecDeque},
    future::poll_fn,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use crate::{
    Attempt, Draw, Payload, RetryPolicy, Seq, StepKey, Timestamp,
    journal::{Change, Entry},
    run::machine::{FailedAttempt, Machine, Next, Offer},
    step::{StepId, StepKind},
};

pub(super) const RETRIES: u32 = 2;

/// A handler.
#[derive(Clone, Debug)]
pub(super) enum Program {
    /// A closure whose first attempts fail.
    Run {
        fails: u32,
    },
    /// The same, deciding its entry on the store's writer.
    Transaction {
        fails: u32,
    },
    Sleep {
        micros: u64,
    },
    Event {
        timeout: Option<u64>,
    },
    Sequence(Vec<Program>),
    Join(Vec<Program>),
    Race(Vec<Program>),
    /// A race whose branches are always polled in their order.
    Biased(Vec<Program>),
    /// Ends with the first branch that fails, or when all have ended.
    TryJoin(Vec<Program>),
    /// Polls it once, lets go of it, and does something else.
    Drop(Box<Program>),
    /// Starts the first, does the second without polling the first, then races the first against the third.
    Hold(Box<[Program; 3]>),
}

type Handler = Pin<Box<dyn Future<Output = String>>>;

#[derive(Debug)]
struct Transaction {
    step: (StepKey, StepId),
    seq: Seq,
    attempt: Attempt,
    fails: bool,
    decision: Decision,
}

/// What the store has done with a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Decision {
    Open,
    Committed(Payload),
    RolledBack,
}

/// What outlives a crash, and what does not.
#[derive(Default)]
pub(super) struct State {
    pub(super) machine: Machine,
    /// What was submitted, in order.
    pub(super) store: Vec<Entry>,
    durable: usize,
    acks: VecDeque<(usize, Option<StepKey>)>,
    gate: Option<Vec<(Entry, Option<StepKey>)>>,
    transaction: Option<Transaction>,
    decided_transactions: BTreeMap<StepKey, Next>,
    now: Timestamp,
    /// Attempts that run, and whether they have ended.
    running: BTreeMap<StepKey, bool>,
    sent: BTreeSet<StepKey>,
    /// Steps that the handler has let go of, which the next entry tells, too.
    let_go: BTreeSet<StepKey>,
    choices: VecDeque<u8>,
    /// Nothing happens but what the journal tells.
    pub(super) frozen: bool,
    races: BTreeMap<String, u32>,
    /// The last place that reached the handler.
    delivered: Seq,
    /// Races that were decided, by whom, and by how much of the journal.
    decided: Vec<(String, usize, Seq)>,
    /// Races that the durable journal has decided.
    expected: BTreeMap<String, usize>,
    outputs: u64,
    pub(super) crashes: u32,
}

impl State {
    pub(super) fn new(choices: Vec<u8>) -> Self {
        Self { choices: choices.into(), ..Self::default() }
    }

    /// The next choice among `len`; the first, when the choices have run out.
    fn choose(&mut self, len: usize) -> usize {
        self.choices.pop_front().map_or(0, |choice| usize::from(choice) % len)
    }

    fn output(&mut self, what: &str) -> Payload {
        self.outputs += 1;
        Payload::from(format!("{what}{}", self.outputs))
    }

    fn submit(&mut self, entry: Entry, key: Option<StepKey>) {
        self.write(entry, key);
        for key in std::mem::take(&mut self.let_go) {
            if let Some(entry) = self.machine.record_let_go(key, self.now) {
                self.write(entry, None);
            }
        }
    }

    fn write(&mut self, entry: Entry, key: Option<StepKey>) {
        if let Some(gate) = &mut self.gate {
            gate.push((entry, key));
            return;
        }
        self.append(entry);
        self.acks.push_back((self.store.len(), key));
    }

    fn append(&mut self, entry: Entry) {
        assert_eq!(entry.seq.0 as usize, self.store.len(), "places have no gaps and are used once");
        self.store.push(entry);
    }

    /// Keeps what was durable and perhaps some of what was on its way, and starts again.
    pub(super) fn crash(mut self) -> Self {
        let maybe = self.store.len() - self.durable + 1;
        let kept = self.durable + self.choose(maybe);
        self.store.truncate(kept);
        for (race, winner, needs) in self.decided {
            if (needs.0 as usize) < kept {
                self.expected.insert(race, winner);
            }
        }
        let machine = Machine::replay(&self.store);
        assert_eq!(format!("{machine:?}"), format!("{:?}", Machine::replay(&self.store)));
        Self {
            machine,
            store: self.store,
            durable: kept,
            now: self.now,
            choices: self.choices,
            expected: self.expected,
            outputs: self.outputs,
            crashes: self.crashes + 1,
            ..Self::default()
        }
    }

    /// Ends the waits whose time has come.
    fn fire(&mut self) -> bool {
        let due = self.machine.due(self.now);
        for (key, _, until) in &due {
            assert!(*until <= self.now);
            if let Some(entry) = self.machine.succeed(*key, Payload::from("null"), self.now, true) {
                self.submit(entry, None);
            }
        }
        let retries = self.machine.retries_due(self.now);
        assert!(self.machine.next_wake().is_none_or(|wake| wake > self.now), "what is due is told once");
        !due.is_empty() || !retries.is_empty()
    }
}

/// What may happen outside the handler.
#[derive(Clone, Copy, Debug)]
enum Happening {
    Ack,
    Ends(StepKey),
    Commits,
    Answers,
    Time(Timestamp),
    Event(StepKey),
}

impl State {
    fn happenings(&self) -> Vec<Happening> {
        let mut all = Vec::new();
        all.extend(self.acks.front().map(|_| Happening::Ack));
        all.extend(self.running.iter().filter(|(_, ended)| !**ended).map(|(key, _)| Happening::Ends(*key)));
        all.extend(self.transaction.as_ref().map(|transaction| match transaction.decision {
            Decision::Open => Happening::Commits,
            Decision::Committed(_) | Decision::RolledBack => Happening::Answers,
        }));
        all.extend(self.machine.next_wake().map(Happening::Time));
        let waits = self.store[..self.durable]
            .iter()
            .filter(|entry| entry.kind == StepKind::WaitForEvent && matches!(entry.change, Change::Waiting { .. }));
        all.extend(waits.map(Entry::key).filter(|key| !self.sent.contains(key)).map(Happening::Event));
        all
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Ack => {
                let (len, key) = self.acks.pop_front().unwrap();
                self.durable = self.durable.max(len);
                if let Some(key) = key {
                    self.machine.durable(key);
                }
            }
            Happening::Ends(key) => drop(self.running.insert(key, true)),
            Happening::Commits => self.commit(),
            Happening::Answers => self.answer(),
            Happening::Time(wake) => {
                let early = u64::try_from(self.choose(3)).unwrap();
                let at = Timestamp::from_micros(wake.as_micros() - i64::try_from(early).unwrap());
                self.now = self.now.max(at);
            }
            Happening::Event(key) => {
                self.sent.insert(key);
                let event = self.output("event");
                if let Some(entry) = self.machine.succeed(key, event, self.now, true) {
                    self.submit(entry, None);
                }
            }
        }
    }

    fn commit(&mut self) {
        let output = self.output("transaction");
        let mut transaction = self.transaction.take().unwrap();
        transaction.decision = Decision::RolledBack;
        if !transaction.fails {
            let (seq, step) = (transaction.seq, transaction.step.1.clone());
            let change = Change::Succeeded { attempt: transaction.attempt, output: output.clone() };
            self.append(Entry { seq, at: self.now, step, kind: StepKind::Transaction, change });
            self.durable = self.store.len();
            transaction.decision = Decision::Committed(output);
        }
        self.transaction = Some(transaction);
    }

    fn answer(&mut self) {
        let transaction = self.transaction.take().unwrap();
        let (key, id) = transaction.step;
        let gated = self.gate.take().unwrap();
        self.machine.use_reserved(transaction.seq);
        let next = match transaction.decision {
            Decision::Committed(output) => {
                drop(self.machine.succeed(key, output, self.now, true));
                Next::Recorded
            }
            Decision::Open => unreachable!("nobody answers before the store has decided"),
            Decision::RolledBack => {
                let error = self.output("error");
                let after =
                    self.machine.fail_attempt(key, failed(transaction.attempt, error), &policy(), self.now, Draw(0));
                let (entry, next) = after.map_or_else(
                    || {
                        let (at, kind) = (self.now, StepKind::Transaction);
                        (Entry { seq: transaction.seq, at, step: id, kind, change: Change::Reset }, Next::Recorded)
                    },
                    |after| (after.entry, after.next),
                );
                self.write(entry, (next == Next::Recorded).then_some(key));
                next
            }
        };
        for (entry, key) in gated {
            self.write(entry, key);
        }
        self.decided_transactions.insert(key, next);
    }
}

/// How an execution ended: with the handler's output, or cut off.
pub(super) fn execute(program: &Program, state: State) -> (Option<String>, State) {
    let world = World(Rc::new(RefCell::new(state)));
    let mut handler = world.handler(program, String::new());
    let mut cx = Context::from_waker(Waker::noop());
    world.state().machine.offer();
    let output = 'execution: loop {
        loop {
            if let Poll::Ready(output) = handler.as_mut().poll(&mut cx) {
                break 'execution Some(output);
            }
            let mut state = world.state();
            let fired = state.fire();
            match state.machine.offer() {
                Offer::Step(_) => {}
                Offer::Nothing if fired => {}
                Offer::Nothing => break,
                Offer::Unrequested => panic!("the journal has a step that the handler did not ask for again"),
            }
        }
        let mut state = world.state();
        if state.frozen || (!state.choices.is_empty() && state.choose(10) == 9) {
            break None;
        }
        let happenings = state.happenings();
        assert!(!happenings.is_empty(), "the run is stuck: {:#?}", state.machine);
        let chosen = state.choose(happenings.len());
        state.happen(happenings[chosen]);
    };
    if output.is_some() {
        let state = world.state();
        assert_eq!(state.machine.unasked(), None, "a handler that returns has asked for all that its journal has");
    }
    drop(handler);
    let mut state = world.0.take();
    // As the library does: the last checkpoint comes after what a transaction commits.
    while output.is_some() && !state.frozen {
        let Some(transaction) = &state.transaction else { break };
        let open = transaction.decision == Decision::Open;
        state.happen(if open { Happening::Commits } else { Happening::Answers });
    }
    (output, state)
}

fn policy() -> RetryPolicy {
    RetryPolicy::try_new(Duration::from_micros(4), Duration::from_micros(50), RETRIES).unwrap()
}

fn failed(attempt: Attempt, error: Payload) -> FailedAttempt {
    FailedAttempt { attempt, error, retryable: true, retry_after: None }
}

#[derive(Clone)]
struct World(Rc<RefCell<State>>);

impl World {
    fn state(&self) -> RefMut<'_, State> {
        self.0.borrow_mut()
    }

    /// The handler's future. Branches that run beside each other have ids of their own; a sequence repeats its ids.
    fn handler(&self, program: &Program, path: String) -> Handler {
        let world = self.clone();
        let branches = |programs: &[Program]| -> Vec<Handler> {
            let branch = |(index, program)| self.handler(program, format!("{path}{index}"));
            programs.iter().enumerate().map(branch).collect()
        };
        match program {
            Program::Run { fails } => Box::pin(world.run(format!("{path}run"), *fails)),
            Program::Transaction { fails } => Box::pin(world.transaction(format!("{path}transaction"), *fails)),
            Program::Sleep { micros } => Box::pin(world.wait(format!("{path}sleep"), StepKind::Sleep, Some(*micros))),
            Program::Event { timeout } => {
                Box::pin(world.wait(format!("{path}event"), StepKind::WaitForEvent, *timeout))
            }
            Program::Sequence(programs) => {
                let programs = programs.clone();
                Box::pin(async move {
                    let mut output = Vec::new();
                    for program in &programs {
                        output.push(world.handler(program, path.clone()).await);
                    }
                    output.join(" ")
                })
            }
            Program::Join(programs) => Box::pin(world.join(branches(programs))),
            Program::Race(programs) => Box::pin(world.race(path.clone(), branches(programs), false)),
            Program::Biased(programs) => Box::pin(world.race(path.clone(), branches(programs), true)),
            Program::TryJoin(programs) => Box::pin(world.try_join(branches(programs))),
            Program::Drop(inner) => {
                let mut inner = self.handler(inner, format!("{path}dropped"));
                Box::pin(async move {
                    let _ = poll_fn(|cx| Poll::Ready(inner.as_mut().poll(cx))).await;
                    drop(inner);
                    world.run(format!("{path}after"), 0).await
                })
            }
            Program::Hold(parts) => {
                let [held, body, against] = (**parts).clone();
                Box::pin(async move {
                    let mut held = world.handler(&held, format!("{path}held"));
                    let early = poll_fn(|cx| Poll::Ready(held.as_mut().poll(cx))).await;
                    let body = world.handler(&body, path.clone()).await;
                    assert_eq!(early, Poll::Pending, "no step is ready when it is first polled");
                    let against = world.handler(&against, format!("{path}against"));
                    let output = world.race(path, vec![held, against], false).await;
                    format!("{body} {output}")
                })
            }
        }
    }

    /// In which order a combinator polls its branches this time.
    fn order(&self, len: usize) -> impl Iterator<Item = usize> + use<> {
        let mut state = self.state();
        let (first, back) = (state.choose(len), state.choose(2) == 1);
        (0..len).map(move |index| if back { (first + len - index) % len } else { (first + index) % len })
    }

    async fn join(self, mut branches: Vec<Handler>) -> String {
        let mut outputs = vec![None; branches.len()];
        poll_fn(|cx| {
            for index in self.order(branches.len()) {
                if outputs[index].is_none()
                    && let Poll::Ready(output) = branches[index].as_mut().poll(cx)
                {
                    outputs[index] = Some(output);
                }
            }
            if outputs.iter().all(Option::is_some) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        outputs.into_iter().flatten().collect::<Vec<_>>().join("+")
    }

    /// An output that tells of an error is one.
    async fn try_join(self, mut branches: Vec<Handler>) -> String {
        let mut outputs = vec![None; branches.len()];
        let failed = poll_fn(|cx| {
            for index in self.order(branches.len()) {
                if outputs[index].is_none()
                    && let Poll::Ready(output) = branches[index].as_mut().poll(cx)
                {
                    if output.starts_with("error") {
                        return Poll::Ready(Some(output));
                    }
                    outputs[index] = Some(output);
                }
            }
            if outputs.iter().all(Option::is_some) { Poll::Ready(None) } else { Poll::Pending }
        })
        .await;
        drop(branches);
        failed.unwrap_or_else(|| outputs.into_iter().flatten().collect::<Vec<_>>().join("&"))
    }

    async fn race(self, path: String, mut branches: Vec<Handler>, biased: bool) -> String {
        let (winner, output) = poll_fn(|cx| {
            let order: Vec<_> =
                if biased { (0..branches.len()).collect() } else { self.order(branches.len()).collect() };
            for index in order {
                if let Poll::Ready(output) = branches[index].as_mut().poll(cx) {
                    return Poll::Ready((index, output));
                }
            }
            Poll::Pending
        })
        .await;
        let mut state = self.state();
        let times = state.races.entry(path.clone()).or_default();
        *times += 1;
        let race = format!("{path}#{times}");
        if let Some(expected) = state.expected.get(&race) {
            assert_eq!(winner, *expected, "race {race:?} was decided otherwise before");
        }
        let delivered = state.delivered;
        state.decided.push((race, winner, delivered));
        drop(state);
        drop(branches);
        format!("{winner}:{output}")
    }
}

/// A step that the handler asked for, and lets go of when it drops it.
struct Asked {
    world: World,
    id: StepId,
    key: StepKey,
    next: Next,
}

impl Asked {
    async fn outcome(self) -> String {
        let taken = poll_fn(|_| {
            let mut state = self.world.state();
            state.machine.take(self.key).map_or(Poll::Pending, Poll::Ready)
        })
        .await;
        let mut state = self.world.state();
        let done = |entry: &&Entry| matches!(entry.change, Change::Succeeded { .. } | Change::Failed { .. });
        let entry = state.store.iter().filter(done).find(|entry| entry.key() == self.key);
        let seq = entry.expect("what reaches the handler was submitted").seq;
        state.delivered = state.delivered.max(seq);
        let (Ok(output) | Err(output)) = taken;
        String::from_utf8(output.as_ref().to_vec()).unwrap()
    }

    async fn retry(&self) -> Attempt {
        poll_fn(|_| {
            let state = self.world.state();
            state.machine.begin_retry(self.key).map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        let mut state = self.world.state();
        state.running.remove(&self.key);
        state.machine.let_go(self.key);
        state.let_go.insert(self.key);
    }
}

impl World {
    fn ask(&self, name: &str, kind: StepKind) -> Asked {
        let asked = self.state().machine.request(name, kind, 1000).unwrap();
        Asked { world: self.clone(), id: asked.step, key: asked.key, next: asked.next }
    }

    async fn wait(self, name: String, kind: StepKind, micros: Option<u64>) -> String {
        let asked = self.ask(&name, kind);
        if matches!(asked.next, Next::Attempt(_)) {
            let mut state = self.state();
            let now = state.now;
            let until = micros.map(|micros| now.after(Duration::from_micros(micros)));
            let entry = state.machine.wait(asked.key, until, name, now).unwrap();
            state.submit(entry, None);
        }
        asked.outcome().await
    }

    async fn run(self, name: String, fails: u32) -> String {
        let mut asked = self.ask(&name, StepKind::Run);
        loop {
            let attempt = match asked.next {
                Next::Attempt(attempt) => attempt,
                Next::AttemptAt(..) => asked.retry().await,
                Next::Waiting | Next::Recorded => return asked.outcome().await,
            };
            let at_once = self.state().choose(3) == 1;
            self.state().running.insert(asked.key, at_once);
            poll_fn(|_| if self.state().running[&asked.key] { Poll::Ready(()) } else { Poll::Pending }).await;
            let mut state = self.state();
            state.running.remove(&asked.key);
            let now = state.now;
            if attempt.0 > fails {
                let output = state.output("run");
                if let Some(entry) = state.machine.succeed(asked.key, output, now, false) {
                    state.submit(entry, Some(asked.key));
                }
                asked.next = Next::Recorded;
            } else {
                let error = state.output("error");
                let after = state.machine.fail_attempt(asked.key, failed(attempt, error), &policy(), now, Draw(0));
                let after = after.unwrap();
                asked.next = after.next;
                state.submit(after.entry, (after.next == Next::Recorded).then_some(asked.key));
            }
        }
    }

    async fn transaction(self, name: String, fails: u32) -> String {
        let mut asked = self.ask(&name, StepKind::Transaction);
        loop {
            let attempt = match asked.next {
                Next::Attempt(attempt) => attempt,
                Next::AttemptAt(..) => asked.retry().await,
                Next::Waiting | Next::Recorded => return asked.outcome().await,
            };
            poll_fn(|_| if self.state().gate.is_none() { Poll::Ready(()) } else { Poll::Pending }).await;
            {
                let mut state = self.state();
                state.gate = Some(Vec::new());
                let (seq, fails) = (state.machine.reserve(), attempt.0 <= fails);
                let step = (asked.key, asked.id.clone());
                state.transaction = Some(Transaction { step, seq, attempt, fails, decision: Decision::Open });
                state.decided_transactions.remove(&asked.key);
            }
            asked.next = poll_fn(|_| {
                self.state().decided_transactions.get(&asked.key).map_or(Poll::Pending, |next| Poll::Ready(*next))
            })
            .await;
        }
    }
}
