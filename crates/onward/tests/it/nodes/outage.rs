//! A store that is gone for minutes: new requests are refused clearly, who waits waits on, and runs go on after it.

use std::{sync::Arc, time::Duration};

use axum::routing::get;
use http::StatusCode;
use onward::{Step, StepError};
use tokio::sync::Notify;

use super::{
    begin,
    cluster::{Cluster, secs},
};
use crate::support::{Count, text};

#[tokio::test(start_paused = true)]
async fn an_outage_of_minutes_refuses_the_new_loses_nothing_and_ends_by_itself() {
    let (gate, done) = (Arc::new(Notify::new()), Count::default());
    let (gated, counted) = (gate.clone(), done.clone());
    let endpoint = move |_| {
        let (gate, done) = (gated.clone(), counted.clone());
        get(async move |step: Step| {
            step.run("before", async || Ok::<_, StepError>(())).await?;
            step.run("gated", async || {
                gate.notified().await;
                Ok::<_, StepError>(())
            })
            .await?;
            step.run("after", async || Ok::<_, StepError>(done.hit().to_string())).await
        })
    };
    let cluster = Cluster::new(1, false, |onward, node| onward.route("/", endpoint(node))).await;
    let [one] = cluster.nodes() else { panic!() };
    let mut waits = Vec::new();
    for _ in 0..100 {
        waits.push(begin(one, "/").await.1);
    }
    tokio::time::sleep(secs(1)).await;
    one.store.set_unavailable(true);
    let outage = async {
        for n in 0..18 {
            let refused = one.get("/").await;
            assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
            assert_eq!(refused.headers()["retry-after"], "1");
            assert_eq!(refused.headers()["content-type"], "application/problem+json");
            let hasty = one.get_with(&waits[0], &[("prefer", "wait=1")]).await;
            assert_eq!((hasty.status().as_u16(), hasty.headers().contains_key("retry-after")), (503, true));
            if n == 1 {
                gate.notify_waiters(); // the steps end and cannot be written
            }
            tokio::time::sleep(secs(9)).await;
        }
        let calls = one.store.calls().len();
        tokio::time::sleep(secs(60)).await;
        let calls = one.store.calls().len() - calls;
        assert!(calls < 400, "{calls} calls in a minute in which none is answered");
        one.store.set_unavailable(false);
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_millis(500)).await;
            gate.notify_waiters();
        }
    };
    let (answer, ()) = tokio::join!(one.follow(&waits[1], &[]), outage);
    assert_eq!(answer.status(), 200, "{answer:?}");
    for wait in &waits {
        let answer = one.get(wait).await;
        assert_eq!(answer.status(), 200, "{}", text(&answer));
    }
    assert_eq!(one.get("/none").await.status(), 404);
    cluster.shutdown().await;
}
