//! Where the parts of a process meet over a run: who executes it, and who waits for its outcome.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use onward_core::{
    RunId,
    run::Outcome,
    store::{Lease, Watched},
    stream::{Frame, Place},
};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use crate::live::{Known, Live, Seen};

/// How many locks the runs are spread over.
const SHARDS: usize = 16;

/// An execution that can be reached.
pub trait Attached: Send + Sync {
    /// Deliveries may have come.
    fn nudge(&self);
    /// The run was ended by somebody else, or its lease is lost: stop.
    fn cancel(&self);
    /// Tells whether the execution waits for something that will never move it on: neither for user code, nor for a
    /// timer that is set, a fact, or an acknowledgement. Such an execution is a bug of this project.
    fn hung(&self) -> Option<Hung>;
}

/// An execution that waits for something that will never move it on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hung {
    /// The lease under which it executes its run.
    pub lease: Lease,
    /// How often the execution has been polled: an execution that was polled since the last look does not hang.
    pub polls: u64,
    /// The thing that it waits for, in words for a log.
    pub waits_for: &'static str,
}

/// What those share who watch a run and have not been told yet.
type Telling = Arc<watch::Sender<Option<Arc<Outcome>>>>;

#[derive(Default)]
struct Shard {
    /// Who watches, and how many. An entry goes with its last watch, or when they are told.
    watched: BTreeMap<RunId, (Telling, usize)>,
    attached: BTreeMap<RunId, (u64, Arc<dyn Attached>)>,
    /// Streams that are read, and by how many.
    streams: BTreeMap<RunId, (Arc<Live>, usize)>,
}

impl Shard {
    /// Whether somebody here waits to hear of a run that is not executed here.
    fn is_watched_from_afar(&self, run_id: RunId) -> bool {
        !self.attached.contains_key(&run_id)
            && (self.watched.contains_key(&run_id) || self.streams.contains_key(&run_id))
    }
}

/// Which executions are meant: those that were attached when this was asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Until(u64);

/// The meeting point of a process. It calls nobody while it holds a lock of its own.
///
/// # Example
///
/// ```
/// use onward_core::{Payload, RunId, Timestamp, run::{Outcome, Status}};
/// use onward_scheduler::Hub;
/// use std::sync::Arc;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let hub = Arc::new(Hub::default());
/// let run_id = RunId::new(Timestamp::EPOCH, 1);
/// let mut watch = hub.watch(run_id);
/// let outcome = Outcome { status: Status::Completed, response: "hi".into(), error: Payload::default() };
/// hub.finish(run_id, Arc::new(outcome));
/// assert_eq!(watch.outcome().await.status, Status::Completed);
/// # }
/// ```
#[derive(Default)]
pub struct Hub {
    shards: [Mutex<Shard>; SHARDS],
    generation: AtomicU64,
    /// Somebody waits to hear of a run that is not executed here.
    afar: Notify,
    /// The runs for which that was so anew, once somebody wants to know.
    anew: Mutex<Option<BTreeSet<RunId>>>,
    named: Notify,
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub")
            .field("attached", &self.attached_len())
            .field("watched", &self.watched_len())
            .finish_non_exhaustive()
    }
}

impl Hub {
    fn shard(&self, run_id: RunId) -> &Mutex<Shard> {
        &self.shards[usize::from(run_id.to_bytes()[15]) % SHARDS]
    }

    // ===== outcomes =====

    /// Watches for a run's outcome from now on.
    pub fn watch(self: &Arc<Self>, run_id: RunId) -> Watch {
        let mut shard = self.shard(run_id).lock();
        let (telling, watchers) =
            shard.watched.entry(run_id).or_insert_with(|| (Arc::new(watch::Sender::new(None)), 0));
        *watchers += 1;
        let (receiver, telling) = (telling.subscribe(), Arc::clone(telling));
        self.notify_afar(&shard, run_id);
        drop(shard);
        Watch { hub: Arc::clone(self), run_id, receiver, telling }
    }

    /// Gives a run's outcome to all who watch. Who comes later does not get it: a failed run that is retried gets
    /// another one.
    pub fn finish(&self, run_id: RunId, outcome: Arc<Outcome>) {
        let told = self.shard(run_id).lock().watched.remove(&run_id);
        if let Some((telling, _)) = told {
            telling.send_replace(Some(outcome));
        }
    }

