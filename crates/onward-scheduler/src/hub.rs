//! Where the parts of a process meet over a run: who executes it, and who waits for its outcome.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use onward_core::{RunId, run::Outcome};
use parking_lot::Mutex;
use tokio::sync::watch;

/// How many locks the runs are spread over.
const SHARDS: usize = 16;

/// An execution that can be reached.
pub trait Attached: Send + Sync {
    /// Deliveries may have come.
    fn nudge(&self);
    /// The run was ended by somebody else, or its lease is lost: stop.
    fn cancel(&self);
}

type Waiters = (watch::Sender<Option<Arc<Outcome>>>, usize);

#[derive(Default)]
struct Shard {
    waiters: BTreeMap<RunId, Waiters>,
    attached: BTreeMap<RunId, (u64, Arc<dyn Attached>)>,
}

/// The meeting point of a process. It calls nobody while it holds a lock of its own.
#[derive(Default)]
pub struct Hub {
    shards: [Mutex<Shard>; SHARDS],
    generation: AtomicU64,
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub").field("attached", &self.attached_len()).finish_non_exhaustive()
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
        let (sender, watchers) = shard.waiters.entry(run_id).or_insert_with(|| (watch::Sender::new(None), 0));
        *watchers += 1;
        Watch { hub: Arc::clone(self), run_id, receiver: sender.subscribe() }
    }

    /// Gives a run's outcome to all who watch.
    pub fn finish(&self, run_id: RunId, outcome: Arc<Outcome>) {
        if let Some((sender, _)) = self.shard(run_id).lock().waiters.get(&run_id) {
            sender.send_replace(Some(outcome));
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
        let attached = self.reach(run_id);
        attached.inspect(|attached| attached.nudge()).is_some()
    }

    /// Tells a run's execution to stop. Whether there is one.
    pub fn cancel(&self, run_id: RunId) -> bool {
        let attached = self.reach(run_id);
        attached.inspect(|attached| attached.cancel()).is_some()
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

    /// How many executions can be reached.
    pub fn attached_len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().attached.len()).sum()
    }

    /// How many runs are watched.
    pub fn watched_len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().waiters.len()).sum()
    }

    fn reach(&self, run_id: RunId) -> Option<Arc<dyn Attached>> {
        self.shard(run_id).lock().attached.get(&run_id).map(|(_, attached)| Arc::clone(attached))
    }
}

/// One who waits for a run's outcome. Dropping it ends the wait.
#[derive(Debug)]
pub struct Watch {
    hub: Arc<Hub>,
    run_id: RunId,
    receiver: watch::Receiver<Option<Arc<Outcome>>>,
}

impl Watch {
    /// The outcome, once it was told after the watch began. **Cancel-safe**; it may be asked for again.
    pub async fn outcome(&mut self) -> Arc<Outcome> {
        let outcome = self.receiver.wait_for(Option::is_some).await.ok().and_then(|outcome| outcome.clone());
        match outcome {
            Some(outcome) => outcome,
            // Why never: the hub keeps the sender while there is a watch.
            None => std::future::pending().await,
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut shard = self.hub.shard(self.run_id).lock();
        let left = shard.waiters.get_mut(&self.run_id).map(|(_, watchers)| {
            *watchers -= 1;
            *watchers
        });
        if left == Some(0) {
            shard.waiters.remove(&self.run_id);
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
