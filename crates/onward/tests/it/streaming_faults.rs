//! P8 under faults: whatever breaks and whoever comes when, every reader rebuilds the same stream.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Router, body::Body, routing::get};
use http::Request;
use http_body_util::BodyExt;
use onward::{Onward, RunId, Step, StepError};
use onward_core::{
    Store,
    stream::{FrameKind, Place},
};
use onward_protocol::sse::{Frame, Parser};
use onward_testing::{Call, Fault, FaultyStore, ManualClock, MemoryStore};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::sync::watch;
use tower::ServiceExt;

use crate::support::App;

/// What a reader shows: chunks, each with its step and whether it is permanent.
#[derive(Debug, Default, PartialEq)]
struct Shown(Vec<(Option<String>, bool, String)>);

impl Shown {
    fn chunk(&mut self, step: Option<String>, data: String) {
        let permanent = step.is_none();
        self.0.push((step, permanent, data));
    }

    fn commit(&mut self, of: Option<&String>) {
        self.0.iter_mut().filter(|(step, ..)| step.as_ref() == of).for_each(|(_, permanent, _)| *permanent = true);
    }

    fn rollback(&mut self, of: Option<&String>) {
        self.0.retain(|(step, permanent, _)| *permanent || step.as_ref() != of);
    }

    /// What is permanent may only grow.
    fn permanent(&self) -> Vec<(Option<String>, String)> {
        let permanent = self.0.iter().filter(|(_, permanent, _)| *permanent);
        permanent.map(|(step, _, data)| (step.clone(), data.clone())).collect()
    }
}

/// A step of the program: how many chunks it streams, how often it fails, and how long the run sleeps after it.
#[derive(Clone, Debug)]
struct Part {
    chunks: u32,
    fails: u32,
    sleep: u64,
}

async fn program(
    step: Step,
    parts: Arc<Vec<Part>>,
    tries: Arc<Mutex<BTreeMap<usize, u32>>>,
) -> Result<String, StepError> {
    for (number, part) in parts.iter().enumerate() {
        step.stream().push(&format!("before {number}"));
        step.run(&format!("step {number}"), async || {
            let attempt = {
                let mut tries = tries.lock().unwrap();
                let attempt = tries.entry(number).or_default();
                *attempt += 1;
                *attempt
            };
            for chunk in 0..part.chunks {
                step.stream().push(&format!("{number}.{chunk} of {attempt}"));
                if chunk % 2 == 0 {
                    step.stream().flush().await;
                }
                tokio::task::yield_now().await;
            }
            if attempt <= part.fails { Err(StepError::retry("again")) } else { Ok(()) }
        })
        .retries(20)
        .await?;
        if part.sleep > 0 {
            step.sleep(&format!("sleep {number}"), Duration::from_secs(part.sleep)).await?;
        }
    }
    Ok("the end".to_owned())
}

/// Reads to the end of the run, over connections that break at random.
async fn read(mut app: watch::Receiver<Router>, wait: &str, mut draws: StdRng) -> Shown {
    let mut shown = Shown::default();
    let mut permanent = Vec::new();
    let mut last: Option<String> = None;
    let mut newest = 0_u32;
    for _ in draws.random_range(0..60)..60 {
        tokio::task::yield_now().await; // one comes later than another
    }
    loop {
        let patience = draws.random_range(1..12);
        let mut request = Request::get(wait).header("accept", "text/event-stream");
        if let Some(last) = &last {
            request = request.header("last-event-id", last);
        }
        let router = app.borrow_and_update().clone();
        let request = request.body(Body::empty()).unwrap();
        let response = tokio::select! {
            response = router.oneshot(request) => response.unwrap(),
            _ = app.changed() => continue, // the process died under the request
        };
        assert_eq!(response.status(), 200, "after {last:?}");
        let (mut body, mut parser, mut read) = (response.into_body(), Parser::default(), 0);
        'connection: loop {
            let frame = tokio::select! {
                frame = body.frame() => frame,
                _ = app.changed() => break,
            };
            let Some(frame) = frame else { break };
            for event in parser.push(&frame.unwrap().into_data().unwrap()) {
                if read >= patience {
                    break 'connection;
                }
                match event.frame().unwrap().unwrap() {
                    Frame::Metadata { .. } | Frame::RedirectInfo { .. } => continue,
                    Frame::Chunk { data, step } => shown.chunk(step, data.get().to_owned()),
                    Frame::Commit { step } => shown.commit(step.as_ref()),
                    Frame::Rollback { step } => shown.rollback(step.as_ref()),
                    Frame::Response { content, .. } => {
                        assert_eq!(content.body, "the end");
                        return shown;
                    }
                }
                let place: u32 = event.id.parse().unwrap();
                assert!(place > newest, "{place} came after {newest}");
                newest = place;
                let now = shown.permanent();
                assert!(now.starts_with(&permanent), "what was permanent changed: {permanent:?}, then {now:?}");
                permanent = now;
                last = Some(event.id);
                read += 1;
            }
        }
        tokio::task::yield_now().await;
    }
}

