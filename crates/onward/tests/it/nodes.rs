//! P5 and P6 across nodes: several apps on one shared store, each as if it were a process of its own.

mod cluster;
mod outage;
mod takeover;

use std::{sync::Arc, time::Duration};

use axum::routing::{get, post};
use onward::{Step, StepError};
use tokio::sync::Notify;

use self::cluster::{Cluster, Node, secs};
use crate::support::{Count, location, run_id, text};

/// A handler whose step goes on when it is told to, and says on which node it ran.
fn gated(gate: &Arc<Notify>, begun: &Count) -> impl Fn(usize) -> axum::routing::MethodRouter + Clone + use<> {
    let (gate, begun) = (gate.clone(), begun.clone());
    move |node| {
        let (gate, begun) = (gate.clone(), begun.clone());
        get(async move |step: Step| {
            step.run("before", async || Ok::<_, StepError>(())).await?;
            let by = step.run("gated", async || {
                begun.hit();
                gate.notified().await;
                Ok::<_, StepError>(node)
            });
            Ok::<_, StepError>(format!("done by {}", by.await?))
        })
    }
}

/// Begins a run on a node and sends its client away.
async fn begin(node: &Node, uri: &str) -> (onward::RunId, String) {
    let away = node.get_with(uri, &[("prefer", "respond-async")]).await;
    assert_eq!(away.status(), 202);
    (run_id(&away), location(&away))
}

