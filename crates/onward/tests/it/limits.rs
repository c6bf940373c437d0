//! Options of apps and endpoints: each does what it says, and what is outside its limits is refused with a clear answer.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, Path},
    routing::{any, get, post},
};
use bytes::Bytes;
use http::{Method, Request};
use onward::{Onward, Options, RunQuery, RunStatus, Step, StepError};
use onward_core::{Clock, Timestamp};

use crate::support::{App, Count, location, run_id, text};

async fn nap(step: Step) -> Result<&'static str, StepError> {
    step.sleep("nap", "2h").await?;
    Ok("awake")
}

#[tokio::test]
async fn every_method_is_durable_and_a_body_over_the_limit_is_refused_whatever_the_method() {
    let handler = async |step: Step, method: Method| {
        step.sleep("nap", "1h").await?;
        Ok::<_, StepError>(method.to_string())
    };
    let app = App::new(|onward| {
        let own = onward.endpoint().id("any").route("/own", any(handler));
        onward.route("/", any(handler)).merge(own)
    })
    .await;
    let request = |uri: &str, method: &str, body: usize| {
        Request::builder().method(method).uri(uri).body(Body::from(vec![0; body])).unwrap()
    };
    for (uri, method) in [("/", "OPTIONS"), ("/", "TRACE"), ("/", "PATCH"), ("/own", "OPTIONS"), ("/own", "PURGE")] {
        let first = app.send(request(uri, method, 0)).await;
        assert_eq!(text(&app.follow(first).await), method);
        assert_eq!(app.send(request(uri, method, (1 << 20) + 1)).await.status(), 413, "{method}");
    }
    // One that HTTP does not define has no endpoint without an id of the route's own; its body has a limit, too.
    let unknown = app.send(request("/", "PURGE", 0)).await;
    assert_eq!(unknown.status(), 500);
    assert!(text(&unknown).contains("not-durable"));
    assert_eq!(app.send(request("/", "PURGE", (1 << 20) + 1)).await.status(), 413);
}

#[tokio::test]
async fn a_large_body_is_read_within_the_endpoints_limit_and_again_in_a_replay() {
    let handler = async |step: Step, body: Bytes| {
        step.sleep("nap", "2h").await?;
        Ok::<_, StepError>(body.len().to_string())
    };
    let builder = Onward::builder().parked_max(0);
    let app = App::with(builder, |onward| onward.endpoint().body_bytes_max(3 << 20).route("/", post(handler))).await;
    let first = app.send(Request::post("/").body(Body::from(vec![1; 3 << 20])).unwrap()).await;
    assert_eq!(first.status(), 303);
    assert_eq!(text(&app.follow(first).await), (3 << 20).to_string());
}

#[tokio::test]
async fn matching_finds_path_parameters_and_form_fields() {
    let by_path = async |step: Step, _: Path<String>| {
        let came = step.wait_for_event::<serde_json::Value>("wait", "go").matching("data.order").timeout("1h").await?;
        Ok::<_, StepError>(came.is_some().to_string())
    };
    let app = App::new(|onward| {
        onward.route("/path/{order}", get(by_path)).merge(onward.route(
            "/form",
            post(async |step: Step| {
                let came =
                    step.wait_for_event::<serde_json::Value>("wait", "go").matching("data.order").timeout("1h").await?;
                Ok::<_, StepError>(came.is_some().to_string())
            }),
        ))
    })
    .await;
    let form = Request::post("/form").header("content-type", "application/x-www-form-urlencoded");
    let clients = [app.get("/path/a%207").await, app.send(form.body(Body::from("order=a+7")).unwrap()).await];
    let other = app.get("/path/8").await;
    app.onward.send_event("go", &serde_json::json!({ "order": "a 7" })).await.unwrap();
    for client in clients {
        assert_eq!(text(&app.follow(client).await), "true");
    }
    assert_eq!(text(&app.follow(other).await), "false");
}

