//! `onward runs`: looks at runs and steers them.

use clap::Subcommand;
use http::Method;
use onward_server::{Operator, RunsQuery};
use serde_json::Value;

use super::{
    api::Api,
    output::{Failure, note, plain, say, say_json},
    table::Table,
};
use crate::config::{self, Environment, OperatorFlags};

#[derive(Debug, Subcommand)]
pub(super) enum Runs {
    /// Lists runs, the newest first.
    List {
        /// Only runs of this status, such as running or failed.
        #[arg(long)]
        status: Option<String>,
        /// Only runs of this endpoint.
        #[arg(long)]
        endpoint: Option<String>,
        /// The most runs to list.
        #[arg(long, default_value_t = 20)]
        limit: u32,
        /// Only runs that are older than this one.
        #[arg(long, value_name = "ID")]
        before: Option<String>,
        #[command(flatten)]
        place: Place,
    },
    /// Shows a run, its steps and its output.
    Show(One),
    /// Ends a run where it is.
    Cancel(One),
    /// Gives a failed run another chance.
    Retry(One),
}

/// One run.
#[derive(Debug, clap::Args)]
pub(super) struct One {
    /// The run's id.
    id: String,
    #[command(flatten)]
    place: Place,
}

/// Where runs are looked for.
#[derive(Debug, clap::Args)]
pub(super) struct Place {
    /// Looks into a store without its engine or app: sqlite:PATH while no process has the file open, or postgres://… at any
    /// time.
    #[arg(long, value_name = "URL", conflicts_with = "url")]
    store: Option<String>,
    #[command(flatten)]
    operator: OperatorFlags,
}

/// Whoever can answer: an engine, or a store without its engine.
enum Source {
    Engine(Box<Api>),
    Store(Operator),
}

impl Source {
    async fn open(place: &Place, environment: &Environment) -> Result<Self, Failure> {
        Ok(match &place.store {
            Some(url) => Self::Store(Operator::open(url).await.map_err(|error| Failure::failed(&error))?),
            None => Self::Engine(Box::new(Api::new(config::Operator::load(&place.operator, environment)?)?)),
        })
    }

    async fn list(&self, query: RunsQuery) -> Result<Value, Failure> {
        match self {
            Self::Engine(api) => {
                let RunsQuery { status, endpoint, before, limit } = query;
                let mut pairs = vec![("limit", limit.to_string())];
                let more = [("status", status), ("endpoint", endpoint), ("before", before)];
                pairs.extend(more.into_iter().filter_map(|(name, value)| Some((name, value?))));
                api.call(Method::GET, &["v1", "runs"], &pairs).await
            }
            Self::Store(store) => store.list(query).await.map_err(|error| Failure::failed(&error)),
        }
    }

    async fn show(&self, id: &str) -> Result<Value, Failure> {
        match self {
            Self::Engine(api) => api.call(Method::GET, &["v1", "runs", id], &[]).await,
            Self::Store(store) => store.show(id).await.map_err(|error| Failure::failed(&error)),
        }
    }

    async fn cancel(&self, id: &str) -> Result<Value, Failure> {
        match self {
            Self::Engine(api) => api.call(Method::DELETE, &["v1", "runs", id], &[]).await,
            Self::Store(store) => done(store.cancel(id).await),
        }
    }

    async fn retry(&self, id: &str) -> Result<Value, Failure> {
        match self {
            Self::Engine(api) => api.call(Method::POST, &["v1", "runs", id, "retry"], &[]).await,
            Self::Store(store) => done(store.retry(id).await),
        }
    }

    async fn close(self) {
        if let Self::Store(store) = self {
            store.close().await;
        }
    }
}

/// What an engine would answer.
fn done(done: Result<(), onward_server::Error>) -> Result<Value, Failure> {
    done.map(|()| Value::Object(serde_json::Map::new())).map_err(|error| Failure::failed(&error))
}

