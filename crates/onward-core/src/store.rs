//! The port to durable storage: what every store promises.

pub mod record;

use std::{fmt, time::Duration};

use crate::{
    BoxFuture, EndpointId, Fence, NodeId, Payload, RunId, StepKey, Timestamp, Version,
    event::Event,
    journal::Entry,
    run::{Crashes, NewRun, Outcome, RunRecord, Status},
    stream::{Frame, Place},
    waiter::{Delivery, Signal, Signalled, Waiter},
};

/// An error from below, as a source.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What can go wrong in a store, a variant for each thing that a caller does differently.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// There is no such run, or no longer.
    #[error("run not found")]
    RunNotFound,
    /// The write named a lease that is not the run's newest, or the run has ended.
    #[error("lease lost")]
    LeaseLost,
    /// The idempotency key belongs to another run already.
    #[error("idempotency key is taken by run {run_id}")]
    KeyTaken {
        /// The run that has the key.
        run_id: RunId,
        /// Whether it was made by the same request.
        same_request: bool,
    },
    /// The run is in a status from which the operation makes no sense.
    #[error("run is {0:?}")]
    WrongStatus(Status),
    /// The store cannot do it now: disk full, connection lost, shutting down. Nothing was written, or, where the store is
    /// another process, it is not known whether it was: what is stored tells.
    #[error("store is unavailable")]
    Unavailable(#[source] BoxError),
    /// The store cannot be opened as it is configured: a URL, a parameter, a password, a database, a file or a schema is
    /// wrong. Trying again changes nothing before somebody has changed that.
    #[error("store is misconfigured")]
    Misconfigured(#[source] BoxError),
    /// The store will never write this: a value is larger than it holds, or not one that it takes. Nothing was written, and
    /// trying again changes nothing.
    #[error("store rejects the write")]
    Rejected(#[source] BoxError),
    /// What is stored cannot be read.
    #[error("store is corrupt")]
    Corrupt(#[source] BoxError),
}

/// The right to write to a run: given by a claim or by starting the run, checked at every write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The run.
    pub run_id: RunId,
    /// The number of the lease; a newer one makes this one void.
    pub fence: Fence,
    /// Who holds it.
    pub node: NodeId,
}

/// One transaction on one run: what is appended, with everything that must become true with it.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// The lease under which it is written.
    pub lease: Lease,
    /// When it is written.
    pub now: Timestamp,
    /// Makes the run first, held under `lease`.
    pub start: Option<NewRun>,
    /// Entries to append; their places follow the journal's last.
    pub entries: Vec<Entry>,
    /// Frames to append; their places follow the stream's last.
    pub frames: Vec<Frame>,
    /// Waiters to register. One that looks back and finds its event is delivered to at once.
    pub waiters: Vec<Waiter>,
    /// Steps that wait no longer, or whose delivery has been taken: their waiter and delivery go.
    pub settled: Vec<StepKey>,
    /// Events that the run sends.
    pub events: Vec<Event>,
    /// Signals that the run sends.
    pub signals: Vec<Signal>,
    /// Runs that it invokes: they start suspended and due.
    pub children: Vec<NewRun>,
    /// What becomes of the run.
    pub then: Then,
}

impl Checkpoint {
    /// A checkpoint that changes nothing yet and keeps the lease.
    pub const fn new(lease: Lease, now: Timestamp) -> Self {
        Self {
            lease,
            now,
            start: None,
            entries: Vec::new(),
            frames: Vec::new(),
            waiters: Vec::new(),
            settled: Vec::new(),
            events: Vec::new(),
            signals: Vec::new(),
            children: Vec::new(),
            then: Then::Keep,
        }
    }
}

/// What becomes of a run with a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Then {
    /// Its node keeps the lease.
    Keep,
    /// The lease is released; the run is due at this time, or at once where a delivery waits for it.
    Suspend {
        /// When it is due; [`Timestamp::NEVER`] where only a fact from outside can move it.
        due_at: Timestamp,
    },
    /// It ends. Its waiters, deliveries and lease go; its parent gets the outcome.
    Finish(Outcome),
}

/// A run that has become due or has got a delivery, and who should be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Woken {
    /// The run.
    pub run_id: RunId,
    /// The node that holds it and should look for deliveries; `None`: it is due, any node may claim it.
    pub node: Option<NodeId>,
}

/// What came of a checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checkpointed {
    /// The runs that it woke: those that got its events, signals or outcome, and those that it invoked.
    /// The run itself is among them if a waiter of the checkpoint was delivered to at once.
    pub woken: Vec<Woken>,
    /// For each of its signals, the run that got it.
    pub signalled: Vec<Signalled>,
}

