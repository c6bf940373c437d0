//! The client's own request: its steps are run one after the other, and each is reported.

use std::{sync::Arc, time::Duration};

use http::StatusCode;
use serde_json::{Value, json};

use super::{COMPLETE, Endpoint, complete_op};
use crate::script::{Found, Memos, Replay, Stop, Wanted};

/// What opens a run.
#[derive(Clone, Debug)]
pub(crate) struct Tokens {
    pub(crate) token: String,
    pub(crate) realtime: String,
}

/// What a client's own request comes to.
#[derive(Debug, PartialEq)]
pub(crate) enum First {
    /// It was answered with the handler's response.
    Done(Value),
    /// The run goes on without it.
    HandedOver,
    /// The engine took no more of it.
    Refused(u16),
}

/// A client's own request.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) path: &'static str,
    pub(crate) run_id: String,
    pub(crate) retries: u32,
    pub(crate) traceparent: Option<&'static str>,
}

impl Endpoint {
    /// The tokens of a run, once its first report is acknowledged.
    pub(crate) async fn tokens(&self, run_id: &str) -> Tokens {
        loop {
            if let Some(tokens) = self.tokens.lock().get(run_id) {
                return tokens.clone();
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// A client's own request, from its beginning until it is answered.
    pub(crate) async fn request(self: Arc<Self>, asked: Asked) -> First {
        let program = self.program(asked.path);
        let mut memos = Memos::new();
        loop {
            let ops = match program(&mut Replay { memos: &memos }) {
                Ok(value) => {
                    let reported = self.report(&asked, vec![complete_op(&value)]).await;
                    return reported.map_or_else(First::Refused, |()| First::Done(value));
                }
                Err(Stop::Threw { .. }) => vec![json!({ "id": COMPLETE, "op": "StepError", "error": {} })],
                Err(Stop::Found(mut found)) => {
                    if found.len() == 1 && matches!(found[0].wanted, Wanted::Work(_)) {
                        vec![self.execute(&asked.run_id, found.remove(0), false).await]
                    } else {
                        found.iter().map(Found::op).collect()
                    }
                }
            };
            if let Err(status) = self.report(&asked, ops.clone()).await {
                return First::Refused(status);
            }
            match ops.as_slice() {
                [op] if op["op"] == "StepRun" => {
                    memos.insert(op["id"].as_str().unwrap().to_owned(), json!({ "data": op["data"] }));
                }
                _ => return First::HandedOver,
            }
        }
    }

    /// Reports until it is acknowledged, or refused for good.
    async fn report(&self, asked: &Asked, ops: Vec<Value>) -> Result<(), u16> {
        let is_first = !self.tokens.lock().contains_key(&asked.run_id);
        loop {
            let sent = if is_first { self.post_first(asked, &ops).await } else { self.post(&asked.run_id, &ops).await };
            match sent {
                Some((status, body)) if status.is_success() => {
                    self.acknowledged(&asked.run_id, &ops).await;
                    if is_first {
                        let text = |name: &str| body["data"][name].as_str().unwrap().to_owned();
                        let tokens = Tokens { token: text("token"), realtime: text("realtime_token") };
                        self.tokens.lock().insert(asked.run_id.clone(), tokens);
                    }
                    return Ok(());
                }
                Some((status, _)) if status.is_client_error() => return Err(status.as_u16()),
                _ => tokio::time::sleep(Duration::from_millis(15)).await,
            }
        }
    }

    /// The first report of a run, once.
    pub(crate) async fn post_first(&self, asked: &Asked, ops: &[Value]) -> Option<(StatusCode, Value)> {
        let data = json!({
            "domain": self.url, "method": "GET", "path": asked.path, "query_params": "q=1", "content_type": "",
            "ip": "", "body": "", "fn": "",
        });
        let body = json!({
            "run_id": asked.run_id, "event": { "name": "inngest/http.request", "data": data }, "steps": ops,
            "ts": 1_795_466_164_302_u64, "request_version": 2, "retries": asked.retries,
        });
        let mut request =
            self.http.post(self.engine.url("/v1/checkpoint")).header("x-inngest-sdk", "inngest-js:v4.24.0");
        if let Some(traceparent) = asked.traceparent {
            request = request.header("traceparent", traceparent);
        }
        read(request.body(body.to_string())).await
    }

    /// A later report, once.
    pub(crate) async fn post(&self, run_id: &str, ops: &[Value]) -> Option<(StatusCode, Value)> {
        self.post_to(run_id, "steps", ops).await
    }

    /// A later report by one of the two routes, once.
    pub(crate) async fn post_to(&self, run_id: &str, route: &str, ops: &[Value]) -> Option<(StatusCode, Value)> {
        let body = json!({ "fn_id": "f", "app_id": "a", "run_id": run_id, "steps": ops, "ts": 1 });
        let url = self.engine.url(&format!("/v1/checkpoint/{run_id}/{route}"));
        read(self.http.post(url).body(body.to_string())).await
    }
}

async fn read(request: reqwest::RequestBuilder) -> Option<(StatusCode, Value)> {
    let response = request.header("content-type", "application/json").send().await.ok()?;
    let status = response.status();
    Some((status, serde_json::from_slice(&response.bytes().await.ok()?).unwrap_or_default()))
}
