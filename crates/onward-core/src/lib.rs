//! What a durable run is: ids, journal, retries, waits, decisions, and the [`Store`] port.
//!
//! Everything here is pure. There is no I/O, no clock, no random source and no async runtime: time and draws are
//! arguments, so a test can turn them. The crates around this one do what it decides.

pub mod clock;
pub mod duration;
pub mod event;
pub mod id;
pub mod journal;
pub mod payload;
pub mod retry;
pub mod run;
pub mod step;
pub mod store;
pub mod stream;
pub mod waiter;

pub use crate::{
    clock::{Clock, Timestamp},
    duration::{IntoDuration, InvalidDuration, parse_duration},
    id::{EndpointId, Fence, InvalidId, NAME_BYTES_MAX, NodeId, RunId, Seq, StepKey, Version, check_name},
    payload::Payload,
    retry::{Attempt, Draw, InvalidRetryPolicy, RetryPolicy},
    store::{Store, StoreError},
};

/// A boxed future that may be sent between threads: what an object-safe port returns.
pub type BoxFuture<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;
