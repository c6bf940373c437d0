//! Durable HTTP endpoints: an ordinary handler whose steps are checkpointed, retried and resumed.
//!
//! Wrap a route, take a [`Step`], and every request is durable. On the happy path it stays an ordinary, fast HTTP
//! response. When a step fails, sleeps or waits, the client is redirected to a URL that waits for the outcome, and a
//! crash, a deploy or a dead machine loses nothing.
//!
//! ```no_run
//! use axum::{Json, Router, routing::get};
//! use onward::{Onward, Step, StepError};
//!
//! async fn process(step: Step) -> Result<Json<String>, StepError> {
//!     let user = step.run("fetch-user", async || Ok::<_, StepError>("Ada".to_owned())).await?;
//!     step.sleep("rate-limit-pause", "30s").await?;
//!     let receipt = step.run("charge", async || Ok::<_, StepError>(format!("charged {user}"))).retries(5).await?;
//!     Ok(Json(receipt))
//! }
//!
//! #[tokio::main]
//! async fn main() -> Result<(), onward::Error> {
//!     let onward = Onward::open("sqlite:onward.db").await?;
//!     let app = Router::new()
//!         .merge(onward.route("/process", get(process)))
//!         .route("/wait", onward.proxy());
//!     onward.serve("127.0.0.1:3000", app).await
//! }
//! ```
//!
//! # What a handler must keep to
//! A run may be **replayed**: its handler is called again with the stored request, and steps that are done answer from
//! the journal. So whatever is not inside a step should be cheap and give the same result each time, and a handler
//! should not spawn tasks that take steps.
//!
//! A run whose steps all wait may be **suspended**: its handler is dropped until something comes. Other work that goes
//! on beside the wait (an HTTP call in a `join!` that is in no step, say) is dropped with it: put it into a step.
//!
//! # Deploying a changed handler
//! Runs under way go on with the handler that is there. Give an endpoint a version to see which one began a run, keep
//! an old version beside a new one, and pin runs to their version where the steps have changed: see
//! [`Options::version`] and [`Options::pin_version`].
//!
//! # Features
//! `axum` and `sqlite` and `fetch`, all on by default; `postgres`, for several nodes on one database.

#[cfg(feature = "axum")]
mod axum_glue;
mod config;
mod context;
mod cors;
mod crashes;
mod durable;
mod endpoint;
mod error;
mod events;
mod execution;
mod onward;
mod reader;
mod record;
mod resume;
mod runs;
mod seal;
#[cfg(feature = "axum")]
mod serve;
mod shared_endpoints;
mod step;
mod supervise;
mod unreadable;
mod wait;

pub use onward_core::{IntoDuration, InvalidDuration, RetryPolicy, RunId};

#[cfg(feature = "fetch")]
pub use crate::step::Fetch;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub use crate::step::Transaction;
#[cfg(feature = "axum")]
pub use crate::{axum_glue::NotDurable, serve::Listen};
pub use crate::{
    config::{AsyncResponse, Builder, Durability, Options},
    cors::Cors,
    durable::{Durable, DurableBody, DurableLayer},
    endpoint::EndpointBuilder,
    error::{BoxError, Error, IntoStepError, StepError},
    events::NewEvent,
    onward::{Load, Onward},
    runs::{BlockedDetail, RunDetail, RunPage, RunQuery, RunStatus, RunSummary, Runs, StepDetail},
    step::{
        Event, IntoChunk, Invoke, Run, SendEvent, SendSignal, Sleep, Step, StepContext, StreamWriter, WaitForEvent,
        WaitForSignal,
    },
    wait::WaitBody,
};
#[cfg(feature = "axum")]
pub use onward_host::serve::Limits as ConnectionLimits;
#[cfg(feature = "postgres")]
pub use onward_postgres::{Options as PostgresOptions, SqlError, Transaction as PostgresTransaction, tokio_postgres};
#[cfg(feature = "sqlite")]
pub use onward_sqlite::{Options as SqliteOptions, rusqlite};