/// Which due runs a node asks for.
#[derive(Clone, Debug)]
pub struct ClaimRequest {
    /// Who asks.
    pub node: NodeId,
    /// The present.
    pub now: Timestamp,
    /// At most how many.
    pub limit: usize,
    /// The endpoints that the node can execute: it gets no run of another, and no pinned run of another version.
    pub endpoints: Endpoints,
}

/// The endpoints that a node can execute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoints {
    /// These, such as those whose handlers are in its process.
    Only(Vec<Served>),
    /// Whichever there are: it calls them where they live.
    All,
}

impl Endpoints {
    /// Whether a run of this endpoint, started with this version and perhaps pinned to it, may be executed.
    ///
    /// # Example
    ///
    /// ```
    /// use onward_core::{EndpointId, Version, store::{Endpoints, Served}};
    ///
    /// let checkout = EndpointId::try_new("checkout")?;
    /// let (old, new) = (Version::try_new("1")?, Version::try_new("2")?);
    /// let ours = Endpoints::Only(vec![Served { endpoint: checkout.clone(), version: Some(new.clone()) }]);
    /// assert!(ours.contains(&checkout, Some(&old), false));
    /// assert!(!ours.contains(&checkout, Some(&old), true));
    /// assert!(ours.contains(&checkout, Some(&new), true));
    /// # Ok::<(), onward_core::InvalidId>(())
    /// ```
    pub fn contains(&self, endpoint: &EndpointId, version: Option<&Version>, pinned: bool) -> bool {
        match self {
            Self::Only(served) => served
                .iter()
                .any(|served| served.endpoint == *endpoint && (!pinned || served.version.as_ref() == version)),
            Self::All => true,
        }
    }
}

/// An endpoint that a node can execute, and in which version.
///
/// A run may be claimed by who serves its endpoint if it is not pinned, or if the versions are equal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Served {
    /// The endpoint.
    pub endpoint: EndpointId,
    /// The version of its handler, where it has one.
    pub version: Option<Version>,
}

/// An endpoint whose handler has no version.
impl From<EndpointId> for Served {
    fn from(endpoint: EndpointId) -> Self {
        Self { endpoint, version: None }
    }
}

/// What a claim gave.
#[derive(Clone, Debug, Default)]
pub struct Claims {
    /// The runs now held by the node, the longest due first.
    pub leases: Vec<(Lease, EndpointId)>,
    /// Runs that the node held already and that have deliveries to take.
    pub nudged: Vec<RunId>,
    /// When the next of the runs that the node could execute is due, as far as is known now.
    pub next_due_at: Option<Timestamp>,
}

/// All that is needed to replay a run.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The run.
    pub record: RunRecord,
    /// Its journal, in order.
    pub journal: Vec<Entry>,
    /// What has come for its waiting steps and was not yet taken, oldest first.
    pub deliveries: Vec<Delivery>,
    /// The place of its stream's last frame; 0 where it has streamed nothing.
    pub streamed: Place,
    /// The crashes of its executions since its last entry.
    pub crashes: Crashes,
}

/// Which runs to list.
#[derive(Clone, Debug, Default)]
pub struct RunFilter {
    /// Only those in one of these statuses; empty for all.
    pub statuses: Vec<Status>,
    /// Only those of this endpoint.
    pub endpoint: Option<EndpointId>,
    /// Only those that began at this time or later.
    pub created_from: Option<Timestamp>,
    /// Only those that began before this time.
    pub created_before: Option<Timestamp>,
    /// Only those older than this one: where the page before ended.
    pub before: Option<RunId>,
    /// At most how many.
    pub limit: usize,
}

/// A page of runs, newest first. Requests and responses are left out.
#[derive(Clone, Debug, Default)]
pub struct RunPage {
    /// The runs; `request` and the payloads of `outcome` are empty.
    pub runs: Vec<RunRecord>,
    /// What to give as [`RunFilter::before`] for the next page; `None` on the last.
    pub next: Option<RunId>,
}

/// What an operator does to a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    /// End it with this outcome, unless it has ended. Its lease is void from then on.
    Cancel(Outcome),
    /// End it with this outcome where nobody executes it and its timeout has passed; else [`StoreError::WrongStatus`].
    TimeOut(Outcome),
    /// Make a failed run due again from the step that failed it (see [`reset_entries`](crate::journal::reset_entries)).
    /// Its crashes are forgotten.
    /// Where a run that it invoked has ended meanwhile, it gets that outcome.
    Retry {
        /// The step whose error failed it, where one did.
        step: Option<StepKey>,
        /// When the run as a whole is given up now.
        timeout_at: Option<Timestamp>,
    },
    /// Remove an ended run with all that belongs to it.
    Delete,
}

