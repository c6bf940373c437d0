//! Small words for the sentences of the contract: a node, a run, an entry, a waiter.

use std::time::Duration;

use onward_core::{
    Attempt, EndpointId, Fence, NodeId, Payload, RunId, Seq, StepKey, Store, StoreError, Timestamp,
    event::{Event, MatchValue, Matcher, matching::When},
    journal::{Change, Entry},
    run::{IdempotencyKey, NewRun, Outcome, Parent, Status},
    step::{StepId, StepKind},
    store::{Checkpoint, Checkpointed, ClaimRequest, Claims, Endpoints, Lease, Loaded, Then},
    waiter::{Fact, Signal, Subject, Waiter},
};

/// How long a node's lease lasts in the contract.
pub(crate) const LEASE: Duration = Duration::from_secs(10);

/// How long a run of the contract is kept.
pub(crate) const RETENTION: Duration = Duration::from_secs(1000);

/// The instant `secs` seconds after the contract's beginning.
pub(crate) fn at(secs: u64) -> Timestamp {
    Timestamp::from_micros(1_767_225_600_000_000).after(Duration::from_secs(secs))
}

/// The endpoint of the contract's runs.
pub(crate) fn endpoint() -> EndpointId {
    endpoint_named("GET /contract")
}

/// An endpoint.
pub(crate) fn endpoint_named(id: &str) -> EndpointId {
    EndpointId::try_new(id).expect("the contract names endpoints well")
}

/// The id of the `number`-th run: greater numbers sort later.
pub(crate) fn run_id(number: u64) -> RunId {
    RunId::new(at(0), u128::from(number))
}

/// The key of a step's first use.
pub(crate) fn key(step: &str) -> StepKey {
    StepKey::of(step, 0)
}

/// The `number`-th run as it is made.
pub(crate) fn new_run(number: u64) -> NewRun {
    NewRun {
        run_id: run_id(number),
        endpoint: endpoint(),
        version: None,
        pinned: false,
        created_at: at(number),
        request: Payload::from(format!("request {number}")),
        timeout_at: None,
        retention: RETENTION,
        key: None,
        parent: None,
    }
}

/// The `number`-th run as the child of a step of another.
pub(crate) fn child(number: u64, parent: u64, step: &str) -> NewRun {
    NewRun { parent: Some(Parent { run_id: run_id(parent), step: key(step) }), ..new_run(number) }
}

/// A claim on an idempotency key.
pub(crate) fn idempotency_key(digest: u8, fingerprint: u8) -> IdempotencyKey {
    IdempotencyKey { digest: [digest; 32], fingerprint: [fingerprint; 32] }
}

/// A node that joins at the beginning.
pub(crate) async fn node<S: Store + ?Sized>(store: &S) -> NodeId {
    store.join(at(0), LEASE).await.expect("a node joins")
}

/// The first lease of the `number`-th run.
pub(crate) fn first_lease(node: NodeId, number: u64) -> Lease {
    Lease { run_id: run_id(number), fence: Fence::FIRST, node }
}

/// A checkpoint that makes a run and keeps its lease.
pub(crate) fn starting(node: NodeId, new: NewRun) -> Checkpoint {
    let lease = Lease { run_id: new.run_id, fence: Fence::FIRST, node };
    Checkpoint { start: Some(new), ..Checkpoint::new(lease, at(0)) }
}

/// Makes the `number`-th run, held by `node`.
pub(crate) async fn start<S: Store + ?Sized>(store: &S, node: NodeId, number: u64) -> Lease {
    start_run(store, node, new_run(number)).await
}

/// Makes a run, held by `node`.
pub(crate) async fn start_run<S: Store + ?Sized>(store: &S, node: NodeId, new: NewRun) -> Lease {
    let starting = starting(node, new);
    let lease = starting.lease;
    store.checkpoint(starting).await.expect("a new run starts");
    lease
}

/// A checkpoint that is expected to be written.
pub(crate) async fn write<S: Store + ?Sized>(store: &S, checkpoint: Checkpoint) -> Checkpointed {
    store.checkpoint(checkpoint).await.expect("the checkpoint is written")
}

/// Registers waiters and keeps the lease.
pub(crate) async fn register<S: Store + ?Sized>(
    store: &S,
    lease: Lease,
    now: Timestamp,
    waiters: Vec<Waiter>,
) -> Checkpointed {
    write(store, Checkpoint { waiters, ..Checkpoint::new(lease, now) }).await
}

/// Releases a lease.
pub(crate) async fn suspend<S: Store + ?Sized>(
    store: &S,
    lease: Lease,
    now: Timestamp,
    due_at: Timestamp,
) -> Checkpointed {
    write(store, Checkpoint { then: Then::Suspend { due_at }, ..Checkpoint::new(lease, now) }).await
}

/// Registers waiters and releases the lease until one of them is delivered to.
pub(crate) async fn wait<S: Store + ?Sized>(
    store: &S,
    lease: Lease,
    now: Timestamp,
    waiters: Vec<Waiter>,
) -> Checkpointed {
    let then = Then::Suspend { due_at: Timestamp::NEVER };
    write(store, Checkpoint { waiters, then, ..Checkpoint::new(lease, now) }).await
}

