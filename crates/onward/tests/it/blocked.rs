//! Handlers that go another way than the one that their runs' journals tell: their runs wait, and lose nothing.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use axum::{
    Extension, Json, Router,
    body::Body,
    extract::FromRequestParts,
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use http::{Request, StatusCode, request::Parts};
use onward::{Onward, Options, RunId, Step, StepError};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::support::{App, Count, Log, run_id, text};

/// A switch outside of the run, which a test can flip between two executions.
#[derive(Clone, Default)]
struct Switch(Arc<AtomicBool>);

impl Switch {
    fn flip(&self) {
        self.0.store(true, SeqCst);
    }

    fn is_on(&self) -> bool {
        self.0.load(SeqCst)
    }
}

/// Charges, waits, and ships: a run that must never be "completed" half-way.
async fn pay(step: Step, charged: &Count, user: String) -> Result<String, StepError> {
    step.run("charge", async || Ok::<_, StepError>(charged.hit())).await?;
    step.sleep("settle", "1h").await?;
    step.run("ship", async || Ok::<_, StepError>(())).await?;
    Ok(format!("shipped to {user}"))
}

struct User(String);

impl<S: Send + Sync> FromRequestParts<S> for User {
    type Rejection = (StatusCode, &'static str);

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let token = parts.headers.get("authorization").ok_or((StatusCode::UNAUTHORIZED, "no token"))?;
        Ok(Self(token.to_str().unwrap().to_owned()))
    }
}