/// Which runs a node asks for that it cannot execute itself.
#[derive(Clone, Debug)]
pub struct UnservedQuery {
    /// The endpoints that the node can execute: it asks for the runs of all others.
    pub endpoints: Endpoints,
    /// The present: runs that are due by then.
    pub now: Timestamp,
    /// Where the last page ended.
    pub after: Option<UnservedPlace>,
    /// The most runs to look at.
    pub limit: usize,
}

/// A run's place among those that are due: its lane in the store, when it is due, and its id.
pub type UnservedPlace = (i64, Timestamp, RunId);

/// A page of runs that are due and that a node cannot execute itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unserved {
    /// Those of them whose timeout has passed.
    pub timed_out: Vec<RunId>,
    /// Where this page ends; `None` where it was the last one.
    pub next: Option<UnservedPlace>,
}

/// What a sweep removed, and whether it left something that is past its retention, too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Ended runs past their retention.
    pub runs: usize,
    /// Events past theirs.
    pub events: usize,
    /// Values that nodes [announced](Store::announce) which are gone.
    pub announced: usize,
    /// Whether there is more to remove: what is left is worth another sweep soon.
    pub more: bool,
}

/// What happened in a store that several processes share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum News {
    /// Runs may be due, or facts may have come for runs that are held: a claim tells.
    Due,
    /// A run has ended.
    Ended(RunId),
    /// A run has streamed further.
    Streamed(RunId),
}

/// A run that somebody watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watched {
    /// The run.
    pub run_id: RunId,
    /// The last frame of its stream that is known; `None` where nobody reads it.
    pub streamed: Option<Place>,
}

/// Durable storage of runs.
///
/// A method is one transaction. **Each method submits its work when it is called**; the future it returns only
/// waits for the outcome, so dropping it takes nothing back, and checkpoints of one run that are submitted in order
/// commit in order. `Ok` means durable to the degree that the store was opened with. A store may group the work of
/// many calls into one commit.
///
/// Times are arguments. `now` never makes a stored order go backwards: where a store orders facts by time, two of
/// them never get the same one.
///
/// Every store passes the contract in `onward-testing`.
pub trait Store: Send + Sync + fmt::Debug {
    /// Makes a node, and makes the runs of nodes that are gone due.
    ///
    /// A node is gone when it left, when its lease ended before `now`, or, in a store that one process owns, when it
    /// is not the newest. Runs of a node that is gone and has not left have crashed: see [`CrashRecord`](crate::run::CrashRecord).
    fn join(&self, now: Timestamp, lease: Duration) -> BoxFuture<'static, Result<NodeId, StoreError>>;

    /// Extends the lease of a node and so of all its runs, and makes the runs of nodes that are gone due.
    ///
    /// [`StoreError::LeaseLost`] means that the node itself was given up: its runs are others' now.
    fn heartbeat(&self, node: NodeId, now: Timestamp, lease: Duration) -> BoxFuture<'static, Result<(), StoreError>>;

    /// Ends a node: its runs are due at once. They have not crashed.
    fn leave(&self, node: NodeId, now: Timestamp) -> BoxFuture<'static, Result<(), StoreError>>;

    /// Takes back that the runs of a node have crashed: its process lives, and only its lease was lost. Those of its runs
    /// that are not due yet do not count one either. A store that one process owns need not know of more than the last crash
    /// of a run, because the other nodes are dead.
    fn uncount_crashes(&self, node: NodeId) -> BoxFuture<'static, Result<(), StoreError>>;

    /// Whether a checkpoint of a node could be written now. Where others were written within that time, that is the answer,
    /// and where checkpoints go another way than heartbeats, it is tried with a write that changes nothing.
    fn can_checkpoint(&self, node: NodeId, within: Duration) -> BoxFuture<'static, Result<(), StoreError>>;

    /// Writes one transaction on one run; all of it or nothing.
    ///
    /// [`StoreError::LeaseLost`] where `lease` is not the run's newest or the run has ended,
    /// [`StoreError::KeyTaken`] where the run to start claims a key that another has.
    fn checkpoint(&self, checkpoint: Checkpoint) -> BoxFuture<'static, Result<Checkpointed, StoreError>>;

    /// Leases due runs to a node, the longest due first.
    fn claim(&self, request: ClaimRequest) -> BoxFuture<'static, Result<Claims, StoreError>>;

    /// A run with its journal and deliveries; `None` where there is none.
    fn load(&self, run_id: RunId) -> BoxFuture<'static, Result<Option<Loaded>, StoreError>>;

    /// What has come for a run's waiting steps and was not yet taken, oldest first.
    fn deliveries(&self, run_id: RunId) -> BoxFuture<'static, Result<Vec<Delivery>, StoreError>>;

    /// The frames of a run's stream after a place, in order: about `limit` of them at most (what was written at once
    /// comes at once), and fewer where they are large, but at least one if there is one. None where there is no such
    /// run.
    fn frames(&self, run_id: RunId, after: Place, limit: usize) -> BoxFuture<'static, Result<Vec<Frame>, StoreError>>;

