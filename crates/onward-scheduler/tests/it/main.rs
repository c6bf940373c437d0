//! The scheduler from outside, on a store in memory and a clock that is turned by hand.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use onward_core::{
    BoxFuture, Clock, EndpointId, Payload, RunId, Store, Timestamp,
    run::{NewRun, Outcome, Status},
    store::{Checkpoint, Lease, Then},
};
use onward_scheduler::{Attached, Config, Hub, Resume, Scheduler, TaskSet};
use onward_testing::{ManualClock, MemoryStore};

/// Notes which runs it is given and when, and suspends them for good.
struct Notes {
    store: MemoryStore,
    clock: ManualClock,
    seen: Mutex<Vec<(RunId, Timestamp)>>,
    /// Runs are held here until the gate opens.
    gate: tokio::sync::Semaphore,
}

impl Notes {
    fn seen(&self) -> Vec<RunId> {
        self.seen.lock().unwrap().iter().map(|(run_id, _)| *run_id).collect()
    }
}

struct Given(Arc<Notes>);

impl Resume for Given {
    fn endpoints(&self) -> Vec<EndpointId> {
        vec![EndpointId::try_new("known").unwrap()]
    }

    fn resume(&self, lease: Lease, _: EndpointId) -> BoxFuture<'static, ()> {
        let notes = Arc::clone(&self.0);
        notes.seen.lock().unwrap().push((lease.run_id, notes.clock.now()));
        Box::pin(async move {
            notes.gate.acquire().await.unwrap().forget();
            let mut checkpoint = Checkpoint::new(lease, notes.clock.now());
            checkpoint.then = Then::Suspend { due_at: Timestamp::NEVER };
            notes.store.checkpoint(checkpoint).await.unwrap();
        })
    }
}

struct World {
    store: MemoryStore,
    clock: ManualClock,
    scheduler: Arc<Scheduler>,
    notes: Arc<Notes>,
    tasks: TaskSet,
    hub: Arc<Hub>,
}

impl World {
    async fn new(config: Config, gate: usize) -> Self {
        let (store, clock) = (MemoryStore::new(), ManualClock::new());
        let (hub, tasks) = (Arc::new(Hub::default()), TaskSet::new());
        let scheduler =
            Scheduler::new(Arc::new(store.clone()), Arc::new(clock.clone()), hub.clone(), tasks.clone(), config);
        scheduler.join().await.unwrap();
        let gate = tokio::sync::Semaphore::new(gate);
        let notes = Arc::new(Notes { store: store.clone(), clock: clock.clone(), seen: Mutex::default(), gate });
        Self { store, clock, scheduler, notes, tasks, hub }
    }

    fn start(&self) {
        self.scheduler.start(Arc::new(Given(self.notes.clone())));
    }

    /// Puts a suspended run into the store.
    async fn run(&self, number: u128, endpoint: &str, due_in: Duration) -> RunId {
        let (now, node) = (self.clock.now(), self.scheduler.node().unwrap());
        let run_id = RunId::new(now, number);
        let lease = Lease { run_id, fence: onward_core::Fence::FIRST, node };
        let mut checkpoint = Checkpoint::new(lease, now);
        checkpoint.start = Some(NewRun {
            run_id,
            endpoint: EndpointId::try_new(endpoint).unwrap(),
            created_at: now,
            request: Payload::default(),
            timeout_at: None,
            retention: Duration::from_secs(60),
            key: None,
            parent: None,
        });
        checkpoint.then = Then::Suspend { due_at: now.after(due_in) };
        self.store.checkpoint(checkpoint).await.unwrap();
        run_id
    }

