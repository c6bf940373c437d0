//! What a run does next whose endpoint lives in another process: rules over its journal, as pure functions.
//!
//! A plan is folded from a journal and then told what the endpoint asks for and what happens. It answers with the
//! entries to append, and with the calls to make. The algorithm is appendix A of the SDK protocol.
//!
//! A *call* re-enters the endpoint. There are two kinds: a **discovery** runs the handler over the outputs that are
//! known and learns what comes next (one at a time), and a **targeted** call runs one step of a parallel group.

mod apply;
mod fold;
mod step;

pub(crate) use self::{
    apply::{Asked, Failure, Told},
    step::{Ask, error, read_key, step_id, wire},
};

use std::collections::{BTreeMap, BTreeSet};

use onward_core::{
    Attempt, Payload, RetryPolicy, Seq, StepKey, Timestamp,
    journal::{Change, Entry},
    step::{StepId, StepKind},
};

/// Whose news it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Unit {
    /// The client's own request, which reports its steps as it goes.
    FirstRequest,
    /// A call that learns what comes next.
    Discovery,
    /// A call that runs one step.
    Targeted(StepKey),
}

/// A call to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    /// What it is for.
    pub(crate) unit: Unit,
    /// Which try of it this is.
    pub(crate) attempt: Attempt,
    /// Whether the endpoint must run no step by itself, because others of its steps are under way.
    pub(crate) plan_only: bool,
}

/// Where a run stands.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    policy: RetryPolicy,
    steps_max: usize,
    /// Whether the client's own request is thought to be executing the run.
    in_first_request: bool,
    steps: BTreeMap<StepKey, Step>,
    /// How many bytes the outcomes of its steps have, and what they wait for.
    bytes: usize,
    /// The keys of steps that are done, by the places of their entries.
    done: BTreeMap<Seq, StepKey>,
    next: Seq,
    discovery: Discovery,
    /// How long and how often its endpoint has not answered.
    silence: Option<Silence>,
    /// The ids of the events that its waits got.
    got: BTreeSet<String>,
    ended: bool,
}

#[derive(Clone, Copy, Debug)]
struct Discovery {
    /// Whether something has changed of which the endpoint has not heard.
    wanted: bool,
    attempt: Attempt,
    /// Not before this.
    at: Timestamp,
    /// As which attempt one counts that is under way.
    under_way: Option<Attempt>,
}

/// Calls that got no answer of the SDK, one after the other.
#[derive(Clone, Copy, Debug)]
struct Silence {
    since: Timestamp,
    times: u32,
}

impl Discovery {
    const FRESH: Self = Self { wanted: true, attempt: Attempt::FIRST, at: Timestamp::EPOCH, under_way: None };
}

#[derive(Clone, Debug)]
struct Step {
    id: StepId,
    kind: StepKind,
    state: State,
    group: Group,
}

/// What a step was asked for together with.
#[derive(Clone, Copy, Debug)]
struct Group {
    /// The place of the first entry about it.
    first: Seq,
    /// Whether the handler goes on when the step is done, without the others.
    is_race: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// An attempt failed in a discovery, which is to find the step again.
    Failing { attempt: Attempt },
    /// A targeted call is to run it.
    Planned { attempt: Attempt, at: Timestamp, under_way: bool },
    /// It waits for a time, or for a fact from outside.
    Waiting { at: Timestamp, until: Option<Timestamp>, subject: String },
    /// The engine itself calls a URL for it.
    Calling { attempt: Attempt, at: Timestamp, request: String, under_way: bool },
    /// It has its output or its last error.
    Done { outcome: Result<Payload, Payload> },
}

impl State {
    /// How many bytes of it are the user's.
    fn bytes(&self) -> usize {
        match self {
            Self::Done { outcome } => outcome.as_ref().unwrap_or_else(|error| error).len(),
            Self::Waiting { subject, .. } => subject.len(),
            Self::Calling { request, .. } => request.len(),
            Self::Failing { .. } | Self::Planned { .. } => 0,
        }
    }
}

impl Step {
    /// Whether a call runs it, or a URL is asked for it.
    const fn is_under_way(&self) -> bool {
        matches!(self.state, State::Planned { under_way: true, .. } | State::Calling { under_way: true, .. })
    }

    /// Whether the run waits for it, with other steps beside it perhaps.
    const fn is_outstanding(&self) -> bool {
        matches!(self.state, State::Planned { .. } | State::Waiting { .. } | State::Calling { .. })
    }
}

// ===== what is to be done =====

impl Plan {
    /// The calls to be made now. Each is given once, until it is [told of](Plan::apply).
    pub(crate) fn calls(&mut self, now: Timestamp) -> Vec<Call> {
        let mut calls = Vec::new();
        if self.ended {
            return calls;
        }
        for (key, step) in &mut self.steps {
            if let State::Planned { attempt, at, under_way } = &mut step.state
                && !*under_way
                && *at <= now
            {
                *under_way = true;
                calls.push(Call { unit: Unit::Targeted(*key), attempt: *attempt, plan_only: true });
            }
        }
        let plan_only = self.outstanding_len() > 0;
        let discovery = &mut self.discovery;
        if !self.in_first_request && discovery.wanted && discovery.under_way.is_none() && discovery.at <= now {
            discovery.under_way = Some(discovery.attempt);
            discovery.wanted = false;
            calls.push(Call { unit: Unit::Discovery, attempt: discovery.attempt, plan_only });
        }
        calls
    }

