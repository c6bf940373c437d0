//! The library from outside.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

mod answers;
mod blocked;
mod carry;
mod crash;
mod crashed;
mod events;
mod faults;
mod http;
mod idempotency;
mod leaping;
mod limits;
mod nodes;
mod operate;
mod parallel;
mod restart;
mod security;
mod serving;
mod steps;
mod streaming;
mod streaming_faults;
mod tasks;
mod unreadable;
mod versions;
