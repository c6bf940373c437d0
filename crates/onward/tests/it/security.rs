//! P9: what users wrote never leaks, and tokens open one run.

use axum::{
    Router,
    body::Body,
    routing::{get, post},
};
use http::Request;
use onward::{Cors, Onward, Step, StepError};
use onward_testing::{ManualClock, MemoryStore};
use std::{sync::Arc, time::Duration};

use crate::support::{App, Log, location, run_id, text};

async fn nap(step: Step) -> Result<&'static str, StepError> {
    step.run("card", async || Ok::<_, StepError>("4242424242424242".to_owned())).await?;
    step.sleep("nap", "2h").await?;
    Ok("response 31337")
}

#[tokio::test]
async fn a_token_opens_its_run_alone_and_nobody_learns_whether_a_run_exists() {
    let app = App::new(|onward| onward.route("/", get(nap))).await;
    let (one, two) = (app.get("/").await, app.get("/").await);
    let token = |response| location(response).split_once("token=").unwrap().1.to_owned();
    let mut answers = Vec::new();
    for uri in [
        format!("/wait?runId={}&token={}", run_id(&one), token(&two)),
        format!("/wait?runId={}&token=x", run_id(&one)),
        format!("/wait?runId=01ARZ3NDEKTSV4RRFFQ69G5FAV&token={}", token(&one)),
        format!("/wait?runId=nonsense&token={}", token(&one)),
    ] {
        let answer = app.get(&uri).await;
        answers.push((answer.status().as_u16(), text(&answer).to_owned()));
    }
    assert!(answers.iter().all(|answer| *answer == answers[0] && answer.0 == 401), "{answers:?}");
    assert_eq!(app.get("/wait").await.status(), 400);
    app.clock.advance(Duration::from_secs(8 * 24 * 3600));
    assert_eq!(app.get(&location(&one)).await.status(), 401);
}

#[tokio::test]
async fn tokens_survive_the_rotation_of_their_key_until_it_is_removed() {
    let (store, clock) = (Arc::new(MemoryStore::new()), ManualClock::new());
    let open = |builder| App::on(store.clone(), clock.clone(), builder, |onward: &Onward| onward.route("/", get(nap)));
    let old = open(Onward::builder().token_key(1, [1; 32])).await;
    let location = location(&old.get("/").await);
    old.onward.shutdown().await.unwrap();
    let both = open(Onward::builder().token_key(2, [2; 32]).token_key(1, [1; 32])).await;
    assert_eq!(text(&both.while_time_goes_on(both.get(&location)).await), "response 31337");
    let new = open(Onward::builder().token_key(2, [2; 32])).await;
    assert_eq!(new.get(&location).await.status(), 401);
}

#[tokio::test]
async fn the_key_that_is_kept_in_the_store_goes_on_verifying_until_it_is_to_be_forgotten() {
    let (store, clock) = (Arc::new(MemoryStore::new()), ManualClock::new());
    let open = |builder| App::on(store.clone(), clock.clone(), builder, |onward: &Onward| onward.route("/", get(nap)));
    let kept = open(Onward::builder()).await;
    let location = location(&kept.get("/").await);
    kept.onward.shutdown().await.unwrap();
    let own = open(Onward::builder().token_key(1, [1; 32])).await;
    assert_eq!(text(&own.while_time_goes_on(own.get(&location)).await), "response 31337");
    let forgets = open(Onward::builder().token_key(1, [1; 32]).forget_kept_token_key()).await;
    assert_eq!(forgets.get(&location).await.status(), 401);
    for wrong in [Onward::builder().forget_kept_token_key(), Onward::builder().token_key(0, [1; 32])] {
        assert!(wrong.open("memory:").await.unwrap_err().to_string().contains("token_key"));
    }
}

#[tokio::test]
async fn what_is_encrypted_is_not_in_the_store_and_survives_rotation() {
    let (store, clock) = (Arc::new(MemoryStore::new()), ManualClock::new());
    let open = |builder| App::on(store.clone(), clock.clone(), builder, |onward: &Onward| onward.route("/", get(nap)));
    let app = open(Onward::builder().encryption_key(1, [1; 32])).await;
    let first = app.get("/?secret=query31337").await;
    app.onward.shutdown().await.unwrap();
    let rotated = open(Onward::builder().encryption_key(2, [2; 32]).encryption_key(1, [1; 32])).await;
    assert_eq!(text(&rotated.follow(first).await), "response 31337");
    let mut seen = 0;
    for loaded in store.all() {
        let outcome = loaded.record.outcome.as_ref().unwrap();
        let mut stored = vec![loaded.record.request.clone(), outcome.response.clone()];
        stored.extend(loaded.journal.iter().filter_map(|entry| match &entry.change {
            onward_core::journal::Change::Succeeded { output, .. } => Some(output.clone()),
            _ => None,
        }));
        for payload in stored {
            let text = String::from_utf8_lossy(payload.as_ref()).into_owned();
            assert!(!text.contains("31337") && !text.contains("4242"), "{text}");
            seen += 1;
        }
    }
    assert!(seen >= 3);
}

