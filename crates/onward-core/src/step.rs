//! What a step is called and which kind of operation it is.

use std::{fmt, sync::Arc};

use crate::{InvalidId, StepKey, id::NAME_BYTES_MAX};

/// A step's id as its author wrote it, and which use of it in the run this is (from 0).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct StepId {
    name: Arc<str>,
    index: u32,
}

impl StepId {
    /// Checks and makes an id: 1 to 1,024 bytes.
    pub fn try_new(name: impl Into<Arc<str>>, index: u32) -> Result<Self, InvalidId> {
        let name = name.into();
        let what = "step id";
        if name.is_empty() {
            return Err(InvalidId { what, reason: "it is empty" });
        }
        if name.len() > NAME_BYTES_MAX {
            return Err(InvalidId { what, reason: "it has more than 1,024 bytes" });
        }
        Ok(Self { name, index })
    }

    /// The id without its index.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Which use of the id in its run this is, from 0.
    pub const fn index(&self) -> u32 {
        self.index
    }

    /// The key under which the step is journaled.
    pub fn key(&self) -> StepKey {
        StepKey::of(&self.name, self.index)
    }
}

impl fmt::Display for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if self.index > 0 {
            write!(f, ":{}", self.index)?;
        }
        Ok(())
    }
}

impl fmt::Debug for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// The kinds of operation that a step can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StepKind {
    /// A closure whose output is kept.
    Run,
    /// A closure that commits together with its checkpoint.
    Transaction,
    /// A pause until a time.
    Sleep,
    /// A wait for an event from outside.
    WaitForEvent,
    /// Events sent by the run.
    SendEvent,
    /// A call of another endpoint.
    Invoke,
    /// A wait for a named signal.
    WaitForSignal,
    /// A signal sent by the run.
    SendSignal,
    /// An HTTP call.
    Fetch,
    /// The handler itself, outside its steps.
    Handler,
    /// A call of a language model by way of the engine.
    Ai,
}

impl StepKind {
    /// Every kind, in the order of their stored numbers.
    pub const ALL: [Self; 11] = [
        Self::Run,
        Self::Transaction,
        Self::Sleep,
        Self::WaitForEvent,
        Self::SendEvent,
        Self::Invoke,
        Self::WaitForSignal,
        Self::SendSignal,
        Self::Fetch,
        Self::Handler,
        Self::Ai,
    ];

    /// The kind as users call it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Transaction => "transaction",
            Self::Sleep => "sleep",
            Self::WaitForEvent => "wait_for_event",
            Self::SendEvent => "send_event",
            Self::Invoke => "invoke",
            Self::WaitForSignal => "wait_for_signal",
            Self::SendSignal => "send_signal",
            Self::Fetch => "fetch",
            Self::Handler => "handler",
            Self::Ai => "ai",
        }
    }
}

impl fmt::Display for StepKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
