//! The binary from outside: what it prints, where, and how it exits.

#![expect(clippy::unwrap_used, reason = "a test fails where it is wrong")]

mod config;
mod doctor;
mod events;
mod runs;
mod serve;
mod support;