#[tokio::test(start_paused = true)]
async fn a_client_that_waits_on_another_node_gets_the_outcome_at_once_by_news_and_soon_by_looking() {
    for (has_news, late) in [(true, Duration::from_millis(10)), (false, Duration::from_millis(1_100))] {
        let (gate, begun) = (Arc::new(Notify::new()), Count::default());
        let endpoint = gated(&gate, &begun);
        let cluster = Cluster::new(2, has_news, |onward, node| onward.route("/", endpoint(node))).await;
        let [one, two] = cluster.nodes() else { panic!() };
        let (_, wait) = begin(one, "/").await;
        let opened = async {
            tokio::time::sleep(secs(20)).await;
            gate.notify_one();
            tokio::time::Instant::now()
        };
        let (answer, opened) = tokio::join!(two.get(&wait), opened);
        assert_eq!(text(&answer), "done by 0");
        assert!(opened.elapsed() <= late, "{:?} late", opened.elapsed());
        assert_eq!(begun.get(), 1);
        cluster.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_read_on_another_node_and_goes_on_there_after_a_frame() {
    for has_news in [true, false] {
        let gate = Arc::new(Notify::new());
        let shared = gate.clone();
        let endpoint = move |_| {
            let gate = shared.clone();
            get(async move |step: Step| {
                for n in 0..3 {
                    gate.notified().await;
                    step.stream().push(&n);
                }
                Ok::<_, StepError>("over")
            })
        };
        let cluster = Cluster::new(2, has_news, |onward, node| onward.route("/", endpoint(node))).await;
        let [one, two] = cluster.nodes() else { panic!() };
        let (_, wait) = begin(one, "/").await;
        let mut reader = two.stream(&wait, None).await;
        for n in 0..2 {
            gate.notify_one();
            let event = reader.until("inngest.stream").await;
            assert!(event.data.contains(&n.to_string()), "{event:?}");
            if n == 1 {
                drop(reader);
                let mut again = two.stream(&wait, Some(&event.id)).await;
                gate.notify_one();
                let event = again.until("inngest.stream").await;
                assert!(event.data.contains('2'), "{event:?}");
                assert!(again.until("inngest.response").await.data.contains("over"));
                break;
            }
        }
        cluster.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_sent_to_any_node_wakes_a_run_that_is_parked_on_another() {
    for (has_news, late) in [(true, Duration::from_millis(10)), (false, Duration::from_millis(600))] {
        let endpoint = |_| {
            get(async move |step: Step| {
                let event = step.wait_for_event::<u32>("approval", "go").await?;
                Ok::<_, StepError>(format!("{:?}", event.map(|event| event.data)))
            })
        };
        let cluster = Cluster::new(2, has_news, |onward, node| onward.route("/", endpoint(node))).await;
        let [one, two] = cluster.nodes() else { panic!() };
        let (_, wait) = begin(one, "/").await;
        tokio::time::sleep(Duration::from_millis(1_300)).await;
        assert_eq!(one.onward.load().parked, 1);
        let sent = tokio::time::Instant::now();
        two.onward.send_event("go", &7).await.unwrap();
        assert_eq!(text(&one.get(&wait).await), "Some(7)");
        assert!(sent.elapsed() <= late, "{:?} late", sent.elapsed());
        cluster.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_cancelled_on_another_node_stops_where_it_executes() {
    for (has_news, late) in [(true, Duration::from_millis(10)), (false, Duration::from_millis(5_100))] {
        let dropped = Count::default();
        let (counted, begun) = (dropped.clone(), Arc::new(Notify::new()));
        let notify = begun.clone();
        let endpoint = move |_| {
            let (counted, notify) = (counted.clone(), notify.clone());
            get(async move |step: Step| {
                let long = step.run("long", async || {
                    let _dropped = cluster::OnDrop(&counted);
                    notify.notify_one();
                    std::future::pending::<()>().await;
                    Ok::<_, StepError>(())
                });
                long.await
            })
        };
        let cluster = Cluster::new(2, has_news, |onward, node| onward.route("/", endpoint(node))).await;
        let [one, two] = cluster.nodes() else { panic!() };
        let (id, wait) = begin(one, "/").await;
        begun.notified().await;
        let cancelled = async {
            tokio::time::sleep(secs(7)).await;
            two.onward.runs().cancel(id).await.unwrap();
            tokio::time::Instant::now()
        };
        let (answer, at) = tokio::join!(one.get(&wait), cancelled);
        assert_eq!(answer.status(), 409);
        while dropped.get() == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(at.elapsed() <= late, "{:?} late", at.elapsed());
        assert!(two.onward.runs().cancel(id).await.unwrap_err().is_wrong_status());
        cluster.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_duplicate_on_another_node_gets_the_one_response() {
    for has_news in [true, false] {
        let (gate, begun) = (Arc::new(Notify::new()), Count::default());
        let endpoint = gated(&gate, &begun);
        let cluster = Cluster::new(2, has_news, |onward, node| onward.route("/", endpoint(node))).await;
        let [one, two] = cluster.nodes() else { panic!() };
        let keyed = [("idempotency-key", "k1")];
        let (first, second, ()) = tokio::join!(one.get_with("/", &keyed), two.follow("/", &keyed), async {
            tokio::time::sleep(secs(3)).await;
            gate.notify_one();
        });
        let (first, second) = (one.go_on(first).await, two.go_on(second).await);
        let texts = [text(&first), text(&second)];
        assert!(texts[0] == texts[1] && texts[0].starts_with("done by"), "{texts:?}");
        assert_eq!(begun.get(), 1);
        cluster.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_of_an_endpoint_that_only_another_node_has_is_invoked_waited_for_retried_and_deleted() {
    let fails = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let failing = fails.clone();
    let cluster = Cluster::new(2, true, move |onward, node| {
        let failing = failing.clone();
        if node == 0 {
            let caller = async move |step: Step| {
                let request = ::http::Request::post("/far?x=1").body(bytes::Bytes::from("ping")).unwrap();
                let answer = step.invoke("far", "POST /far", request).await?;
                let text = String::from_utf8_lossy(answer.body()).into_owned();
                let unknown = ::http::Request::post("/none").body(bytes::Bytes::new()).unwrap();
                let refused = step.invoke("none", "POST /none", unknown).await;
                Ok::<_, StepError>(format!("{text}, {}", refused.is_err()))
            };
            onward.route("/near", get(caller))
        } else {
            let called = async move |step: Step, body: String| {
                let pong = step.run("pong", async || {
                    if body == "fail" && failing.load(std::sync::atomic::Ordering::SeqCst) {
                        return Err(StepError::fail(std::io::Error::other("not yet")));
                    }
                    Ok(format!("{body} pong"))
                });
                pong.await
            };
            onward.route("/far", post(called))
        }
    })
    .await;
    let [one, two] = cluster.nodes() else { panic!() };
    let first = one.get("/near").await;
    assert_eq!(text(&one.go_on(first).await), "ping pong, true");

    let away = two.post_with("/far", "fail", &[("prefer", "respond-async")]).await;
    let (id, wait) = (run_id(&away), location(&away));
    assert_eq!(one.get(&wait).await.status(), 500);
    fails.store(false, std::sync::atomic::Ordering::SeqCst);
    one.onward.runs().retry(id).await.unwrap();
    assert_eq!(text(&one.get(&wait).await), "fail pong");
    one.onward.runs().delete(id).await.unwrap();
    assert_eq!(two.get(&wait).await.status(), 410);
    cluster.shutdown().await;
}
