//! `onward runs`: looks at runs and steers them.

use clap::Subcommand;
use http::Method;
use serde_json::Value;

use super::{
    api::Api,
    output::{Failure, note, plain, say, say_json},
    table::Table,
};
use crate::config::{Environment, Operator, OperatorFlags};

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
        operator: OperatorFlags,
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
    operator: OperatorFlags,
}

impl One {
    async fn call(&self, method: Method, more: &[&str], environment: &Environment) -> Result<Value, Failure> {
        let api = Api::new(Operator::load(&self.operator, environment)?)?;
        api.call(method, &[&["v1", "runs", self.id.as_str()], more].concat(), &[]).await
    }
}

impl Runs {
    pub(super) async fn run(self, environment: &Environment) -> Result<(), Failure> {
        let (one, answer, done) = match self {
            Self::List { status, endpoint, limit, before, operator } => {
                let mut query = vec![("limit", limit.to_string())];
                query.extend(
                    [("status", status), ("endpoint", endpoint), ("before", before)]
                        .into_iter()
                        .filter_map(|(name, value)| Some((name, value?))),
                );
                let api = Api::new(Operator::load(&operator, environment)?)?;
                let answer = api.call(Method::GET, &["v1", "runs"], &query).await?;
                if operator.json {
                    say_json(&answer);
                } else {
                    list(&answer);
                }
                return Ok(());
            }
            Self::Show(one) => {
                let answer = one.call(Method::GET, &[], environment).await?;
                let text = show(&answer["data"]);
                (one, answer, text)
            }
            Self::Cancel(one) => {
                let answer = one.call(Method::DELETE, &[], environment).await?;
                let text = format!("cancelled {}", plain(&one.id));
                (one, answer, text)
            }
            Self::Retry(one) => {
                let answer = one.call(Method::POST, &["retry"], environment).await?;
                let text = format!("{} is retried", plain(&one.id));
                (one, answer, text)
            }
        };
        if one.operator.json {
            say_json(&answer);
        } else {
            say(&done);
        }
        Ok(())
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
