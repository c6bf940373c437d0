//! Versions of handlers: kept with runs, shown, and deployed beside one another.

use std::{path::Path, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::Path as Param,
    routing::{get, post},
};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use onward::{Onward, Options, RunQuery, Step, StepError};
use onward_testing::{ManualClock, MemoryStore};

use crate::support::{App, location, run_id, text};

/// A handler of some version: it says which one began a run, and which one ended it.
async fn nap(step: Step, place: u32, version: &'static str) -> Result<String, StepError> {
    let begun = step.run("begin", async || Ok::<_, StepError>(version.to_owned())).await?;
    step.sleep("nap", "2h").await?;
    Ok(format!("{place}: begun by {begun}, ended by {version}"))
}

/// Both endpoints in some versions, the newest last: that one has the path by which clients ask.
fn routes(onward: &Onward, versions: &[&'static str]) -> Router {
    let mut router = Router::new();
    for (place, version) in versions.iter().copied().enumerate() {
        let handler = async move |Param(place): Param<u32>, step: Step| nap(step, place, version).await;
        let prefix = if place + 1 == versions.len() { String::new() } else { format!("/old/{version}") };
        let endpoint = |id: &str| onward.endpoint().id(id).version(version);
        router = router
            .merge(endpoint("loose").route(&format!("{prefix}/loose/{{place}}"), get(handler)))
            .merge(endpoint("careful").pin_version().route(&format!("{prefix}/careful/{{place}}"), get(handler)));
    }
    router
}

async fn deploy(path: &Path, clock: &ManualClock, versions: &[&'static str]) -> App {
    let url = format!("sqlite:{}", path.display());
    let onward = Onward::builder().clock(Arc::new(clock.clone())).open(&url).await.unwrap();
    let router = routes(&onward, versions).route("/wait", onward.proxy()).with_state(());
    onward.start().await.unwrap();
    App { onward, clock: clock.clone(), router }
}

async fn on_memory(store: &MemoryStore, clock: &ManualClock, versions: &[&'static str]) -> App {
    App::on(Arc::new(store.clone()), clock.clone(), Onward::builder(), |onward| routes(onward, versions)).await
}

/// What an app knows of the run that a client was sent to: its status, and its version with its pin.
async fn known(app: &App, first: &Response<Bytes>) -> (&'static str, Option<String>, bool) {
    let run = app.onward.runs().get(run_id(first)).await.unwrap().unwrap().summary;
    (run.status, run.version, run.pinned)
}

#[tokio::test]
async fn a_rolling_deploy_takes_over_what_is_not_pinned_and_leaves_the_rest_to_its_version() {
    let dir = tempfile::tempdir().unwrap();
    let (path, clock) = (dir.path().join("onward.db"), ManualClock::new());
    let app = deploy(&path, &clock, &["1"]).await;
    let (loose, careful) = (app.get("/loose/7").await, app.get("/careful/8").await);
    app.onward.shutdown().await.unwrap();
    drop(app);
    clock.advance(Duration::from_secs(3 * 3600));

    let app = deploy(&path, &clock, &["2"]).await;
    assert_eq!(text(&app.get(&location(&loose)).await), "7: begun by 1, ended by 2");
    app.settle().await;
    let one = Some("1".to_owned());
    assert_eq!(known(&app, &loose).await, ("completed", one.clone(), false));
    assert_eq!(known(&app, &careful).await, ("suspended", one.clone(), true));
    let other = app.get("/careful/9").await;
    let (_, version, pinned) = known(&app, &other).await;
    assert_eq!((version.as_deref(), pinned), (Some("2"), true));
    app.onward.shutdown().await.unwrap();
    drop(app);
    clock.advance(Duration::from_secs(3 * 3600));

    let app = deploy(&path, &clock, &["1", "2"]).await;
    assert_eq!(text(&app.get(&location(&careful)).await), "8: begun by 1, ended by 1");
    assert_eq!(text(&app.get(&location(&other)).await), "9: begun by 2, ended by 2");
    assert_eq!(known(&app, &careful).await, ("completed", one, true));
    app.onward.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_run_goes_on_with_its_own_version_where_that_is_served_and_else_with_the_newest() {
    let (store, clock) = (MemoryStore::new(), ManualClock::new());
    let app = on_memory(&store, &clock, &["2"]).await;
    let first = app.get("/loose/1").await;
    app.onward.shutdown().await.unwrap();
    for (versions, ended_by) in [(&["3", "2", "1"][..], "2"), (&["3", "1"], "1"), (&["1", "3"], "3")] {
        let store = store.snapshot();
        let app = on_memory(&store, &clock, versions).await;
        let outcome = app.while_time_goes_on(app.get(&location(&first))).await;
        assert_eq!(text(&outcome), format!("1: begun by 2, ended by {ended_by}"), "where {versions:?} are served");
        app.onward.shutdown().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_pinned_run_whose_version_nobody_serves_ends_with_its_timeout_and_tells_who_waits() {
    let (store, clock) = (MemoryStore::new(), ManualClock::new());
    let handler = async |step: Step| nap(step, 1, "any").await;
    let routes = |version: &'static str| {
        move |onward: &Onward| {
            let endpoint = |id| onward.endpoint().id(id).version(version).pin_version().timeout("3h");
            let removed =
                if version == "1" { endpoint("removed").route("/removed", get(handler)) } else { Router::new() };
            endpoint("careful").route("/careful", get(handler)).merge(removed)
        }
    };
    let deploy =
        async |version| App::on(Arc::new(store.clone()), clock.clone(), Onward::builder(), routes(version)).await;
    let app = deploy("1").await;
    let runs = [app.get("/careful").await, app.get("/removed").await];
    app.onward.shutdown().await.unwrap();

    let app = deploy("2").await;
    clock.advance(Duration::from_secs(3 * 3600 - 1));
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert_eq!(known(&app, &runs[0]).await.0, "suspended");
    clock.advance(Duration::from_secs(61)); // after the time that others are given
    tokio::time::sleep(Duration::from_secs(61)).await;
    for run in &runs {
        let told = app.get(&location(run)).await;
        assert_eq!((told.status(), known(&app, run).await.0), (StatusCode::GATEWAY_TIMEOUT, "failed"));
        assert!(text(&told).contains("run-timed-out"), "{}", text(&told));
    }
    app.onward.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_run_of_before_there_were_versions_goes_on_with_the_newest() {
    let (store, clock) = (MemoryStore::new(), ManualClock::new());
    let handler = async |Param(place): Param<u32>, step: Step| nap(step, place, "0").await;
    let app = App::on(Arc::new(store.clone()), clock.clone(), Onward::builder(), |onward| {
        onward.endpoint().id("careful").route("/careful/{place}", get(handler))
    })
    .await;
    let first = app.get("/careful/1").await;
    let (_, version, pinned) = known(&app, &first).await;
    assert_eq!((version, pinned), (None, false));
    app.onward.shutdown().await.unwrap();
    let app = on_memory(&store, &clock, &["1", "2"]).await;
    let outcome = app.while_time_goes_on(app.get(&location(&first))).await;
    assert_eq!(text(&outcome), "1: begun by 0, ended by 2");
}

#[tokio::test]
async fn an_invoked_run_has_the_version_of_its_own_endpoint() {
    let app = App::new(|onward| {
        let parent = async |step: Step| {
            let answer = step.invoke("call", "careful", Request::get("/careful/5").body(Bytes::new()).unwrap()).await?;
            Ok::<_, StepError>(String::from_utf8_lossy(answer.body()).into_owned())
        };
        let defaults = Options::default().version("app-9");
        routes(onward, &["1", "2"]).merge(onward.endpoint().options(defaults).route("/parent", post(parent)))
    })
    .await;
    let first = app.send(Request::post("/parent").body(axum::body::Body::empty()).unwrap()).await;
    app.settle().await;
    let runs = app.onward.runs().list(RunQuery::new().endpoint("careful")).await.unwrap().runs;
    assert_eq!((runs.len(), runs[0].version.as_deref(), runs[0].pinned), (1, Some("2"), true));
    assert_eq!(known(&app, &first).await.1.as_deref(), Some("app-9"));
    let outcome = app.follow(first).await;
    assert!(text(&outcome).ends_with("begun by 2, ended by 2"), "{}", text(&outcome));
}

#[tokio::test]
async fn the_run_api_tells_the_version_of_a_run_that_has_one() {
    let app = App::new(|onward| {
        routes(onward, &["1"]).merge(onward.route("/{place}", get(async |step: Step| nap(step, 0, "none").await)))
    })
    .await;
    let shown = async |path: &str| {
        let first = app.get(path).await;
        let uri = http::Uri::from_static("/");
        let path = format!("/{}", run_id(&first));
        let answer = app.onward.answer_runs(&http::Method::GET, &path, &uri).await;
        assert_eq!(answer.status(), StatusCode::OK);
        let run: serde_json::Value = serde_json::from_slice(answer.body()).unwrap();
        (run["version"].clone(), run["pinned"].clone())
    };
    assert_eq!(shown("/careful/1").await, ("1".into(), true.into()));
    assert_eq!(shown("/loose/1").await, ("1".into(), serde_json::Value::Null));
    assert_eq!(shown("/7").await, (serde_json::Value::Null, serde_json::Value::Null));
}

#[tokio::test]
async fn an_endpoint_is_served_once_a_version_and_pinned_to_one_that_it_has() {
    let complaint = async |mount: &dyn Fn(&Onward) -> Vec<Router>| {
        let onward = Onward::open("memory:").await.unwrap();
        let _mounted = mount(&onward);
        let started = onward.start().await;
        onward.shutdown().await.unwrap();
        started.err().map(|error| error.to_string()).unwrap_or_default()
    };
    let handler = || get(async |step: Step| nap(step, 0, "").await);
    let twice = complaint(&|onward| {
        let endpoint = || onward.endpoint().id("nap").version("1");
        vec![endpoint().route("/a", handler()), endpoint().route("/b", handler())]
    })
    .await;
    assert!(twice.contains(r#"the id "nap" and the version "1""#), "{twice}");
    let differ = complaint(&|onward| {
        let endpoint = || onward.endpoint().id("nap");
        vec![endpoint().route("/a", handler()), endpoint().version("1").route("/b", handler())]
    })
    .await;
    assert_eq!(differ, "");
    let blank = complaint(&|onward| vec![onward.endpoint().version("two words").route("/", handler())]).await;
    assert!(blank.contains("\"two words\"") && blank.contains("visible"), "{blank}");
    let unversioned = complaint(&|onward| vec![onward.endpoint().pin_version().route("/", handler())]).await;
    assert!(unversioned.contains("pin_version needs a version"), "{unversioned}");
}