    /// The requests that the engine makes for steps now, as they were journaled. Each is given once, until it is told of.
    pub(crate) fn requests(&mut self, now: Timestamp) -> Vec<(StepKey, StepKind, Attempt, String)> {
        let mut requests = Vec::new();
        for (key, step) in &mut self.steps {
            if let State::Calling { attempt, at, request, under_way } = &mut step.state
                && !*under_way
                && *at <= now
                && !self.ended
            {
                *under_way = true;
                requests.push((*key, step.kind, *attempt, request.clone()));
            }
        }
        requests
    }

    /// When time moves the run next; `None` where only a fact from outside, or an answer, can.
    pub(crate) fn wake_at(&self) -> Option<Timestamp> {
        let steps = self.steps.values().filter_map(|step| match &step.state {
            State::Planned { at, under_way: false, .. } | State::Calling { at, under_way: false, .. } => Some(*at),
            State::Waiting { until, .. } => *until,
            _ => None,
        });
        let discovery = &self.discovery;
        let discovers = discovery.wanted && discovery.under_way.is_none() && !self.in_first_request;
        steps.chain(discovers.then_some(discovery.at)).min()
    }

    /// Whether an answer is awaited, of the endpoint or of a URL.
    pub(crate) fn is_busy(&self) -> bool {
        self.discovery.under_way.is_some() || self.steps.values().any(Step::is_under_way)
    }

    /// How many answers are awaited, of the endpoint and of URLs.
    pub(crate) fn under_way_len(&self) -> usize {
        let steps = self.steps.values().filter(|step| step.is_under_way()).count();
        steps + usize::from(self.discovery.under_way.is_some())
    }

    /// How many steps are known.
    pub(crate) fn len(&self) -> usize {
        self.steps.len()
    }

    /// The waits whose time has come, the earliest first.
    pub(crate) fn due(&self, now: Timestamp) -> Vec<(Timestamp, StepKey)> {
        let mut due: Vec<_> = self
            .steps
            .iter()
            .filter_map(|(key, step)| match step.state {
                State::Waiting { until: Some(until), .. } if until <= now => Some((until, *key)),
                _ => None,
            })
            .collect();
        due.sort_unstable();
        due
    }

    /// Whether the client's own request is thought to be executing the run.
    pub(crate) const fn in_first_request(&self) -> bool {
        self.in_first_request
    }

    /// Whether the step has its outcome.
    pub(crate) fn is_done(&self, key: StepKey) -> bool {
        self.steps.get(&key).is_some_and(|step| matches!(step.state, State::Done { .. }))
    }

    /// Whether anything of the step is known.
    pub(crate) fn has(&self, key: StepKey) -> bool {
        self.steps.contains_key(&key)
    }

    /// The key by which the SDK knows a step.
    pub(crate) fn wire_of(&self, key: StepKey) -> Option<StepKey> {
        self.steps.get(&key).map(|step| wire(&step.id))
    }

    /// Whether the step that the SDK knows by a key succeeded; `None` while it has no outcome.
    pub(crate) fn succeeded(&self, key: StepKey) -> Option<bool> {
        let named = self.steps.get(&key).filter(|step| wire(&step.id) == key);
        match &named.or_else(|| self.steps.values().find(|step| wire(&step.id) == key))?.state {
            State::Done { outcome } => Some(outcome.is_ok()),
            _ => None,
        }
    }

    /// The steps for which targeted calls are under way, by the keys that the SDK has for them.
    pub(crate) fn targeted_under_way(&self) -> Vec<StepKey> {
        let under_way = |step: &&Step| matches!(step.state, State::Planned { under_way: true, .. });
        self.steps.values().filter(under_way).map(|step| wire(&step.id)).collect()
    }

    /// The kind of a step that waits, since when, and for what.
    pub(crate) fn waiting(&self, key: StepKey) -> Option<(StepKind, Timestamp, &str)> {
        match self.steps.get(&key) {
            Some(Step { kind, state: State::Waiting { at, subject, .. }, .. }) => Some((*kind, *at, subject)),
            _ => None,
        }
    }

    /// The outcomes of steps, in the order in which they came: by it the SDK decides races.
    pub(crate) fn outcomes(&self) -> impl Iterator<Item = (&StepId, Result<&Payload, &Payload>)> {
        self.done.values().filter_map(|key| {
            let step = self.steps.get(key)?;
            match &step.state {
                State::Done { outcome } => Some((&step.id, outcome.as_ref())),
                _ => None,
            }
        })
    }

    /// Whether a wait of the run has got an event: none counts twice.
    pub(crate) fn has_got(&self, event: &Payload) -> bool {
        step::event_id(event).is_some_and(|id| self.got.contains(&id))
    }

    /// How many bytes the outcomes of its steps have, and what they wait for.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes a step, or what has become of it.
    fn put(&mut self, key: StepKey, step: Step) {
        self.bytes += step.state.bytes();
        if let Some(before) = self.steps.insert(key, step) {
            self.bytes -= before.state.bytes();
        }
    }

    fn outstanding_len(&self) -> usize {
        self.steps.values().filter(|step| step.is_outstanding()).count()
    }

    /// The next entry of the journal, about a step.
    fn entry(&mut self, id: StepId, kind: StepKind, now: Timestamp, change: Change) -> Entry {
        let seq = self.next;
        self.next = seq.next();
        Entry { seq, at: now, step: id, kind, change }
    }
}

#[cfg(test)]
mod tests;
