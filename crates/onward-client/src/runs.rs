//! The run API: for operators.

use bytes::Bytes;
use http::Response;
use onward_protocol::run::{RunDetails, RunList};
use reqwest::{Method, Url};

use crate::{
    Client, Error,
    answer::read,
    problem::Problem,
    request::{Call, parse},
};

/// The run API of a server: see [`Client::runs`].
#[derive(Clone, Debug)]
pub struct Runs<'a> {
    client: &'a Client,
    url: Result<Url, String>,
}

/// Which runs to list: all, or those that every given condition lets through.
///
/// ```
/// use onward_client::RunFilter;
///
/// let failed = RunFilter::new().status("failed").endpoint("POST /pay").limit(20);
/// # drop(failed);
/// ```
#[derive(Clone, Debug, Default)]
pub struct RunFilter(Vec<(&'static str, String)>);

impl RunFilter {
    /// All runs, 50 a page.
    pub fn new() -> Self {
        Self::default()
    }

    /// Only those of this status: `running`, `suspended`, `completed`, `failed` or `cancelled`; given again, of either.
    pub fn status(self, status: &str) -> Self {
        self.with("status", status.to_owned())
    }

    /// Only those of the endpoint of this id.
    pub fn endpoint(self, id: &str) -> Self {
        self.with("endpoint", id.to_owned())
    }

    /// How many a page has, 1 to 1,000.
    pub fn limit(self, runs: u32) -> Self {
        self.with("limit", runs.to_string())
    }

    /// Goes on where a page ended: its `next`.
    pub fn before(self, next: &str) -> Self {
        self.with("before", next.to_owned())
    }

    fn with(mut self, name: &'static str, value: String) -> Self {
        self.0.push((name, value));
        self
    }
}

impl Client {
    /// The run API that a server has at this URL, such as `https://app.example/runs`.
    ///
    /// ```no_run
    /// # async fn call(client: onward_client::Client) -> Result<(), onward_client::Error> {
    /// use onward_client::RunFilter;
    ///
    /// let runs = client.runs("https://app.example/runs");
    /// for run in runs.list(RunFilter::new().status("failed")).await?.runs {
    ///     runs.retry(&run.run_id).await?;
    /// }
    /// # Ok(()) }
    /// ```
    pub fn runs(&self, url: &str) -> Runs<'_> {
        Runs { client: self, url: parse(url).map_err(|error| error.to_string()) }
    }
}

impl Runs<'_> {
    /// A page of runs, newest first.
    ///
    /// # Errors
    /// As of all methods: the request could not be made, or was refused ([`Error::problem`]).
    pub async fn list(&self, filter: RunFilter) -> Result<RunList, Error> {
        let mut url = self.at(&[])?;
        if !filter.0.is_empty() {
            url.query_pairs_mut().extend_pairs(filter.0);
        }
        parsed(&self.send(Method::GET, url).await?)
    }

    /// A run with its steps. One that is not there is a problem with the code `run-not-found`.
    pub async fn get(&self, run_id: &str) -> Result<RunDetails, Error> {
        parsed(&self.send(Method::GET, self.at(&[run_id])?).await?)
    }

    /// Cancels a run that has not ended. If the future is dropped, it may have been.
    pub async fn cancel(&self, run_id: &str) -> Result<(), Error> {
        self.send(Method::POST, self.at(&[run_id, "cancel"])?).await.map(drop)
    }

    /// Tries a failed run again, from the step that failed it. If the future is dropped, it may be.
    pub async fn retry(&self, run_id: &str) -> Result<(), Error> {
        self.send(Method::POST, self.at(&[run_id, "retry"])?).await.map(drop)
    }

    /// Removes an ended run. If the future is dropped, it may have been.
    pub async fn delete(&self, run_id: &str) -> Result<(), Error> {
        self.send(Method::DELETE, self.at(&[run_id])?).await.map(drop)
    }

    fn at(&self, parts: &[&str]) -> Result<Url, Error> {
        let mut url = self.url.clone().map_err(Error::invalid)?;
        let mut path = url.path_segments_mut().map_err(|()| Error::invalid("the URL has no path"))?;
        path.pop_if_empty().extend(parts);
        drop(path);
        Ok(url)
    }

    async fn send(&self, method: Method, url: Url) -> Result<Response<Bytes>, Error> {
        let config = &self.client.config;
        let call = Call::plain(method, url).with_defaults(&config.headers);
        let response = read(call.send(config).await?, None, config.bytes_max).await?;
        if response.status().is_success() { Ok(response) } else { Err(Error::refused(Problem::of(&response))) }
    }
}

fn parsed<T: serde::de::DeserializeOwned>(response: &Response<Bytes>) -> Result<T, Error> {
    serde_json::from_slice(response.body()).map_err(|_| Error::protocol("the run API's answer has not its shape"))
}
