//! The client from outside, against servers that do what a test scripts.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

mod endpoint;
mod event;
mod property;
mod resume;
mod run;
mod silence;