/// Who can write to the store and has no key gives no run a request, an output, or a key for tokens.
#[tokio::test]
async fn an_app_that_requires_encryption_goes_on_with_nothing_that_is_not() {
    let (store, clock) = (Arc::new(MemoryStore::new()), ManualClock::new());
    let open = |builder| App::on(store.clone(), clock.clone(), builder, |onward: &Onward| onward.route("/", get(nap)));
    let before = open(Onward::builder().parked_max(0)).await;
    let first = before.get("/").await;
    before.onward.shutdown().await.unwrap();

    let strict = || Onward::builder().encryption_key(1, [1; 32]).require_encryption().parked_max(0);
    let refused = strict().clock(Arc::new(clock.clone())).store(store.clone()).await.unwrap_err();
    assert!(with_causes(&refused).contains("forget_kept_token_key"), "{refused:?}");
    let own = || strict().token_key(1, [2; 32]).forget_kept_token_key();
    let log = Log::default();
    let listens = log.listen();
    let app = open(own()).await;
    app.advance(Duration::from_secs(3 * 3600)).await;
    assert!(log.text().contains("require_encryption"), "{}", log.text());
    drop(listens);
    assert!(store.all().iter().all(|run| run.record.outcome.is_none()), "it did not go on");
    assert_eq!(text(&app.outcome("/").await), "response 31337", "its own runs do");
    app.onward.shutdown().await.unwrap();

    let lenient = open(Onward::builder().encryption_key(1, [1; 32])).await;
    assert_eq!(text(&lenient.follow(first).await), "response 31337");
    let needs_key = Onward::builder().require_encryption().open("memory:").await.unwrap_err();
    assert!(needs_key.to_string().contains("require_encryption needs an encryption_key"), "{needs_key}");
}

