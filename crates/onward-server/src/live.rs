//! Runs that are under way in this process: their plans in memory, and what moves them.
//!
//! A run is here from its first checkpoint, or from when the scheduler claims it, until it ends or waits for long. News
//! come through [`Live`]'s methods: they decide under its lock, submit what is to be written in the same order, and what
//! follows from it happens when that is durable.

mod drive;
mod driver;
mod memory;
mod news;
mod registry;
mod stream;
mod write;

pub(crate) use self::{
    memory::Memory,
    news::{NotTaken, knows_all, memos},
    registry::{Registry, Remote},
    stream::{TeeId, Teed},
};

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use onward_core::{
    EndpointId, RunId, StepKey, Timestamp,
    run::{NewRun, Outcome},
    store::{Lease, Loaded},
    stream::Tail,
};
use onward_protocol::sse::Content;
use onward_scheduler::{Attached, Hung};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use self::{driver::Driver, memory::Weight};
use crate::{
    plan::{Plan, Unit},
    record::{Origin, Target},
    shared::Shared,
};

/// A run under way in this process.
pub(crate) struct Live {
    pub(crate) shared: Arc<Shared>,
    pub(crate) run_id: RunId,
    pub(crate) lease: Lease,
    pub(crate) endpoint: EndpointId,
    pub(crate) origin: Origin,
    /// How many bytes its request has.
    request_bytes: usize,
    weight: Weight,
    state: Mutex<State>,
    driver: Driver,
    /// A stream of the endpoint's output has ended, or told of its end.
    teed: Notify,
    /// How many of the writes that were submitted are durable.
    durable: watch::Sender<u64>,
    /// The run is no longer under way here.
    over: CancellationToken,
}

struct State {
    plan: Plan,
    /// When the client's own request was last heard of.
    heard: Timestamp,
    tail: Tail,
    /// How many bytes were streamed.
    streamed: usize,
    /// The streams of output that its endpoint has open, with the step that each is about, once that is known.
    tees: BTreeMap<TeeId, Tee>,
    /// How many calls were made, which tells their order.
    made: u64,
    /// The calls under way, by when they were made.
    calls: BTreeMap<Unit, u64>,
    /// Which stream has the output of a step.
    streamers: BTreeMap<StepKey, TeeId>,
    /// How many calls had been made when the endpoint last opened a stream of output.
    last_tee: Option<u64>,
    /// When an answer last told of a step that was run.
    ran_at: Option<Timestamp>,
    /// Which call has run a step, by when it was made: late output of it counts, and none of earlier ones.
    ran_by: BTreeMap<StepKey, u64>,
    /// The handler's own response, as its endpoint streamed it.
    response: Option<Content>,
    /// Facts may have come for its waiting steps.
    nudged: bool,
    /// Steps whose outcome was submitted together with what came for them.
    taken: BTreeSet<StepKey>,
    submitted: u64,
    /// How it ended.
    outcome: Option<Arc<Outcome>>,
    /// It is to be left to others: its lease is lost, or a write failed.
    is_lost: bool,
    /// It is suspended, or about to be: whoever has news of it waits for it to be claimed again.
    is_suspended: bool,
}

/// A stream of output that is open.
struct Tee {
    /// How many calls had been made when it was opened.
    opened: u64,
    step: Option<StepKey>,
    /// Another attempt of its step has begun to stream: nothing of it counts any more.
    is_past: bool,
    stop: CancellationToken,
}

impl std::fmt::Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Live").field("run_id", &self.run_id).finish_non_exhaustive()
    }
}

impl State {
    /// Whether it is no longer this process's to go on with.
    const fn is_elsewhere(&self) -> bool {
        self.is_lost || self.is_suspended
    }
}

impl Live {
    /// A run that begins with its client's own request.
    fn begun(shared: &Arc<Shared>, lease: Lease, new: &NewRun, origin: Origin) -> Arc<Self> {
        let plan = Plan::new(shared.policy(origin.retries), shared.options.limits.steps);
        let endpoint = new.endpoint.clone();
        Self::new(shared, lease, endpoint, (origin, new.request.len()), plan, Tail::default())
    }

    /// A run as it is stored.
    fn loaded(
        shared: &Arc<Shared>,
        lease: Lease,
        origin: Origin,
        loaded: &Loaded,
        (tail, streamed): (Tail, usize),
    ) -> Arc<Self> {
        let (policy, steps_max) = (shared.policy(origin.retries), shared.options.limits.steps);
        let plan = match origin.target {
            Target::Endpoint { .. } => Plan::new(policy, steps_max),
            Target::Function { .. } => Plan::called(policy, steps_max),
        };
        let plan = plan.replay(&loaded.journal);
        let endpoint = loaded.record.endpoint.clone();
        let live = Self::new(shared, lease, endpoint, (origin, loaded.record.request.len()), plan, tail);
        {
            let mut state = live.state.lock();
            (state.nudged, state.streamed) = (true, streamed);
        }
        live
    }

    fn new(
        shared: &Arc<Shared>,
        lease: Lease,
        endpoint: EndpointId,
        (origin, request_bytes): (Origin, usize),
        plan: Plan,
        tail: Tail,
    ) -> Arc<Self> {
        let weight = shared.memory.weigh(request_bytes + plan.bytes());
        let state = State {
            plan,
            heard: shared.clock.now(),
            tail,
            streamed: 0,
            tees: BTreeMap::new(),
            made: 0,
            calls: BTreeMap::new(),
            streamers: BTreeMap::new(),
            last_tee: None,
            ran_at: None,
            ran_by: BTreeMap::new(),
            response: None,
            nudged: false,
            taken: BTreeSet::new(),
            submitted: 0,
            outcome: None,
            is_lost: false,
            is_suspended: false,
        };
        Arc::new(Self {
            shared: Arc::clone(shared),
            run_id: lease.run_id,
            lease,
            endpoint,
            origin,
            request_bytes,
            weight,
            state: Mutex::new(state),
            driver: Driver::default(),
            teed: Notify::new(),
            durable: watch::Sender::new(0),
            over: CancellationToken::new(),
        })
    }

    /// Ends when the run is no longer under way here.
    pub(crate) async fn over(&self) {
        self.over.cancelled().await;
    }

    /// How many bytes it has in memory.
    pub(crate) fn bytes(&self) -> usize {
        self.weight.bytes()
    }

    /// How it ended, if it has.
    pub(crate) fn outcome(&self) -> Option<Arc<Outcome>> {
        self.state.lock().outcome.clone()
    }
}

/// What the hub reaches.
struct Handle(Arc<Live>);

impl Attached for Handle {
    fn nudge(&self) {
        self.0.state.lock().nudged = true;
        self.0.driver.wake();
    }

    fn cancel(&self) {
        self.0.lose();
    }

    fn hung(&self) -> Option<Hung> {
        let live = &self.0;
        let (until, polls) = live.driver.resting()?;
        let waits_for = live.missed(until)?;
        Some(Hung { lease: live.lease, polls, waits_for })
    }
}
