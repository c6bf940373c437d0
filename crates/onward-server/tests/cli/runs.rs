//! `runs`: what the engine is asked, and what of its answer is shown.

use std::time::Duration;

use expect_test::expect;
use onward_core::{
    Attempt, EndpointId, Fence, Payload, RunId, Seq, Store, Timestamp,
    journal::{Change, Entry},
    run::{NewRun, Outcome, Status},
    step::{StepId, StepKind},
    store::{Checkpoint, Lease, Then},
};
use onward_sqlite::{SqliteStore, rusqlite::Connection};
use onward_testing::postgres::TestDatabase;
use serde_json::json;

use crate::support::{Fake, Place};

const RUN: &str = "01M8ABCDEFGHJKMNPQRSTVWXYZ";

#[tokio::test]
async fn runs_are_listed_in_a_table() {
    let runs = json!({ "data": [
        { "run_id": RUN, "endpoint": "https://app.example/checkout", "status": "failed",
          "run_started_at": "2026-11-24T11:13:24.123Z", "ended_at": "2026-11-24T11:13:25Z" },
        { "run_id": "01M8", "endpoint": "https://app.example/\u{1b}[31m", "status": "running",
          "run_started_at": "2026-11-24T11:13:23Z", "ended_at": null },
    ], "next": "01M8" });
    let engine = Fake::new(200, &runs.to_string()).await;
    let args = ["runs", "list", "--url", &engine.url, "--status", "failed", "--endpoint", "a&b", "--limit", "2"];
    let said = Place::new().run(&args).await;
    assert_eq!((said.code, said.err.as_str()), (0, "there are more: add --before 01M8\n"));
    expect![[r#"
        RUN                         STATUS   STARTED              ENDED                ENDPOINT
        01M8ABCDEFGHJKMNPQRSTVWXYZ  failed   2026-11-24 11:13:24  2026-11-24 11:13:25  https://app.example/checkout
        01M8                        running  2026-11-24 11:13:23  -                    https://app.example/\u{1b}[31m
    "#]]
    .assert_eq(&said.out);
    let asked = engine.asked();
    assert_eq!(asked.what, "GET /v1/runs?limit=2&status=failed&endpoint=a%26b");
    assert_eq!(asked.authorization, None);
}

#[tokio::test]
async fn no_runs_are_said_to_be_none() {
    let engine = Fake::new(200, r#"{"data":[],"next":null}"#).await;
    let said = Place::new().with("ONWARD_URL", &engine.url).run(&["runs", "list", "--before", RUN]).await;
    assert_eq!((said.code, said.out.as_str(), said.err.as_str()), (0, "", "no runs\n"));
    assert_eq!(engine.asked().what, format!("GET /v1/runs?limit=20&before={RUN}"));
}

#[tokio::test]
async fn a_script_gets_the_answer_as_it_is() {
    let engine = Fake::new(200, r#"{"data":[],"next":null}"#).await;
    let said = Place::new().run(&["runs", "list", "--json", "--url", &engine.url]).await;
    assert_eq!(said.json(), json!({ "data": [], "next": null }));
}

#[tokio::test]
async fn a_run_is_shown_with_its_steps_and_output() {
    let run = json!({ "data": {
        "run_id": RUN, "endpoint": "https://app.example/checkout", "status": "completed",
        "run_started_at": "2026-11-24T11:13:24.123Z", "ended_at": "2026-11-24T11:13:25Z",
        "output": { "paid": true },
        "steps": [
            { "id": "charge", "kind": "run", "status": "completed", "attempts": 2, "due_at": null, "error": null },
            { "id": "pause", "kind": "sleep", "status": "waiting", "attempts": 0,
              "due_at": "2026-11-25T00:00:00Z", "error": { "name": "Error", "message": "no\nmoney" } },
        ],
    } });
    let engine = Fake::new(200, &run.to_string()).await;
    let place = Place::new().with("ONWARD_SIGNING_KEY", "signkey-prod-abab,cdcd");
    let said = place.run(&["runs", "show", RUN, "--url", &engine.url]).await;
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    expect![[r#"
        run       01M8ABCDEFGHJKMNPQRSTVWXYZ
        endpoint  https://app.example/checkout
        status    completed
        started   2026-11-24 11:13:24
        ended     2026-11-24 11:13:25

        STEP    KIND   STATUS     ATTEMPTS  DUE                  ERROR
        charge  run    completed  2         -                    -
        pause   sleep  waiting    0         2026-11-25 00:00:00  no\nmoney

        output
          {
            "paid": true
          }
    "#]]
    .assert_eq(&said.out);
    let asked = engine.asked();
    assert_eq!(asked.what, format!("GET /v1/runs/{RUN}"));
    assert_eq!(asked.authorization.as_deref(), Some("Bearer signkey-prod-abab"));
}

#[tokio::test]
async fn a_run_is_cancelled_and_retried() {
    for (command, what, words) in [
        ("cancel", format!("DELETE /v1/runs/{RUN}"), format!("cancelled {RUN}\n")),
        ("retry", format!("POST /v1/runs/{RUN}/retry"), format!("{RUN} is retried\n")),
    ] {
        let engine = Fake::new(204, "").await;
        // The engine may be below a path.
        let url = format!("{}/onward/", engine.url);
        let said = Place::new().run(&["runs", command, RUN, "--url", &url, "--signing-key", "abab"]).await;
        assert_eq!((said.code, said.out), (0, words), "{}", said.err);
        let asked = engine.asked();
        assert_eq!(asked.what.replace("/onward", ""), what);
        assert_eq!(asked.authorization.as_deref(), Some("Bearer abab"));
    }
}

#[tokio::test]
async fn an_id_never_leaves_its_place_in_the_address() {
    let engine = Fake::new(404, r#"{"error":"no such run","status":404}"#).await;
    let said = Place::new().run(&["runs", "show", "../events?x", "--url", &engine.url]).await;
    assert_eq!((said.code, said.err.as_str()), (1, "onward: the engine refused (404): no such run\n"));
    assert_eq!(engine.asked().what, "GET /v1/runs/..%2Fevents%3Fx");
}

#[tokio::test]
async fn a_refusal_says_what_to_do() {
    let engine = Fake::new(401, r#"{"error":"not authorized","status":401}"#).await;
    let said = Place::new().run(&["runs", "list", "--url", &engine.url]).await;
    assert_eq!(said.code, 1);
    assert!(said.err.contains("not authorized; give the engine's signing key with --signing-key"), "{}", said.err);
    let other = Fake::new(200, "<html>").await;
    let said = Place::new().run(&["runs", "list", "--url", &other.url]).await;
    assert_eq!(said.code, 1);
    assert!(said.err.contains("is not of an engine; check --url"), "{}", said.err);
}

#[tokio::test]
async fn an_engine_that_is_not_there_is_missed_by_name() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let said = Place::new().run(&["runs", "list", "--url", &url]).await;
    assert_eq!(said.code, 1);
    assert!(said.err.contains(&url) && said.err.contains("is it running?"), "{}", said.err);
    let said = Place::new().with("ONWARD_URL", "localhost").run(&["runs", "list"]).await;
    assert_eq!(said.code, 2);
    assert!(said.err.contains("variable ONWARD_URL: \"localhost\" is not a URL"), "{}", said.err);
}

/// A store with a run of an app that uses the library: its step `charge` failed it.
async fn store(path: &std::path::Path) -> SqliteStore {
    let store = SqliteStore::open(path, onward_sqlite::Options::new()).unwrap();
    let node = store.join(Timestamp::EPOCH, Duration::from_secs(10)).await.unwrap();
    let run_id: RunId = RUN.parse().unwrap();
    let lease = Lease { run_id, fence: Fence::FIRST, node };
    let error = Payload::from(r#"{"kind":"User","message":"no money"}"#);
    let failed = Entry {
        seq: Seq(0),
        at: Timestamp::EPOCH,
        step: StepId::try_new("charge", 0).unwrap(),
        kind: StepKind::Run,
        change: Change::Failed { attempt: Attempt::FIRST, error },
    };
    let mut checkpoint = Checkpoint::new(lease, Timestamp::EPOCH);
    checkpoint.start = Some(NewRun {
        run_id,
        endpoint: EndpointId::try_new("POST /checkout").unwrap(),
        version: None,
        pinned: false,
        created_at: Timestamp::EPOCH,
        request: Payload::default(),
        timeout_at: None,
        retention: Duration::from_secs(3600),
        key: None,
        parent: None,
    });
    checkpoint.entries = vec![failed];
    let error = Payload::from(r#"{"kind":"User","message":"no money","step":"charge"}"#);
    checkpoint.then = Then::Finish(Outcome { status: Status::Failed, response: Payload::default(), error });
    store.checkpoint(checkpoint).await.unwrap();
    store
}

#[tokio::test]
async fn a_store_is_looked_into_and_steered_without_its_app() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.db");
    let app = store(&path).await;
    let url = format!("sqlite:{}", path.display());
    let run = async |args: &[&str]| Place::new().run(&[&["runs"], args, &["--store", &url]].concat()).await;
    let refused = run(&["list"]).await;
    assert!(refused.code == 1 && refused.err.contains("in use by another process: only one"), "{}", refused.err);
    app.close().await;

    let listed = run(&["list", "--status", "failed"]).await;
    assert!(listed.code == 0 && listed.out.contains("POST /checkout"), "{listed:?}");
    let shown = run(&["show", RUN]).await;
    assert!(shown.out.contains("charge") && shown.out.contains("no money"), "{}", shown.out);
    assert_eq!(run(&["retry", RUN]).await.out, format!("{RUN} is retried\n"));
    let retried = run(&["show", RUN, "--json"]).await.json();
    let (run_status, step_status) = (&retried["data"]["status"], &retried["data"]["steps"][0]["status"]);
    assert_eq!((run_status, step_status), (&json!("Running"), &json!("reset")), "from the step that failed it");
    assert_eq!(run(&["cancel", RUN]).await.code, 0);
    assert_eq!(run(&["show", RUN, "--json"]).await.json()["data"]["status"], "Cancelled");
    let again = run(&["cancel", RUN]).await;
    assert!(again.code == 1 && again.err.contains("Cancelled"), "{again:?}");

    let missing = Place::new().run(&["runs", "list", "--store", "sqlite:missing.db"]).await;
    assert!(missing.code == 1 && missing.err.contains("there is no file missing.db"), "{missing:?}");
}

/// The app's release could not open its store any more if a newer `onward` brought the schema to its own version.
#[tokio::test]
async fn a_store_of_another_release_is_refused_and_its_schema_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.db");
    store(&path).await.close().await;
    let version = || -> i64 {
        let conn = Connection::open(&path).unwrap();
        conn.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap()
    };
    let own = version();
    for other in [own - 1, own + 1] {
        Connection::open(&path).unwrap().pragma_update(None, "user_version", other).unwrap();
        let said = Place::new().run(&["runs", "list", "--store", &format!("sqlite:{}", path.display())]).await;
        assert_eq!((said.code, version()), (1, other), "{said:?}");
        let why = format!("has schema {other}");
        assert!(said.err.contains(&why) && said.err.contains("use the `onward` of the app's release"), "{said:?}");
    }

    let database = TestDatabase::create();
    let said = Place::new().run(&["runs", "list", "--store", database.url()]).await;
    assert!(said.code == 1 && said.err.contains("there is no store of Onward in the database"), "{said:?}");
    let tables = "SELECT count(*) FROM information_schema.tables WHERE table_name LIKE 'onward%'";
    assert_eq!(database.query(tables).trim(), "0");
}
