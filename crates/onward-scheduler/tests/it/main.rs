//! The scheduler from outside: time is tokio's, paused; the store is scripted.
#![expect(clippy::unwrap_used, reason = "a test fails where it is wrong")]

mod support;

mod claims;
mod clock;
mod doubt;
mod elsewhere;
mod fence;
mod hub;
mod lease;
mod nudges;
mod outage;
mod release;
mod shutdown;
mod sweep;
mod tasks;
mod unserved;
mod watchdog;
