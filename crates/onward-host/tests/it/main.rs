//! Connections and bodies from outside, on real sockets where it matters. Time is paused, and passes when nothing else can move.
#![expect(clippy::unwrap_used, reason = "a test fails where it is wrong")]

mod bodies;
mod silence;
