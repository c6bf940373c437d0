//! What goes over the wire: problems, run tokens, preferences, idempotency keys, redirect locations and streams,
//! and what the TypeScript SDK says to the engine and hears from it.
//!
//! Pure: no I/O, no clock, and nothing of the rules by which a run lives, so the wire does not change when a rule does.

pub mod idempotency;
pub mod location;
pub mod prefer;
pub mod problem;
pub mod run;
pub mod sdk;
pub mod sse;
pub mod token;