/// An outcome with a response of its own.
pub(crate) fn outcome(status: Status) -> Outcome {
    Outcome { status, response: Payload::from(format!("response: {}", status.as_str())), error: "why".into() }
}

/// Ends a run.
pub(crate) async fn finish<S: Store + ?Sized>(store: &S, lease: Lease, now: Timestamp, status: Status) -> Checkpointed {
    write(store, Checkpoint { then: Then::Finish(outcome(status)), ..Checkpoint::new(lease, now) }).await
}

/// Claims all that is due of the contract's endpoint.
pub(crate) async fn claim<S: Store + ?Sized>(store: &S, node: NodeId, now: Timestamp) -> Claims {
    claim_of(store, node, now, 1000, Endpoints::Only(vec![endpoint().into()])).await
}

/// Claims what is due of some endpoints.
pub(crate) async fn claim_of<S: Store + ?Sized>(
    store: &S,
    node: NodeId,
    now: Timestamp,
    limit: usize,
    endpoints: Endpoints,
) -> Claims {
    let request = ClaimRequest { node, now, limit, endpoints };
    store.claim(request).await.expect("a node that is here may claim")
}

/// The runs that a claim gave.
pub(crate) fn claimed(claims: &Claims) -> Vec<RunId> {
    claims.leases.iter().map(|(lease, _)| lease.run_id).collect()
}

/// The `number`-th run, which must be there.
pub(crate) async fn load<S: Store + ?Sized>(store: &S, number: u64) -> Loaded {
    store.load(run_id(number)).await.expect("the store can be read").expect("the run is there")
}

/// What has come for the `number`-th run: for which step, and what.
pub(crate) async fn facts<S: Store + ?Sized>(store: &S, number: u64) -> Vec<(StepKey, Fact)> {
    let deliveries = store.deliveries(run_id(number)).await.expect("the store can be read");
    deliveries.into_iter().map(|delivery| (delivery.step, delivery.fact)).collect()
}

/// An entry.
pub(crate) fn entry(seq: u32, step: &str, change: Change) -> Entry {
    let step = StepId::try_new(step, 0).expect("the contract names steps well");
    Entry { seq: Seq(seq), at: at(0), step, kind: StepKind::Run, change }
}

/// The entry of a step that is done.
pub(crate) fn succeeded(seq: u32, step: &str, output: impl Into<Payload>) -> Entry {
    entry(seq, step, Change::Succeeded { attempt: Attempt::FIRST, output: output.into() })
}

/// A checkpoint that appends entries and keeps the lease.
pub(crate) fn appending(lease: Lease, entries: Vec<Entry>) -> Checkpoint {
    Checkpoint { entries, ..Checkpoint::new(lease, at(0)) }
}

/// An event with JSON data.
pub(crate) fn event(id: &str, name: &str, data: &'static str) -> Event {
    Event { id: id.to_owned(), name: name.to_owned(), data: data.into(), ts: at(0), more: Payload::default() }
}

/// The event as a step gets it.
pub(crate) fn fact(event: &Event) -> Fact {
    Fact::Event(Payload::from(event.to_json().to_string()))
}

/// A step that waits for an event of a name.
pub(crate) fn waiter(step: &str, name: &str) -> Waiter {
    let matcher = Matcher { name: name.to_owned(), value: None, when: None };
    Waiter { step: key(step), subject: Subject::Event { matcher, since: None } }
}

/// A step that waits for an event of a name whose field has a value.
pub(crate) fn waiter_for_value(step: &str, name: &str, path: &str, text: &str) -> Waiter {
    let value = Some(MatchValue { path: path.to_owned(), text: text.to_owned() });
    let matcher = Matcher { name: name.to_owned(), value, when: None };
    Waiter { step: key(step), subject: Subject::Event { matcher, since: None } }
}

/// A step that waits for an event of a name for which an expression holds.
pub(crate) fn waiter_when(step: &str, name: &str, expression: &str, request: serde_json::Value) -> Waiter {
    let when = When::try_new(expression, request).expect("the contract writes CEL well");
    let matcher = Matcher { name: name.to_owned(), value: None, when: Some(when) };
    Waiter { step: key(step), subject: Subject::Event { matcher, since: None } }
}

/// The same waiter, looking back.
pub(crate) fn since(waiter: Waiter, since: Timestamp) -> Waiter {
    match waiter.subject {
        Subject::Event { matcher, .. } => Waiter { subject: Subject::Event { matcher, since: Some(since) }, ..waiter },
        Subject::Signal { .. } => waiter,
    }
}

/// A step that waits for a signal.
pub(crate) fn signal_waiter(step: &str, name: &str, replace: bool) -> Waiter {
    Waiter { step: key(step), subject: Subject::Signal { name: name.to_owned(), replace } }
}

/// A signal.
pub(crate) fn signal(name: &str, data: &'static str) -> Signal {
    Signal { name: name.to_owned(), data: data.into() }
}

/// Whether a call was refused because the lease is not the run's newest.
pub(crate) fn is_lease_lost<T>(answer: &Result<T, StoreError>) -> bool {
    matches!(answer, Err(StoreError::LeaseLost))
}
