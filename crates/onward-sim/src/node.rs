//! A node: a real process with an app on PostgreSQL, which is killed, stopped and cut off.

mod handlers;
mod traced;

pub(crate) use self::handlers::CRASHES_MAX;

use std::{
    io::Write as _,
    path::PathBuf,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
    routing::post,
};
use onward::{Onward, Options, PostgresOptions, RetryPolicy, RunId};

use crate::record::Journal;

/// What a node is told by who starts it.
#[derive(Debug)]
pub(crate) struct Arguments {
    /// The way to the database, through the proxy.
    pub(crate) url: String,
    /// The life of the node.
    pub(crate) process: String,
    pub(crate) journal: PathBuf,
    pub(crate) lease: Duration,
}

impl Arguments {
    /// As they are given to a process.
    pub(crate) fn to_args(&self) -> Vec<String> {
        let journal = self.journal.display().to_string();
        vec!["node".to_owned(), self.url.clone(), self.process.clone(), journal, self.lease.as_millis().to_string()]
    }

    /// Reads what follows the word `node`.
    pub(crate) fn read(args: &[String]) -> Option<Self> {
        let [url, process, journal, lease] = args else { return None };
        let lease = Duration::from_millis(lease.parse().ok()?);
        Some(Self { url: url.clone(), process: process.clone(), journal: journal.into(), lease })
    }
}

/// What handlers share.
#[derive(Clone, Debug)]
struct App {
    onward: Onward,
    journal: Journal,
    executions: Arc<AtomicU64>,
}

/// Serves until it is asked to end. Where it listens is the first line that it prints.
pub(crate) async fn serve(arguments: Arguments) -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    let journal = Journal::open(&arguments.journal, &arguments.process)?;
    let patience = RetryPolicy::fixed(Duration::from_millis(40), 3)?;
    let onward = open(&arguments, Options::default().retry_policy(patience)).await?;
    let app = App { onward: onward.clone(), journal, executions: Arc::default() };
    let router = handlers::routes(&onward)
        .route("/signal/{name}", post(signal))
        .route("/cancel/{run}", post(cancel))
        .route("/wait", onward.proxy())
        .route("/events", onward.events())
        .with_state(app);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let mut told = std::io::stdout();
    writeln!(told, "{}", listener.local_addr()?)?;
    told.flush()?;
    Ok(onward.serve(listener, router).await?)
}

/// The way to the database may be cut off just now: opening goes on trying.
async fn open(arguments: &Arguments, defaults: Options) -> Result<Onward, onward::Error> {
    // A call must end before the lease does.
    let postgres = PostgresOptions::new().connections(4).timeout(arguments.lease / 2);
    let builder = Onward::builder()
        .defaults(defaults)
        .postgres_options(postgres)
        .lease(arguments.lease)
        .start_patience(START_PATIENCE)
        .wait_max(Duration::from_millis(1_500))
        // Short, so that some runs that wait are called anew and some go on in place.
        .parked_for(Duration::from_millis(300))
        .drain_for(Duration::from_secs(2));
    builder.open(&arguments.url).await
}

/// Faults are over by then, on any machine.
const START_PATIENCE: Duration = Duration::from_secs(300);

/// Gives a signal; answers with the run that it was given to, if there was one.
async fn signal(
    State(app): State<App>,
    Path(name): Path<String>,
    Json(data): Json<serde_json::Value>,
) -> Result<String, StatusCode> {
    let run = app.onward.send_signal(&name, &data).await.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    Ok(run.map_or_else(String::new, |run| run.to_string()))
}

async fn cancel(State(app): State<App>, Path(run): Path<String>) -> StatusCode {
    let Ok(run) = run.parse::<RunId>() else { return StatusCode::BAD_REQUEST };
    match app.onward.runs().cancel(run).await {
        Ok(()) => StatusCode::OK,
        Err(error) if error.is_wrong_status() => StatusCode::CONFLICT,
        Err(error) if error.is_not_found() => StatusCode::NOT_FOUND,
        Err(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}
