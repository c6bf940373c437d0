//! The engine from outside: with an endpoint and clients of the tests' own, on stores that fail.

#![expect(clippy::unwrap_used, reason = "a test fails where it is wrong")]

mod calls;
mod cancel;
mod client;
mod drain;
mod endpoint;
mod engine;
mod faults;
mod first_request;
mod functions;
mod opening;
mod origins;
mod peers;
mod retry;
mod script;
mod slow;
mod stranded;
mod streams;
mod unreadable;
mod waits;
mod world;