#[derive(Clone, serde::Deserialize)]
struct Stubborn(u32);

impl serde::Serialize for Stubborn {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            0 => Err(serde::ser::Error::custom("it will not be carried")),
            n => serializer.serialize_u32(n),
        }
    }
}

#[tokio::test]
async fn what_cannot_be_carried_is_refused_before_the_handler_runs() {
    let app = App::new(|onward| {
        let durable = onward.endpoint().carry::<Stubborn>("stubborn").route("/", get(async |_: Step| "ran"));
        durable.layer(axum::Extension(Stubborn(0)))
    })
    .await;
    let response = app.get("/").await;
    assert_eq!(response.status(), 500);
    assert!(text(&response).contains("endpoint-misconfigured"));
}

#[tokio::test]
async fn a_layer_around_routes_refuses_their_requests_and_a_durable_service_on_a_route_is_fine() {
    let app = App::new(|onward| {
        let durable = onward.endpoint().id("both").layer::<Body>();
        Router::new().route("/a", get(nap)).route("/b", get(nap)).layer(durable)
    })
    .await;
    for path in ["/a", "/b"] {
        let refused = app.get(path).await;
        assert_eq!(refused.status(), 500);
        assert!(text(&refused).contains("endpoint-misconfigured"));
    }
    let app = App::new(|onward| {
        let service = tower::service_fn(async |request: Request<Body>| {
            let step = request.extensions().get::<Step>().cloned().unwrap();
            step.sleep("nap", "1h").await?;
            Ok::<_, StepError>(http::Response::new(Body::from("awake")))
        });
        let durable = onward.endpoint().id("service").service::<_, Body>(service);
        Router::new().route_service("/service", durable)
    })
    .await;
    let first = app.get("/service").await;
    assert_eq!(text(&app.follow(first).await), "awake");
}

#[tokio::test]
async fn a_timeout_also_ends_a_first_step_that_hangs() {
    let handler = async |step: Step| step.run("hang", std::future::pending::<Result<String, StepError>>).await;
    let app = App::new(|onward| onward.endpoint().timeout("1m").route("/", get(handler))).await;
    let response = app.while_time_goes_on(app.get("/")).await;
    assert_eq!(response.status(), 504);
}

#[tokio::test(start_paused = true)]
async fn prefer_wait_counts_from_the_request_even_while_a_step_runs() {
    let (go, gate) = tokio::sync::oneshot::channel::<()>();
    let gate = Arc::new(tokio::sync::Mutex::new(Some(gate)));
    let handler = async move |step: Step| {
        step.run("slow", async || {
            let gate = gate.lock().await.take();
            gate.expect("it runs once").await.map_err(StepError::fail)?;
            Ok::<_, StepError>("done".to_owned())
        })
        .await
    };
    let app = App::new(|onward| onward.route("/", get(handler))).await;
    let begun = tokio::time::Instant::now();
    let request = Request::get("/").header("prefer", "wait=2").body(Body::empty()).unwrap();
    let first = app.send(request).await;
    assert_eq!((first.status().as_u16(), begun.elapsed().as_secs()), (302, 2));
    go.send(()).unwrap();
    assert_eq!(text(&app.get(&location(&first)).await), "done");
}

