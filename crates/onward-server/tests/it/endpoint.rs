//! An endpoint that speaks the SDK's side of the protocol: it takes calls, asks for its run's state, runs a step.

mod ledger;
mod report;
mod step;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Weak},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, Request, State},
    response::Response,
};
use http::{HeaderMap, Method};
use onward_core::Store;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::oneshot, task::JoinSet};

pub(crate) use self::{
    report::{Asked, First, Tokens},
    step::Doing,
};
use crate::{
    engine::Address,
    script::{Found, Memos, Program, Replay, Stop, Wanted},
};

/// The key of the end of a run.
const COMPLETE: &str = "0737c22d3bfae812339732d14d8c7dbd6dc4e09c";

/// Answers in the SDK's place, where it wants to.
type Hook = Box<dyn Fn(&Seen) -> Option<Response> + Send + Sync>;

/// A call of the engine.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
    pub(crate) peer: SocketAddr,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    fn parameter(&self, name: &str) -> Option<String> {
        let url = reqwest::Url::parse(&format!("http://x/?{}", self.query)).unwrap();
        url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    }
}

/// An endpoint.
pub(crate) struct Endpoint {
    pub(crate) url: String,
    pub(crate) engine: Address,
    pub(crate) http: reqwest::Client,
    /// The store itself, without what goes wrong with it: what is told to be durable is looked up here.
    pub(crate) ledger: Arc<dyn Store>,
    programs: Mutex<BTreeMap<String, Program>>,
    hook: Mutex<Option<Hook>>,
    /// What goes on when whoever asked for it is gone, as in a process of Node.
    tasks: Mutex<JoinSet<()>>,
    seen: Mutex<Vec<Seen>>,
    tokens: Mutex<BTreeMap<String, Tokens>>,
    notes: ledger::Notes,
    /// How much later than it is opened a stream reaches the engine.
    pub(crate) streams_late: Mutex<Duration>,
}