    async fn settle(&self) {
        for _ in 0..200 {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn due_runs_are_resumed_in_their_order_and_never_early() {
    let world = World::new(Config::default(), 100).await;
    let later = world.run(1, "known", Duration::from_secs(20)).await;
    let sooner = world.run(2, "known", Duration::from_secs(10)).await;
    world.run(3, "elsewhere", Duration::ZERO).await;
    world.start();
    world.settle().await;
    world.clock.advance(Duration::from_secs(10) - Duration::from_micros(1));
    world.settle().await;
    assert_eq!(world.notes.seen(), []);
    world.clock.advance(Duration::from_micros(1));
    world.settle().await;
    assert_eq!(world.notes.seen(), [sooner]);
    world.clock.advance(Duration::from_secs(60));
    world.settle().await;
    assert_eq!(world.notes.seen(), [sooner, later], "a run of an endpoint that is not here is not claimed");
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_notification_was_lost_is_found_by_the_next_look() {
    let world = World::new(Config::default(), 100).await;
    world.start();
    world.settle().await;
    let run_id = world.run(1, "known", Duration::ZERO).await; // nobody is told
    world.settle().await;
    assert_eq!(world.notes.seen(), []);
    tokio::time::sleep(Config::default().poll_max + Duration::from_millis(1)).await;
    world.settle().await;
    assert_eq!(world.notes.seen(), [run_id]);
}

#[tokio::test(start_paused = true)]
async fn a_hint_and_a_wake_are_followed_at_once() {
    let world = World::new(Config::default(), 100).await;
    world.start();
    world.settle().await;
    let hinted = world.run(1, "known", Duration::from_secs(1)).await;
    world.scheduler.due_at(world.clock.now().after(Duration::from_secs(1)));
    world.settle().await;
    world.clock.advance(Duration::from_secs(1));
    world.settle().await;
    assert_eq!(world.notes.seen(), [hinted]);
    let woken = world.run(2, "known", Duration::ZERO).await;
    world.scheduler.woken(&[onward_core::store::Woken { run_id: woken, node: None }]);
    world.settle().await;
    assert_eq!(world.notes.seen(), [hinted, woken]);
}

#[tokio::test(start_paused = true)]
async fn no_more_runs_are_resumed_at_once_than_there_are_slots() {
    let world = World::new(Config { resumes_max: 2, ..Config::default() }, 0).await;
    for number in 0..5 {
        world.run(number, "known", Duration::ZERO).await;
    }
    world.start();
    world.settle().await;
    assert_eq!(world.notes.seen().len(), 2);
    world.notes.gate.add_permits(1);
    world.settle().await;
    assert_eq!(world.notes.seen().len(), 3);
    world.notes.gate.add_permits(10);
    world.settle().await;
    assert_eq!(world.notes.seen().len(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_leaves_gives_its_runs_back_and_its_loops_end() {
    let world = World::new(Config::default(), 0).await;
    let run_id = world.run(1, "known", Duration::ZERO).await;
    world.start();
    world.settle().await;
    assert_eq!(world.store.run(run_id).await.unwrap().unwrap().status, Status::Running);
    world.notes.gate.close();
    world.tasks.drain(Duration::from_secs(1)).await;
    world.scheduler.leave().await.unwrap();
    assert_eq!(world.store.run(run_id).await.unwrap().unwrap().status, Status::Suspended);
    assert!(world.tasks.is_empty());
}

#[tokio::test(start_paused = true)]
async fn ended_runs_past_their_retention_are_swept() {
    let world = World::new(Config { sweep_batch: 2, ..Config::default() }, 100).await;
    let node = world.scheduler.node().unwrap();
    for number in 0..5 {
        let run_id = world.run(number, "known", Duration::ZERO).await;
        let claims = world.store.claim(onward_core::store::ClaimRequest {
            node,
            now: world.clock.now(),
            limit: 1,
            endpoints: vec![EndpointId::try_new("known").unwrap()],
        });
        let (lease, _) = claims.await.unwrap().leases[0].clone();
        assert_eq!(lease.run_id, run_id);
        let mut checkpoint = Checkpoint::new(lease, world.clock.now());
        let (response, error) = (Payload::default(), Payload::default());
        checkpoint.then = Then::Finish(Outcome { status: Status::Completed, response, error });
        world.store.checkpoint(checkpoint).await.unwrap();
    }
    world.start();
    world.clock.advance(Duration::from_secs(59));
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert_eq!(world.store.all().len(), 5);
    world.clock.advance(Duration::from_secs(2));
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert_eq!(world.store.all().len(), 0);
}

struct Counted(Mutex<(u32, u32)>);

impl Attached for Counted {
    fn nudge(&self) {
        self.0.lock().unwrap().0 += 1;
    }

    fn cancel(&self) {
        self.0.lock().unwrap().1 += 1;
    }
}

#[tokio::test]
async fn the_hub_reaches_who_is_attached_and_tells_who_watches_and_leaks_nothing() {
    let world = World::new(Config::default(), 0).await;
    let (hub, run_id) = (&world.hub, RunId::new(Timestamp::EPOCH, 1));
    let (old, new) = (Arc::new(Counted(Mutex::default())), Arc::new(Counted(Mutex::default())));
    let first = hub.attach(run_id, old.clone());
    let second = hub.attach(run_id, new.clone());
    drop(first); // the newer one stays
    assert!(hub.nudge(run_id) && hub.cancel(run_id));
    assert_eq!((*old.0.lock().unwrap(), *new.0.lock().unwrap()), ((0, 0), (1, 1)));
    drop(second);
    assert!(!hub.nudge(run_id) && hub.attached_len() == 0);

    let outcome = Outcome { status: Status::Completed, response: Payload::from("x"), error: Payload::default() };
    let (mut one, mut two) = (hub.watch(run_id), hub.watch(run_id));
    hub.finish(run_id, Arc::new(outcome.clone()));
    assert_eq!((&*one.outcome().await, &*two.outcome().await), (&outcome, &outcome));
    drop((one, two));
    assert_eq!(hub.watched_len(), 0);
}
