//! Runs the binary in a folder of its own, and answers it in an engine's place.

use std::{
    path::Path,
    process::{Output, Stdio},
    sync::Arc,
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri},
    response::IntoResponse,
};
use parking_lot::Mutex;
use tempfile::TempDir;
use tokio::{
    io::AsyncWriteExt,
    net::TcpListener,
    process::{Child, Command},
    task::JoinSet,
};

/// What a command said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Said {
    pub(crate) fn json(&self) -> serde_json::Value {
        assert_eq!(self.code, 0, "{}", self.err);
        serde_json::from_str(&self.out).unwrap()
    }
}

/// A folder in which the binary runs, with no other variables than those that are given.
pub(crate) struct Place {
    folder: TempDir,
    variables: Vec<(String, String)>,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), variables: Vec::new() }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn with(mut self, variable: &str, value: &str) -> Self {
        self.variables.push((variable.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn file(self, name: &str, text: &str) -> Self {
        std::fs::write(self.path().join(name), text).unwrap();
        self
    }

    /// Starts the binary.
    pub(crate) fn start(&self, args: &[&str]) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_onward"));
        command.args(args).env_clear().envs(self.variables.iter().cloned()).current_dir(self.path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command.spawn().unwrap()
    }

    /// Runs the binary to its end.
    pub(crate) async fn run(&self, args: &[&str]) -> Said {
        self.run_with_input(args, "").await
    }

    pub(crate) async fn run_with_input(&self, args: &[&str], input: &str) -> Said {
        let mut child = self.start(args);
        let mut stdin = child.stdin.take().unwrap();
        // A command that does not read may have ended already.
        let _ = stdin.write_all(input.as_bytes()).await;
        drop(stdin);
        child.wait_with_output().await.unwrap().into()
    }
}

/// What an engine was asked.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) what: String,
    pub(crate) authorization: Option<String>,
    pub(crate) body: String,
}

struct Answer {
    status: u16,
    body: String,
    headers: Vec<(&'static str, &'static str)>,
    asked: Mutex<Vec<Asked>>,
}

/// Something that listens in an engine's place, and answers everything alike.
pub(crate) struct Fake {
    pub(crate) url: String,
    answer: Arc<Answer>,
    _task: JoinSet<()>,
}

impl Fake {
    pub(crate) async fn new(status: u16, body: &str) -> Self {
        Self::with_headers(status, body, Vec::new()).await
    }

    pub(crate) async fn with_headers(status: u16, body: &str, headers: Vec<(&'static str, &'static str)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let answer = Arc::new(Answer { status, body: body.to_owned(), headers, asked: Mutex::default() });
        let app = Router::new().fallback(reply).with_state(Arc::clone(&answer));
        let mut task = JoinSet::new();
        task.spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, answer, _task: task }
    }

    /// The one thing that it was asked.
    pub(crate) fn asked(&self) -> Asked {
        let mut asked = self.answer.asked.lock();
        assert_eq!(asked.len(), 1, "{asked:?}");
        asked.remove(0)
    }
}

async fn reply(
    State(answer): State<Arc<Answer>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> impl IntoResponse {
    let authorization = headers.get("authorization").map(|value| value.to_str().unwrap().to_owned());
    let body = String::from_utf8(body.to_vec()).unwrap();
    answer.asked.lock().push(Asked { what: format!("{method} {uri}"), authorization, body });
    let headers: HeaderMap = answer.headers.iter().map(|(n, v)| (n.parse().unwrap(), v.parse().unwrap())).collect();
    (StatusCode::from_u16(answer.status).unwrap(), headers, answer.body.clone())
}