    /// A run without its journal; `None` where there is none.
    fn run(&self, run_id: RunId) -> BoxFuture<'static, Result<Option<RunRecord>, StoreError>>;

    /// The runs that a filter lets through, newest first, a page at a time.
    fn runs(&self, filter: RunFilter) -> BoxFuture<'static, Result<RunPage, StoreError>>;

    /// Accepts events: each is stored, and each waiter that it matches gets it once. An event whose id is known
    /// already is the same event, and does nothing.
    fn send_events(&self, events: Vec<Event>, now: Timestamp) -> BoxFuture<'static, Result<Vec<Woken>, StoreError>>;

    /// Gives a signal to the waiter of its name. `None` where nobody waits: the signal is not kept.
    fn send_signal(&self, signal: Signal, now: Timestamp) -> BoxFuture<'static, Result<Option<Woken>, StoreError>>;

    /// Does what an operator asked; gives the runs that it woke (the run itself, its parent).
    fn control(
        &self,
        run_id: RunId,
        control: Control,
        now: Timestamp,
    ) -> BoxFuture<'static, Result<Vec<Woken>, StoreError>>;

    /// Looks through runs that are due and wait for a node that can execute them, for those whose timeout has passed. Who
    /// can execute a run ends it when it claims it; where there is nobody, it is to be ended with [`Control::TimeOut`].
    fn unserved(&self, query: UnservedQuery) -> BoxFuture<'static, Result<Unserved, StoreError>>;

    /// Removes at most `limit` ended runs past their retention, at most `limit` events received before `events_before`, and
    /// at most `limit` values that nodes [announced](Self::announce) which are gone. It may do less, so that it holds
    /// nobody up: a run with a large journal is gone at once for
    /// whoever looks, and its rows go little by little.
    fn sweep(
        &self,
        now: Timestamp,
        events_before: Timestamp,
        limit: usize,
    ) -> BoxFuture<'static, Result<Swept, StoreError>>;

    /// The value kept under a name. Where there is none, `proposal` is kept and given back, if there is one: of
    /// several that propose at once, all get the same.
    fn setting(
        &self,
        name: &'static str,
        proposal: Option<Payload>,
    ) -> BoxFuture<'static, Result<Option<Payload>, StoreError>>;

    /// Makes a value that of a name from now on, whatever it was; gives whether that changed something. It stays
    /// until [`unregister`](Self::unregister).
    fn register(&self, name: String, value: Payload) -> BoxFuture<'static, Result<bool, StoreError>>;

    /// Registers a value on behalf of a node: it stays until [`unregister`](Self::unregister), or until a
    /// [`sweep`](Self::sweep) after the node is gone. A name belongs to whoever registered it last.
    ///
    /// [`StoreError::LeaseLost`] where the node is gone already.
    fn announce(&self, node: NodeId, name: String, value: Payload) -> BoxFuture<'static, Result<bool, StoreError>>;

    /// Forgets a name and its value; gives whether there was one.
    fn unregister(&self, name: String) -> BoxFuture<'static, Result<bool, StoreError>>;

    /// Every registered name with its value, sorted by name.
    fn registrations(&self) -> BoxFuture<'static, Result<Vec<(String, Payload)>, StoreError>>;

    /// Whether other processes may write to it, too. Then what they do is to be learnt from [`news`](Self::news) and
    /// [`look`](Self::look), and each process can have a node of its own.
    fn is_shared(&self) -> bool {
        false
    }

    /// Waits for something that happened in another process. News are a hint: some may be lost, and some may tell
    /// what is known. A store of one process never has any.
    fn news(&self) -> BoxFuture<'static, Vec<News>> {
        Box::pin(std::future::pending())
    }

    /// Says of which runs somebody here waits to hear, and says it again now and then for as long as that is so: news
    /// need not tell of the end or the stream of others, nor of one that was last said more than half a minute ago.
    fn watch(&self, runs: Vec<RunId>) {
        drop(runs);
    }

    /// The leases that a node has, so that it finds those of an answer that was lost. Asked after an error only. A store
    /// of one process loses no answer.
    fn held(&self, node: NodeId) -> BoxFuture<'static, Result<Vec<Lease>, StoreError>> {
        let _ = node;
        Box::pin(std::future::ready(Ok(Vec::new())))
    }

    /// Which of some runs have ended, or have streamed further than is known. What is told here is never lost, so it
    /// is asked now and then.
    fn look(&self, watched: Vec<Watched>) -> BoxFuture<'static, Result<Vec<News>, StoreError>> {
        drop(watched);
        Box::pin(std::future::ready(Ok(Vec::new())))
    }
}
