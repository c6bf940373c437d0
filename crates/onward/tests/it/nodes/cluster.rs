//! Nodes in one process and in one paused time.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use axum::{Router, body::Body};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use onward::Onward;
use onward_core::{BoxFuture, Clock, Timestamp};
use onward_protocol::sse::{Event, Parser};
use onward_testing::{FaultyStore, MemoryStore};
use tokio::time::Instant;
use tower::ServiceExt;

use crate::support::{Count, location};

pub(super) const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// Tokio's paused time as the clock of all nodes.
#[derive(Clone, Debug)]
struct PausedClock(Instant);

impl Clock for PausedClock {
    fn now(&self) -> Timestamp {
        Timestamp::EPOCH.after(secs(1_000_000)).after(self.0.elapsed())
    }

    fn sleep_until(&self, at: Timestamp) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(at.since(self.now())))
    }
}

/// Counts when it is dropped.
pub(super) struct OnDrop<'a>(pub(super) &'a Count);

impl Drop for OnDrop<'_> {
    fn drop(&mut self) {
        self.0.hit();
    }
}

/// A node.
pub(super) struct Node {
    pub(super) onward: Onward,
    pub(super) router: Router,
    /// Its way to the store: what goes wrong there goes wrong for it alone.
    pub(super) store: FaultyStore,
}

/// Some nodes on one store.
pub(super) struct Cluster(Vec<Node>);

impl Cluster {
    pub(super) async fn new(nodes: usize, has_news: bool, routes: impl Fn(&Onward, usize) -> Router) -> Self {
        let (shared, clock) = (MemoryStore::shared(), Arc::new(PausedClock(Instant::now())));
        let mut all = Vec::new();
        for number in 0..nodes {
            let own = if has_news { shared.another() } else { shared.another_without_news() };
            let store = FaultyStore::new(Arc::new(own));
            let onward = Onward::builder().clock(clock.clone()).store(Arc::new(store.clone())).await.unwrap();
            let router = routes(&onward, number).route("/wait", onward.proxy()).route("/events", onward.events());
            all.push(Node { router: router.with_state(()), onward, store });
        }
        for node in &all {
            node.onward.start().await.unwrap();
        }
        Self(all)
    }

    pub(super) fn nodes(&self) -> &[Node] {
        &self.0
    }

    /// Ends those that are still there.
    pub(super) async fn shutdown(&self) {
        for node in self.0.iter().filter(|node| !node.store.is_crashed()) {
            node.onward.shutdown().await.unwrap();
        }
    }
}

impl Node {
    pub(super) async fn send(&self, request: Request<Body>) -> Response<Bytes> {
        let (parts, body) = self.router.clone().oneshot(request).await.unwrap().into_parts();
        Response::from_parts(parts, body.collect().await.unwrap().to_bytes())
    }

    pub(super) async fn get(&self, uri: &str) -> Response<Bytes> {
        self.get_with(uri, &[]).await
    }

    pub(super) async fn get_with(&self, uri: &str, headers: &[(&str, &str)]) -> Response<Bytes> {
        let request = headers.iter().fold(Request::get(uri), |request, (name, value)| request.header(*name, *value));
        self.send(request.body(Body::empty()).unwrap()).await
    }

    pub(super) async fn post_with(&self, uri: &str, body: &'static str, headers: &[(&str, &str)]) -> Response<Bytes> {
        let request = headers.iter().fold(Request::post(uri), |request, (name, value)| request.header(*name, *value));
        self.send(request.body(Body::from(body)).unwrap()).await
    }

    /// Asks this node as a client that follows redirects.
    pub(super) async fn follow(&self, uri: &str, headers: &[(&str, &str)]) -> Response<Bytes> {
        let first = self.get_with(uri, headers).await;
        self.go_on(first).await
    }

    pub(super) async fn go_on(&self, mut response: Response<Bytes>) -> Response<Bytes> {
        while response.status().is_redirection() {
            response = self.get(&location(&response)).await;
        }
        response
    }

    /// Reads a run's stream.
    pub(super) async fn stream(&self, uri: &str, after: Option<&str>) -> Stream {
        let mut request = Request::get(uri).header("accept", "text/event-stream").header("host", "test");
        if let Some(after) = after {
            request = request.header("last-event-id", after);
        }
        let response = self.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.status(), 200);
        Stream { body: response.into_body(), parser: Parser::default(), events: VecDeque::default() }
    }
}

/// A connection that reads a stream.
pub(super) struct Stream {
    body: Body,
    parser: Parser,
    events: VecDeque<Event>,
}

impl Stream {
    /// The next event of a name.
    pub(super) async fn until(&mut self, name: &str) -> Event {
        loop {
            while let Some(event) = self.events.pop_front() {
                if event.name == name {
                    return event;
                }
            }
            let frame = self.body.frame().await.expect("the stream goes on").unwrap();
            self.events.extend(self.parser.push(&frame.into_data().unwrap()));
        }
    }
}