    /// How many runs are watched by somebody who has not been told.
    pub fn watched_len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().watched.len()).sum()
    }

    // ===== streams =====

    /// Reads a run's stream from now on.
    pub fn read_stream(self: &Arc<Self>, run_id: RunId) -> Reading {
        let mut shard = self.shard(run_id).lock();
        let (live, readers) = shard.streams.entry(run_id).or_default();
        *readers += 1;
        let (changed, live) = (live.subscribe(), Arc::clone(live));
        let hints = live.hints();
        self.notify_afar(&shard, run_id);
        drop(shard);
        Reading { hub: Arc::clone(self), run_id, changed, live, hints }
    }

    /// Tells who reads a run's stream of frames that are durable. They come in order.
    pub fn publish(&self, run_id: RunId, frames: &[Frame]) {
        let live = self.shard(run_id).lock().streams.get(&run_id).map(|(live, _)| Arc::clone(live));
        if let Some(live) = live {
            live.publish(frames);
        }
    }

    /// Tells who reads a run's stream that the store has more of it than was published here.
    pub fn hint(&self, run_id: RunId) {
        let live = self.shard(run_id).lock().streams.get(&run_id).map(|(live, _)| Arc::clone(live));
        if let Some(live) = live {
            live.hint();
        }
    }

    // ===== what other processes do =====

    /// Whether somebody here waits for a run's outcome.
    pub(crate) fn is_watched(&self, run_id: RunId) -> bool {
        self.shard(run_id).lock().watched.contains_key(&run_id)
    }

    /// Whether somebody here reads a run's stream.
    pub(crate) fn is_read(&self, run_id: RunId) -> bool {
        self.shard(run_id).lock().streams.contains_key(&run_id)
    }

    /// The runs that somebody here waits to hear of and that are not executed here.
    pub(crate) fn watched_from_afar(&self) -> Vec<Watched> {
        let mut all = BTreeMap::new();
        for shard in &self.shards {
            let shard = shard.lock();
            all.extend(shard.watched.keys().map(|run_id| (*run_id, None)));
            let reading = shard.streams.iter().filter_map(|(run_id, (live, _))| Some((*run_id, live.waits_at()?)));
            all.extend(reading.map(|(run_id, at)| (run_id, Some(at))));
            all.retain(|run_id, _| !shard.attached.contains_key(run_id));
        }
        all.into_iter().map(|(run_id, streamed)| Watched { run_id, streamed }).collect()
    }

    /// The runs that are executed here.
    pub(crate) fn executed(&self) -> Vec<Watched> {
        let watched = |run_id: &RunId| Watched { run_id: *run_id, streamed: None };
        self.shards.iter().flat_map(|shard| shard.lock().attached.keys().map(watched).collect::<Vec<_>>()).collect()
    }

    /// Ends when somebody has begun to wait to hear of a run that is not executed here. **Cancel-safe**.
    pub(crate) async fn watched_anew(&self) {
        self.afar.notified().await;
    }

    /// The runs that somebody here has begun to wait for since this was asked last, and that are not executed here.
    /// **Cancel-safe**.
    pub(crate) async fn named_anew(&self) -> Vec<RunId> {
        loop {
            let named = self.named.notified();
            let anew = self.anew.lock().replace(BTreeSet::new()).unwrap_or_default();
            if !anew.is_empty() {
                return anew.into_iter().collect();
            }
            named.await;
        }
    }

    fn notify_afar(&self, shard: &Shard, run_id: RunId) {
        if shard.is_watched_from_afar(run_id) {
            self.afar.notify_one();
            if let Some(anew) = &mut *self.anew.lock() {
                anew.insert(run_id);
                self.named.notify_one();
            }
        }
    }

    /// Those that are attached now, and none that come later.
    pub(crate) fn until_now(&self) -> Until {
        Until(self.generation.load(Ordering::Relaxed))
    }

    /// Tells a run's execution to stop, unless it came later.
    pub(crate) fn cancel_until(&self, run_id: RunId, Until(until): Until) {
        let attached = {
            let shard = self.shard(run_id).lock();
            let attached = shard.attached.get(&run_id).filter(|(generation, _)| *generation < until);
            attached.map(|(_, attached)| Arc::clone(attached))
        };
        if let Some(attached) = attached {
            attached.cancel();
        }
    }

    // ===== executions =====

    /// Makes an execution reachable until the guard is dropped. A newer one takes the place of an older.
    pub fn attach(self: &Arc<Self>, run_id: RunId, attached: Arc<dyn Attached>) -> AttachGuard {
        let generation = self.generation.fetch_add(1, Ordering::Relaxed);
        let before = self.shard(run_id).lock().attached.insert(run_id, (generation, attached));
        drop(before);
        AttachGuard { hub: Arc::clone(self), run_id, generation }
    }

    /// Tells a run's execution that deliveries may have come. Whether there is one.
    pub fn nudge(&self, run_id: RunId) -> bool {
        self.reach(run_id).inspect(|attached| attached.nudge()).is_some()
    }

    /// Tells a run's execution to stop. Whether there is one.
    pub fn cancel(&self, run_id: RunId) -> bool {
        self.reach(run_id).inspect(|attached| attached.cancel()).is_some()
    }

    /// Tells every execution to stop.
    pub fn cancel_all(&self) {
        for shard in &self.shards {
            let attached: Vec<_> = shard.lock().attached.values().map(|(_, each)| Arc::clone(each)).collect();
            for each in attached {
                each.cancel();
            }
        }
    }

    /// The executions that wait for something that will never move them on.
    pub(crate) fn hung(&self) -> Vec<Hung> {
        let mut hung = Vec::new();
        for shard in &self.shards {
            let attached: Vec<_> = shard.lock().attached.values().map(|(_, each)| Arc::clone(each)).collect();
            hung.extend(attached.iter().filter_map(|each| each.hung()));
        }
        hung
    }

    /// Whether a run's execution can be reached.
    pub fn attached(&self, run_id: RunId) -> bool {
        self.shard(run_id).lock().attached.contains_key(&run_id)
    }

    /// How many executions can be reached.
    pub fn attached_len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().attached.len()).sum()
    }

    fn reach(&self, run_id: RunId) -> Option<Arc<dyn Attached>> {
        self.shard(run_id).lock().attached.get(&run_id).map(|(_, attached)| Arc::clone(attached))
    }
}

