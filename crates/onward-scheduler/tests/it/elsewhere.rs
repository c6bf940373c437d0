//! What other processes do with a run is heard of: by news, and by looking.

use std::sync::Arc;

use onward_core::{
    Fence, RunId, Store as _,
    run::{Outcome, Status},
    store::{Checkpoint, ClaimRequest, Endpoints, Lease, News, Then, Watched},
    stream::{Frame, FrameKind, Place},
};
use onward_scheduler::{Attached, Config, Read, Reader};
use tokio::time::Instant;

use crate::support::{Node, Told, millis, pass, quiet, run, secs};

/// Ends a sleeping run as another process would: this one is told nothing.
async fn end(node: &Node, run_id: RunId) {
    let claim = ClaimRequest {
        node: node.scheduler.node().unwrap(),
        now: node.clock.at(secs(1_000_000)),
        limit: 1,
        endpoints: Endpoints::All,
    };
    let lease = node.store.claim(claim).await.unwrap().leases[0].0;
    assert_eq!(lease.run_id, run_id);
    let mut end = Checkpoint::new(lease, node.clock.at(secs(0)));
    end.then = Then::Finish(Outcome { status: Status::Completed, response: "done".into(), error: "".into() });
    node.store.checkpoint(end).await.unwrap();
}

fn looked_ms(node: &Node, since: Instant) -> Vec<u128> {
    node.store.looked.lock().iter().map(|(_, at)| at.duration_since(since).as_millis()).collect()
}

#[tokio::test(start_paused = true)]
async fn without_news_it_is_looked_less_and_less_often_and_not_at_all_while_nobody_waits() {
    let node = Node::shared(quiet()).await;
    let run_id = node.sleeping_at(1, secs(9_999), "theirs").await;
    node.start();
    pass(secs(30)).await;
    assert_eq!(node.store.looked.lock().len(), 0);

    let since = Instant::now();
    let mut watch = node.hub.watch(run_id);
    pass(millis(3_600)).await;
    assert_eq!(looked_ms(&node, since), [50, 150, 350, 750, 1550, 2550, 3550]);
    assert_eq!(node.store.looked.lock()[0].0, [Watched { run_id, streamed: None }]);
    let other = node.hub.watch(run(7));
    pass(millis(51)).await;
    assert_eq!(looked_ms(&node, since).len(), 8, "for who comes anew it is looked soon again");
    drop(other);

    end(&node, run_id).await;
    assert_eq!(watch.outcome().await.response, "done".into());
    drop(watch);
    let looked = node.store.looked.lock().len();
    pass(secs(30)).await;
    assert_eq!(node.store.looked.lock().len(), looked);
}

#[tokio::test(start_paused = true)]
async fn where_news_are_the_first_to_tell_it_is_looked_each_second() {
    let node = Node::shared(quiet()).await;
    node.start();
    let first = node.sleeping_at(1, secs(9_999), "theirs").await;
    let mut watch = node.hub.watch(first);
    pass(millis(10)).await;
    end(&node, first).await;
    node.store.tell(News::Ended(first));
    let begun = Instant::now();
    watch.outcome().await;
    assert_eq!(begun.elapsed(), millis(0));
    drop(watch);
    pass(secs(5)).await;
    node.store.looked.lock().clear();

    let second = node.sleeping_at(2, secs(9_999), "theirs").await;
    let (since, mut watch) = (Instant::now(), node.hub.watch(second));
    pass(millis(2_500)).await;
    assert_eq!(looked_ms(&node, since), [1000, 2000]);
    end(&node, second).await;
    watch.outcome().await;
    assert_eq!(since.elapsed(), millis(3_000), "and the truth is found when a hint is lost");
}

