//! A store that is slow to say that something is written.

use std::{sync::Arc, time::Duration};

use onward_core::{
    BoxFuture, NodeId, Payload, RunId, Store, StoreError, Timestamp,
    event::Event,
    run::RunRecord,
    store::{
        Checkpoint, Checkpointed, ClaimRequest, Claims, Control, Loaded, RunFilter, RunPage, Swept, Unserved,
        UnservedQuery, Woken,
    },
    stream::{Frame, Place},
    waiter::{Delivery, Signal},
};

type Answer<T> = BoxFuture<'static, Result<T, StoreError>>;

/// What is written is there at once; that it is, is told late.
#[derive(Debug)]
pub(crate) struct Slow {
    inner: Arc<dyn Store>,
    by: Duration,
    claims_by: Duration,
}

impl Slow {
    pub(crate) fn new(inner: Arc<dyn Store>, by: Duration) -> Self {
        Self { inner, by, claims_by: Duration::ZERO }
    }

    /// One that is slow to give runs out, and with nothing else.
    pub(crate) fn at_claims(inner: Arc<dyn Store>, claims_by: Duration) -> Self {
        Self { inner, by: Duration::ZERO, claims_by }
    }

    fn late<T: Send + 'static>(&self, answer: Answer<T>) -> Answer<T> {
        let by = self.by;
        Box::pin(async move {
            let answer = answer.await;
            tokio::time::sleep(by).await;
            answer
        })
    }
}

impl Store for Slow {
    fn join(&self, now: Timestamp, lease: Duration) -> Answer<NodeId> {
        self.inner.join(now, lease)
    }

    fn heartbeat(&self, node: NodeId, now: Timestamp, lease: Duration) -> Answer<()> {
        self.inner.heartbeat(node, now, lease)
    }

    fn leave(&self, node: NodeId, now: Timestamp) -> Answer<()> {
        self.inner.leave(node, now)
    }

    fn uncount_crashes(&self, node: NodeId) -> Answer<()> {
        self.inner.uncount_crashes(node)
    }

    fn can_checkpoint(&self, node: NodeId, within: Duration) -> Answer<()> {
        self.inner.can_checkpoint(node, within)
    }

    fn checkpoint(&self, checkpoint: Checkpoint) -> Answer<Checkpointed> {
        self.late(self.inner.checkpoint(checkpoint))
    }

    fn claim(&self, request: ClaimRequest) -> Answer<Claims> {
        let (claims, by) = (Arc::clone(&self.inner), self.claims_by);
        Box::pin(async move {
            tokio::time::sleep(by).await;
            claims.claim(request).await
        })
    }

    fn load(&self, run_id: RunId) -> Answer<Option<Loaded>> {
        self.inner.load(run_id)
    }

    fn frames(&self, run_id: RunId, after: Place, limit: usize) -> Answer<Vec<Frame>> {
        self.inner.frames(run_id, after, limit)
    }

    fn deliveries(&self, run_id: RunId) -> Answer<Vec<Delivery>> {
        self.inner.deliveries(run_id)
    }

    fn run(&self, run_id: RunId) -> Answer<Option<RunRecord>> {
        self.inner.run(run_id)
    }

    fn runs(&self, filter: RunFilter) -> Answer<RunPage> {
        self.inner.runs(filter)
    }

    fn send_events(&self, events: Vec<Event>, now: Timestamp) -> Answer<Vec<Woken>> {
        self.late(self.inner.send_events(events, now))
    }

    fn send_signal(&self, signal: Signal, now: Timestamp) -> Answer<Option<Woken>> {
        self.late(self.inner.send_signal(signal, now))
    }

    fn control(&self, run_id: RunId, control: Control, now: Timestamp) -> Answer<Vec<Woken>> {
        self.late(self.inner.control(run_id, control, now))
    }

    fn unserved(&self, query: UnservedQuery) -> Answer<Unserved> {
        self.inner.unserved(query)
    }

    fn sweep(&self, now: Timestamp, events_before: Timestamp, limit: usize) -> Answer<Swept> {
        self.inner.sweep(now, events_before, limit)
    }

    fn setting(&self, name: &'static str, proposal: Option<Payload>) -> Answer<Option<Payload>> {
        self.inner.setting(name, proposal)
    }

    fn register(&self, name: String, value: Payload) -> Answer<bool> {
        self.inner.register(name, value)
    }

    fn announce(&self, node: NodeId, name: String, value: Payload) -> Answer<bool> {
        self.inner.announce(node, name, value)
    }

    fn unregister(&self, name: String) -> Answer<bool> {
        self.inner.unregister(name)
    }

    fn registrations(&self) -> Answer<Vec<(String, Payload)>> {
        self.inner.registrations()
    }
}
