//! Clients: they wait for outcomes, read streams, and come again when the engine is gone.

use std::time::Duration;

use http::StatusCode;
use onward_protocol::sse::{Frame, Parser, ResponseStatus};
use serde_json::Value;

use crate::{endpoint::Tokens, engine::Address};

/// A frame as it was read.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) id: String,
    pub(crate) frame: Frame,
}

/// Waits for a run's outcome, wherever it is sent.
pub(crate) async fn outcome(http: &reqwest::Client, engine: &Address, run_id: &str, token: &str) -> (u16, Value) {
    loop {
        let url = engine.url(&format!("/v1/http/runs/{run_id}/output?token={token}"));
        if let Ok(response) = http.get(url).send().await {
            let status = response.status();
            let goes_on = status == StatusCode::TEMPORARY_REDIRECT || status == StatusCode::SERVICE_UNAVAILABLE;
            if !goes_on && let Ok(body) = response.bytes().await {
                return (status.as_u16(), serde_json::from_slice(&body).unwrap());
            }
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Reads a run's stream to its end, through as many connections as it takes.
pub(crate) async fn read(http: &reqwest::Client, engine: &Address, tokens: &Tokens) -> Vec<Told> {
    let mut told = Vec::new();
    loop {
        connection(http, engine, tokens, &mut told).await;
        if matches!(told.last(), Some(Told { frame: Frame::Response { .. }, .. })) {
            return told;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Reads one connection to its end.
pub(crate) async fn connection(http: &reqwest::Client, engine: &Address, tokens: &Tokens, told: &mut Vec<Told>) {
    let mut request = http.get(engine.url(&format!("/v1/realtime/sse?token={}", tokens.realtime)));
    if let Some(last) = told.last() {
        request = request.header("last-event-id", &last.id);
    }
    let Ok(mut response) = request.send().await else { return };
    if response.status() != StatusCode::OK {
        return;
    }
    let mut parser = Parser::default();
    while let Ok(Some(chunk)) = response.chunk().await {
        for event in parser.push(&chunk) {
            if let Some(frame) = event.frame().unwrap() {
                told.push(Told { id: event.id, frame });
            }
        }
    }
}

/// What counts of what was read: the chunks that were committed, with their steps, in order. Or what is wrong.
pub(crate) fn committed(told: &[Told]) -> Result<Vec<(String, Value)>, String> {
    let (mut open, mut committed, mut last) = (Vec::<(String, Value)>::new(), Vec::new(), 0);
    for (nth, Told { id, frame }) in told.iter().enumerate() {
        let wrong = |what: &str| Err(format!("{what}: frame {nth} of {told:?}"));
        if !matches!(frame, Frame::Metadata { .. } | Frame::Response { .. }) {
            let place: u32 = id.parse().unwrap();
            if place <= last {
                return wrong("the places do not grow");
            }
            last = place;
        }
        match frame {
            Frame::Chunk { data, step } => {
                open.push((step.clone().unwrap(), serde_json::from_str(data.get()).unwrap()));
            }
            Frame::Commit { step } => {
                let (own, others) = open.into_iter().partition(|(of, _)| Some(of) == step.as_ref());
                let own: Vec<_> = own;
                (committed, open) = ([committed, own].concat(), others);
            }
            Frame::Rollback { step } => open.retain(|(of, _)| Some(of) != step.as_ref()),
            Frame::Response { status, .. } if nth + 1 != told.len() || *status != ResponseStatus::Succeeded => {
                return wrong("this is no end");
            }
            _ => {}
        }
    }
    if open.is_empty() { Ok(committed) } else { Err(format!("{open:?} was never settled: {told:?}")) }
}
