//! One step, executed: what it streams goes to the engine as it comes.

use std::{convert::Infallible, sync::Arc};

use bytes::Bytes;
use futures_util::stream;
use onward_core::{
    RunId,
    stream::{Frame, FrameKind, Place},
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use super::Endpoint;
use crate::{
    script::{Failed, Found, Wanted, op},
    world::pause,
};

/// What a step is given.
#[derive(Clone)]
pub(crate) struct Doing {
    /// How often this step of this run was begun, with this time.
    pub(crate) nth: usize,
    pub(crate) run_id: String,
    pub(crate) endpoint: Arc<Endpoint>,
    key: String,
    /// Whether what it streams goes through the engine.
    is_teed: bool,
    tee: Arc<Mutex<Option<UnboundedSender<Bytes>>>>,
}

impl Doing {
    /// `stream.push`.
    pub(crate) fn push(&self, data: &Value) {
        self.say("inngest.stream", &json!({ "data": data, "hashedStepId": self.key }));
    }

    /// Waits until so many chunks of the run are stored, as far as they come: else the answer may overtake them.
    pub(crate) async fn stored(&self, chunks: usize) {
        let run_id: RunId = self.run_id.parse().unwrap();
        for _ in 0..40 {
            let frames = self.endpoint.ledger.frames(run_id, Place(0), 1_000).await.unwrap();
            let own = |frame: &&Frame| frame.step.is_some_and(|step| step.to_string() == self.key);
            let open = frames.iter().rev().filter(own).take_while(|frame| matches!(frame.kind, FrameKind::Chunk(_)));
            if open.count() >= chunks {
                return;
            }
            pause().await;
        }
    }

    fn say(&self, event: &str, data: &Value) {
        if !self.is_teed {
            return;
        }
        let mut tee = self.tee.lock();
        let tee = tee.get_or_insert_with(|| self.endpoint.open_tee(&self.run_id));
        // The engine may have closed it.
        let _ = tee.send(frame(event, data));
    }
}

fn frame(event: &str, data: &Value) -> Bytes {
    format!("event: {event}\ndata: {data}\n\n").into()
}

impl Endpoint {
    /// Runs a step; gives the op that tells of it.
    pub(super) async fn execute(self: &Arc<Self>, run_id: &str, found: Found, is_teed: bool) -> Value {
        let Found { id, key, wanted: Wanted::Work(work) } = found else { panic!("it is nothing to run") };
        let nth = self.begins(run_id, &id, &key).await;
        let doing = Doing {
            nth,
            run_id: run_id.to_owned(),
            endpoint: Arc::clone(self),
            key: key.clone(),
            is_teed,
            tee: Arc::default(),
        };
        let done = work(doing.clone()).await;
        let has_streamed = doing.tee.lock().is_some();
        if has_streamed {
            let event = if done.is_ok() { "inngest.commit" } else { "inngest.rollback" };
            doing.say(event, &json!({ "hashedStepId": key }));
            // Why: the SDK never ends the request of a step.
            self.notes.keep_open(doing.tee.lock().take());
        }
        match done {
            Ok(data) => op(&id, &json!({ "op": "StepRun", "data": data })),
            Err(Failed { error, retryable: true }) => op(&id, &json!({ "op": "StepError", "error": error })),
            Err(Failed { error, .. }) => op(&id, &json!({ "op": "StepFailed", "error": error, "data": error })),
        }
    }

    /// Opens a stream of output; its first frame names the run.
    fn open_tee(&self, run_id: &str) -> UnboundedSender<Bytes> {
        let (sender, receiver) = unbounded_channel();
        let _ = sender.send(frame("inngest.metadata", &json!({ "runId": run_id })));
        let chunks = stream::unfold(receiver, async |mut receiver| {
            let chunk: Bytes = receiver.recv().await?;
            Some((Ok::<_, Infallible>(chunk), receiver))
        });
        let url = self.engine.url(&format!("/v1/realtime/publish/tee?channel={run_id}"));
        let posted = self.http.post(url).body(reqwest::Body::wrap_stream(chunks));
        let late = *self.streams_late.lock();
        self.spawn(async move {
            tokio::time::sleep(late).await;
            let _ = posted.send().await;
        });
        sender
    }

    /// Says how a run ended, on a stream of its own.
    pub(super) fn say_end(&self, run_id: &str, status: &str, code: u16, body: &str) {
        let tee = self.open_tee(run_id);
        let headers = json!({ "content-type": "application/json" });
        let response = json!({ "body": body, "statusCode": code, "headers": headers });
        let _ = tee.send(frame("inngest.response", &json!({ "status": status, "response": response })));
    }
}