#[tokio::test]
async fn ended_runs_go_when_their_retention_is_over_and_their_keys_with_them() {
    let count = Count::default();
    let counted = count.clone();
    let handler = async move |step: Step| {
        step.run("one", async || Ok::<_, StepError>(counted.hit())).await.map(|n| n.to_string())
    };
    let builder = Onward::builder().sweep_every(Duration::from_millis(20));
    let app = App::with(builder, |onward| onward.endpoint().retention("1h").route("/", post(handler))).await;
    let keyed = || Request::post("/").header("idempotency-key", "k").body(Body::empty()).unwrap();
    assert_eq!(text(&app.send(keyed()).await), "1");
    assert_eq!(text(&app.send(keyed()).await), "1");
    app.clock.advance(Duration::from_secs(3601));
    for _ in 0..500 {
        if app.onward.runs().list(RunQuery::new()).await.unwrap().runs.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(text(&app.send(keyed()).await), "2");
}

#[tokio::test]
async fn a_token_is_valid_for_its_lifetime() {
    let app = App::with(Onward::builder().token_lifetime("1h"), |onward| onward.route("/", get(nap))).await;
    let wait = location(&app.get("/").await);
    let asked = Request::get(&wait).header("prefer", "wait=0").body(Body::empty()).unwrap();
    assert_eq!(app.send(asked).await.status(), 202);
    app.clock.advance(Duration::from_secs(3600));
    assert_eq!(app.get(&wait).await.status(), 401);
}

#[tokio::test]
async fn a_handler_may_not_take_more_steps_than_the_limit() {
    let handler = async |step: Step| {
        for _ in 0..3 {
            step.run("one", async || Ok::<_, StepError>(())).await?;
        }
        let error = step.run("one too many", async || Ok::<_, StepError>(())).await.unwrap_err();
        Ok::<_, StepError>(error.message().to_owned())
    };
    let options = Options::default().steps_max(3);
    let app = App::with(Onward::builder().defaults(options), |onward| onward.route("/", get(handler))).await;
    assert_eq!(text(&app.get("/").await), "the run has 3 steps, the most it may have");
    for wrong in [Options::default().steps_max(0), Options::default().steps_max(1 << 20)] {
        assert!(wrong.check().unwrap_err().to_string().contains("steps_max"));
    }
    let large = Options::default().body_bytes_max(1 << 40).output_bytes_max(1 << 40).check().unwrap_err().to_string();
    assert!(large.contains("body_bytes_max") && large.contains("output_bytes_max"), "{large}");
}

#[tokio::test]
async fn retries_of_a_step_outside_0_to_20_are_the_steps_error() {
    let handler = async |step: Step| {
        let error = step.run("one", async || Ok::<_, StepError>(())).retries(21).await.unwrap_err();
        error.message().to_owned()
    };
    let app = App::new(|onward| onward.route("/", get(handler))).await;
    let said = app.get("/").await;
    assert!(text(&said).contains("20"), "{}", text(&said));
}

#[tokio::test]
async fn the_peers_address_is_there_in_a_replay() {
    let handler = async |ConnectInfo(peer): ConnectInfo<std::net::SocketAddr>, step: Step| {
        step.sleep("nap", "2h").await?;
        Ok::<_, StepError>(peer.to_string())
    };
    let app = App::with(Onward::builder().parked_max(0), |onward| onward.route("/", get(handler))).await;
    let mut request = Request::get("/").body(Body::empty()).unwrap();
    request.extensions_mut().insert(ConnectInfo(std::net::SocketAddr::from(([10, 0, 0, 7], 1234))));
    let first = app.send(request).await;
    assert_eq!(text(&app.follow(first).await), "10.0.0.7:1234");
}

#[tokio::test]
async fn runs_are_found_by_when_they_began() {
    let app = App::new(|onward| onward.route("/", get(nap))).await;
    let old = run_id(&app.get("/").await);
    app.clock.advance(Duration::from_secs(60));
    let between = std::time::UNIX_EPOCH + Duration::from_micros(micros(app.clock.now()) - 1);
    let new = run_id(&app.get("/").await);
    let ids = async |query: RunQuery| {
        let runs = app.onward.runs().list(query).await.unwrap().runs;
        runs.into_iter().map(|run| run.run_id).collect::<Vec<_>>()
    };
    assert_eq!(ids(RunQuery::new().created_from(between)).await, [new.to_string()]);
    assert_eq!(ids(RunQuery::new().created_before(between)).await, [old.to_string()]);
    assert_eq!(ids(RunQuery::new().status(RunStatus::Failed)).await.len(), 0);
}

fn micros(at: Timestamp) -> u64 {
    u64::try_from(at.as_micros()).unwrap()
}
