//! One durable execution of an endpoint: its record, status and outcome.

mod crashes;
pub mod machine;

use std::time::Duration;

pub use self::crashes::{CrashRecord, Crashes};
use crate::{EndpointId, Fence, NodeId, Payload, RunId, StepKey, Timestamp, Version};

/// A run as it is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRun {
    /// Its id, chosen by who starts it.
    pub run_id: RunId,
    /// The endpoint it executes.
    pub endpoint: EndpointId,
    /// The version of the endpoint's handler that it was started with.
    pub version: Option<Version>,
    /// Whether only a node that has that version may execute it. It means something only where there is a version.
    pub pinned: bool,
    /// When its request arrived.
    pub created_at: Timestamp,
    /// The request, as its endpoint will read it again.
    pub request: Payload,
    /// When the whole run is given up; `None` for never.
    pub timeout_at: Option<Timestamp>,
    /// How long its record is kept after it ended.
    pub retention: Duration,
    /// The key under which duplicates of the request join it.
    pub key: Option<IdempotencyKey>,
    /// Who invoked it, and waits for its outcome.
    pub parent: Option<Parent>,
}

/// The claim of a request on a key: within a scope, the same key is the same run.
#[derive(Clone, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// The digest of the key and its scope (endpoint, principal). The key itself is not stored.
    pub digest: [u8; 32],
    /// The digest of the request: another request with the same key is refused.
    pub fingerprint: [u8; 32],
}

impl std::fmt::Debug for IdempotencyKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("IdempotencyKey(…)")
    }
}

/// The step that invoked a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parent {
    /// The run of the step.
    pub run_id: RunId,
    /// The step.
    pub step: StepKey,
}

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// A node holds its lease.
    Running,
    /// It waits, or is ready, and holds no handler.
    Suspended,
    /// Its handler returned a response.
    Completed,
    /// Its handler failed for good, or its time ran out.
    Failed,
    /// It was cancelled.
    Cancelled,
}

impl Status {
    /// Every status, in the order of their stored numbers.
    pub const ALL: [Self; 5] = [Self::Running, Self::Suspended, Self::Completed, Self::Failed, Self::Cancelled];

    /// The status's stored number.
    pub const fn number(self) -> u8 {
        match self {
            Self::Running => 0,
            Self::Suspended => 1,
            Self::Completed => 2,
            Self::Failed => 3,
            Self::Cancelled => 4,
        }
    }

    /// The status with a stored number.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// Whether the run has its outcome.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }

    /// The status as users read it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Suspended => "suspended",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// How a run ended, and the response that everyone who waits for it gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The final status: completed, failed or cancelled.
    pub status: Status,
    /// The response, as the endpoint's face encodes it.
    pub response: Payload,
    /// Why it failed, for operators; empty where it did not.
    pub error: Payload,
}

/// A run as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunRecord {
    /// Its id.
    pub run_id: RunId,
    /// The endpoint it executes.
    pub endpoint: EndpointId,
    /// The version of the endpoint's handler that it was started with.
    pub version: Option<Version>,
    /// Whether only a node that has that version may execute it. It means something only where there is a version.
    pub pinned: bool,
    /// Where it stands.
    pub status: Status,
    /// When its request arrived.
    pub created_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// When somebody should look at it next; [`Timestamp::NEVER`] while only a fact from outside can move it.
    pub due_at: Timestamp,
    /// When it is given up.
    pub timeout_at: Option<Timestamp>,
    /// How long it is kept after it ended.
    pub retention: Duration,
    /// The number of its newest lease.
    pub fence: Fence,
    /// Who holds that lease.
    pub node: Option<NodeId>,
    /// Who invoked it.
    pub parent: Option<Parent>,
    /// The request.
    pub request: Payload,
    /// How it ended.
    pub outcome: Option<Outcome>,
}
