//! Strangers, pages, endpoints and senders that mean no good, against the binary as it is installed.
//!
//! Time limits are tested where time can be paused: `onward-host/tests/it/silence.rs`.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test fails where it is wrong")]

mod bodies;
mod endpoints;
mod engine;
mod strangers;
