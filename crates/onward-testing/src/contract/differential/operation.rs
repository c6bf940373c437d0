//! What both stores are asked. A node is named by its place among those that joined.

use onward_core::{
    NodeId, Payload, RunId, Timestamp,
    event::Event,
    store::{Checkpoint, ClaimRequest, Control, RunFilter},
    waiter::Signal,
};

/// One call.
#[derive(Clone, Debug)]
pub(super) enum Operation {
    Join(Timestamp),
    Heartbeat(NodeId, Timestamp),
    Leave(NodeId, Timestamp),
    Checkpoint(Box<Checkpoint>),
    Claim(ClaimRequest),
    Runs(RunFilter),
    SendEvents(Vec<Event>, Timestamp),
    SendSignal(Signal, Timestamp),
    Control(RunId, Control, Timestamp),
    Sweep { now: Timestamp, events_before: Timestamp, limit: usize },
    Setting(&'static str, Option<Payload>),
    Register(String, Payload),
    Unregister(String),
    Registrations,
}
