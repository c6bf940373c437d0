//! What can go wrong.

use std::{error::Error as StdError, fmt, time::Duration};

use reqwest::Url;

use crate::{problem::Problem, request::redacted};

/// Anything that can go wrong in this crate.
///
/// What is inside may change in any release. Ask with the `is_` methods.
///
/// # Example
///
/// ```no_run
/// # async fn call(client: onward_client::Client) {
/// match client.fetch_with_stream("https://app.example/api/answer").await {
///     Ok(response) => println!("{}", response.status()),
///     // The run goes on: read it again later.
///     Err(error) if error.is_lost() => drop(error.lost().and_then(|run| run.waiting_url())),
///     Err(error) if error.is_transient() => println!("try again: {error}"),
///     Err(error) => println!("{error}"),
/// }
/// # }
/// ```
#[derive(Debug)]
pub struct Error(Box<Cause>);

#[derive(Debug, thiserror::Error)]
enum Cause {
    #[error("invalid {0}")]
    Invalid(String),
    #[error("the request got no answer")]
    Transport(#[source] reqwest::Error),
    #[error("nothing came for {} ms", .0.as_millis())]
    Silent(Duration),
    #[error(transparent)]
    Refused(Problem),
    #[error("the run was lost{}", after(*attempts))]
    Lost { run: LostRun, attempts: u32, source: Option<Error> },
    #[error("{0}")]
    Protocol(String),
}

fn after(attempts: u32) -> String {
    match attempts {
        0 => " before its response came".to_owned(),
        1 => " before its response came, and an attempt to resume it failed".to_owned(),
        _ => format!(" before its response came, and {attempts} attempts to resume it failed"),
    }
}

/// What is known of a run whose stream was lost: enough to read it again later, with
/// [`Client::attach`](crate::Client::attach).
#[derive(Clone)]
pub struct LostRun {
    pub(crate) run_id: Option<String>,
    pub(crate) waiting_url: Option<Url>,
    pub(crate) last_event_id: Option<String>,
}

impl Error {
    /// Whether the same call may succeed later.
    ///
    /// After a lost run it may have an effect twice: read the run again instead.
    pub fn is_transient(&self) -> bool {
        match &*self.0 {
            Cause::Transport(error) => !(error.is_builder() || error.is_redirect()),
            Cause::Silent(_) | Cause::Lost { .. } => true,
            Cause::Refused(problem) => problem.status().as_u16() == 429 || problem.status().is_server_error(),
            Cause::Invalid(_) | Cause::Protocol(_) => false,
        }
    }

    /// Whether the connection was lost before the run's response, and could not be resumed. The run itself goes on.
    pub fn is_lost(&self) -> bool {
        self.lost().is_some()
    }

    /// What is known of the run that was lost.
    pub fn lost(&self) -> Option<&LostRun> {
        match &*self.0 {
            Cause::Lost { run, .. } => Some(run),
            _ => None,
        }
    }

    /// Why the server refused, where it did.
    pub fn problem(&self) -> Option<&Problem> {
        match &*self.0 {
            Cause::Refused(problem) => Some(problem),
            _ => None,
        }
    }

    /// Whether what was asked for cannot be: the request's URL, an option.
    pub fn is_invalid(&self) -> bool {
        matches!(&*self.0, Cause::Invalid(_))
    }

    /// Whether the server sent what the protocol does not allow.
    pub fn is_protocol(&self) -> bool {
        matches!(&*self.0, Cause::Protocol(_))
    }

    /// Whether there were more redirects than are followed.
    pub(crate) fn is_redirect(&self) -> bool {
        matches!(&*self.0, Cause::Transport(error) if error.is_redirect())
    }

    /// The error and its sources in one line.
    pub(crate) fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut source = self.source();
        while let Some(error) = source {
            let more = error.to_string();
            if !text.ends_with(&more) {
                text.push_str(": ");
                text.push_str(&more);
            }
            source = error.source();
        }
        text
    }

    pub(crate) fn invalid(what: impl Into<String>) -> Self {
        Self(Box::new(Cause::Invalid(what.into())))
    }

    /// The URL is left out: it may hold a token.
    pub(crate) fn transport(error: reqwest::Error) -> Self {
        Self(Box::new(Cause::Transport(error.without_url())))
    }

    pub(crate) fn silent(idle: Duration) -> Self {
        Self(Box::new(Cause::Silent(idle)))
    }

    pub(crate) fn refused(problem: Problem) -> Self {
        Self(Box::new(Cause::Refused(problem)))
    }

    pub(crate) fn new_lost(run: LostRun, attempts: u32, source: Option<Self>) -> Self {
        Self(Box::new(Cause::Lost { run, attempts, source }))
    }

    pub(crate) fn protocol(what: impl Into<String>) -> Self {
        Self(Box::new(Cause::Protocol(what.into())))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source()
    }
}

impl LostRun {
    /// The run, if its metadata had come.
    pub fn run_id(&self) -> Option<&str> {
        self.run_id.as_deref()
    }

    /// Where the run can be read, if the server had said so. It holds the run's token.
    pub fn waiting_url(&self) -> Option<&str> {
        self.waiting_url.as_ref().map(Url::as_str)
    }

    /// The id of the last frame that was seen, if frames had ids.
    pub fn last_event_id(&self) -> Option<&str> {
        self.last_event_id.as_deref()
    }
}

impl fmt::Debug for LostRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LostRun")
            .field("run_id", &self.run_id)
            .field("waiting_url", &self.waiting_url.as_ref().map(redacted))
            .field("last_event_id", &self.last_event_id)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::{Error, LostRun};

    #[test]
    fn a_lost_run_says_how_often_it_was_tried_and_why_and_keeps_its_token() {
        let run = LostRun {
            run_id: Some("run1".into()),
            waiting_url: Some("http://h/wait?runId=run1&token=secret".parse().unwrap()),
            last_event_id: Some("3".into()),
        };
        let error = Error::new_lost(run, 2, Some(Error::protocol("cut")));
        assert_eq!(error.chain(), "the run was lost before its response came, and 2 attempts to resume it failed: cut");
        assert!(error.is_transient() && error.is_lost() && !error.is_protocol());
        assert!(!format!("{error:?} {error}").contains("secret"));
        assert!(error.lost().unwrap().waiting_url().unwrap().contains("secret"));
    }
}