/// An error with its causes.
fn with_causes(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[tokio::test]
async fn nothing_of_what_users_wrote_is_in_the_file_of_an_app_that_encrypts() {
    const SECRET: &str = "31337";
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("onward.db");
    let child = async |step: Step, body: String| step.run("echo", async || Ok::<_, StepError>(body.clone())).await;
    let fails = async |step: Step| step.run("broken", async || Err::<String, _>(StepError::fail(SECRET))).await;
    let handler = async |step: Step, body: String| {
        let request = Request::post("/child").body(bytes::Bytes::from(body)).unwrap();
        let answer = step.invoke("call", "POST /child", request).await?;
        step.transaction("own", |_| Ok::<_, StepError>(SECRET.to_owned())).await?;
        let broken = step.run("broken", async || Err::<(), _>(StepError::fail(SECRET))).await;
        step.stream().push(&SECRET);
        step.run("streams", async || {
            step.stream().push(&SECRET);
            Ok::<_, StepError>(())
        })
        .await?;
        let waits = step.wait_for_event::<u32>("wait", "go").when("async.data == 7 && event.data.open == 'yes'");
        let came = waits.timeout("1h").await?;
        let whole = step.wait_for_event::<u32>("whole", "go").when("event.data == async.data").await.is_err();
        let response = String::from_utf8_lossy(answer.body()).into_owned();
        Ok::<_, StepError>(format!("{response} {} {} {whole}", broken.is_err(), came.is_some()))
    };
    let clock = ManualClock::new();
    let builder = Onward::builder().clock(Arc::new(clock.clone())).encryption_key(1, [9; 32]).parked_max(0);
    let onward = builder.open(&format!("sqlite:{}", path.display())).await.unwrap();
    let router = onward.route("/", post(handler)).merge(onward.route("/child", post(child)));
    let router = router.merge(onward.route("/fails", post(fails)));
    let router = router.route("/wait", onward.proxy()).with_state(());
    onward.start().await.unwrap();
    let app = App { onward, clock, router };
    assert_eq!(app.send(Request::post("/fails").body(Body::empty()).unwrap()).await.status(), 500);
    let body = Body::from(format!(r#"{{"card": "{SECRET}", "open": "yes"}}"#));
    let first = app.send(Request::post(format!("/?q={SECRET}")).body(body).unwrap()).await;
    let detail = async || app.onward.runs().get(run_id(&first)).await.unwrap().unwrap();
    while !detail().await.steps.iter().any(|step| step.id == "wait") {
        tokio::task::yield_now().await;
    }
    app.onward.send_event("go", &7).await.unwrap();
    let last = app.get(&location(&first)).await;
    assert_eq!(text(&last), format!(r#"{{"card": "{SECRET}", "open": "yes"}} true true true"#));
    app.onward.shutdown().await.unwrap();
    let mut files = 0;
    for file in std::fs::read_dir(dir.path()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        assert!(!bytes.windows(SECRET.len()).any(|part| part == SECRET.as_bytes()), "it is in the file");
        files += usize::from(!bytes.is_empty());
    }
    assert!(files >= 1);
}

#[tokio::test]
async fn logs_show_no_payload_and_no_token() {
    let log = Log::default();
    let _listens = log.listen();
    let handler = async |step: Step, body: String| {
        step.run("card", async || Ok::<_, StepError>("4242424242424242".to_owned())).await?;
        step.sleep("nap", "2h").await?;
        step.run("fails", async || Err::<String, _>(StepError::fail(format!("hunter2 {body}")))).await
    };
    let panics = async |step: Step| -> &'static str {
        let secret = step.run("one", async || Ok::<_, StepError>("hunter2".to_owned())).await.unwrap();
        panic!("{secret}")
    };
    let app = App::new(|onward| {
        onward.route("/", post(handler)).merge(onward.endpoint().retries(0).route("/panics", get(panics)))
    })
    .await;
    let first = app.send(Request::post("/").body(Body::from("body31337")).unwrap()).await;
    let token = location(&first).split_once("token=").unwrap().1.to_owned();
    assert_eq!(app.follow(first).await.status(), 500);
    assert_eq!(app.get("/panics").await.status(), 500);
    app.onward.send_event("go", &"body31337").await.unwrap();
    let shown = log.text();
    assert!(shown.contains("run resumes"), "the log was read: {shown}");
    for secret in ["4242", "hunter2", "body31337", &token] {
        assert!(!shown.contains(secret), "{secret} is in the log:\n{shown}");
    }
}

#[tokio::test]
async fn debug_shows_no_payload_token_or_key() {
    let builder = Onward::builder().token_key(1, [77; 32]).encryption_key(1, [78; 32]);
    let shown = format!("{builder:?}");
    assert!(!shown.contains("77, 77") && !shown.contains("78, 78"), "{shown}");
    let app = App::new(|onward| onward.route("/", get(nap))).await;
    let first = app.get("/?secret=31337").await;
    let detail = app.onward.runs().get(run_id(&first)).await.unwrap().unwrap();
    let shown = format!("{:?} {detail:?}", app.onward);
    assert!(!shown.contains("31337") && !shown.contains("4242"), "{shown}");
}

#[tokio::test]
async fn cross_origin_rules_of_the_waiting_route_are_the_apps() {
    let app = App::new(|onward| {
        Router::new()
            .merge(onward.route("/", get(nap)))
            .route("/strict", onward.proxy_with(Cors::origins(["https://a.example"]).credentials(true)))
            .route("/off", onward.proxy_with(Cors::off()))
    })
    .await;
    let preflight = |uri: &str, origin: &str| {
        let request = Request::options(uri).header("origin", origin).header("access-control-request-method", "GET");
        app.send(request.body(Body::empty()).unwrap())
    };
    let open = preflight("/wait", "https://x.example").await;
    assert_eq!((open.status().as_u16(), open.headers()["access-control-allow-origin"].to_str().unwrap()), (204, "*"));
    let allowed = preflight("/strict", "https://a.example").await;
    assert_eq!(allowed.headers()["access-control-allow-origin"], "https://a.example");
    assert_eq!(allowed.headers()["access-control-allow-credentials"], "true");
    for (uri, origin) in [("/strict", "https://b.example"), ("/off", "https://a.example")] {
        assert!(!preflight(uri, origin).await.headers().contains_key("access-control-allow-origin"));
    }
    let refused = app.send(Request::post("/wait").body(Body::empty()).unwrap()).await;
    assert_eq!((refused.status().as_u16(), &refused.headers()["allow"]), (405, &"GET, HEAD, OPTIONS".parse().unwrap()));
    // The answers themselves may be read, too, with what they say where to go.
    let wait = location(&app.get("/").await);
    let asked = |uri: String| {
        app.send(
            Request::get(uri)
                .header("origin", "https://a.example")
                .header("prefer", "wait=0")
                .body(Body::empty())
                .unwrap(),
        )
    };
    let open = asked(wait.clone()).await;
    assert_eq!((open.status().as_u16(), &open.headers()["access-control-allow-origin"]), (202, &"*".parse().unwrap()));
    let strict = asked(wait.replace("/wait", "/strict")).await;
    assert_eq!(strict.headers()["access-control-allow-origin"], "https://a.example");
    let exposed = strict.headers()["access-control-expose-headers"].to_str().unwrap();
    assert!(exposed.contains("location") && exposed.contains("retry-after"), "{exposed}");
}

#[tokio::test]
async fn a_step_argument_on_a_route_that_is_not_durable_is_a_clear_error() {
    let app = App::new(|_| Router::new().route("/bare", get(async |_: Step| "x"))).await;
    let response = app.get("/bare").await;
    assert_eq!(response.status(), 500);
    assert!(text(&response).contains("not-durable"));
}
