//! A reader of a run's stream, whose connections break and who goes on at another node.

use std::time::Duration;

use http_body_util::BodyExt as _;
use onward_protocol::sse::{Frame, Parser};
use rand::RngExt as _;

use super::{Ask, Caller};

/// What a reader shows: chunks, each with its step and whether it is permanent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shown {
    chunks: Vec<(Option<String>, bool, String)>,
    /// The response in the last frame.
    pub(crate) response: String,
}

impl Shown {
    /// What may only grow.
    pub(crate) fn permanent(&self) -> Vec<(Option<String>, String)> {
        let permanent = self.chunks.iter().filter(|(_, permanent, _)| *permanent);
        permanent.map(|(step, _, data)| (step.clone(), data.clone())).collect()
    }

    /// Takes a frame in; whether it was the last.
    fn take(&mut self, frame: Frame) -> bool {
        match frame {
            Frame::Metadata { .. } | Frame::RedirectInfo { .. } => {}
            Frame::Chunk { data, step } => {
                let permanent = step.is_none();
                self.chunks.push((step, permanent, data.get().to_owned()));
            }
            Frame::Commit { step } => {
                self.chunks.iter_mut().filter(|(of, ..)| *of == step).for_each(|(_, permanent, _)| *permanent = true);
            }
            Frame::Rollback { step } => self.chunks.retain(|(of, permanent, _)| *permanent || *of != step),
            Frame::Response { content, .. } => {
                self.response = content.body;
                return true;
            }
        }
        false
    }
}

/// Reads a run's stream to its end, from one node after the other. The error is what broke P8.
pub(crate) async fn read(mut caller: Caller, location: &str) -> Result<Shown, String> {
    let mut shown = Shown::default();
    let mut permanent = Vec::new();
    let (mut last, mut newest) = (None::<String>, 0_u64);
    loop {
        caller.check_deadline(location)?;
        let accept = ("accept", "text/event-stream");
        let headers: Vec<_> = last.as_deref().map(|last| ("last-event-id", last)).into_iter().chain([accept]).collect();
        let Some(node) = caller.node().await else { continue };
        let ask = Ask { path: location, headers: &headers, posted: None };
        let Some(response) = caller.http.begin(node, ask).await else { continue };
        if response.status() == 503 {
            caller.rest().await;
            continue;
        }
        if response.status() != 200 {
            return Err(format!("P8: the stream {location} after {last:?} was answered with {}", response.status()));
        }
        let (mut body, mut parser) = (response.into_body(), Parser::default());
        let mut left = caller.draws.random_range(1..16);
        let over = tokio::time::sleep(Duration::from_millis(caller.draws.random_range(100..2_000)));
        tokio::pin!(over);
        'connection: loop {
            let frame = tokio::select! {
                frame = body.frame() => frame,
                () = &mut over => break,
            };
            let Some(Ok(frame)) = frame else { break };
            let Ok(data) = frame.into_data() else { break };
            for event in parser.push(&data) {
                let frame = event.frame().map_err(|error| format!("P8: {location}: {error}"))?;
                let Some(frame) = frame else { continue };
                let counts = !matches!(frame, Frame::Metadata { .. } | Frame::RedirectInfo { .. });
                let is_last = matches!(frame, Frame::Response { .. });
                if counts && !is_last {
                    let place: u64 = event.id.parse().map_err(|_| format!("P8: {location}: id {:?}", event.id))?;
                    if place <= newest {
                        return Err(format!("P8: {location}: frame {place} came after {newest}"));
                    }
                    newest = place;
                    last = Some(event.id);
                }
                if shown.take(frame) {
                    return Ok(shown);
                }
                let now = shown.permanent();
                if !now.starts_with(&permanent) {
                    return Err(format!("P8: {location}: what was permanent changed: {permanent:?}, then {now:?}"));
                }
                permanent = now;
                left -= i32::from(counts);
                if left <= 0 {
                    break 'connection;
                }
            }
        }
    }
}
