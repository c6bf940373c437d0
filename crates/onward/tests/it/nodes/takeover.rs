//! A node that dies, is cut off, or goes: its runs go on elsewhere, and no more with it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::routing::get;
use onward::{Step, StepError};
use tokio::{sync::Notify, time::Instant};

use super::{
    begin,
    cluster::{Cluster, OnDrop, secs},
};
use crate::support::{Count, text};

/// The lease of a node.
const LEASE: Duration = secs(10);

#[tokio::test(start_paused = true)]
async fn the_runs_of_a_node_that_died_are_taken_over_within_a_second_after_its_lease() {
    for (has_news, after) in [(true, 0), (true, 250), (false, 333), (false, 499)] {
        let begun = Arc::new(Notify::new());
        let notify = begun.clone();
        let endpoint = move |node| {
            let notify = notify.clone();
            get(async move |step: Step| {
                let kept = step.run("kept", async || Ok::<_, StepError>(node)).await?;
                let by = step.run("work", async || {
                    if node == 0 {
                        notify.notify_one();
                        std::future::pending::<()>().await;
                    }
                    Ok::<_, StepError>(node)
                });
                Ok::<_, StepError>(format!("{kept} {}", by.await?))
            })
        };
        let cluster = Cluster::new(3, has_news, |onward, node| onward.route("/", endpoint(node))).await;
        let [one, two, three] = cluster.nodes() else { panic!() };
        let (_, wait) = begin(one, "/").await;
        begun.notified().await;
        tokio::time::sleep(secs(60) + Duration::from_millis(after)).await;
        one.store.crash();
        let died = Instant::now();
        let answer = two.get(&wait).await;
        let took = died.elapsed();
        assert!(["0 1", "0 2"].contains(&text(&answer)), "{answer:?}");
        assert!(took + Duration::from_millis(500) >= LEASE && took <= LEASE + secs(1), "{took:?}");
        assert_eq!(three.get(&wait).await.body(), answer.body());
        cluster.shutdown().await;
    }
}

/// A process that SIGSTOP stops: time passes, and no other task of it moves meanwhile.
#[derive(Clone, Default)]
struct Stopped(Arc<AtomicBool>);

impl Stopped {
    async fn stop(&self, time: Duration) {
        let mut advanced = Box::pin(tokio::time::advance(time));
        assert!(futures_util::poll!(&mut advanced).is_pending(), "the first poll moves the time");
        self.0.store(true, Ordering::SeqCst);
        let moves = self.clone();
        #[expect(clippy::disallowed_methods, reason = "it is over as soon as any other task moves")]
        tokio::spawn(async move { moves.0.store(false, Ordering::SeqCst) });
    }

    /// Whether no other task has moved since.
    fn just_now(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_was_stopped_beyond_its_lease_begins_no_user_code_before_it_notices() {
    for (time, begins_at_once) in [(LEASE / 2, true), (LEASE + secs(1), false)] {
        let (stopped, stops, at_once) = (Stopped::default(), Count::default(), Count::default());
        let shared = (stopped.clone(), stops.clone(), at_once.clone());
        let endpoint = move |_| {
            let (stopped, stops, at_once) = shared.clone();
            get(async move |step: Step| {
                let stopping = step.run("stops", async || {
                    if stops.hit() == 1 {
                        stopped.stop(time).await;
                    }
                    Ok::<_, StepError>(1)
                });
                // The step begins in the poll in which the process was stopped.
                let next = step.run("next", async || {
                    if stopped.just_now() {
                        at_once.hit();
                    }
                    Ok::<_, StepError>(2)
                });
                let (one, two) = tokio::join!(biased; stopping, next);
                Ok::<_, StepError>(format!("{} {}", one?, two?))
            })
        };
        let cluster = Cluster::new(2, true, |onward, node| onward.route("/", endpoint(node))).await;
        let [one, two] = cluster.nodes() else { panic!() };
        let (_, wait) = begin(one, "/").await;
        assert_eq!(text(&two.get(&wait).await), "1 2");
        assert_eq!(at_once.get() > 0, begins_at_once);
        assert_eq!(one.onward.load().hung + two.onward.load().hung, 0);
        cluster.shutdown().await;
    }
}

/// It cannot know whether its store hears it: what it does is perhaps done by another by then.
#[tokio::test(start_paused = true)]
async fn a_node_that_is_cut_off_stops_its_executions_when_its_lease_ends_and_joins_anew_when_it_can() {
    let (dropped, begun) = (Count::default(), Arc::new(Notify::new()));
    let (counted, notify) = (dropped.clone(), begun.clone());
    let endpoint = move |node| {
        let (counted, notify) = (counted.clone(), notify.clone());
        get(async move |step: Step| {
            let by = step.run("work", async || {
                let _dropped = OnDrop(&counted);
                if node == 0 {
                    notify.notify_one();
                    std::future::pending::<()>().await;
                }
                Ok::<_, StepError>(node)
            });
            Ok::<_, StepError>(format!("by {}", by.await?))
        })
    };
    let cluster = Cluster::new(2, true, |onward, node| onward.route("/", endpoint(node))).await;
    let [one, two] = cluster.nodes() else { panic!() };
    let (_, wait) = begin(one, "/").await;
    begun.notified().await;
    tokio::time::sleep(secs(60)).await;
    one.store.set_unavailable(true);
    let cut = Instant::now();
    while dropped.get() == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let stopped = cut.elapsed();
    assert!(stopped <= LEASE + Duration::from_millis(20), "{stopped:?}");
    assert!(!one.onward.is_ready() && two.onward.is_ready());
    assert_eq!(text(&two.get(&wait).await), "by 1");

    let refused = one.get("/").await;
    assert_eq!((refused.status().as_u16(), refused.headers()["retry-after"].to_str().unwrap()), (503, "1"));
    tokio::time::sleep(secs(180)).await;
    one.store.set_unavailable(false);
    tokio::time::sleep(secs(1)).await;
    assert!(one.onward.is_ready());
    assert_eq!(text(&one.get(&wait).await), "by 1");
    cluster.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_goes_hands_its_runs_over_at_once() {
    for (has_news, late) in [(true, Duration::from_millis(50)), (false, secs(1))] {
        let endpoint = |node| {
            get(async move |step: Step| {
                step.sleep("nap", "30s").await?;
                let by = step.run("work", async || Ok::<_, StepError>(node)).await?;
                Ok::<_, StepError>(format!("by {by}"))
            })
        };
        let cluster = Cluster::new(2, has_news, |onward, node| onward.route("/", endpoint(node))).await;
        let [one, two] = cluster.nodes() else { panic!() };
        let begun = Instant::now();
        let (_, wait) = begin(one, "/").await;
        tokio::time::sleep(secs(29)).await;
        assert_eq!(one.onward.load().parked, 1);
        one.onward.shutdown().await.unwrap();
        assert_eq!(text(&two.get(&wait).await), "by 1");
        assert!(begun.elapsed() <= secs(30) + late, "{:?}", begun.elapsed());
        two.onward.shutdown().await.unwrap();
    }
}
