//! Runs as the run API tells of them. Times are milliseconds since the Unix epoch.

use serde::{Deserialize, Serialize};

/// A run in a list.
///
/// ```
/// # use onward_protocol::run::RunInfo;
/// let run: RunInfo = serde_json::from_str(
///     r#"{"runId":"01ARZ3NDEKTSV4RRFFQ69G5FAV","endpoint":"POST /pay","status":"failed","createdAt":1,"finishedAt":2}"#,
/// )?;
/// assert_eq!(run.status, "failed");
/// assert!(run.version.is_none() && !run.pinned);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunInfo {
    /// Its id.
    pub run_id: String,
    /// The id of its endpoint.
    pub endpoint: String,
    /// The version of its endpoint that it was started with, where that had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Whether that version alone may go on with it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pinned: bool,
    /// `running`, `suspended`, `completed`, `failed` or `cancelled`.
    pub status: String,
    /// When its request arrived.
    pub created_at: i64,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<i64>,
    /// The cause for which its record cannot be read, where that is so: it goes on when the record can be read, and can be
    /// cancelled or deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unreadable: Option<String>,
}

/// A page of runs, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunList {
    /// The runs.
    pub runs: Vec<RunInfo>,
    /// What `before` is for the next page; `None` on the last.
    #[serde(default)]
    pub next: Option<String>,
}

/// A run with its steps. What users wrote (outputs, errors, the response) is not told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunDetails {
    /// The run.
    #[serde(flatten)]
    pub run: RunInfo,
    /// Its steps, in the order in which they were first recorded.
    pub steps: Vec<StepInfo>,
    /// Why it does not go on, where its handler cannot go on with its journal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocked: Option<BlockedInfo>,
    /// How often in a row the process that executed it ended without the run getting further.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub crashes: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
const fn is_zero(crashes: &u32) -> bool {
    *crashes == 0
}

/// Why a run does not go on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BlockedInfo {
    /// Since when, in milliseconds since the Unix epoch.
    pub since: i64,
    /// The id of the step at which the handler cannot go on.
    pub step: String,
    /// What is wrong.
    pub why: String,
}

/// A step of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StepInfo {
    /// Its id, with its index where the id was used again: `item:1`.
    pub id: String,
    /// What kind of operation it is, such as `run` or `sleep`.
    pub kind: String,
    /// `retrying`, `waiting`, `succeeded`, `failed` or `reset`.
    pub status: String,
    /// How many attempts are recorded.
    pub attempts: u32,
    /// What it waits for: an event's or signal's name, the invoked run's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// When it is due: the end of its wait, or its next attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_at: Option<i64>,
    /// When its last change was recorded.
    pub at: i64,
}
