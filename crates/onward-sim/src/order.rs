//! What clients ask for, and what they get.

use serde::{Deserialize, Serialize};

/// What the handlers do, one endpoint each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// Three steps.
    Steps,
    /// A step that fails before it succeeds.
    Flaky,
    /// A step that never succeeds.
    Hopeless,
    /// A sleep between two steps.
    Nap,
    /// A wait for an event that looks back to the run's start.
    Event,
    /// A wait for an event that comes when the wait is there.
    Late,
    /// Two waits under one name, each with its own event.
    Pair,
    /// A wait for an event that other runs wait for, too.
    Group,
    /// A wait for a signal.
    Signal,
    /// A wait for what never comes: the run is cancelled.
    Never,
    /// A call of another endpoint.
    Parent,
    /// The one that is called.
    Child,
    /// Streams chunks, some of which are taken back.
    Stream,
    /// A step that commits with a row of a table of its own.
    Money,
    /// A step that takes its process down each time. Ordered where a seed tries that alone.
    Fatal,
    /// A step that blocks its thread for longer than a lease lasts. Ordered where a seed tries that alone.
    Blocking,
}

impl Kind {
    /// What clients draw from.
    pub(crate) const ALL: [Self; 13] = [
        Self::Steps,
        Self::Flaky,
        Self::Hopeless,
        Self::Nap,
        Self::Event,
        Self::Late,
        Self::Pair,
        Self::Group,
        Self::Signal,
        Self::Never,
        Self::Parent,
        Self::Stream,
        Self::Money,
    ];

    /// The path of its endpoint.
    pub(crate) const fn path(self) -> &'static str {
        match self {
            Self::Steps => "/steps",
            Self::Flaky => "/flaky",
            Self::Hopeless => "/hopeless",
            Self::Nap => "/nap",
            Self::Event | Self::Never => "/event",
            Self::Late => "/late",
            Self::Pair => "/pair",
            Self::Group => "/group",
            Self::Signal => "/signal",
            Self::Parent => "/parent",
            Self::Child => "/child",
            Self::Stream => "/stream",
            Self::Money => "/money",
            Self::Fatal => "/fatal",
            Self::Blocking => "/blocking",
        }
    }

    /// Whether a run of it ends without anything from outside: then it may be asked for without a key.
    pub(crate) const fn ends_alone(self) -> bool {
        matches!(
            self,
            Self::Steps | Self::Flaky | Self::Hopeless | Self::Nap | Self::Parent | Self::Stream | Self::Money
        )
    }
}

/// What a client asks for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    /// Names it; no other has this name.
    pub(crate) op: String,
    /// What others have in common with it.
    pub(crate) group: String,
    /// How long the body of a step takes.
    pub(crate) pause_ms: u64,
    /// How often the step in the middle fails.
    pub(crate) fails: u32,
    pub(crate) nap_ms: u64,
}

/// What a step gives.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Output {
    pub(crate) nonce: String,
    pub(crate) began: u64,
    pub(crate) ended: u64,
}

/// What a run answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Receipt {
    pub(crate) op: String,
    pub(crate) run: String,
    pub(crate) outputs: Vec<Output>,
    /// The events, signals and responses that it got.
    pub(crate) came: Vec<String>,
}