impl Runs {
    pub(super) async fn run(self, environment: &Environment) -> Result<(), Failure> {
        let place = match &self {
            Self::List { place, .. } => place,
            Self::Show(one) | Self::Cancel(one) | Self::Retry(one) => &one.place,
        };
        let (source, json) = (Source::open(place, environment).await?, place.operator.json);
        let answered = self.ask(&source).await;
        source.close().await;
        let (answer, text) = answered?;
        match text {
            _ if json => say_json(&answer),
            Some(text) => say(&text),
            None => list(&answer),
        }
        Ok(())
    }

    /// The answer, and how it is said unless it is a list.
    async fn ask(self, source: &Source) -> Result<(Value, Option<String>), Failure> {
        Ok(match self {
            Self::List { status, endpoint, limit, before, .. } => {
                let limit = usize::try_from(limit).unwrap_or(usize::MAX);
                (source.list(RunsQuery { status, endpoint, before, limit }).await?, None)
            }
            Self::Show(One { id, .. }) => {
                let answer = source.show(&id).await?;
                let text = show(&answer["data"]);
                (answer, Some(text))
            }
            Self::Cancel(One { id, .. }) => (source.cancel(&id).await?, Some(format!("cancelled {}", plain(&id)))),
            Self::Retry(One { id, .. }) => (source.retry(&id).await?, Some(format!("{} is retried", plain(&id)))),
        })
    }
}

fn list(answer: &Value) {
    let runs = answer["data"].as_array().map(Vec::as_slice).unwrap_or_default();
    if runs.is_empty() {
        note("no runs");
        return;
    }
    let mut table = Table::new(&["RUN", "STATUS", "STARTED", "ENDED", "ENDPOINT"]);
    for run in runs {
        let (started, ended) = (time(&run["run_started_at"]), time(&run["ended_at"]));
        table.row([cell(&run["run_id"]), cell(&run["status"]), started, ended, cell(&run["endpoint"])]);
    }
    say(&table.text(""));
    if let Some(next) = answer["next"].as_str() {
        note(&format!("there are more: add --before {}", plain(next)));
    }
}

fn show(run: &Value) -> String {
    let mut facts = Table::new(&["run", &cell(&run["run_id"])]);
    facts.row(["endpoint".to_owned(), cell(&run["endpoint"])]);
    facts.row(["status".to_owned(), cell(&run["status"])]);
    facts.row(["started".to_owned(), time(&run["run_started_at"])]);
    facts.row(["ended".to_owned(), time(&run["ended_at"])]);
    if !run["crashes"].is_null() {
        facts.row(["crashes".to_owned(), cell(&run["crashes"])]);
    }
    if !run["unreadable"].is_null() {
        facts.row(["unreadable".to_owned(), cell(&run["unreadable"])]);
    }
    let mut text = facts.text("");
    let steps = run["steps"].as_array().map(Vec::as_slice).unwrap_or_default();
    if !steps.is_empty() {
        let mut table = Table::new(&["STEP", "KIND", "STATUS", "ATTEMPTS", "DUE", "ERROR"]);
        for step in steps {
            let (what, due) =
                (["id", "kind", "status", "attempts"].map(|name| cell(&step[name])), time(&step["due_at"]));
            table.row(what.into_iter().chain([due, cell(&step["error"])]));
        }
        text.extend(["\n", &table.text("")]);
    }
    if !run["output"].is_null() {
        let output = format!("{:#}", run["output"]);
        text.push_str("\noutput\n");
        text.extend(output.lines().map(|line| format!("  {}\n", plain(line))));
    }
    text
}

/// A value in a table.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => plain(text),
        // An error is told by its message.
        Value::Object(object) => object.get("message").map_or_else(|| value.to_string(), cell),
        value => value.to_string(),
    }
}

/// A time to the second, as people read it. It stays in UTC, as it came.
fn time(value: &Value) -> String {
    let Some(text) = value.as_str() else { return cell(value) };
    match (text.get(..19), text.as_bytes().last()) {
        (Some(seconds), Some(b'Z')) if seconds.as_bytes()[10] == b'T' => seconds.replace('T', " "),
        _ => plain(text),
    }
}
