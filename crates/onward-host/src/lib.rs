//! What the library and the engine share above the scheduler.
//!
//! So far that is how connections are served: their number is bounded, and so is the time that each may be silent.

pub mod serve;
