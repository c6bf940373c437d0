//! A store that cannot answer is asked again, less and less often, and no loop ends.

use onward_core::{Clock, run::Status};

use crate::support::{Node, millis, pass, quiet, secs};

#[tokio::test(start_paused = true)]
async fn due_runs_are_resumed_after_an_outage_and_the_store_is_not_hammered_in_it() {
    let node = Node::new(quiet()).await;
    let run_id = node.sleeping(1, secs(1)).await;
    node.start();
    pass(millis(500)).await;
    let before = node.store.claims();
    node.store.set_down(true);
    pass(secs(60)).await;
    let tries = node.store.claims() - before;
    assert!((10..=20).contains(&tries), "{tries} claims in a minute");
    assert_eq!(node.scheduler.stats().failures, tries as u64);
    node.store.set_down(false);
    pass(secs(6)).await;
    assert_eq!(node.resumer.runs(), [run_id]);
    assert_eq!(node.status(run_id).await, Status::Completed);
}

#[tokio::test(start_paused = true)]
async fn after_an_outage_the_next_one_is_met_with_short_pauses_again() {
    let node = Node::new(quiet()).await;
    node.start();
    for _ in 0..3 {
        node.store.set_down(true);
        pass(secs(30)).await;
        node.store.set_down(false);
        pass(secs(10)).await;
        let failures = node.scheduler.stats().failures;
        node.store.set_down(true);
        node.scheduler.due_at(node.clock.now());
        pass(millis(1_000)).await;
        let tries = node.scheduler.stats().failures - failures;
        assert!(tries >= 4, "{tries}: at 0, 100, 300 and 700 ms");
    }
}
