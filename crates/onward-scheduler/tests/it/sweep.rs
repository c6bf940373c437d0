//! What is past its retention is removed in small batches.

use onward_core::store::Swept;
use onward_scheduler::Config;

use crate::support::{Node, millis, pass, quiet, secs};

fn config() -> Config {
    Config { sweep_every: secs(60), sweep_batch: 500, event_retention: secs(3600), ..quiet() }
}

fn swept_ms(node: &Node) -> Vec<u128> {
    let start = node.clock.at(millis(0));
    node.store.swept.lock().iter().map(|(now, ..)| now.since(start).as_millis()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_sweep_goes_on_in_batches_with_rests_until_one_is_not_full() {
    let node = Node::new(config()).await;
    let full = |runs, events| Swept { runs, events, announced: 0, more: runs == 500 || events == 500 };
    node.store.sweeps.lock().extend([full(500, 0), full(3, 500), full(499, 499)]);
    node.start();
    pass(secs(130)).await;
    let at = swept_ms(&node);
    assert_eq!(at.len(), 4, "{at:?}");
    assert_eq!(at[0], 60_000);
    assert!(at.windows(2).all(|pair| pair[1] - pair[0] >= 10), "{at:?}");
    assert!(at[2] < 61_000, "{at:?}");
    assert!(at[3] >= at[2] + 60_000, "{at:?}");
}

#[tokio::test(start_paused = true)]
async fn it_asks_for_what_is_past_retention_and_no_more_than_a_batch() {
    let node = Node::new(config()).await;
    node.start();
    pass(secs(61)).await;
    let (now, events_before, limit) = node.store.swept.lock()[0];
    assert_eq!(now.since(events_before), secs(3600));
    assert_eq!(limit, 500);
}

#[tokio::test(start_paused = true)]
async fn a_sweep_that_failed_is_tried_again_before_the_next_is_due() {
    let node = Node::new(config()).await;
    node.start();
    pass(secs(59)).await;
    node.store.set_down(true);
    pass(secs(2)).await;
    node.store.set_down(false);
    pass(secs(4)).await;
    let at = swept_ms(&node);
    assert!(at.len() >= 4 && *at.last().unwrap() < 65_000, "{at:?}");
    pass(secs(60)).await;
    assert_eq!(swept_ms(&node).len(), at.len() + 1, "and then in the old rhythm");
}

#[tokio::test(start_paused = true)]
async fn a_full_sweep_does_not_hold_up_a_shutdown() {
    let node = Node::new(config()).await;
    node.store.sweeps.lock().extend(vec![Swept { runs: 500, more: true, ..Swept::default() }; 1_000_000]);
    node.start();
    pass(secs(61)).await;
    assert_eq!(node.tasks.drain(millis(1)).await, 0);
}
