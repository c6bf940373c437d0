//! The store that seals.

use std::{sync::Arc, time::Duration};

use onward_core::{
    BoxFuture, NodeId, Payload, RunId, Store, StoreError, Timestamp,
    event::Event,
    journal::{Change, Entry},
    run::{NewRun, Outcome, RunRecord},
    store::{
        Checkpoint, Checkpointed, ClaimRequest, Claims, Control, Lease, Loaded, News, RunFilter, RunPage, Swept, Then,
        Unserved, UnservedQuery, Watched, Woken,
    },
    stream::{Frame, FrameKind, Place},
    waiter::{Delivery, Fact, Signal},
};

use super::{Purpose, Sealer};

/// Seals what goes into the store behind it and opens what comes out.
#[derive(Debug)]
pub(crate) struct SealedStore {
    inner: Arc<dyn Store>,
    sealer: Arc<Sealer>,
}

impl SealedStore {
    pub(crate) fn new(inner: Arc<dyn Store>, sealer: Arc<Sealer>) -> Self {
        Self { inner, sealer }
    }
}

impl Sealer {
    pub(crate) fn seal_checkpoint(&self, checkpoint: &mut Checkpoint) {
        let run_id = checkpoint.lease.run_id;
        for run in checkpoint.start.iter_mut().chain(&mut checkpoint.children) {
            self.seal_run(run);
        }
        for entry in &mut checkpoint.entries {
            if let Some(payload) = payload(entry) {
                *payload = self.seal(run_id, Purpose::Entry, payload);
            }
        }
        for frame in &mut checkpoint.frames {
            if let FrameKind::Chunk(data) = &mut frame.kind {
                *data = self.seal(run_id, Purpose::Frame, data);
            }
        }
        if let Then::Finish(outcome) = &mut checkpoint.then {
            self.seal_outcome(run_id, outcome);
        }
    }

    fn seal_run(&self, run: &mut NewRun) {
        run.request = self.seal(run.run_id, Purpose::Request, &run.request);
    }

    fn seal_outcome(&self, run_id: RunId, outcome: &mut Outcome) {
        outcome.response = self.seal(run_id, Purpose::Response, &outcome.response);
        if !outcome.error.is_empty() {
            outcome.error = self.seal(run_id, Purpose::Error, &outcome.error);
        }
    }

    fn open_outcome(&self, run_id: RunId, outcome: &mut Outcome) -> Result<(), StoreError> {
        // An operator who cancels a run without its app has no key, and says nothing that needs one.
        if *outcome == onward_host::operate::cancelled() {
            return Ok(());
        }
        outcome.response = self.open(run_id, Purpose::Response, std::mem::take(&mut outcome.response))?;
        outcome.error = self.open(run_id, Purpose::Error, std::mem::take(&mut outcome.error))?;
        Ok(())
    }

    fn open_request(&self, record: &mut RunRecord) -> Result<(), StoreError> {
        record.request = self.open(record.run_id, Purpose::Request, std::mem::take(&mut record.request))?;
        Ok(())
    }

    fn open_outcome_of(&self, record: &mut RunRecord) -> Result<(), StoreError> {
        record.outcome.as_mut().map_or(Ok(()), |outcome| self.open_outcome(record.run_id, outcome))
    }

    /// The outcome of an invoked run was sealed for that run; the invoking one's journal names it.
    fn open_deliveries(&self, journal: &[Entry], deliveries: &mut [Delivery]) -> Result<(), StoreError> {
        for delivery in deliveries {
            let Fact::Outcome(outcome) = &mut delivery.fact else { continue };
            let child = journal.iter().rev().find_map(|entry| match &entry.change {
                Change::Waiting { subject, .. } if entry.key() == delivery.step => subject.parse().ok(),
                _ => None,
            });
            let child: RunId = child.ok_or_else(|| StoreError::Corrupt("an outcome came for no invoked run".into()))?;
            self.open_outcome(child, outcome)?;
        }
        Ok(())
    }