#[tokio::test(start_paused = true)]
async fn the_store_is_told_at_once_who_is_waited_for_and_again_as_it_is_looked() {
    let node = Node::shared(quiet()).await;
    node.start();
    let told = Arc::new(Told::default());
    let own = node.hub.attach(run(1), Arc::clone(&told) as Arc<dyn Attached>);
    pass(millis(1)).await;
    let _watches = [node.hub.watch(run(1)), node.hub.watch(run(2))];
    let reading = node.hub.read_stream(run(3));
    pass(millis(1)).await;
    assert_eq!(*node.store.watched.lock(), [run(2), run(3)], "what is executed here is heard of here");
    drop(own);
    pass(millis(1)).await;
    assert_eq!(*node.store.watched.lock(), [run(2), run(3), run(1)]);

    node.store.watched.lock().clear();
    drop(reading);
    pass(secs(1)).await;
    assert_eq!(node.store.watched.lock()[..2], [run(1), run(2)]);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_executed_here_is_looked_at_seldom_and_stopped_when_it_was_ended_elsewhere() {
    let node = Node::shared(Config::default()).await;
    let run_id = node.sleeping_at(1, secs(9_999), "theirs").await;
    let told = Arc::new(Told::default());
    let guard = node.hub.attach(run_id, Arc::clone(&told) as Arc<dyn Attached>);
    let watch = node.hub.watch(run_id);
    node.start();
    pass(millis(10_100)).await;
    assert_eq!(node.store.looked.lock().len(), 2, "each poll_max");
    assert_eq!(told.cancels(), 0);
    end(&node, run_id).await;
    pass(secs(5)).await;
    assert_eq!(told.cancels(), 1);
    node.store.tell(News::Ended(run_id));
    pass(millis(1)).await;
    assert_eq!(told.cancels(), 2, "or as soon as it is told");

    // When the execution is gone, who still waits for it depends on others.
    let mut watch = {
        drop(watch);
        node.hub.watch(run_id)
    };
    let begun = Instant::now();
    drop(guard);
    watch.outcome().await;
    assert!(begun.elapsed() <= millis(50), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn news_of_a_run_that_goes_on_stop_nothing() {
    let node = Node::shared(quiet()).await;
    let run_id = node.sleeping_at(1, secs(9_999), "theirs").await;
    let told = Arc::new(Told::default());
    let _guard = node.hub.attach(run_id, Arc::clone(&told) as Arc<dyn Attached>);
    node.start();
    node.store.tell(News::Ended(run_id)); // it had failed, and was retried since
    node.store.tell(News::Ended(run(99)));
    node.store.tell(News::Streamed(run(99)));
    pass(millis(1_100)).await;
    assert_eq!(told.cancels(), 0);
    let claims = node.store.claims();
    node.store.tell(News::Due);
    pass(millis(1)).await;
    assert_eq!(node.store.claims(), claims + 1);
}

#[tokio::test(start_paused = true)]
async fn a_reader_hears_of_frames_that_another_process_wrote() {
    for has_news in [true, false] {
        let node = Node::shared(quiet()).await;
        let run_id = run(1);
        let lease = Lease { run_id, fence: Fence::FIRST, node: node.scheduler.node().unwrap() };
        node.held(lease).await;
        node.start();
        let store: Arc<dyn onward_core::Store> = Arc::new(node.store.clone());
        let mut reader = Reader::fresh(&store, &node.hub, run_id, false);
        for place in 1..=3 {
            let write = async {
                pass(secs(4)).await;
                let mut more = Checkpoint::new(lease, node.clock.at(secs(0)));
                more.frames = vec![Frame { place: Place(place), step: None, kind: FrameKind::Chunk("1".into()) }];
                node.store.checkpoint(more).await.unwrap();
                if has_news {
                    node.store.tell(News::Streamed(run_id));
                }
                Instant::now()
            };
            let (read, written) = tokio::join!(reader.next(), write);
            let Ok(Some(Read::Frames(frames))) = read else { panic!("{read:?}") };
            assert_eq!(frames.last().unwrap().place, Place(place));
            assert!(written.elapsed() <= if has_news { millis(1) } else { secs(1) }, "{:?}", written.elapsed());
        }
    }
}
