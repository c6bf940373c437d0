//! Values that an endpoint carries to its replays: a value that was kept is restored, or the run waits.

use std::time::Duration;

use axum::{Extension, Router, body::Body, routing::get};
use http::Request;
use onward::{EndpointBuilder, Onward, RunId, Step, StepError};
use onward_testing::{ManualClock, MemoryStore};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::support::{App, Log, run_id, text};

/// The user as an old release kept it.
#[derive(Clone, Serialize, Deserialize)]
struct User(String);

/// The same after a rename of the type.
#[derive(Clone, Serialize, Deserialize)]
struct Account(String);

/// Another type, which does not read what the old release kept.
#[derive(Clone, Serialize, Deserialize)]
struct Number(u32);

/// Two apps on one store, one after the other: two deploys of one service.
struct Deploys {
    store: std::sync::Arc<MemoryStore>,
    clock: ManualClock,
}

impl Deploys {
    fn new() -> Self {
        Self { store: std::sync::Arc::new(MemoryStore::new()), clock: ManualClock::new() }
    }

    /// Deploys a handler that naps and then answers, whether or not its request has an `A`.
    async fn deploy<A>(&self, value: A, carry: impl FnOnce(EndpointBuilder) -> EndpointBuilder) -> App
    where
        A: Clone + Send + Sync + 'static + Serialize + DeserializeOwned,
    {
        let handler = async |value: Option<Extension<A>>, step: Step| {
            step.sleep("nap", "1h").await?;
            let value = value.map(|Extension(value)| serde_json::to_string(&value).unwrap());
            Ok::<_, StepError>(format!("{value:?}"))
        };
        let routes =
            |onward: &Onward| -> Router { carry(onward.endpoint()).route("/", get(handler)).layer(Extension(value)) };
        App::on(self.store.clone(), self.clock.clone(), Onward::builder().parked_max(0), routes).await
    }
}

/// Why a run is blocked, if it is: the name of the value, and the reason in words.
async fn blocked(app: &App, id: RunId) -> Option<(String, String)> {
    let detail = app.onward.runs().get(id).await.unwrap().unwrap();
    detail.blocked.map(|blocked| (blocked.step, blocked.why))
}

#[tokio::test]
async fn a_renamed_type_is_restored_under_its_name() {
    let deploys = Deploys::new();
    let old = deploys.deploy(User("ada".to_owned()), |endpoint| endpoint.carry::<User>("user")).await;
    let first = old.get("/").await;
    old.onward.shutdown().await.unwrap();
    let new = deploys.deploy(Account("bob".to_owned()), |endpoint| endpoint.carry::<Account>("user")).await;
    assert_eq!(text(&new.follow(first).await), r#"Some("\"ada\"")"#);
}

#[tokio::test]
async fn a_kept_value_that_is_no_longer_carried_blocks_the_run_until_it_is_carried_or_retired() {
    for retired in [false, true] {
        let deploys = Deploys::new();
        let old = deploys.deploy(User("ada".to_owned()), |endpoint| endpoint.carry::<User>("user")).await;
        let first = old.get("/").await;
        old.onward.shutdown().await.unwrap();

        let log = Log::default();
        let listens = log.listen();
        let wrong = deploys.deploy(User("bob".to_owned()), |endpoint| endpoint).await;
        wrong.advance(Duration::from_secs(4000)).await;
        let (name, why) = blocked(&wrong, run_id(&first)).await.expect("it is blocked, and has not ended");
        assert_eq!((name.as_str(), why.contains("does not carry")), ("user", true), "{why}");
        assert_eq!(wrong.onward.load().blocked, 1);
        assert!(log.text().contains("carry_retired"), "{}", log.text());
        drop(listens);
        wrong.onward.shutdown().await.unwrap();

        let mended = deploys.deploy(User("bob".to_owned()), |endpoint| {
            if retired { endpoint.carry_retired("user") } else { endpoint.carry::<User>("user") }
        });
        let last = if retired { "None" } else { r#"Some("\"ada\"")"# };
        assert_eq!(text(&mended.await.follow(first).await), last, "retired: {retired}");
    }
}

#[tokio::test]
async fn a_kept_value_of_another_type_blocks_the_run() {
    let deploys = Deploys::new();
    let old = deploys.deploy(User("ada".to_owned()), |endpoint| endpoint.carry::<User>("user")).await;
    let first = old.get("/").await;
    old.onward.shutdown().await.unwrap();
    let wrong = deploys.deploy(Number(7), |endpoint| endpoint.carry::<Number>("user")).await;
    wrong.advance(Duration::from_secs(4000)).await;
    let (name, why) = blocked(&wrong, run_id(&first)).await.expect("it is blocked, and has not ended");
    assert_eq!((name.as_str(), why.contains("not of the type")), ("user", true), "{why}");
    wrong.onward.shutdown().await.unwrap();
    let mended = deploys.deploy(User("bob".to_owned()), |endpoint| endpoint.carry::<User>("user")).await;
    assert_eq!(text(&mended.follow(first).await), r#"Some("\"ada\"")"#);
}

#[tokio::test]
async fn a_name_given_twice_and_a_name_that_is_none_are_refused_when_the_app_starts() {
    let says = [
        (["user", "user"], "two values are carried as \"user\": give each a name of its own"),
        (["user", ""], "invalid name of a carried value: it is empty"),
    ];
    for ([one, two], says) in says {
        let onward = Onward::open("memory:").await.unwrap();
        let endpoint = onward.endpoint().carry::<User>(one).carry::<Number>(two);
        let routes: Router = endpoint.route("/", get(async |_: Step| "ran"));
        let error = onward.start().await.unwrap_err();
        assert!(error.is_config() && error.to_string().contains(says), "{error}");
        let request = Request::get("/").body(Body::empty()).unwrap();
        let refused = tower::ServiceExt::oneshot(routes, request).await.unwrap();
        let refused = http_body_util::BodyExt::collect(refused.into_body()).await.unwrap().to_bytes();
        assert!(String::from_utf8_lossy(&refused).contains("endpoint-misconfigured"), "{refused:?}");
        onward.shutdown().await.unwrap();
    }
}
