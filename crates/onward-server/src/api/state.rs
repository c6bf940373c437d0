//! What a call of an endpoint asks the engine for: its run's event and the outcomes of its steps.

use axum::{
    extract::{Path, State},
    response::Response,
};
use http::{HeaderMap, StatusCode};
use onward_core::RunId;
use serde_json::Value;

use super::{Engine, authorize, json, json_bytes, refusal::Refusal, refused, run_id};
use crate::{
    live::{NotTaken, memos},
    record::Origin,
    shared::Shared,
};

fn gone() -> Refusal {
    Refusal::new(StatusCode::GONE, "the run has ended")
}

fn unknown() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "there is no such run, or no longer")
}

/// `GET /v0/runs/{run}/actions`: outcomes by step, in the order in which they came.
pub(super) async fn actions(
    State(shared): Engine,
    Path(run): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    authorize(&shared, &headers)?;
    let run_id = run_id(&run)?;
    if let Some(live) = shared.live.get(run_id) {
        return match live.memos().await {
            Ok(memos) => Ok(json_bytes(memos.into_bytes())),
            Err(NotTaken::Ended(_)) => Err(gone()),
            Err(NotTaken::Elsewhere | NotTaken::Full | NotTaken::Unavailable) => Err(Refusal::unavailable()),
        };
    }
    let loaded = shared.store.load(run_id).await.map_err(|error| refused(&error))?.ok_or_else(unknown)?;
    if loaded.record.status.is_final() {
        return Err(gone());
    }
    Ok(json_bytes(memos(&shared.stored_plan(&loaded.journal)).to_json().into_bytes()))
}

/// `GET /v0/runs/{run}/batch`: the event by which it began, alone in an array.
pub(super) async fn batch(
    State(shared): Engine,
    Path(run): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    authorize(&shared, &headers)?;
    let run_id = run_id(&run)?;
    if let Some(live) = shared.live.get(run_id) {
        return Ok(json(&[live.origin.event()]));
    }
    Ok(json(&[stored(&shared, run_id).await?]))
}

async fn stored(shared: &Shared, run_id: RunId) -> Result<Value, Refusal> {
    let record = shared.store.run(run_id).await.map_err(|error| refused(&error))?.ok_or_else(unknown)?;
    if record.status.is_final() {
        return Err(gone());
    }
    Origin::decode(&record.request).map(|origin| origin.event()).map_err(|_| gone())
}