/// One who waits for a run's outcome. Dropping it ends the wait.
#[derive(Debug)]
#[must_use = "dropping it ends the wait"]
pub struct Watch {
    hub: Arc<Hub>,
    run_id: RunId,
    receiver: watch::Receiver<Option<Arc<Outcome>>>,
    telling: Telling,
}

impl Watch {
    /// The outcome, once it was told after the watch began. **Cancel-safe**; it may be asked for again.
    pub async fn outcome(&mut self) -> Arc<Outcome> {
        let outcome = self.receiver.wait_for(Option::is_some).await.ok().and_then(|outcome| outcome.clone());
        outcome.expect("the sender lives as long as the watch, and is waited on until it has an outcome")
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut shard = self.hub.shard(self.run_id).lock();
        // Why the comparison: those who were told have left the map, and others may watch the run again.
        let entry = shard.watched.get_mut(&self.run_id).filter(|(telling, _)| Arc::ptr_eq(telling, &self.telling));
        let Some((_, watchers)) = entry else { return };
        *watchers -= 1;
        if *watchers == 0 {
            shard.watched.remove(&self.run_id);
        }
    }
}

/// One who reads a run's stream. Dropping it ends that.
#[derive(Debug)]
#[must_use = "dropping it ends the reading"]
pub struct Reading {
    hub: Arc<Hub>,
    run_id: RunId,
    live: Arc<Live>,
    changed: watch::Receiver<Known>,
    /// How many of the hints that there is more have been followed.
    hints: u64,
}

impl Reading {
    /// What is known of the stream after a place.
    pub fn after(&self, place: Place) -> Seen {
        match self.live.after(place) {
            Seen::Nothing if self.hinted().is_some() => Seen::Behind,
            seen => seen,
        }
    }

    /// Ends when there is more than was known at a place where the reader knew all. **Cancel-safe**.
    pub async fn changed(&mut self, place: Place) {
        let _waiting = self.live.wait_at(place);
        // The sender lives as long as the reading.
        let _ = self.changed.changed().await;
    }

    /// The hints that have not been followed, if there are any.
    pub(crate) fn hinted(&self) -> Option<u64> {
        Some(self.live.hints()).filter(|hints| *hints != self.hints)
    }

    /// Hints have been followed: the store was read after they came.
    pub(crate) fn followed(&mut self, hints: u64) {
        self.hints = hints;
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        let mut shard = self.hub.shard(self.run_id).lock();
        let Some((_, readers)) = shard.streams.get_mut(&self.run_id) else { return };
        *readers -= 1;
        if *readers == 0 {
            shard.streams.remove(&self.run_id);
        }
    }
}

/// Keeps an execution reachable.
#[derive(Debug)]
#[must_use = "dropping it makes the execution unreachable"]
pub struct AttachGuard {
    hub: Arc<Hub>,
    run_id: RunId,
    generation: u64,
}

impl Drop for AttachGuard {
    fn drop(&mut self) {
        let mut shard = self.hub.shard(self.run_id).lock();
        let own = shard.attached.get(&self.run_id).is_some_and(|(generation, _)| *generation == self.generation);
        let gone = own.then(|| shard.attached.remove(&self.run_id));
        if own {
            self.hub.notify_afar(&shard, self.run_id);
        }
        drop(shard);
        drop(gone); // what is attached may take locks of its own as it goes
    }
}
