//! An engine on a store, an endpoint, and who looks at both.

use std::{fmt::Write, sync::Arc, time::Duration};

use http::StatusCode;
use onward_core::{
    Clock, RunId, Store,
    journal::Entry,
    run::Status,
    store::{Loaded, RunFilter},
};
use onward_scheduler::SystemClock;
use onward_server::Options;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::{
    client,
    endpoint::{Asked, Endpoint, First, Tokens},
    engine::{Address, Running, options},
    script::{Program, key},
};

/// How long anything may take: machines that test have much else to do.
const PATIENCE: Duration = Duration::from_secs(30);

/// An engine on a store, an endpoint, and who looks at both.
pub(crate) struct World {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) address: Address,
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) http: reqwest::Client,
    pub(crate) options: Options,
    pub(crate) engine: Option<Running>,
    requests: JoinSet<First>,
}

impl World {
    /// With the options of tests, on a store.
    pub(crate) async fn new(store: Arc<dyn Store>) -> Self {
        Self::with(options(), Arc::clone(&store), store).await
    }

    /// With an engine that sees the store otherwise: it fails, or is slow.
    pub(crate) async fn with(options: Options, store: Arc<dyn Store>, seen: Arc<dyn Store>) -> Self {
        let address = Address::default();
        let endpoint = Endpoint::new(address.clone(), Arc::clone(&store)).await;
        let http = endpoint.http.clone();
        let mut world = Self { store, address, endpoint, http, options, engine: None, requests: JoinSet::new() };
        world.start(seen).await;
        world
    }

    /// Starts an engine, in place of the one that was there.
    pub(crate) async fn start(&mut self, seen: Arc<dyn Store>) {
        if let Some(engine) = self.engine.take() {
            engine.kill();
        }
        let engine = Running::start(self.options.clone(), seen).await;
        self.address.set(&engine.base);
        self.engine = Some(engine);
    }

    pub(crate) fn serve(&self, name: &str, program: Program) {
        self.endpoint.serve(name, program);
    }

    /// A client's own request to `/run`, answered.
    pub(crate) async fn request(&self) -> (String, First) {
        let asked = asked();
        let run_id = asked.run_id.clone();
        let first = soon("the first request", Arc::clone(&self.endpoint).request(asked)).await;
        (run_id, first)
    }

    /// A client's own request, to which nobody listens.
    pub(crate) fn begin(&mut self, asked: Asked) -> String {
        let run_id = asked.run_id.clone();
        self.requests.spawn(Arc::clone(&self.endpoint).request(asked));
        run_id
    }

    /// A client's own request that is handed over.
    pub(crate) async fn handed_over(&self) -> String {
        let (run_id, first) = self.request().await;
        assert_eq!(first, First::HandedOver);
        run_id
    }

    pub(crate) async fn tokens(&self, run_id: &str) -> Tokens {
        soon("the first acknowledgement", self.endpoint.tokens(run_id)).await
    }

    /// How a run ends, as its client is told.
    pub(crate) async fn outcome(&self, run_id: &str) -> (u16, Value) {
        let token = self.tokens(run_id).await.token;
        let outcome = client::outcome(&self.http, &self.address, run_id, &token);
        match tokio::time::timeout(PATIENCE, outcome).await {
            Ok(outcome) => outcome,
            Err(elapsed) => panic!("run {run_id} does not end ({elapsed}): {}", self.told().await),
        }
    }

    pub(crate) async fn stored(&self, run_id: &str) -> Option<Loaded> {
        self.store.load(run_id.parse().unwrap()).await.unwrap()
    }

    pub(crate) async fn status(&self, run_id: &str) -> Option<Status> {
        self.stored(run_id).await.map(|stored| stored.record.status)
    }

    /// All runs as they are stored, for whoever looks for a mistake.
    pub(crate) async fn told(&self) -> String {
        let runs = self.store.runs(RunFilter { limit: 100, ..RunFilter::default() }).await.unwrap().runs;
        let mut text = String::new();
        for run in runs {
            let loaded = self.store.load(run.run_id).await.unwrap().unwrap();
            let about = (run.endpoint.as_str(), run.status, run.node, run.fence, run.due_at);
            writeln!(text, "\nrun {} {about:?} deliveries {:?}", run.run_id, loaded.deliveries).unwrap();
            for entry in loaded.journal {
                writeln!(text, "  {} {:?} {} {:?}", entry.seq.0, entry.at, entry.step, entry.change).unwrap();
            }
        }
        text
    }