/// What outlives a process.
#[derive(Clone, Default)]
struct World {
    store: MemoryStore,
    clock: ManualClock,
    parts: Arc<Vec<Part>>,
    tries: Arc<Mutex<BTreeMap<usize, u32>>>,
}

impl World {
    /// A process that dies at one of its writes.
    async fn open(&self, dies_at: usize, fault: Fault) -> (App, FaultyStore) {
        let (parts, tries) = (self.parts.clone(), self.tries.clone());
        let handler = async move |step: Step| program(step, parts.clone(), tries.clone()).await;
        let store = FaultyStore::counting(Arc::new(self.store.clone()), Call::is_fact).with_fault(dies_at, fault);
        let routes = |onward: &Onward| onward.route("/", get(handler));
        (App::on(Arc::new(store.clone()), self.clock.clone(), Onward::builder(), routes).await, store)
    }
}

async fn life(seed: u64) {
    let mut draws = StdRng::seed_from_u64(seed);
    let parts = (0..draws.random_range(1..5)).map(|_| Part {
        chunks: draws.random_range(0..8),
        fails: draws.random_range(0_u32..4).saturating_sub(1),
        sleep: draws.random_range(0..3_u64) * draws.random_range(0..100),
    });
    let world = World { parts: Arc::new(parts.collect()), ..World::default() };
    let mut dies = |first: usize| {
        let fault = if draws.random_range(0..2) == 0 { Fault::CrashBefore } else { Fault::CrashAfter };
        (draws.random_range(first..40), fault)
    };
    let (at, fault) = dies(2); // the first write makes the run
    let (app, mut store) = world.open(at, fault).await;
    let request = Request::get("/").header("prefer", "respond-async").body(Body::empty()).unwrap();
    let accepted = app.send(request).await;
    let (run_id, wait): (RunId, _) = (crate::support::run_id(&accepted), crate::support::location(&accepted));
    let (router, seen) = watch::channel(app.router.clone());
    let readers = (0..3).map(|number| read(seen.clone(), &wait, StdRng::seed_from_u64(seed * 10 + number)));
    let readers = futures_util::future::join_all(readers);
    let kills = async {
        loop {
            while !store.is_crashed() {
                tokio::task::yield_now().await;
            }
            let (at, fault) = dies(5);
            let (next, its_store) = world.open(at, fault).await;
            store = its_store;
            drop(router.send_replace(next.router));
        }
    };
    let all = Box::pin(async {
        tokio::select! {
            shown = readers => shown,
            () = kills => unreachable!("it goes on for ever"),
        }
    });
    let shown = tokio::time::timeout(Duration::from_secs(60), app.while_time_goes_on(all)).await.expect("all ends");
    let store = &world.store;
    let parts = &world.parts;
    let mut truth = Shown::default();
    for frame in store.frames(run_id, Place(0), usize::MAX).await.unwrap() {
        let step = frame.step.map(|step| step.to_string());
        match frame.kind {
            FrameKind::Chunk(data) => truth.chunk(step, String::from_utf8(data.as_ref().to_vec()).unwrap()),
            FrameKind::Commit => truth.commit(step.as_ref()),
            FrameKind::Rollback => truth.rollback(step.as_ref()),
        }
    }
    let chunks: usize = parts.iter().map(|part| part.chunks as usize + 1).sum();
    assert_eq!(truth.0.len(), chunks, "each chunk counts once: {truth:?}");
    for shown in shown {
        assert_eq!(shown, truth);
    }
}

#[tokio::test]
async fn every_reader_rebuilds_the_truth_whatever_breaks() {
    for seed in 0..300 {
        let lived = std::panic::AssertUnwindSafe(Box::pin(life(seed)));
        let lived = futures_util::FutureExt::catch_unwind(lived).await;
        assert!(lived.is_ok(), "with seed {seed}");
    }
}
