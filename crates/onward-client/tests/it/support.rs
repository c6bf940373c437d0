//! Servers on loopback that speak a run's stream as a test scripts it, and what records what comes of it.

use std::{
    collections::BTreeMap,
    fmt::Write,
    sync::{Arc, Mutex},
    time::Duration,
};

use onward_client::{Client, ClientBuilder, FetchWithStream, Frames};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// A request that a server got.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// Which of its server it is, from 0.
    pub(crate) turn: usize,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

impl Call {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    pub(crate) fn last_event_id(&self) -> Option<&str> {
        self.header("last-event-id")
    }
}

/// A server, until it is dropped.
pub(crate) struct Server {
    pub(crate) url: String,
    calls: Arc<Mutex<Vec<Call>>>,
    _tasks: JoinSet<()>,
}

impl Server {
    pub(crate) async fn start<H, F>(handle: H) -> Self
    where
        H: Fn(Call, Answer) -> F + Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let calls = Arc::new(Mutex::new(Vec::new()));
        let (handle, seen) = (Arc::new(handle), Arc::clone(&calls));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                let (handle, seen) = (Arc::clone(&handle), Arc::clone(&seen));
                connections.spawn(async move {
                    if let Some(mut call) = read_call(&mut socket).await {
                        note(&seen, &mut call);
                        handle(call, Answer(socket)).await;
                    }
                });
            }
        });
        Self { url, calls, _tasks: tasks }
    }

    pub(crate) fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }

    pub(crate) fn paths(&self) -> Vec<String> {
        self.calls().into_iter().map(|call| call.path).collect()
    }
}

fn note(seen: &Mutex<Vec<Call>>, call: &mut Call) {
    let mut seen = seen.lock().unwrap();
    call.turn = seen.len();
    seen.push(call.clone());
}

async fn read_call(socket: &mut TcpStream) -> Option<Call> {
    let mut bytes = Vec::new();
    let head = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at;
        }
        if socket.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let text = String::from_utf8_lossy(&bytes[..head]).into_owned();
    let mut lines = text.split("\r\n");
    let mut first = lines.next()?.split(' ');
    let (method, path) = (first.next()?.to_owned(), first.next()?.to_owned());
    let mut headers = BTreeMap::<String, String>::new();
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let values = headers.entry(name.to_ascii_lowercase()).or_default();
        let separator = if values.is_empty() { "" } else { ", " };
        write!(values, "{separator}{}", value.trim()).unwrap();
    }
    let len = headers.get("content-length").map_or(0, |len| len.parse::<usize>().unwrap());
    while bytes.len() < head + 4 + len {
        if socket.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    let body = String::from_utf8_lossy(&bytes[head + 4..]).into_owned();
    Some(Call { turn: 0, method, path, headers, body })
}

/// The server's side of a request. Dropping it cuts the connection; what was sent arrives.
pub(crate) struct Answer(TcpStream);

impl Answer {
    /// Answers with a whole response.
    pub(crate) async fn plain(mut self, status: u16, headers: &[(&str, &str)], body: impl AsRef<[u8]>) {
        let body = body.as_ref();
        self.head(status, headers, &format!("content-length: {}", body.len())).await;
        self.raw(body).await;
        let _ = self.0.shutdown().await;
    }

    /// Begins a response whose body is cut after these bytes.
    pub(crate) async fn cut_plain(mut self, status: u16, headers: &[(&str, &str)], body: &str) {
        self.head(status, headers, "content-length: 1000").await;
        self.raw(body.as_bytes()).await;
    }

    /// Begins a stream.
    pub(crate) async fn begin(mut self) -> Self {
        let headers = [("content-type", "text/event-stream"), ("cache-control", "no-cache")];
        self.head(200, &headers, "transfer-encoding: chunked").await;
        self
    }

    /// Sends a part of a stream.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        if !bytes.is_empty() {
            self.raw(&[format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()).await;
        }
    }

    /// Ends a stream in good order.
    pub(crate) async fn end(mut self) {
        self.raw(b"0\r\n\r\n").await;
        let _ = self.0.shutdown().await;
    }

    /// Waits until the client has closed the connection.
    pub(crate) async fn closed(&mut self) {
        let mut rest = [0; 64];
        while self.0.read(&mut rest).await.is_ok_and(|len| len > 0) {}
    }

    async fn head(&mut self, status: u16, headers: &[(&str, &str)], last: &str) {
        let mut head = format!("HTTP/1.1 {status} Said\r\nconnection: close\r\n{last}\r\n");
        for (name, value) in headers {
            write!(head, "{name}: {value}\r\n").unwrap();
        }
        self.raw(format!("{head}\r\n").as_bytes()).await;
    }

    /// A client that has gone does not matter.
    async fn raw(&mut self, bytes: &[u8]) {
        let _ = self.0.write_all(bytes).await;
    }
}

