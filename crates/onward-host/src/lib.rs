//! Code that the library and the engine share above the scheduler.
//!
//! The crate serves connections (it bounds their number, and the time that each may be silent), and reads the bodies of
//! requests (it bounds the memory of all). The module [`hop`] takes away the headers that a kept message must not have.

pub mod bodies;
pub mod hop;
pub mod operate;
#[cfg(feature = "serve")]
pub mod serve;

/// A boxed error, as a source.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
