//! Reading frames, however their bytes are cut.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Content, Frame, InvalidFrame, ResponseStatus};

/// One event of a stream of server-sent events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// The id that counts for it: its own, or that of the last one that had one. Empty where none had.
    pub id: String,
    /// Its name; `message` where it has none.
    pub name: String,
    /// Its data, lines joined by line feeds.
    pub data: String,
    /// How long to wait before connecting again, in milliseconds, where the event says so.
    pub retry_ms: Option<u64>,
}

/// Reads events from bytes that may be cut anywhere, as the HTML standard says (section 9.2.6): lines end with LF, CR or
/// both, comments are skipped, an event ends with an empty line.
///
/// # Example
///
/// ```
/// use onward_protocol::sse::{Frame, Parser};
///
/// let mut parser = Parser::default();
/// assert!(parser.push(b"id: 3\nevent: inngest.com").is_empty());
/// let events = parser.push(b"mit\ndata: {\"hashedStepId\":null}\n\n");
/// assert_eq!(events[0].id, "3");
/// assert!(matches!(events[0].frame(), Ok(Some(Frame::Commit { step: None }))));
/// ```
#[derive(Debug, Default)]
pub struct Parser {
    line: Vec<u8>,
    after_cr: bool,
    begun: bool,
    event: Event,
    has_data: bool,
}

impl Parser {
    /// Takes the next bytes; gives the events that they complete.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<Event> {
        let mut events = Vec::new();
        for &byte in bytes {
            let after_cr = std::mem::take(&mut self.after_cr);
            match byte {
                b'\n' if after_cr => {}
                b'\n' | b'\r' => {
                    self.after_cr = byte == b'\r';
                    events.extend(self.end_line());
                }
                _ => self.line.push(byte),
            }
        }
        events
    }

    /// How many bytes wait for the end of their line or event: for who bounds what a server may send.
    pub fn pending_len(&self) -> usize {
        self.line.len() + self.event.data.len()
    }

    fn end_line(&mut self) -> Option<Event> {
        let bytes = std::mem::take(&mut self.line);
        let text = String::from_utf8_lossy(&bytes);
        let line = if self.begun { &*text } else { text.strip_prefix('\u{feff}').unwrap_or(&text) };
        self.begun = true;
        if line.is_empty() {
            return self.end_event();
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.event.name),
            "data" => {
                if self.has_data {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
                self.has_data = true;
            }
            "id" if !value.contains('\0') => value.clone_into(&mut self.event.id),
            "retry" => self.event.retry_ms = value.parse().ok().or(self.event.retry_ms),
            _ => {}
        }
        None
    }

    fn end_event(&mut self) -> Option<Event> {
        let next = Event { id: self.event.id.clone(), ..Event::default() };
        let mut event = std::mem::replace(&mut self.event, next);
        if !std::mem::take(&mut self.has_data) {
            return None;
        }
        if event.name.is_empty() {
            "message".clone_into(&mut event.name);
        }
        Some(event)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RunIdData {
    run_id: String,
    url: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StepData {
    data: Option<Box<RawValue>>,
    hashed_step_id: Option<String>,
}

#[derive(Deserialize)]
struct ResponseData {
    status: ResponseStatus,
    response: Content,
}

impl Event {
    /// The event as a frame; `None` for one of another name, which a reader skips.
    ///
    /// # Errors
    /// A known name whose data is not JSON of the frame's shape.
    pub fn frame(&self) -> Result<Option<Frame>, InvalidFrame> {
        let invalid = || InvalidFrame { name: self.name.clone() };
        let run = || serde_json::from_str::<RunIdData>(&self.data).map_err(|_| invalid());
        let step = || serde_json::from_str::<StepData>(&self.data).map_err(|_| invalid());
        Ok(Some(match self.name.as_str() {
            "inngest.metadata" => Frame::Metadata { run_id: run()?.run_id },
            "inngest.stream" => {
                let StepData { data, hashed_step_id: step } = step()?;
                // A chunk of `null` has no data for serde.
                let data = data.map_or_else(|| RawValue::from_string("null".to_owned()), Ok);
                Frame::Chunk { data: data.map_err(|_| invalid())?, step }
            }
            "inngest.commit" => Frame::Commit { step: step()?.hashed_step_id },
            "inngest.rollback" => Frame::Rollback { step: step()?.hashed_step_id },
            "inngest.redirect_info" => {
                let RunIdData { run_id, url } = run()?;
                Frame::RedirectInfo { run_id, url: url.ok_or_else(invalid)? }
            }
            "inngest.response" => {
                let data: ResponseData = serde_json::from_str(&self.data).map_err(|_| invalid())?;
                Frame::Response { status: data.status, content: data.response }
            }
            _ => return Ok(None),
        }))
    }
}
