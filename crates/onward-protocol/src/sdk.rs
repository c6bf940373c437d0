//! The wire of the TypeScript SDK (the npm package `inngest`, version 4): what it sends to the engine, and what it reads.
//!
//! All that comes in is read leniently where the SDK is free to say more (unknown keys are ignored, among them the
//! internals that it leaks), and strictly where a wrong reading would lose a step. What users wrote (results, payloads,
//! errors) is passed on as the text that it came as.

pub mod checkpoint;
pub mod event;
pub mod memo;
pub mod op;
pub mod registration;
pub mod reply;
pub mod request;
pub mod signing;
pub mod time;

mod hex;
mod json;

pub use self::{
    checkpoint::{Checkpoint, HttpRequestEvent, InvalidCheckpoint, parse_checkpoint, parse_steps},
    event::{EventLimits, InvalidEvents, NewEvent, event_ids, parse_events},
    memo::Memos,
    op::{COMPLETE, InvalidOp, Op, OpKind, parse_ops},
    registration::{Call, Function, InvalidRegistration, Registration, Trigger, Unsignable, call_body},
    reply::Reply,
    request::{AiRequest, FetchRequest, InvokePayload},
    signing::{InvalidSigningKey, Keys, Payload, SigningKey, readable_body},
    time::{InvalidTime, Until},
};
