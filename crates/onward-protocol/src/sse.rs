//! The stream of a run as server-sent events: frames, and how they are written and read.

mod decode;
mod encode;
mod frame;
mod position;

pub use self::{
    decode::{Event, Parser},
    encode::{HEARTBEAT, encode},
    frame::{Content, Frame, InvalidFrame, ResponseStatus},
    position::Position,
};

/// The media type of a stream.
pub const EVENT_STREAM: &str = "text/event-stream";

/// Whether an `Accept` header asks for a stream: it names the media type, and does not refuse it with `q=0`.
///
/// ```
/// # use onward_protocol::sse::accepts;
/// assert!(accepts("text/event-stream"));
/// assert!(accepts("text/html, text/event-stream;q=0.9"));
/// assert!(!accepts("*/*") && !accepts("text/event-stream;q=0"));
/// ```
pub fn accepts(accept: &str) -> bool {
    accept.split(',').any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case(EVENT_STREAM));
        let refused = parts.filter_map(|part| part.strip_prefix("q=")).any(|q| q.parse::<f32>() == Ok(0.0));
        named && !refused
    })
}

#[cfg(test)]
mod tests;
