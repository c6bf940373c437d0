//! Due runs are resumed: in time, in order, within limits.

use std::sync::{Arc, atomic::Ordering};

use onward_core::{Clock, run::Status, store::Woken};
use onward_scheduler::{Config, Hub, Scheduler, TaskSet, Upkeep};
use onward_testing::ManualClock;

use crate::support::{Node, millis, pass, quiet, run, secs};

#[tokio::test(start_paused = true)]
async fn due_runs_are_resumed_at_their_time_and_never_early() {
    let node = Node::new(quiet()).await;
    let mut expected = Vec::new();
    for (draw, after) in [(1, millis(3_007)), (2, millis(1_001)), (3, secs(2)), (4, secs(3000))] {
        expected.push((node.sleeping(draw, after).await, after.as_millis()));
    }
    expected.sort_by_key(|(_, at)| *at);
    node.start();
    pass(secs(3500)).await;
    let resumed = node.resumed_at_ms();
    assert_eq!(resumed, expected);
    for ((lease, at), (_, due)) in node.resumer.resumed.lock().iter().zip(&expected) {
        let due = node.clock.at(millis(u64::try_from(*due).unwrap()));
        assert!(*at >= due, "{lease:?} is early");
    }
    assert_eq!(node.status(run(4)).await, Status::Completed);
}

#[tokio::test(start_paused = true)]
async fn of_runs_that_are_due_the_longest_due_goes_first() {
    let node = Node::new(Config { claim_batch: 2, ..quiet() }).await;
    for (draw, after) in [(1, 50), (2, 10), (3, 40), (4, 20), (5, 30)] {
        node.sleeping(draw, millis(after)).await;
    }
    pass(millis(100)).await;
    node.start();
    pass(millis(1)).await;
    assert_eq!(node.resumer.runs(), [2, 4, 5, 3, 1].map(run), "three claims of at most two, without a pause");
    assert!(node.store.claimed.lock().iter().all(|request| request.limit == 2));
}

#[tokio::test(start_paused = true)]
async fn a_hint_moves_the_next_look_forward_and_a_later_one_does_not_move_it_back() {
    let node = Node::new(quiet()).await;
    node.start();
    pass(millis(10)).await;
    let run_id = node.sleeping(1, secs(2)).await;
    node.scheduler.due_at(node.clock.at(secs(2)));
    node.scheduler.due_at(node.clock.at(secs(1000)));
    pass(secs(5)).await;
    assert_eq!(node.resumed_at_ms(), [(run_id, 2000)]);
}

#[tokio::test(start_paused = true)]
async fn without_any_hint_a_due_run_is_found_by_the_poll() {
    let node = Node::new(Config { poll_max: secs(5), ..Config::default() }).await;
    node.start();
    pass(millis(10)).await;
    let run_id = node.sleeping(1, millis(20)).await;
    pass(millis(4_900)).await;
    assert_eq!(node.resumed_at_ms(), []);
    pass(millis(200)).await;
    assert_eq!(node.resumed_at_ms().iter().map(|(run_id, _)| *run_id).collect::<Vec<_>>(), [run_id]);
}

#[tokio::test(start_paused = true)]
async fn a_woken_run_is_resumed_at_once_and_many_wakes_are_one_claim() {
    let node = Node::new(quiet()).await;
    node.start();
    pass(millis(10)).await;
    let before = node.store.claims();
    let run_id = node.sleeping(1, millis(10)).await;
    for _ in 0..1000 {
        node.scheduler.woken(&[Woken { run_id, node: None }]);
    }
    pass(millis(1)).await;
    assert_eq!(node.resumed_at_ms(), [(run_id, 10)]);
    assert!(node.store.claims() - before <= 2, "{} claims", node.store.claims() - before);
}

#[tokio::test(start_paused = true)]
async fn a_wake_during_a_claim_is_not_lost() {
    let node = Node::new(quiet()).await;
    // Why before the start: it is there before the loop first waits.
    node.scheduler.woken(&[Woken { run_id: run(1), node: None }]);
    node.start();
    tokio::task::yield_now().await;
    let run_id = node.sleeping(1, millis(0)).await;
    node.scheduler.woken(&[Woken { run_id, node: None }]);
    pass(millis(1)).await;
    assert_eq!(node.resumer.runs(), [run_id]);
}

#[tokio::test(start_paused = true)]
async fn no_more_runs_are_resumed_at_once_than_allowed_and_the_rest_as_slots_free() {
    let node = Node::new(Config { resumes_max: 3, ..quiet() }).await;
    node.resumer.gate.forget_permits(1_000_000);
    for draw in 0..10 {
        node.sleeping(draw, millis(0)).await;
    }
    node.start();
    pass(secs(1)).await;
    for ended in 0..=7 {
        assert_eq!(node.resumer.under_way.load(Ordering::SeqCst), 3);
        assert_eq!(node.resumer.runs().len(), 3 + ended);
        node.resumer.gate.add_permits(1);
        pass(millis(1)).await;
    }
    node.resumer.gate.add_permits(2);
    pass(millis(1)).await;
    assert_eq!(node.resumer.under_way.load(Ordering::SeqCst), 0);
    assert_eq!(node.scheduler.stats().claimed, 10);
}