    fn open_loaded(&self, loaded: &mut Loaded) -> Result<(), StoreError> {
        self.open_request(&mut loaded.record)?;
        self.open_outcome_of(&mut loaded.record)?;
        for entry in &mut loaded.journal {
            if let Some(payload) = payload(entry) {
                *payload = self.open(loaded.record.run_id, Purpose::Entry, std::mem::take(payload))?;
            }
        }
        self.open_deliveries(&loaded.journal, &mut loaded.deliveries)
    }
}

/// What of an entry users wrote.
fn payload(entry: &mut Entry) -> Option<&mut Payload> {
    match &mut entry.change {
        Change::Succeeded { output, .. } => Some(output),
        Change::Failed { error, .. } | Change::AttemptFailed { error, .. } => Some(error),
        Change::Waiting { .. } | Change::Reset | Change::LetGo | Change::Blocked { .. } => None,
    }
}

impl Store for SealedStore {
    fn join(&self, now: Timestamp, lease: Duration) -> BoxFuture<'static, Result<NodeId, StoreError>> {
        self.inner.join(now, lease)
    }

    fn heartbeat(&self, node: NodeId, now: Timestamp, lease: Duration) -> BoxFuture<'static, Result<(), StoreError>> {
        self.inner.heartbeat(node, now, lease)
    }

    fn leave(&self, node: NodeId, now: Timestamp) -> BoxFuture<'static, Result<(), StoreError>> {
        self.inner.leave(node, now)
    }

    fn uncount_crashes(&self, node: NodeId) -> BoxFuture<'static, Result<(), StoreError>> {
        self.inner.uncount_crashes(node)
    }

    fn can_checkpoint(&self, node: NodeId, within: Duration) -> BoxFuture<'static, Result<(), StoreError>> {
        self.inner.can_checkpoint(node, within)
    }

    fn checkpoint(&self, mut checkpoint: Checkpoint) -> BoxFuture<'static, Result<Checkpointed, StoreError>> {
        self.sealer.seal_checkpoint(&mut checkpoint);
        self.inner.checkpoint(checkpoint)
    }

    fn claim(&self, request: ClaimRequest) -> BoxFuture<'static, Result<Claims, StoreError>> {
        self.inner.claim(request)
    }

    fn load(&self, run_id: RunId) -> BoxFuture<'static, Result<Option<Loaded>, StoreError>> {
        let (loaded, sealer) = (self.inner.load(run_id), Arc::clone(&self.sealer));
        Box::pin(async move {
            let mut loaded = loaded.await?;
            loaded.as_mut().map_or(Ok(()), |loaded| sealer.open_loaded(loaded))?;
            Ok(loaded)
        })
    }

    fn frames(&self, run_id: RunId, after: Place, limit: usize) -> BoxFuture<'static, Result<Vec<Frame>, StoreError>> {
        let (frames, sealer) = (self.inner.frames(run_id, after, limit), Arc::clone(&self.sealer));
        Box::pin(async move {
            let mut frames = frames.await?;
            for frame in &mut frames {
                if let FrameKind::Chunk(data) = &mut frame.kind {
                    *data = sealer.open(run_id, Purpose::Frame, std::mem::take(data))?;
                }
            }
            Ok(frames)
        })
    }

    fn deliveries(&self, run_id: RunId) -> BoxFuture<'static, Result<Vec<Delivery>, StoreError>> {
        let (deliveries, sealer) = (self.inner.deliveries(run_id), Arc::clone(&self.sealer));
        let inner = Arc::clone(&self.inner);
        Box::pin(async move {
            let mut deliveries = deliveries.await?;
            if deliveries.iter().any(|delivery| matches!(delivery.fact, Fact::Outcome(_))) {
                let journal = inner.load(run_id).await?.map(|loaded| loaded.journal).unwrap_or_default();
                sealer.open_deliveries(&journal, &mut deliveries)?;
            }
            Ok(deliveries)
        })
    }

    fn run(&self, run_id: RunId) -> BoxFuture<'static, Result<Option<RunRecord>, StoreError>> {
        let (record, sealer) = (self.inner.run(run_id), Arc::clone(&self.sealer));
        Box::pin(async move {
            let Some(mut record) = record.await? else { return Ok(None) };
            // A run that was cancelled because its request does not open has an outcome all the same.
            if sealer.open_request(&mut record).is_err() {
                record.request = Payload::default();
            }
            sealer.open_outcome_of(&mut record)?;
            Ok(Some(record))
        })
    }

    fn runs(&self, filter: RunFilter) -> BoxFuture<'static, Result<RunPage, StoreError>> {
        self.inner.runs(filter)
    }

    fn send_events(&self, events: Vec<Event>, now: Timestamp) -> BoxFuture<'static, Result<Vec<Woken>, StoreError>> {
        self.inner.send_events(events, now)
    }

    fn send_signal(&self, signal: Signal, now: Timestamp) -> BoxFuture<'static, Result<Option<Woken>, StoreError>> {
        self.inner.send_signal(signal, now)
    }

    fn control(
        &self,
        run_id: RunId,
        mut control: Control,
        now: Timestamp,
    ) -> BoxFuture<'static, Result<Vec<Woken>, StoreError>> {
        if let Control::Cancel(outcome) | Control::TimeOut(outcome) = &mut control {
            self.sealer.seal_outcome(run_id, outcome);
        }
        self.inner.control(run_id, control, now)
    }

    fn unserved(&self, query: UnservedQuery) -> BoxFuture<'static, Result<Unserved, StoreError>> {
        self.inner.unserved(query)
    }

    fn sweep(
        &self,
        now: Timestamp,
        events_before: Timestamp,
        limit: usize,
    ) -> BoxFuture<'static, Result<Swept, StoreError>> {
        self.inner.sweep(now, events_before, limit)
    }

    fn setting(
        &self,
        name: &'static str,
        proposal: Option<Payload>,
    ) -> BoxFuture<'static, Result<Option<Payload>, StoreError>> {
        let sealer = Arc::clone(&self.sealer);
        let nowhere = RunId::from_bytes([0; 16]);
        let proposal = proposal.map(|proposal| sealer.seal(nowhere, Purpose::Setting, &proposal));
        let kept = self.inner.setting(name, proposal);
        Box::pin(async move {
            let kept = kept.await?;
            kept.map(|kept| sealer.open(nowhere, Purpose::Setting, kept)).transpose()
        })
    }

    fn register(&self, name: String, value: Payload) -> BoxFuture<'static, Result<bool, StoreError>> {
        self.inner.register(name, value)
    }

    fn announce(&self, node: NodeId, name: String, value: Payload) -> BoxFuture<'static, Result<bool, StoreError>> {
        self.inner.announce(node, name, value)
    }

    fn unregister(&self, name: String) -> BoxFuture<'static, Result<bool, StoreError>> {
        self.inner.unregister(name)
    }

    fn registrations(&self) -> BoxFuture<'static, Result<Vec<(String, Payload)>, StoreError>> {
        self.inner.registrations()
    }

    fn is_shared(&self) -> bool {
        self.inner.is_shared()
    }

    fn news(&self) -> BoxFuture<'static, Vec<News>> {
        self.inner.news()
    }

    fn held(&self, node: NodeId) -> BoxFuture<'static, Result<Vec<Lease>, StoreError>> {
        self.inner.held(node)
    }

    fn watch(&self, runs: Vec<RunId>) {
        self.inner.watch(runs);
    }

    fn look(&self, watched: Vec<Watched>) -> BoxFuture<'static, Result<Vec<News>, StoreError>> {
        self.inner.look(watched)
    }
}
