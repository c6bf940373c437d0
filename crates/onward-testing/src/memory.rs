//! A store that keeps everything in memory and is simple enough to be believed.

mod checkpoint;
mod claim;
mod control;
mod deliver;
mod processes;
mod state;

use std::{
    fmt,
    future::{pending, ready},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use onward_core::{
    BoxFuture, NodeId, Payload, RunId, Store, StoreError, Timestamp,
    event::Event,
    run::RunRecord,
    store::{
        Checkpoint, Checkpointed, ClaimRequest, Claims, Control, Lease, Loaded, News, RunFilter, RunPage, Swept,
        Unserved, UnservedQuery, Watched, Woken,
    },
    stream::{Frame, Place},
    waiter::{Delivery, Signal},
};

use self::{
    processes::{Listener, Processes, listen},
    state::{Registration, State},
};

/// A [`Store`] in memory: the plainest one that keeps the contract.
///
/// Other stores are compared with it, so it is written to be read, not to be fast: some calls look at every run.
/// It belongs to one process, so a node that joins is the only one and takes over all runs; unless it is made to be
/// [shared](Self::shared).
///
/// Clones share what is stored; [`snapshot`](Self::snapshot) copies it. A call does its work before it returns, and
/// its future is ready at once.
///
/// # Example
///
/// ```
/// use onward_core::Store;
/// use onward_testing::MemoryStore;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), onward_core::StoreError> {
/// let store = MemoryStore::new();
/// store.setting("colour", Some("blue".into())).await?;
///
/// let before = store.snapshot();
/// store.setting("shape", Some("round".into())).await?;
/// assert_eq!(before.setting("colour", None).await?, Some("blue".into()));
/// assert_eq!(before.setting("shape", None).await?, None);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
pub struct MemoryStore {
    state: Arc<Mutex<State>>,
    /// Where several processes share it: all of them, and this one.
    processes: Option<(Arc<Processes>, Listener)>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty store that several processes share: each can be a node, and one is gone when it leaves or when its
    /// lease has ended. For tests of several nodes in one process.
    ///
    /// This and its clones are the first process; see [`another`](Self::another).
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use onward_core::{Store, Timestamp};
    /// use onward_testing::MemoryStore;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), onward_core::StoreError> {
    /// let (one, now, lease) = (MemoryStore::shared(), Timestamp::EPOCH, Duration::from_secs(10));
    /// let two = one.another();
    /// let node = one.join(now, lease).await?;
    /// two.join(now, lease).await?;
    /// assert!(one.heartbeat(node, now, lease).await.is_ok(), "it is still here");
    /// # Ok(())
    /// # }
    /// ```
    pub fn shared() -> Self {
        let (store, processes) = (Self::new(), Arc::new(Processes::default()));
        store.state().is_shared = true;
        let listener = processes.join();
        Self { processes: Some((processes, listener)), ..store }
    }

    /// The same store as another process has it open: what is done by one is news to the other.
    #[must_use]
    pub fn another(&self) -> Self {
        let processes = self.processes.as_ref().map(|(processes, _)| (Arc::clone(processes), processes.join()));
        Self { state: Arc::clone(&self.state), processes }
    }

    /// The same store as another process has it open that hears no news: as with a database that has none to give.
    #[must_use]
    pub fn another_without_news(&self) -> Self {
        let processes = self.processes.as_ref().map(|(processes, _)| (Arc::clone(processes), Listener::default()));
        Self { state: Arc::clone(&self.state), processes }
    }

    /// Another store with all that this one holds now; what happens to one does not touch the other.
    ///
    /// It is what would be on disk if the process died now.
    pub fn snapshot(&self) -> Self {
        let mut state = self.state().clone();
        state.is_shared = false;
        Self { state: Arc::new(Mutex::new(state)), processes: None }
    }

    /// Every run with its journal, sorted by id: for looking at in a test.
    pub fn all(&self) -> Vec<Loaded> {
        let state = self.state();
        state.runs.keys().filter_map(|run_id| state.load(*run_id)).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut State) -> Result<T, StoreError>,
    ) -> BoxFuture<'static, Result<T, StoreError>> {
        let mut state = self.state();
        let before = self.processes.is_some().then(|| state.standings());
        let answer = work(&mut state);
        if let (Some((processes, own)), Some(before)) = (&self.processes, before) {
            processes.tell(own, &state.news_since(&before));
        }
        Box::pin(ready(answer))
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").field("runs", &self.state().runs.len()).finish_non_exhaustive()
    }
}