#[derive(Clone)]
struct Account(&'static str);

async fn replayed(routes: impl FnOnce(&Onward) -> Router) -> App {
    App::with(Onward::builder().parked_max(0), routes).await
}

/// Why a run is blocked, if it is.
async fn blocked(app: &App, id: RunId) -> Option<(String, &'static str)> {
    let detail = app.onward.runs().get(id).await.unwrap().unwrap();
    detail.blocked.map(|blocked| (blocked.step, detail.summary.status))
}

/// The request, and how its run is blocked at `step` when it is called again.
async fn blocks(app: &App, request: Request<Body>, step: &str) -> http::Response<bytes::Bytes> {
    let first = app.send(request).await;
    assert!(first.status().is_redirection(), "{first:?}");
    let before = app.onward.load().blocked;
    app.advance(Duration::from_secs(3700)).await;
    assert_eq!(blocked(app, run_id(&first)).await, Some((step.to_owned(), "suspended")));
    app.advance(Duration::from_secs(900)).await;
    assert_eq!(app.onward.load().blocked, before + 1, "it is counted, and logged, once");
    first
}

#[tokio::test]
async fn an_extractor_that_misses_a_header_blocks_the_run_until_the_handler_is_mended() {
    let (charged, mended) = (Count::default(), Switch::default());
    let (counts, is_mended) = (charged.clone(), mended.clone());
    let handler = async move |user: Result<User, (StatusCode, &'static str)>, step: Step| -> Response {
        let user = match user {
            Ok(User(user)) => user,
            Err(_) if is_mended.is_on() => "whoever".to_owned(),
            Err(refused) => return refused.into_response(),
        };
        pay(step, &counts, user).await.into_response()
    };
    let app = replayed(|onward| onward.route("/", get(handler))).await;
    let request = Request::get("/").header("authorization", "ada").body(Body::empty()).unwrap();
    let first = blocks(&app, request, "charge").await;
    mended.flip();
    let last = app.follow(first).await;
    assert_eq!((text(&last), charged.get()), ("shipped to whoever", 1));
}

#[tokio::test]
async fn an_extension_that_is_not_carried_blocks_the_run() {
    let charged = Count::default();
    let counts = charged.clone();
    let handler =
        async move |Extension(Account(user)): Extension<Account>, step: Step| pay(step, &counts, user.to_owned()).await;
    let signs_in = async |mut request: axum::extract::Request, next: Next| {
        request.extensions_mut().insert(Account("ada"));
        next.run(request).await
    };
    let app = replayed(|onward| onward.route("/", get(handler)).layer(middleware::from_fn(signs_in))).await;
    blocks(&app, Request::get("/").body(Body::empty()).unwrap(), "charge").await;
    assert_eq!(charged.get(), 1);
}

#[tokio::test]
async fn a_deploy_that_asks_one_field_more_blocks_the_runs_of_the_one_before() {
    #[derive(Deserialize)]
    struct V1 {
        item: String,
    }
    #[derive(Deserialize)]
    struct V2 {
        item: String,
        quantity: u32,
    }
    let (charged, deployed) = (Count::default(), Switch::default());
    let (counts, is_new) = (charged.clone(), deployed.clone());
    let handler = async move |step: Step, body: bytes::Bytes| -> Response {
        if is_new.is_on() {
            let Ok(Json(order)) = Json::<V2>::from_bytes(&body) else {
                return StatusCode::UNPROCESSABLE_ENTITY.into_response();
            };
            return pay(step, &counts, format!("{} x {}", order.item, order.quantity)).await.into_response();
        }
        let Ok(Json(order)) = Json::<V1>::from_bytes(&body) else { return StatusCode::BAD_REQUEST.into_response() };
        pay(step, &counts, order.item).await.into_response()
    };
    let app = replayed(|onward| onward.route("/", post(handler))).await;
    let flips = deployed.clone();
    let request = Request::post("/").body(Body::from(json!({ "item": "lamp" }).to_string())).unwrap();
    let first = app.send(request).await;
    flips.flip();
    app.advance(Duration::from_secs(3700)).await;
    assert_eq!(blocked(&app, run_id(&first)).await, Some(("charge".to_owned(), "suspended")));
    deployed.0.store(false, SeqCst); // it is rolled back
    assert_eq!(text(&app.follow(first).await), "shipped to lamp");
    assert_eq!(charged.get(), 1);
}

#[tokio::test]
async fn a_flag_that_changed_blocks_the_run_and_after_its_time_it_fails_and_can_be_retried() {
    let (off, charged) = (Switch::default(), Count::default());
    let (is_off, counts) = (off.clone(), charged.clone());
    let handler = async move |step: Step| {
        let off = is_off.is_on();
        step.run("charge", async || Ok::<_, StepError>(counts.hit())).await?;
        if off {
            return Ok("legacy");
        }
        step.sleep("nap", "1h").await?;
        Ok::<_, StepError>("shipped")
    };
    let options = Options::default().blocked_for("2h");
    let app = replayed(|onward| onward.endpoint().options(options).route("/", get(handler))).await;
    let first = app.get("/").await;
    off.flip();
    app.advance(Duration::from_secs(2 * 3600)).await;
    assert_eq!(blocked(&app, run_id(&first)).await, Some(("nap".to_owned(), "suspended")));
    let last = app.follow(first.clone()).await;
    assert_eq!(last.status(), 500);
    let detail = app.onward.runs().get(run_id(&first)).await.unwrap().unwrap();
    assert_eq!((detail.summary.status, detail.blocked), ("failed", None));
    let error = detail.error.unwrap();
    assert!(error.is_non_determinism() && error.message().contains("\"nap\""), "{error}");

    off.0.store(false, SeqCst);
    app.onward.runs().retry(run_id(&first)).await.unwrap();
    assert_eq!(text(&app.follow(first).await), "shipped");
    assert_eq!(charged.get(), 1);
}

#[tokio::test]
async fn steps_that_are_retired_and_lenient_replays_let_a_run_go_on() {
    for lenient in [false, true] {
        let off = Switch::default();
        let is_off = off.clone();
        let handler = async move |step: Step| {
            if is_off.is_on() {
                if !lenient {
                    step.retired("charge");
                    step.retired("nap");
                }
                step.run("pay", async || Ok::<_, StepError>(())).await?;
                return Ok("another way");
            }
            step.run("charge", async || Ok::<_, StepError>(())).await?;
            step.sleep("nap", "1h").await?;
            Ok::<_, StepError>("shipped")
        };
        let options = if lenient { Options::default().lenient_replay() } else { Options::default() };
        let app = replayed(|onward| onward.endpoint().options(options).route("/", get(handler))).await;
        let first = app.get("/").await;
        off.flip();
        assert_eq!(text(&app.follow(first).await), "another way", "lenient: {lenient}");
        assert_eq!(app.onward.load().blocked, 0);
    }
}

#[tokio::test]
async fn an_output_that_the_handlers_type_cannot_read_blocks_the_run() {
    #[derive(Serialize, Deserialize)]
    struct Receipt {
        total: u32,
    }
    let new = Switch::default();
    let is_new = new.clone();
    let handler = async move |step: Step| {
        if is_new.is_on() {
            let receipt = step.run("charge", async || Ok::<_, StepError>(Receipt { total: 1 })).await?;
            return Ok(receipt.total.to_string());
        }
        let receipt = step.run("charge", async || Ok::<_, StepError>("7".to_owned())).await?;
        step.sleep("nap", "1h").await?;
        Ok::<_, StepError>(receipt)
    };
    let app = replayed(|onward| onward.route("/", get(handler))).await;
    let first = app.get("/").await;
    new.flip();
    app.advance(Duration::from_secs(3700)).await;
    let detail = app.onward.runs().get(run_id(&first)).await.unwrap().unwrap().blocked.unwrap();
    assert_eq!(detail.step, "charge");
    assert!(detail.why.contains("not of the type"), "{}", detail.why);
    new.0.store(false, SeqCst);
    assert_eq!(text(&app.follow(first).await), "7");
}

/// The losers of a race need not be asked for again, because the handler is past them.
#[tokio::test]
async fn losers_of_races_need_not_be_asked_for_again() {
    let rung = Switch::default();
    let bell = rung.clone();
    let handler = async move |step: Step| {
        if bell.is_on() {
            step.sleep("moment", "1m").await?;
        } else {
            // The loser waits in the journal when the race is over, and the bell rings.
            tokio::select! {
                biased;
                _ = step.wait_for_event::<u32>("answer", "answer").timeout("5h") => unreachable!("nobody sends it"),
                _ = step.sleep("moment", "1m") => bell.flip(),
            }
        }
        step.sleep("nap", "1h").await?;
        Ok::<_, StepError>("over")
    };
    let app = replayed(|onward| onward.route("/", get(handler))).await;
    let first = app.get("/").await;
    assert_eq!(text(&app.follow(first).await), "over");
    assert_eq!((app.onward.load().blocked, rung.is_on()), (0, true));
}

/// Steps that a deploy removed cost one pause, and not one each.
#[tokio::test]
async fn many_steps_that_nobody_asks_for_are_passed_over_at_once() {
    let merged = Switch::default();
    let is_merged = merged.clone();
    let handler = async move |step: Step| {
        if is_merged.is_on() {
            step.run("all-rows", async || Ok::<_, StepError>(())).await?;
        } else {
            for row in 0..200 {
                step.run(&format!("row-{row}"), async || Ok::<_, StepError>(row)).await?;
            }
        }
        step.sleep("nap", "1h").await?;
        Ok::<_, StepError>("done")
    };
    let options = Options::default().lenient_replay();
    let app = replayed(|onward| onward.endpoint().options(options).route("/", get(handler))).await;
    let first = app.get("/").await;
    merged.flip();
    let log = Log::default();
    let _listens = log.listen();
    assert_eq!(text(&app.follow(first).await), "done");
    let shown = log.text();
    let passed: Vec<_> = shown.lines().filter(|line| line.contains("did not ask for again")).collect();
    assert_eq!(passed.len(), 1, "{passed:?}");
    assert!(passed[0].contains("row-0") && passed[0].contains("count=200"), "{passed:?}");
}

#[tokio::test]
async fn developers_are_warned_once_of_a_header_that_replays_lack() {
    let log = Log::default();
    let _listens = log.listen();
    let handler = async |step: Step| step.run("s", async || Ok::<_, StepError>(1)).await.map(|one| one.to_string());
    let app = App::new(|onward| {
        let keeps = onward.endpoint().options(Options::default().keep_header("cookie"));
        let needs_none = onward.endpoint().options(Options::default().drop_header("cookie"));
        let routes = onward.route("/silent", get(handler)).merge(keeps.route("/keeps", get(handler)));
        routes.merge(needs_none.route("/none", get(handler)))
    })
    .await;
    for path in ["/silent", "/keeps", "/none", "/silent"] {
        let request = Request::get(path).header("cookie", "a=1").body(Body::empty()).unwrap();
        assert_eq!(text(&app.send(request).await), "1");
    }
    let shown = log.text();
    let warned: Vec<_> = shown.lines().filter(|line| line.contains("keep_header")).collect();
    assert_eq!(warned.len(), 1, "{warned:?}");
    assert!(warned[0].contains("GET /silent") && warned[0].contains("cookie"), "{warned:?}");
}

/// What came after the failure belongs to a way that the handler need not take again.
#[tokio::test]
async fn a_retried_step_that_succeeds_may_lead_another_way() {
    let up = Switch::default();
    let is_up = up.clone();
    let handler = async move |step: Step| {
        let ship = async || if is_up.is_on() { Ok("shipped".to_owned()) } else { Err(StepError::fail("down")) };
        match step.run("ship", ship).await {
            Ok(shipped) => Ok(shipped),
            Err(error) => {
                step.run("refund", async || Ok::<_, StepError>(())).await?;
                Err(error)
            }
        }
    };
    let app = App::new(|onward| onward.route("/", get(handler))).await;
    let request = || Request::get("/").header("idempotency-key", "k").body(Body::empty()).unwrap();
    assert_eq!(app.send(request()).await.status(), 500);
    let runs = app.onward.runs().list(onward::RunQuery::new()).await.unwrap().runs;
    up.flip();
    app.onward.runs().retry(runs[0].run_id.parse().unwrap()).await.unwrap();
    let again = app.send(request()).await;
    let last = app.follow(again).await;
    assert_eq!((text(&last), app.onward.load().blocked), ("shipped", 0));
}

/// The time of the second counts from the second, and not from the first.
#[tokio::test]
async fn a_run_that_was_mended_and_is_blocked_again_has_its_whole_time_again() {
    let wrong = Switch::default();
    let is_wrong = wrong.clone();
    let handler = async move |step: Step| {
        if is_wrong.is_on() {
            return Ok("too early");
        }
        step.run("charge", async || Ok::<_, StepError>(())).await?;
        for _ in 0..2 {
            step.sleep("nap", "20h").await?;
        }
        Ok::<_, StepError>("done")
    };
    let app = replayed(|onward| onward.route("/", get(handler))).await;
    let first = app.get("/").await;
    let id = run_id(&first);
    wrong.flip();
    app.advance(Duration::from_secs(21 * 3600)).await;
    assert!(blocked(&app, id).await.is_some());
    wrong.0.store(false, SeqCst);
    app.advance(Duration::from_secs(600)).await;
    assert_eq!(blocked(&app, id).await, None, "it goes on");
    wrong.flip();
    app.advance(Duration::from_secs(30 * 3600)).await;
    assert!(blocked(&app, id).await.is_some(), "a day has not passed since");
    wrong.0.store(false, SeqCst);
    assert_eq!(text(&app.follow(first).await), "done");
    assert_eq!(app.onward.load().blocked, 2);
}

/// A faulty deploy drops waits as it returns: the right one still gets what comes for them.
#[tokio::test]
async fn what_a_blocked_execution_let_go_of_is_still_waited_for() {
    let wrong = Switch::default();
    let is_wrong = wrong.clone();
    let handler = async move |step: Step| {
        let event = step.wait_for_event::<u32>("answer", "answer").timeout("90h");
        if is_wrong.is_on() {
            let mut event = std::pin::pin!(event);
            let _ = futures_util::poll!(event.as_mut());
            return Ok("too early".to_owned());
        }
        let (event, nap) = tokio::join!(event, step.sleep("nap", "1h"));
        nap?;
        Ok::<_, StepError>(format!("{:?}", event?.map(|event| event.data)))
    };
    let app = replayed(|onward| onward.route("/", get(handler))).await;
    let first = app.get("/").await;
    wrong.flip();
    app.advance(Duration::from_secs(3700)).await;
    assert!(blocked(&app, run_id(&first)).await.is_some());
    wrong.0.store(false, SeqCst);
    app.onward.send_event("answer", &7).await.unwrap();
    assert_eq!(text(&app.follow(first).await), "Some(7)");
}
