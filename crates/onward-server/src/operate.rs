//! An operator's way into a store without the process that executes its runs.

use std::sync::Arc;

use onward_core::{
    RunId, Store, StoreError, Timestamp,
    store::{Control, Loaded},
};
use onward_host::operate;
use onward_scheduler::Patience;
use onward_sqlite::Location;
use serde_json::{Value, json};

use crate::{
    Error, Options,
    api::run::{Filter, known, page_of, whole},
    engine::{self, Opened},
    options::Mode,
    record::Origin,
};

/// The runs that an [`Operator`] lists.
#[derive(Clone, Debug, Default)]
pub struct RunsQuery {
    /// Only those of this status: running, completed, failed or cancelled.
    pub status: Option<String>,
    /// Only those of this endpoint.
    pub endpoint: Option<String>,
    /// Only those that are older than this one.
    pub before: Option<String>,
    /// At most how many, 1 to 500.
    pub limit: usize,
}

/// An operator with a store of an engine, or of an app that uses the library. It joins nothing and executes nothing.
///
/// A file of SQLite is one process's: nobody else may have it open meanwhile. PostgreSQL can be looked at any time. Answers
/// have the shape of the engine's run API.
///
/// # Example
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), onward_server::Error> {
/// use onward_server::{Operator, RunsQuery};
///
/// let operator = Operator::open("memory:").await?;
/// let runs = operator.list(RunsQuery { limit: 20, ..RunsQuery::default() }).await?;
/// assert_eq!(runs["data"].as_array().map(Vec::len), Some(0));
/// operator.close().await;
/// # Ok(())
/// # }
/// ```
pub struct Operator(Opened);

impl std::fmt::Debug for Operator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Operator(…)")
    }
}

impl Operator {
    /// Opens a store: `sqlite:PATH` or `postgres://…`. Its schema stays as it is.
    ///
    /// # Errors
    /// A URL that names no store, a file that is not there or that another process has open, a database that does not answer
    /// or has no store, a store whose schema is another release's.
    pub async fn open(url: &str) -> Result<Self, Error> {
        // An operator who mistypes a path is told so, and gets no empty store.
        if url.starts_with("sqlite:")
            && let Location::File { path, .. } = Location::parse(url)?
            && !path.exists()
        {
            return Err(Error::Option(format!("there is no file {}: name the file of a store", path.display())));
        }
        // The app's nodes could not open the store any more with a schema of a newer release.
        let sqlite = onward_sqlite::Options::new().schema_unchanged();
        let postgres = Options::new(Mode::Start).postgres().schema_unchanged();
        Ok(Self(engine::open_store(url, sqlite, postgres, Patience::none()).await?))
    }

    fn store(&self) -> Arc<dyn Store> {
        self.0.store()
    }

    /// The present, by the clock of those who execute the runs.
    fn now(&self) -> Timestamp {
        self.0.clock().now()
    }

    async fn load(&self, run_id: &str) -> Result<Loaded, Error> {
        let run_id = parse(run_id)?;
        Ok(self.store().load(run_id).await?.ok_or(StoreError::RunNotFound)?)
    }

    /// Lists runs, newest first: `{"data": […], "next": …}`.
    ///
    /// # Errors
    /// A query that names no status, endpoint or run; a store that does not answer.
    pub async fn list(&self, query: RunsQuery) -> Result<Value, Error> {
        let RunsQuery { status, endpoint, before, limit } = query;
        let filter = Filter { status, endpoint, before, limit: Some(limit) }.filter().map_err(Error::Option)?;
        Ok(page_of(&self.store().runs(filter).await?))
    }

    /// Shows a run with its steps: `{"data": {…}}`. The outputs of an app that uses the library are not told. A run whose
    /// record cannot be read is shown with what is known, and the cause as `unreadable`.
    ///
    /// # Errors
    /// No such run; a store that does not answer.
    pub async fn show(&self, run_id: &str) -> Result<Value, Error> {
        let run_id = parse(run_id)?;
        let store = self.store();
        let loaded = match store.load(run_id).await {
            Err(error @ StoreError::Corrupt(_)) => {
                return Ok(json!({ "data": known(&*store, run_id, &error).await? }));
            }
            loaded => loaded?.ok_or(StoreError::RunNotFound)?,
        };
        let mut data = whole(&loaded);
        if loaded.crashes.count > 0 {
            data["crashes"] = loaded.crashes.count.into();
        }
        Ok(json!({ "data": data }))
    }

    /// Ends a run where it is.
    ///
    /// # Errors
    /// No such run, or one that has ended; a store that does not answer.
    pub async fn cancel(&self, run_id: &str) -> Result<(), Error> {
        self.control(parse(run_id)?, Control::Cancel(operate::cancelled())).await
    }

    /// Gives a failed run another chance: it goes on from the step that failed it, as soon as its app is open.
    ///
    /// # Errors
    /// No such run, one that has not failed, or one whose error is encrypted; a store that does not answer.
    pub async fn retry(&self, run_id: &str) -> Result<(), Error> {
        let Loaded { record, journal, .. } = self.load(run_id).await?;
        let is_of_engine = Origin::decode(&record.request).is_ok();
        let step = match &record.outcome {
            Some(outcome) if is_of_engine => operate::failed_with(outcome, &journal),
            Some(outcome) => {
                operate::failed_step(outcome, &journal).map_err(|error| Error::Option(error.to_string()))?
            }
            None => None,
        };
        // As long as the run had.
        let timeout = record.timeout_at.map(|at| at.since(record.created_at));
        let timeout_at = timeout.map(|timeout| self.now().after(timeout));
        self.control(record.run_id, Control::Retry { step, timeout_at }).await
    }

    async fn control(&self, run_id: RunId, control: Control) -> Result<(), Error> {
        self.store().control(run_id, control, self.now()).await?;
        Ok(())
    }

    /// Closes the store, once all is written.
    pub async fn close(self) {
        self.0.close().await;
    }
}

fn parse(run_id: &str) -> Result<RunId, Error> {
    run_id.parse().map_err(|_| Error::Option(format!("invalid run id {run_id:?}: expected a ULID of 26 characters")))
}