#[tokio::test(start_paused = true)]
async fn the_runs_of_endpoints_that_are_elsewhere_are_left_alone() {
    let node = Node::new(quiet()).await;
    let theirs = node.sleeping_at(1, millis(0), "theirs").await;
    let ours = node.sleeping(2, millis(0)).await;
    node.start();
    pass(secs(10)).await;
    assert_eq!(node.resumer.runs(), [ours]);
    assert_eq!(node.status(theirs).await, Status::Suspended);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_says_due_and_gives_nothing_is_not_asked_in_a_tight_loop() {
    let node = Node::new(quiet()).await;
    let stuck = onward_core::store::Claims { next_due_at: Some(node.clock.at(millis(0))), ..Default::default() };
    *node.store.claims_say.lock() = Some(stuck);
    node.start();
    pass(secs(10)).await;
    assert!((50..=110).contains(&node.store.claims()), "{} claims in 10 s", node.store.claims());
}

#[tokio::test(start_paused = true)]
async fn a_resumption_that_panics_gives_its_run_back_and_harms_no_other() {
    let node = Node::new(quiet()).await;
    let run_id = node.sleeping(1, millis(0)).await;
    let other = node.sleeping(2, secs(1)).await;
    node.resumer.panics.store(1, Ordering::SeqCst);
    node.start();
    pass(secs(20)).await;
    assert_eq!(node.resumed_at_ms(), [(run_id, 0), (other, 1000), (run_id, 5000)]);
    assert_eq!(node.status(run_id).await, Status::Completed);
    assert!(node.tasks.len() == 3, "the loops that claim, sweep and look for timeouts");
}

#[tokio::test(start_paused = true)]
async fn a_run_is_given_back_wherever_its_resumption_panics() {
    let node = Node::new(quiet()).await;
    node.resumer.panics.store(2, Ordering::SeqCst);
    let run_id = node.sleeping(1, millis(0)).await;
    node.start();
    pass(secs(20)).await;
    assert_eq!(node.resumed_at_ms(), [(run_id, 0), (run_id, 5000), (run_id, 10_000)]);
    assert_eq!(node.status(run_id).await, Status::Completed);
}

#[tokio::test(start_paused = true)]
async fn lateness_is_measured_from_when_a_run_was_due() {
    let node = Node::new(quiet()).await;
    node.sleeping(1, secs(1)).await;
    node.sleeping(2, secs(10)).await;
    node.start();
    pass(secs(5)).await;
    let stats = node.scheduler.stats();
    assert!(stats.claimed == 1 && stats.lateness_max < millis(2), "{stats:?}");
    node.store.set_down(true);
    pass(secs(7)).await;
    node.store.set_down(false);
    pass(secs(6)).await;
    let stats = node.scheduler.stats();
    assert_eq!(stats.claimed, 2);
    assert!(stats.lateness_max >= secs(2) && stats.lateness_max <= secs(7), "{stats:?}");
    assert!(stats.lateness_mean >= secs(1) && stats.lateness_mean < stats.lateness_max, "{stats:?}");
}

/// A manual clock has the deadlines of runs and no others, so a day is one jump; or all of them, if that is asked.
#[tokio::test]
async fn a_manual_clock_moves_runs_and_the_upkeep_too_if_asked() {
    for (upkeep, heartbeats) in [(Upkeep::ByRuntime, 0..=0), (Upkeep::ByClock, 179..=181)] {
        let node = Node::new(Config::default()).await;
        let run_id = node.sleeping(1, secs(0)).await;
        let clock = ManualClock::starting_at(node.clock.now());
        let config = Config { upkeep, ..Config::default() };
        let tasks = TaskSet::new();
        let store = Arc::new(node.store.clone());
        let hub = Arc::new(Hub::default());
        let scheduler = Scheduler::new(store, Arc::new(clock.clone()), hub, tasks.clone(), config);
        scheduler.join().await.unwrap();
        scheduler.start(Arc::new(node.resumer.clone()));
        clock.settle().await;
        assert_eq!(node.resumer.runs(), [run_id]);
        clock.advance_through(secs(600)).await;
        let beats = node.store.heartbeats.lock().len();
        assert!(heartbeats.contains(&beats), "{beats} heartbeats {upkeep:?}");
        assert_eq!(tasks.drain(secs(1)).await, 0);
        scheduler.leave().await.unwrap();
    }
}
