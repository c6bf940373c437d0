//! What an endpoint streams while the engine calls it.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{Request, State},
    response::Response,
};
use futures_util::FutureExt;
use http::StatusCode;
use http_body_util::BodyExt;
use onward_core::NodeId;
use onward_protocol::sse::Parser;
use serde::Deserialize;

use super::{Engine, authorize, query::Query, refusal::Refusal, refused, run_id};
use crate::{
    live::{Live, TeeId, Teed},
    peers::Passing,
    shared::Shared,
};

#[derive(Debug, Default, Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    channel: String,
}

/// `POST /v1/realtime/publish/tee?channel=`: frames, as the endpoint makes them. The request may never end: it is
/// answered when nothing more can come that counts.
pub(super) async fn tee(
    State(shared): Engine,
    Query(asked): Query<Asked>,
    request: Request,
) -> Result<Response, Refusal> {
    authorize(&shared, request.headers())?;
    let run_id = run_id(&asked.channel)?;
    if !shared.store.is_shared() {
        let live = shared.live.get(run_id).ok_or_else(nobody)?;
        return here(&shared, live, request).await;
    }
    // Between two holders a run is nobody's for a moment, and what is streamed is not sent again.
    for _ in 0..LOOKS {
        if let Some(live) = shared.live.get(run_id) {
            return here(&shared, live, request).await;
        }
        let record = shared.store.run(run_id).await.map_err(|error| refused(&error))?;
        let record = record.filter(|record| !record.status.is_final()).ok_or_else(nobody)?;
        let other = record.node.filter(|node| shared.scheduler.node() != Some(*node));
        if let Some(node) = other
            && shared.peers.is_known(&*shared.store, node).await.map_err(|error| refused(&error))?
        {
            return elsewhere(&shared, node, request).await;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Err(nobody())
}

/// How often, and with what pauses, the one is looked for who moves a run.
const LOOKS: u32 = 40;
const LOOK_EVERY: Duration = Duration::from_millis(50);

fn nobody() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "the run is not under way here")
}

/// Takes the frames of a run that this engine moves.
async fn here(shared: &Shared, live: Arc<Live>, request: Request) -> Result<Response, Refusal> {
    let (id, stop) = live.open_tee();
    let open = Open { live, id };
    let taken = tokio::select! {
        taken = take(&open.live, id, request.into_body(), shared.options.limits.chunk_bytes) => taken,
        () = stop.cancelled() => Ok(()),
    };
    taken.map(|()| Response::new(Body::empty()))
}

/// Passes the frames on to the engine that moves the run.
async fn elsewhere(shared: &Shared, node: NodeId, request: Request) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    let body = reqwest::Body::wrap_stream(body.into_data_stream());
    Passing::of(&parts).pass_on(shared, node, body, None).await.ok_or_else(nobody)
}

/// A stream that is open for as long as this is: the endpoint may go away at any time.
struct Open {
    live: Arc<Live>,
    id: TeeId,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.live.close_tee(self.id);
    }
}

async fn take(live: &Arc<Live>, id: TeeId, mut body: Body, chunk_bytes: usize) -> Result<(), Refusal> {
    let (mut parser, mut outside) = (Parser::default(), 0);
    while let Some(Ok(frame)) = body.frame().await {
        let mut events = frame.data_ref().map(|data| parser.push(data)).unwrap_or_default();
        // What has come meanwhile is written at once.
        while let Some(Some(Ok(frame))) = body.frame().now_or_never() {
            events.extend(frame.data_ref().map(|data| parser.push(data)).unwrap_or_default());
        }
        let frames = events.iter().filter_map(|event| event.frame().ok().flatten()).collect();
        match live.tee(id, frames, &mut outside) {
            Teed::Written(receipt) => {
                if receipt.durable().await.is_err() {
                    return Err(Refusal::unavailable());
                }
            }
            Teed::Complete => return Ok(()),
            Teed::TooMuch => {
                let text = "the run streams more than it may, or a chunk is too large";
                return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, text));
            }
        }
        if parser.pending_len() > chunk_bytes.saturating_mul(2) {
            return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "a chunk is too large"));
        }
    }
    Ok(())
}