impl Endpoint {
    pub(crate) async fn new(engine: Address, ledger: Arc<dyn Store>) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = Arc::new(Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            engine,
            http: client(),
            ledger,
            programs: Mutex::default(),
            hook: Mutex::default(),
            tasks: Mutex::default(),
            seen: Mutex::default(),
            tokens: Mutex::default(),
            notes: ledger::Notes::default(),
            streams_late: Mutex::default(),
        });
        let app = Router::new().fallback(enter).with_state(Arc::downgrade(&endpoint));
        let app = app.into_make_service_with_connect_info::<SocketAddr>();
        endpoint.spawn(async move { axum::serve(listener, app).await.unwrap() });
        endpoint
    }

    /// What is at a path, or is the function of an id.
    pub(crate) fn serve(&self, name: &str, program: Program) {
        self.programs.lock().insert(name.to_owned(), program);
    }

    /// Who is asked before the SDK is.
    pub(crate) fn hook(&self, hook: impl Fn(&Seen) -> Option<Response> + Send + Sync + 'static) {
        *self.hook.lock() = Some(Box::new(hook));
    }

    pub(crate) fn unhook(&self) {
        *self.hook.lock() = None;
    }

    /// The calls so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().clone()
    }

    pub(crate) fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        self.tasks.lock().spawn(future);
    }

    fn program(&self, name: &str) -> Program {
        Arc::clone(self.programs.lock().get(name).unwrap())
    }

    /// Answers a call as the SDK does.
    async fn answer(self: Arc<Self>, seen: Seen) -> Response {
        let is_function = seen.parameter("fnId").is_some();
        let name = seen.parameter("fnId").unwrap_or_else(|| seen.path.clone());
        let (run_id, memos, target, plan_only) = if is_function {
            let body: Value = serde_json::from_str(&seen.body).unwrap();
            let memos = memos(&body["steps"]);
            let plan_only = body["ctx"]["disable_immediate_execution"] == true;
            let target = seen.parameter("stepId").filter(|step| step != "step");
            (body["ctx"]["run_id"].as_str().unwrap().to_owned(), memos, target, plan_only)
        } else {
            let run_id = seen.header("x-run-id").unwrap().to_owned();
            let (batch, actions) = (format!("/v0/runs/{run_id}/batch"), format!("/v0/runs/{run_id}/actions"));
            let (batch, actions) = tokio::join!(self.get(&batch), self.get(&actions));
            let (Some(batch), Some(actions)) = (batch, actions) else {
                let error = json!({ "type": "internal", "name": "Error", "message": "Failed to retrieve the state" });
                return reply(500, &[], &error);
            };
            assert_eq!(batch[0]["name"], "inngest/http.request", "{batch}");
            let target = seen.header("x-inngest-step-id").map(str::to_owned);
            (run_id, memos(&actions), target, seen.header("x-inngest-force-step-plan") == Some("true"))
        };
        match self.program(&name)(&mut Replay { memos: &memos }) {
            Ok(value) if is_function => reply(200, &[], &value),
            Ok(value) => self.complete(&run_id, &value),
            Err(Stop::Threw { error, retryable: false }) => {
                self.say_end(&run_id, "failed", 500, &error["message"].to_string());
                reply(400, &[("x-inngest-no-retry", "true")], &error)
            }
            Err(Stop::Threw { error, .. }) => reply(500, &[("x-inngest-no-retry", "false")], &error),
            Err(Stop::Found(found)) => self.go_on(&run_id, found, target, plan_only).await,
        }
    }

    /// Runs a step that was found, or says what was.
    async fn go_on(
        self: &Arc<Self>,
        run_id: &str,
        mut found: Vec<Found>,
        target: Option<String>,
        plan_only: bool,
    ) -> Response {
        let is_work = |found: &Found| matches!(found.wanted, Wanted::Work(_));
        let chosen = match &target {
            Some(target) => found.iter().position(|found| found.key == *target && is_work(found)),
            None => (found.len() == 1 && is_work(&found[0]) && !plan_only).then_some(0),
        };
        if let Some(chosen) = chosen {
            let op = self.execute(run_id, found.swap_remove(chosen), true).await;
            let no_retry = if op["op"] == "StepFailed" { "true" } else { "false" };
            return reply(206, &[("x-inngest-no-retry", no_retry)], &json!([op]));
        }
        if target.is_some() {
            let error = json!({ "error": "the step was not found", "requestedStep": target });
            return reply(500, &[("x-inngest-no-retry", "false")], &error);
        }
        let ops: Vec<_> = found.iter().map(Found::op).collect();
        reply(206, &[], &ops.into())
    }

    fn complete(self: &Arc<Self>, run_id: &str, value: &Value) -> Response {
        self.say_end(run_id, "succeeded", 200, &value.to_string());
        reply(206, &[], &complete_op(value))
    }

    async fn get(&self, path: &str) -> Option<Value> {
        let response = self.http.get(self.engine.url(path)).send().await.ok()?;
        if !response.status().is_success() {
            return None;
        }
        serde_json::from_slice(&response.bytes().await.ok()?).ok()
    }
}

/// The op by which a run of an endpoint ends.
fn complete_op(value: &Value) -> Value {
    let data = json!({
        "status": 200, "headers": { "content-type": "application/json" }, "body": value.to_string(), "version": 2,
    });
    json!({ "id": COMPLETE, "op": "RunComplete", "data": data })
}

fn memos(actions: &Value) -> Memos {
    actions.as_object().unwrap().iter().map(|(key, memo)| (key.clone(), memo.clone())).collect()
}

/// An answer of the SDK.
pub(crate) fn reply(status: u16, headers: &[(&str, &str)], body: &Value) -> Response {
    let mut response = Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .header("x-inngest-sdk", "inngest-js:v4.24.0")
        .header("x-inngest-sdk-handled", "true")
        .header("x-inngest-req-version", "2");
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    response.body(Body::from(body.to_string())).unwrap()
}

async fn enter(
    State(endpoint): State<Weak<Endpoint>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response {
    let endpoint = endpoint.upgrade().unwrap();
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let seen = Seen {
        method: parts.method,
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers: parts.headers,
        body: String::from_utf8(body.to_vec()).unwrap(),
        peer,
    };
    endpoint.seen.lock().push(seen.clone());
    if let Some(response) = endpoint.hook.lock().as_ref().and_then(|hook| hook(&seen)) {
        return response;
    }
    let (tell, told) = oneshot::channel();
    let inner = Arc::clone(&endpoint);
    endpoint.spawn(async move {
        // Who asked may be gone.
        let _ = tell.send(inner.answer(seen).await);
    });
    told.await.unwrap_or_else(|_| Response::builder().status(500).body(Body::empty()).unwrap())
}

/// A client that follows no redirect.
pub(crate) fn client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap()
}