/// A frame as bytes on the wire; without an id where there is none.
pub(crate) fn wire(id: Option<&str>, name: &str, data: &Value) -> String {
    let id = id.map_or_else(String::new, |id| format!("id: {id}\n"));
    format!("{id}event: inngest.{name}\ndata: {data}\n\n")
}

/// The data of the last frame of a run that gave 200 and this text.
pub(crate) fn succeeded(body: &str) -> Value {
    json!({ "status": "succeeded", "response": { "body": body, "statusCode": 200, "headers": { "content-type": "text/plain" } } })
}

/// A run's frames, numbered from 1.
#[derive(Clone)]
pub(crate) struct Script(pub(crate) Vec<String>);

impl Script {
    pub(crate) fn new(frames: &[(&str, Value)]) -> Self {
        let wired = |(at, (name, data)): (usize, &(&str, Value))| wire(Some(&(at + 1).to_string()), name, data);
        Self(frames.iter().enumerate().map(wired).collect())
    }

    /// What follows the frame with the id.
    pub(crate) fn after(&self, last_event_id: Option<&str>) -> String {
        self.0[last_event_id.map_or(0, |id| id.parse().unwrap())..].concat()
    }

    /// The first frames.
    pub(crate) fn first(&self, count: usize) -> String {
        self.0[..count].concat()
    }
}

/// A run that streams in one step, over a waiting URL.
pub(crate) fn hello(waiting_url: &str) -> Script {
    Script::new(&[
        ("metadata", json!({ "runId": "run1" })),
        ("redirect_info", json!({ "runId": "run1", "url": waiting_url })),
        ("stream", json!({ "data": "Hel", "hashedStepId": "a" })),
        ("stream", json!({ "data": "lo ✓", "hashedStepId": "a" })),
        ("commit", json!({ "hashedStepId": "a" })),
        ("stream", json!({ "data": { "done": true } })),
        ("response", succeeded("Hello")),
    ])
}

/// What the callbacks of [`hello`] record.
pub(crate) const HELLO: [&str; 6] =
    ["metadata run1", r#"data "Hel" a"#, r#"data "lo ✓" a"#, "commit a", r#"data {"done":true} -"#, "done"];

/// Resuming without delays that a test would notice.
pub(crate) fn fast() -> ClientBuilder {
    Client::builder().resume_delay(Duration::from_millis(1)).resume_delay_max(Duration::from_millis(2))
}

pub(crate) fn fast_client() -> Client {
    fast().build().unwrap()
}

/// Records every callback as a line.
#[derive(Clone, Default)]
pub(crate) struct Recorder(Arc<Mutex<Vec<String>>>);

impl Recorder {
    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    fn add(&self, line: String) {
        self.0.lock().unwrap().push(line);
    }

    pub(crate) fn record<'a>(&self, fetch: FetchWithStream<'a>) -> FetchWithStream<'a> {
        let [metadata, data, commit, rollback, error, done] = std::array::from_fn(|_| self.clone());
        fetch
            .on_metadata(move |run_id| metadata.add(format!("metadata {run_id}")))
            .on_data(move |chunk, step| data.add(format!("data {chunk} {}", step.unwrap_or("-"))))
            .on_commit(move |step| commit.add(format!("commit {}", step.unwrap_or("-"))))
            .on_rollback(move |step| rollback.add(format!("rollback {}", step.unwrap_or("-"))))
            .on_stream_error(move |message| error.add(format!("error {message}")))
            .on_done(move || done.add("done".to_owned()))
    }
}

/// Every frame as its id and kind, and the error at the end if there is one.
pub(crate) async fn ids(mut frames: Frames) -> (Vec<String>, Option<onward_client::Error>) {
    let mut ids = Vec::new();
    while let Some(received) = frames.next().await {
        match received {
            Ok(received) => ids.push(received.id.unwrap_or_else(|| "-".to_owned())),
            Err(error) => return (ids, Some(error)),
        }
    }
    (ids, None)
}
