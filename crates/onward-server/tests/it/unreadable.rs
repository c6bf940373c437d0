//! Runs whose record cannot be read: they are shown, rest, and can be cancelled; others go on beside them.

use std::{sync::Arc, time::Duration};

use http::StatusCode;
use onward_core::{
    EndpointId, Fence, RunId, Store, Timestamp,
    journal::{Change, Entry},
    run::{NewRun, Status},
    step::{StepId, StepKind},
    store::{Checkpoint, Lease, Then},
};
use onward_server::Operator;
use onward_sqlite::{Options, SqliteStore, rusqlite::Connection};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    script::program,
    world::{World, pause, soon},
};

/// A store with a run that is due, whose request is of another release, and whose journal may be, too.
async fn store_with(file: &std::path::Path, journal: Option<&str>) -> (SqliteStore, RunId) {
    let url = format!("sqlite:{}", file.display());
    let store = SqliteStore::open_url(&url, Options::new()).unwrap();
    let (now, run_id) = (Timestamp::EPOCH, RunId::from_bytes([1; 16]));
    let node = store.join(now, Duration::from_secs(1)).await.unwrap();
    let mut checkpoint = Checkpoint::new(Lease { run_id, fence: Fence::FIRST, node }, now);
    checkpoint.start = Some(NewRun {
        run_id,
        endpoint: EndpointId::try_new("GET /run").unwrap(),
        version: None,
        pinned: false,
        created_at: now,
        request: r#"{"v":9}"#.into(),
        timeout_at: None,
        retention: Duration::from_secs(3600),
        key: None,
        parent: None,
    });
    let change = Change::Waiting { until: None, subject: String::new() };
    let step = StepId::try_new("w", 0).unwrap();
    checkpoint.entries = vec![Entry { seq: onward_core::Seq(0), at: now, step, kind: StepKind::Sleep, change }];
    checkpoint.then = Then::Suspend { due_at: now };
    store.checkpoint(checkpoint).await.unwrap();
    store.close().await;
    if let Some(data) = journal {
        let damage = format!("UPDATE onward_entries SET data = {data} WHERE place & 1048575 = 1");
        assert_eq!(Connection::open(file).unwrap().execute(&damage, []).unwrap(), 1);
    }
    (SqliteStore::open_url(&url, Options::new()).unwrap(), run_id)
}

#[tokio::test]
async fn a_run_that_cannot_be_read_is_shown_rests_and_can_be_cancelled() {
    for (journal, why) in [(None, "the run's record cannot be read"), (Some("X'63'"), "format 99")] {
        let dir = tempfile::tempdir().unwrap();
        let (store, run_id) = store_with(&dir.path().join("onward.db"), journal).await;
        let world = World::new(Arc::new(store.clone())).await;
        world.serve("/run", program(|s| s.value("a", json!(1))));
        let get =
            async |path: &str| world.http.get(world.address.url(path)).send().await.unwrap().text().await.unwrap();
        let get_json = async |path: &str| serde_json::from_str::<Value>(&get(path).await).unwrap();
        let listed = soon("the run is listed as unreadable", async {
            loop {
                let page = get_json("/v1/runs").await;
                if page["data"][0]["unreadable"].is_string() {
                    return page["data"][0].clone();
                }
                pause().await;
            }
        })
        .await;
        assert!(listed["unreadable"].as_str().unwrap().contains(why), "{listed}");
        let shown = get_json(&format!("/v1/runs/{run_id}")).await;
        assert_eq!((&shown["data"]["status"], &shown["data"]["endpoint"]), (&json!("Running"), &json!("GET /run")));
        assert!(shown["data"]["unreadable"].as_str().unwrap().contains(why), "{shown}");
        assert!(get("/metrics").await.contains("onward_runs_unreadable_total 1\n"));
        assert_ne!(world.request().await.1, crate::endpoint::First::HandedOver, "others go on");

        let before = Instant::now();
        let run = soon("the run is claimed for the third time", async {
            loop {
                let filter = onward_core::store::RunFilter { limit: 10, ..Default::default() };
                let runs = store.runs(filter).await.unwrap().runs;
                let run = runs.into_iter().find(|run| run.run_id == run_id).unwrap();
                if run.fence.0 >= 4 && run.status == Status::Suspended {
                    return run;
                }
                pause().await;
            }
        })
        .await;
        assert_eq!(run.fence, Fence(4));
        assert!(before.elapsed() > Duration::from_millis(1500), "the run rests for longer each time");
        let cancel = || world.http.delete(world.address.url(&format!("/v1/runs/{run_id}"))).send();
        assert_eq!(cancel().await.unwrap().status(), StatusCode::NO_CONTENT);
        assert_eq!(cancel().await.unwrap().status(), StatusCode::CONFLICT);
    }
}

#[tokio::test]
async fn an_operator_with_the_store_alone_sees_what_is_known_of_such_a_run() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("onward.db");
    let (store, run_id) = store_with(&file, Some("X'63'")).await;
    store.close().await;
    let operator = Operator::open(&format!("sqlite:{}", file.display())).await.unwrap();
    let shown = operator.show(&run_id.to_string()).await.unwrap();
    assert_eq!(shown["data"]["endpoint"], "GET /run");
    assert!(shown["data"]["unreadable"].as_str().unwrap().contains("format 99"), "{shown}");
    operator.cancel(&run_id.to_string()).await.unwrap();
    operator.close().await;
}