    /// The entries about a step.
    pub(crate) async fn entries(&self, run_id: &str, id: &str) -> Vec<Entry> {
        let journal = self.stored(run_id).await.map(|stored| stored.journal).unwrap_or_default();
        journal.into_iter().filter(|entry| entry.key().to_string() == key(id)).collect()
    }

    /// Waits until something is known of a step.
    pub(crate) async fn knows(&self, run_id: &str, id: &str) {
        soon("a step", async {
            while self.entries(run_id, id).await.is_empty() {
                pause().await;
            }
        })
        .await;
    }

    /// Waits until a run has a status.
    pub(crate) async fn becomes(&self, run_id: &str, status: Status) {
        soon("a status", async {
            while self.status(run_id).await != Some(status) {
                pause().await;
            }
        })
        .await;
    }

    /// Waits until a step was begun so often.
    pub(crate) async fn begins(&self, run_id: &str, id: &str, times: usize) {
        soon("a step to begin", async {
            while self.endpoint.begun(run_id, id) < times {
                pause().await;
            }
        })
        .await;
    }

    /// Sends events until they are taken.
    pub(crate) async fn send(&self, events: &Value) -> Value {
        soon("an event to be taken", async {
            loop {
                let sent = self.post("/e/key", &[("x-inngest-event-id-seed", SEED)], events).await;
                match sent {
                    Some((StatusCode::OK, ids)) => return ids,
                    _ => pause().await,
                }
            }
        })
        .await
    }

    /// Sends events once, each as a new one.
    pub(crate) async fn send_anew(&self, events: &Value) {
        let (status, said) = self.post("/e/key", &[], events).await.unwrap();
        assert_eq!(status, StatusCode::OK, "{said}");
    }

    /// Posts JSON, once.
    pub(crate) async fn post(&self, path: &str, headers: &[(&str, &str)], body: &Value) -> Option<(StatusCode, Value)> {
        let mut request = self.http.post(self.address.url(path)).header("content-type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.body(body.to_string()).send().await.ok()?;
        let status = response.status();
        Some((status, serde_json::from_slice(&response.bytes().await.ok()?).unwrap_or_default()))
    }

    /// Asks for a path; the answer has no body that counts.
    pub(crate) async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> u16 {
        let method = method.parse().unwrap();
        let mut request = self.http.request(method, self.address.url(path));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.unwrap().status().as_u16()
    }

    pub(crate) async fn cancel(&self, run_id: &str) -> u16 {
        self.ask("DELETE", &format!("/v1/runs/{run_id}"), &[]).await
    }

    /// Registers functions of an app, each with the event that starts it.
    pub(crate) async fn register(&self, functions: &[(&str, &str)]) {
        let functions: Vec<_> = functions
            .iter()
            .map(|(id, event)| {
                let url = format!("{}/api?fnId={id}&stepId=step", self.endpoint.url);
                json!({
                    "id": id, "name": id, "triggers": [{ "event": event }],
                    "steps": { "step": { "id": "step", "name": "step", "retries": { "attempts": 3 },
                        "runtime": { "type": "http", "url": url } } },
                })
            })
            .collect();
        let body = json!({ "appName": "app", "functions": functions, "deployType": "ping", "sdk": "js:v4.24.0" });
        let (status, said) = self.post("/fn/register", &[], &body).await.unwrap();
        assert_eq!(status, StatusCode::OK, "{said}");
    }

    /// A figure of the engine's; `None` where it does not answer.
    pub(crate) async fn measured(&self, name: &str) -> Option<String> {
        let metrics = self.http.get(self.address.url("/metrics")).send().await.ok()?.text().await.ok()?;
        let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.map(str::to_owned)
    }

    /// Waits until no run is in the engine's memory; how many there are where that does not come.
    pub(crate) async fn left_over(&self) -> Option<String> {
        let until = tokio::time::Instant::now() + Duration::from_secs(3);
        loop {
            let line = self.measured("onward_live_runs").await;
            if line.as_deref() == Some("0") {
                return None;
            }
            if tokio::time::Instant::now() > until {
                return Some(format!("runs in memory: {line:?}"));
            }
            pause().await;
        }
    }
}

/// A seed for the ids of events: the same events are the same again.
const SEED: &str = "1795466247032,AAECAwQFBgcICQ==";

/// A request of a new run to `/run`.
pub(crate) fn asked() -> Asked {
    let run_id = RunId::new(SystemClock::default().now(), rand::random()).to_string();
    Asked { path: "/run", run_id, retries: 3, traceparent: None }
}

pub(crate) async fn pause() {
    tokio::time::sleep(Duration::from_millis(3)).await;
}

/// What has to come soon.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(came) => came,
        Err(elapsed) => panic!("{what} did not come: {elapsed}"),
    }
}
