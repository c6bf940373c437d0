//! Where the parts of a process meet over a run: who executes it, and who waits for its outcome.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use onward_core::{
    RunId,
    run::Outcome,
    stream::{Frame, Place},
};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::live::{Live, Seen};

/// How many locks the runs are spread over.
const SHARDS: usize = 16;

/// An execution that can be reached.
pub trait Attached: Send + Sync {
    /// Deliveries may have come.
    fn nudge(&self);
    /// The run was ended by somebody else, or its lease is lost: stop.
    fn cancel(&self);
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
        Watch { hub: Arc::clone(self), run_id, receiver: telling.subscribe(), telling: Arc::clone(telling) }
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
        Reading { hub: Arc::clone(self), run_id, changed: live.subscribe(), live: Arc::clone(live) }
    }

    /// Tells who reads a run's stream of frames that are durable. They come in order.
    pub fn publish(&self, run_id: RunId, frames: &[Frame]) {
        let live = self.shard(run_id).lock().streams.get(&run_id).map(|(live, _)| Arc::clone(live));
        if let Some(live) = live {
            live.publish(frames);
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
    changed: watch::Receiver<Place>,
}

impl Reading {
    /// What is known of the stream after a place.
    pub fn after(&self, place: Place) -> Seen {
        self.live.after(place)
    }

    /// Ends when frames were written since this was last asked. **Cancel-safe**.
    pub async fn changed(&mut self) {
        // The sender lives as long as the reading.
        let _ = self.changed.changed().await;
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
        drop(shard);
        drop(gone); // what is attached may take locks of its own as it goes
    }
}