impl Store for MemoryStore {
    fn join(&self, now: Timestamp, lease: Duration) -> BoxFuture<'static, Result<NodeId, StoreError>> {
        self.call(|state| Ok(state.join(now, lease)))
    }

    fn heartbeat(&self, node: NodeId, now: Timestamp, lease: Duration) -> BoxFuture<'static, Result<(), StoreError>> {
        self.call(|state| state.heartbeat(node, now, lease))
    }

    fn leave(&self, node: NodeId, now: Timestamp) -> BoxFuture<'static, Result<(), StoreError>> {
        self.call(|state| {
            state.leave(node, now);
            Ok(())
        })
    }

    fn uncount_crashes(&self, node: NodeId) -> BoxFuture<'static, Result<(), StoreError>> {
        self.call(|state| {
            state.uncount_crashes(node);
            Ok(())
        })
    }

    fn can_checkpoint(&self, _: NodeId, _: Duration) -> BoxFuture<'static, Result<(), StoreError>> {
        Box::pin(async { Ok(()) }) // as a heartbeat can
    }

    fn checkpoint(&self, checkpoint: Checkpoint) -> BoxFuture<'static, Result<Checkpointed, StoreError>> {
        self.call(|state| state.checkpoint(checkpoint))
    }

    fn claim(&self, request: ClaimRequest) -> BoxFuture<'static, Result<Claims, StoreError>> {
        self.call(|state| state.claim(&request))
    }

    fn load(&self, run_id: RunId) -> BoxFuture<'static, Result<Option<Loaded>, StoreError>> {
        self.call(|state| Ok(state.load(run_id)))
    }

    fn frames(&self, run_id: RunId, after: Place, limit: usize) -> BoxFuture<'static, Result<Vec<Frame>, StoreError>> {
        self.call(move |state| {
            let Some(run) = state.runs.get(&run_id) else { return Ok(Vec::new()) };
            Ok(run.frames.iter().filter(|frame| frame.place > after).take(limit).cloned().collect())
        })
    }

    fn deliveries(&self, run_id: RunId) -> BoxFuture<'static, Result<Vec<Delivery>, StoreError>> {
        self.call(|state| Ok(state.runs.get(&run_id).map_or_else(Vec::new, |run| run.deliveries.clone())))
    }

    fn run(&self, run_id: RunId) -> BoxFuture<'static, Result<Option<RunRecord>, StoreError>> {
        self.call(|state| Ok(state.runs.get(&run_id).map(|run| run.record.clone())))
    }

    fn runs(&self, filter: RunFilter) -> BoxFuture<'static, Result<RunPage, StoreError>> {
        self.call(|state| Ok(state.page(&filter)))
    }

    fn send_events(&self, events: Vec<Event>, now: Timestamp) -> BoxFuture<'static, Result<Vec<Woken>, StoreError>> {
        self.call(|state| {
            let mut woken = Vec::new();
            for event in events {
                state.accept(event, now, &mut woken);
            }
            Ok(woken)
        })
    }

    fn send_signal(&self, signal: Signal, now: Timestamp) -> BoxFuture<'static, Result<Option<Woken>, StoreError>> {
        self.call(|state| {
            let mut woken = Vec::new();
            state.signal(&signal, now, &mut woken);
            Ok(woken.pop())
        })
    }

    fn control(
        &self,
        run_id: RunId,
        control: Control,
        now: Timestamp,
    ) -> BoxFuture<'static, Result<Vec<Woken>, StoreError>> {
        self.call(|state| state.control(run_id, control, now))
    }

    fn unserved(&self, query: UnservedQuery) -> BoxFuture<'static, Result<Unserved, StoreError>> {
        self.call(|state| Ok(state.unserved(query)))
    }

    fn sweep(
        &self,
        now: Timestamp,
        events_before: Timestamp,
        limit: usize,
    ) -> BoxFuture<'static, Result<Swept, StoreError>> {
        self.call(|state| Ok(state.sweep(now, events_before, limit)))
    }

    fn setting(
        &self,
        name: &'static str,
        proposal: Option<Payload>,
    ) -> BoxFuture<'static, Result<Option<Payload>, StoreError>> {
        self.call(|state| {
            if let Some(proposal) = proposal {
                state.settings.entry(name).or_insert(proposal);
            }
            Ok(state.settings.get(name).cloned())
        })
    }

    fn register(&self, name: String, value: Payload) -> BoxFuture<'static, Result<bool, StoreError>> {
        self.call(|state| Ok(state.put_registration(name, Registration { value, node: None })))
    }

    fn announce(&self, node: NodeId, name: String, value: Payload) -> BoxFuture<'static, Result<bool, StoreError>> {
        self.call(move |state| {
            state.check_node(node)?;
            Ok(state.put_registration(name, Registration { value, node: Some(node) }))
        })
    }

    fn unregister(&self, name: String) -> BoxFuture<'static, Result<bool, StoreError>> {
        self.call(|state| Ok(state.registrations.remove(&name).is_some()))
    }

    fn registrations(&self) -> BoxFuture<'static, Result<Vec<(String, Payload)>, StoreError>> {
        self.call(|state| {
            let registered = |(name, of): (&String, &Registration)| (name.clone(), of.value.clone());
            Ok(state.registrations.iter().map(registered).collect())
        })
    }

    fn is_shared(&self) -> bool {
        self.processes.is_some()
    }

    fn news(&self) -> BoxFuture<'static, Vec<News>> {
        match &self.processes {
            Some((_, own)) => listen(Arc::clone(own)),
            None => Box::pin(pending()),
        }
    }

    fn held(&self, node: NodeId) -> BoxFuture<'static, Result<Vec<Lease>, StoreError>> {
        self.call(move |state| Ok(state.held(node)))
    }

    fn look(&self, watched: Vec<Watched>) -> BoxFuture<'static, Result<Vec<News>, StoreError>> {
        self.call(move |state| Ok(state.look(&watched)))
    }
}

#[cfg(test)]
mod tests;
