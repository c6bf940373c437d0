//! A node keeps its lease, and starts anew where it has lost it.

use std::{
    sync::{Arc, atomic::Ordering},
    thread,
};

use onward_core::{
    BoxFuture, EndpointId, RunId,
    run::Outcome,
    store::{Endpoints, Lease, Woken},
};
use onward_scheduler::{Attached, Config, Hub, Resume, Scheduler, SystemClock, TaskSet};

use tokio::time::Instant;

use crate::support::{Node, ScriptedStore, Told, millis, pass, quiet, run, secs};

fn beats_ms(node: &Node) -> Vec<u128> {
    let start = node.clock.at(millis(0));
    node.store.heartbeats.lock().iter().map(|(_, at)| at.since(start).as_millis()).collect()
}

#[tokio::test(start_paused = true)]
async fn the_lease_is_renewed_three_times_in_its_length() {
    let node = Node::new(Config { lease: secs(9), ..quiet() }).await;
    node.start();
    pass(secs(10)).await;
    assert_eq!(beats_ms(&node), [3000, 6000, 9000]);
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_failed_is_tried_again_soon() {
    let node = Node::new(Config { lease: secs(9), ..quiet() }).await;
    node.start();
    pass(millis(2_900)).await;
    node.store.set_down(true);
    pass(millis(500)).await;
    node.store.set_down(false);
    pass(secs(5)).await;
    assert_eq!(beats_ms(&node), [3000, 3100, 3300, 3700, 6700], "and when it has worked, in the old rhythm");
    assert_eq!(node.store.joined.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_lost_its_lease_stops_its_executions_and_joins_anew() {
    let node = Node::new(quiet()).await;
    let told = Arc::new(Told::default());
    let guard = node.hub.attach(run(1), Arc::clone(&told) as Arc<dyn Attached>);
    node.start();
    pass(secs(1)).await;
    let first = node.scheduler.node().unwrap();
    node.store.give_up_node();
    pass(secs(4)).await;
    let second = node.scheduler.node().unwrap();
    assert_ne!(first, second);
    assert_eq!(told.cancels(), 1);
    drop(guard);
    let run_id = node.sleeping(2, secs(0)).await;
    node.scheduler.woken(&[Woken { run_id, node: None }]);
    pass(secs(1)).await;
    assert_eq!(node.resumer.resumed.lock()[0].0.node, second);
    pass(secs(10)).await;
    assert_eq!(node.store.heartbeats.lock().last().unwrap().0, second);
    assert_eq!(node.store.joined.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_says_the_lease_is_lost_joins_anew_without_waiting_for_the_heartbeat() {
    let node = Node::new(quiet()).await;
    node.start();
    pass(millis(10)).await;
    let first = node.scheduler.node();
    let told = Arc::new(Told::default());
    let _guard = node.hub.attach(run(9), Arc::clone(&told) as Arc<dyn Attached>);
    node.store.give_up_node();
    let run_id = node.sleeping(1, millis(0)).await;
    node.scheduler.woken(&[Woken { run_id, node: None }]);
    pass(millis(10)).await;
    assert_ne!(node.scheduler.node(), first);
    assert_eq!(told.cancels(), 1);
    assert_eq!(node.resumer.runs(), [run_id]);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_lost_its_lease_is_none_until_the_store_takes_it_back() {
    let node = Node::new(quiet()).await;
    node.start();
    let first = node.scheduler.node();
    let told = Arc::new(Told::default());
    let _guard = node.hub.attach(run(9), Arc::clone(&told) as Arc<dyn Attached>);
    node.store.give_up_node();
    node.store.joins_fail.store(true, Ordering::SeqCst);
    pass(secs(60)).await;
    assert_eq!(node.scheduler.node(), None);
    assert_eq!(told.cancels(), 1, "once, however often it tries to join");
    let tries = node.store.joined.load(Ordering::SeqCst);
    assert!((10..=40).contains(&tries), "{tries} tries in a minute");
    let run_id = run(1);
    node.store.joins_fail.store(false, Ordering::SeqCst);
    pass(secs(4)).await;
    assert!(node.scheduler.node().is_some() && node.scheduler.node() != first);
    assert_eq!(node.sleeping(1, millis(0)).await, run_id);
    node.scheduler.woken(&[Woken { run_id, node: None }]);
    pass(millis(1)).await;
    assert_eq!(node.resumer.runs(), [run_id]);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_lost_its_lease_takes_its_crashes_back_once_it_has_joined_anew() {
    let node = Node::new(quiet()).await;
    node.start();
    let first = node.scheduler.node().unwrap();
    node.store.give_up_node();
    node.store.joins_fail.store(true, Ordering::SeqCst);
    pass(secs(60)).await;
    assert_eq!(*node.store.uncounted.lock(), [], "not before it is a node again");
    node.store.joins_fail.store(false, Ordering::SeqCst);
    pass(secs(6)).await;
    let joins = node.store.joined.load(Ordering::SeqCst);
    let told = node.store.uncounted.lock().clone();
    assert!(matches!(told[..], [(lost, after, _)] if (lost, after) == (first, joins)), "{told:?}");
    pass(secs(60)).await;
    assert_eq!(*node.store.uncounted.lock(), told, "once");

    let second = node.scheduler.node().unwrap();
    node.store.give_up_node();
    pass(secs(60)).await;
    let told: Vec<_> = node.store.uncounted.lock().iter().map(|(lost, joins, _)| (*lost, *joins)).collect();
    assert_eq!(told, [(first, joins), (second, joins + 1)]);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_gave_itself_up_takes_its_crashes_back_once_it_has_joined_anew() {
    let node = Node::shared(quiet()).await;
    node.start();
    let first = node.scheduler.node().unwrap();
    node.store.set_down(true);
    pass(secs(60)).await;
    assert_eq!((node.scheduler.node(), &node.store.uncounted.lock()[..]), (None, &[][..]));
    node.store.set_down(false);
    pass(secs(60)).await;
    let joins = node.store.joined.load(Ordering::SeqCst);
    let told: Vec<_> = node.store.uncounted.lock().iter().map(|(lost, joins, _)| (*lost, *joins)).collect();
    assert_eq!(told, [(first, joins)]);
}

#[tokio::test(start_paused = true)]
async fn crashes_that_could_not_be_taken_back_are_taken_back_with_the_next_heartbeats() {
    let node = Node::new(Config { lease: secs(9), ..quiet() }).await;
    node.start();
    let first = node.scheduler.node().unwrap();
    pass(millis(10)).await;
    node.store.give_up_node();
    node.store.uncounts_fail.store(true, Ordering::SeqCst);
    pass(millis(9_500)).await; // heartbeats at 3, 6 and 9 s, the first of which finds the lease lost
    assert_eq!(*node.store.uncounted.lock(), [(first, 2, 1), (first, 2, 2), (first, 2, 3)]);
    let second = node.scheduler.node().unwrap();
    node.store.give_up_node();
    pass(secs(3)).await;
    assert_eq!(node.store.uncounted.lock()[3..], [(second, 3, 4)], "the store does not answer for the others either");
    node.store.uncounts_fail.store(false, Ordering::SeqCst);
    pass(secs(60)).await;
    assert_eq!(node.store.uncounted.lock()[4..], [(second, 3, 5), (first, 3, 5)], "each until the store has heard it");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_never_lost_its_lease_takes_no_crashes_back() {
    for is_shared in [false, true] {
        let node = if is_shared { Node::shared(quiet()).await } else { Node::new(quiet()).await };
        node.start();
        pass(secs(20)).await;
        node.store.set_down(true);
        pass(secs(5)).await; // shorter than the lease
        node.store.set_down(false);
        pass(secs(60)).await;
        node.scheduler.shutdown().await.unwrap();
        assert_eq!(node.store.joined.load(Ordering::SeqCst), 1);
        assert_eq!(*node.store.uncounted.lock(), []);
    }
}

/// Resumes nothing.
struct Nobody;

impl Resume for Nobody {
    fn endpoints(&self) -> Endpoints {
        Endpoints::Only(Vec::new())
    }

    fn resume(&self, _: Lease, _: EndpointId) -> BoxFuture<'static, ()> {
        unreachable!("it has no endpoints")
    }

    fn timed_out(&self, _: RunId) -> Outcome {
        unreachable!("it has no endpoints")
    }
}

#[test]
fn a_runtime_that_is_blocked_for_good_leaves_its_runs_to_others() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let store = ScriptedStore::default();
    store.is_shared.store(true, Ordering::SeqCst);
    runtime.block_on(async {
        let (lease, heartbeat_max) = (millis(200), millis(20));
        let config = Config { lease, heartbeat_max, blocked_max: secs(1), ..Config::default() };
        let (port, clock) = (Arc::new(store.clone()), Arc::new(SystemClock::default()));
        let scheduler = Scheduler::new(port, clock, Arc::new(Hub::default()), TaskSet::new(), config);
        let node = scheduler.join().await.unwrap();
        scheduler.start(Arc::new(Nobody));
        tokio::task::yield_now().await;
        let began = Instant::now();
        while scheduler.holds_lease(node) {
            assert!(began.elapsed() < secs(60), "it goes on renewing its lease");
            thread::sleep(millis(1));
        }
        assert!(began.elapsed() > secs(1), "it was blocked for long enough");
        while scheduler.node().is_none_or(|now| now == node) {
            assert!(began.elapsed() < secs(60), "it joins anew as it goes on");
            tokio::time::sleep(millis(1)).await;
        }
    });
}

#[test]
fn a_lease_is_kept_while_every_thread_of_the_runtime_is_blocked_and_nothing_outlives_the_runtime() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let store = ScriptedStore::default();
    store.is_shared.store(true, Ordering::SeqCst);
    let scheduler = runtime.block_on(async {
        let config = Config { lease: secs(1), heartbeat_max: millis(20), ..Config::default() };
        let (port, clock) = (Arc::new(store.clone()), Arc::new(SystemClock::default()));
        let scheduler = Scheduler::new(port, clock, Arc::new(Hub::default()), TaskSet::new(), config);
        let node = scheduler.join().await.unwrap();
        scheduler.start(Arc::new(Nobody));
        let began = Instant::now();
        // On the only thread of the runtime. Until more time has passed than the lease lasts.
        while began.elapsed() < secs(2) || store.heartbeats.lock().len() < 10 {
            assert!(began.elapsed() < secs(60), "the lease is not renewed while the thread is blocked");
            thread::sleep(millis(1));
        }
        assert!(scheduler.holds_lease(node));
        Arc::downgrade(&scheduler)
    });
    drop(runtime);
    assert!(scheduler.upgrade().is_none(), "the thread that renews it is gone");
}
