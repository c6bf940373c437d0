//! Code that the library and the engine share above the scheduler.
//!
//! So far the crate serves connections: it bounds their number, and the time that each may be silent.

pub mod serve;
