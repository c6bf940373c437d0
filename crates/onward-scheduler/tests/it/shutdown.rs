//! A node that goes gives its runs back, and keeps them until then.

use std::sync::atomic::Ordering;

use onward_core::{run::Status, store::Woken};
use onward_scheduler::Config;

use crate::support::{Node, millis, pass, quiet, secs};

#[tokio::test(start_paused = true)]
async fn a_shutdown_stops_claiming_and_leaves() {
    let node = Node::new(Config::default()).await;
    let own = node.scheduler.node().unwrap();
    node.start();
    pass(secs(1)).await;
    let late = node.sleeping(1, secs(1)).await;
    node.scheduler.shutdown().await.unwrap();
    assert_eq!(*node.store.gone.lock(), [own]);
    assert_eq!(node.scheduler.node(), None);
    let (claims, beats) = (node.store.claims(), node.store.heartbeats.lock().len());
    node.scheduler.woken(&[Woken { run_id: late, node: None }]);
    pass(secs(60)).await;
    assert_eq!((node.store.claims(), node.store.heartbeats.lock().len()), (claims, beats));
    assert_eq!(node.resumer.runs(), []);
    assert_eq!(node.tasks.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn runs_that_are_under_way_are_due_for_others_once_the_node_has_left() {
    let node = Node::new(quiet()).await;
    node.resumer.gate.forget_permits(1_000_000);
    let run_id = node.sleeping(1, millis(0)).await;
    node.start();
    pass(millis(1)).await;
    assert_eq!(node.status(run_id).await, Status::Running);
    node.scheduler.shutdown().await.unwrap();
    assert_eq!(node.status(run_id).await, Status::Suspended);
}

#[tokio::test(start_paused = true)]
async fn while_the_app_drains_nothing_is_claimed_and_the_lease_is_kept() {
    let node = Node::new(Config { poll_max: secs(1), ..Config::default() }).await;
    node.resumer.gate.forget_permits(1_000_000);
    let under_way = node.sleeping(1, millis(0)).await;
    node.start();
    pass(millis(10)).await;
    node.sleeping(2, millis(20)).await;
    let beats = node.store.heartbeats.lock().len();
    assert_eq!(node.tasks.drain(secs(60)).await, 1, "the run is still under way");
    assert_eq!(node.resumer.runs(), [under_way]);
    assert!(node.store.heartbeats.lock().len() >= beats + 17, "as often as before");
    node.resumer.gate.add_permits(1);
    assert_eq!(node.tasks.drain(secs(60)).await, 0);
    assert_eq!(node.status(under_way).await, Status::Completed, "it could still write");
    node.scheduler.leave().await.unwrap();
    let beats = node.store.heartbeats.lock().len();
    pass(secs(60)).await;
    assert_eq!(node.store.heartbeats.lock().len(), beats);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_does_not_answer_a_claim_does_not_hold_up_a_shutdown() {
    let node = Node::new(quiet()).await;
    node.store.hangs.store(true, Ordering::SeqCst);
    node.start();
    pass(secs(1)).await;
    assert_eq!(node.store.claims(), 1);
    node.scheduler.shutdown().await.unwrap();
    assert_eq!(node.tasks.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_of_a_store_that_is_down_says_so_and_ends() {
    let node = Node::new(quiet()).await;
    node.start();
    node.store.set_down(true);
    pass(secs(1)).await;
    assert!(node.scheduler.shutdown().await.is_err());
    assert_eq!(node.tasks.len(), 0);
    node.store.set_down(false);
    assert!(node.scheduler.shutdown().await.is_ok(), "there is nothing left to do");
}

#[tokio::test(start_paused = true)]
async fn starting_twice_is_starting_once() {
    let node = Node::new(Config { poll_max: secs(1), ..Config::default() }).await;
    node.start();
    pass(millis(1)).await;
    let (tasks, claims) = (node.tasks.len(), node.store.claims());
    node.start();
    pass(secs(10)).await;
    assert_eq!(node.tasks.len(), tasks);
    assert!((9..=11).contains(&(node.store.claims() - claims)));
}

#[test]
fn figures_outside_their_limits_are_named() {
    let good = Config::default();
    assert!(good.check().is_ok());
    for (bad, name) in [
        (Config { lease: millis(99), ..good }, "lease"),
        (Config { resumes_max: 0, ..good }, "resumes_max"),
        (Config { resumes_max: usize::MAX, ..good }, "resumes_max"),
        (Config { claim_batch: 0, ..good }, "claim_batch"),
        (Config { sweep_every: secs(0), ..good }, "sweep_every"),
        (Config { sweep_batch: 0, ..good }, "sweep_batch"),
        (Config { poll_max: secs(0), ..good }, "poll_max"),
    ] {
        let error = bad.check().unwrap_err().to_string();
        assert!(error.starts_with(name), "{error}");
    }
}
