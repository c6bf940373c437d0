//! The cases by the Rust client, and streams over killed servers.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod cases;
mod kills;
