//! What stands in for the other side: an engine that stores nothing, and an endpoint that does nothing.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Bytes,
    extract::{Query, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::{get, post},
    serve::ListenerExt,
};
use parking_lot::Mutex;
use serde_json::json;

use super::wire;
use crate::{client::Connection, wal::Wal};

async fn serve(address: &str, app: Router) {
    let listener = tokio::net::TcpListener::bind(address).await.expect("the address is free");
    let listener = listener.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    axum::serve(listener, app).await.expect("it serves");
}

const TAKEN: &str =
    r#"{"data":{"fn_id":"f","app_id":"a","run_id":"r","token":"0123456789","realtime_token":"0123456789"}}"#;

fn taken() -> Response {
    ([("content-type", "application/json")], TAKEN).into_response()
}

/// Acknowledges every checkpoint at once; below `/wal`, once its body is in a log on disk. Serves until it is killed.
pub(crate) async fn engine(address: &str, directory: &str) {
    let wal = Wal::open(&Path::new(directory).join("control.wal"));
    let kept = async move |body: Bytes| {
        wal.append(body.to_vec()).await;
        taken()
    };
    let app = Router::new()
        .route("/v1/checkpoint", post(async |_: Bytes| taken()))
        .route("/v1/checkpoint/{run}/steps", post(async |_: Bytes| taken()))
        .route("/wal/v1/checkpoint", post(kept.clone()))
        .route("/wal/v1/checkpoint/{run}/steps", post(kept));
    serve(address, app).await;
}

/// How many steps each run has answered with, and connections to its engine.
#[derive(Default)]
struct Endpoint {
    done: Mutex<BTreeMap<String, u32>>,
    connections: Mutex<Vec<(Connection, Instant)>>,
}

#[derive(serde::Deserialize)]
struct Asked {
    /// How many steps the handler has.
    n: u32,
    /// The engine.
    #[serde(default)]
    engine: String,
    /// Whether the engine is asked for the run's state first, as the SDK does.
    #[serde(default)]
    asks: bool,
}

/// Answers a call of an engine at once: with one step more, or the end of the run. Serves until it is killed.
pub(crate) async fn endpoint(address: &str) {
    let app = Router::new().route("/steps", get(steps)).with_state(Arc::new(Endpoint::default()));
    serve(address, app).await;
}

async fn steps(State(endpoint): State<Arc<Endpoint>>, Query(asked): Query<Asked>, headers: HeaderMap) -> Response {
    let run = headers.get("x-run-id").and_then(|run| run.to_str().ok()).unwrap_or_default();
    if asked.asks {
        let paths = (format!("/v0/runs/{run}/batch"), format!("/v0/runs/{run}/actions"));
        let (mut one, mut other) = (endpoint.connect(&asked.engine).await, endpoint.connect(&asked.engine).await);
        let (batch, actions) = tokio::join!(one.get(&paths.0), other.get(&paths.1));
        assert_eq!((batch.status, actions.status), (200, 200), "{} {}", batch.body, actions.body);
        endpoint.keep([one, other]);
    }
    let done = {
        let mut all = endpoint.done.lock();
        let done = all.get(run).copied().unwrap_or_default();
        if done == asked.n {
            all.remove(run)
        } else {
            all.insert(run.to_owned(), done + 1)
        };
        done
    };
    let body = if done == asked.n {
        tokio::spawn(stream_end(Arc::clone(&endpoint), asked.engine, run.to_owned()));
        wire::complete(&json!({ "steps": done }))
    } else {
        format!("[{}]", wire::ran(&format!("step-{done}")))
    };
    let headers =
        [("content-type", "application/json"), ("x-inngest-sdk", "inngest-js:v4.24.0"), ("x-inngest-req-version", "2")];
    (StatusCode::PARTIAL_CONTENT, headers, body).into_response()
}

/// Streams the response beside the answer that ends the run. The SDK does this of every run, and the engine waits for it.
async fn stream_end(endpoint: Arc<Endpoint>, engine: String, run: String) {
    if run.is_empty() {
        return; // it was no engine that called
    }
    let mut connection = endpoint.connect(&engine).await;
    connection.post(&format!("/v1/realtime/publish/tee?channel={run}"), &wire::streamed_end(&run)).await;
    endpoint.keep([connection]);
}

/// How long a connection is kept that nobody uses: less long than the engine keeps it.
const IDLE_MAX: Duration = Duration::from_secs(2);

impl Endpoint {
    /// A connection that nobody uses.
    async fn connect(&self, engine: &str) -> Connection {
        let kept = self.connections.lock().pop().filter(|(_, since)| since.elapsed() < IDLE_MAX);
        match kept {
            Some((kept, _)) => kept,
            None => Connection::open(engine).await,
        }
    }

    fn keep<const N: usize>(&self, connections: [Connection; N]) {
        self.connections.lock().extend(connections.map(|connection| (connection, Instant::now())));
    }
}
