//! The engine: durable endpoints that live in other processes.
//!
//! It speaks the protocol of the official TypeScript SDK, and keeps runs with the same rules, stores and scheduler as
//! the library. Where the library calls a handler in process, the engine calls its URL again.

pub mod address;
mod api;
mod ask;
mod call;
mod engine;
mod functions;
mod live;
pub mod observe;
mod operate;
pub mod options;
mod peers;
mod plan;
mod record;
mod serve;
mod shared;

pub use crate::{
    engine::{Engine, Error},
    operate::{Operator, RunsQuery},
    options::Options,
};
