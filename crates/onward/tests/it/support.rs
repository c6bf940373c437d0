//! An app under test, and a client for it.

use std::sync::Arc;

use axum::{Router, body::Body};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use onward::{Builder, Onward};
use onward_core::Clock;
use onward_testing::{ManualClock, MemoryStore};
use tower::ServiceExt;

/// An app with a clock that tests turn.
pub(crate) struct App {
    pub(crate) onward: Onward,
    pub(crate) clock: ManualClock,
    pub(crate) router: Router,
}

impl App {
    /// An app on a memory store.
    pub(crate) async fn new(routes: impl FnOnce(&Onward) -> Router) -> Self {
        Self::with(Onward::builder(), routes).await
    }

    pub(crate) async fn with(builder: Builder, routes: impl FnOnce(&Onward) -> Router) -> Self {
        Self::on(Arc::new(MemoryStore::new()), ManualClock::new(), builder, routes).await
    }

    pub(crate) async fn on(
        store: Arc<dyn onward_core::Store>,
        clock: ManualClock,
        builder: Builder,
        routes: impl FnOnce(&Onward) -> Router,
    ) -> Self {
        let onward = builder.clock(Arc::new(clock.clone())).store(store).await.unwrap();
        Self::opened(onward, clock, routes).await
    }

    /// An app that was opened with a clock which `clock` turns.
    pub(crate) async fn opened(onward: Onward, clock: ManualClock, routes: impl FnOnce(&Onward) -> Router) -> Self {
        let router = routes(&onward).route("/wait", onward.proxy()).route("/events", onward.events());
        let router = router.with_state(());
        onward.start().await.unwrap();
        Self { onward, clock, router }
    }

    /// Sends a request and gives the whole response.
    pub(crate) async fn send(&self, request: Request<Body>) -> Response<Bytes> {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        Response::from_parts(parts, body.collect().await.unwrap().to_bytes())
    }

    pub(crate) async fn get(&self, uri: &str) -> Response<Bytes> {
        self.send(Request::get(uri).body(Body::empty()).unwrap()).await
    }

    /// Follows redirects to the outcome; time goes on meanwhile, from one deadline to the next.
    pub(crate) async fn outcome(&self, uri: &str) -> Response<Bytes> {
        let first = self.get(uri).await;
        self.follow(first).await
    }

    pub(crate) async fn follow(&self, mut response: Response<Bytes>) -> Response<Bytes> {
        while response.status().is_redirection() {
            let location = location(&response);
            response = self.while_time_goes_on(self.get(&location)).await;
        }
        response
    }

    /// Polls a future; whenever nothing else moves, time jumps to the next deadline.
    pub(crate) async fn while_time_goes_on<T>(&self, future: impl Future<Output = T>) -> T {
        let mut future = std::pin::pin!(future);
        for _ in 0..100_000 {
            for _ in 0..50 {
                tokio::select! {
                    biased;
                    output = &mut future => return output,
                    () = tokio::task::yield_now() => {}
                }
            }
            if let Some(at) = self.clock.next_deadline() {
                self.clock.advance_to(at);
            }
        }
        panic!("nothing came of it, however far the clock went");
    }

    /// Lets what can go on go on, without time.
    pub(crate) async fn settle(&self) {
        for _ in 0..500 {
            tokio::task::yield_now().await;
        }
    }

    /// Turns the clock in small steps, so that what becomes due on the way happens on the way.
    pub(crate) async fn advance(&self, time: std::time::Duration) {
        let until = self.clock.now().after(time);
        self.settle().await;
        while let Some(at) = self.clock.next_deadline().filter(|at| *at <= until) {
            self.clock.advance_to(at);
            self.settle().await;
        }
        self.clock.advance_to(until);
        self.settle().await;
    }
}

pub(crate) fn location(response: &Response<Bytes>) -> String {
    response.headers()["location"].to_str().unwrap().to_owned()
}

pub(crate) fn text(response: &Response<Bytes>) -> &str {
    std::str::from_utf8(response.body()).unwrap()
}

/// The run id in a `Location`.
pub(crate) fn run_id(response: &Response<Bytes>) -> onward::RunId {
    let location = location(response);
    let query = location.split_once('?').unwrap().1;
    let pair = query.split('&').find_map(|pair| pair.strip_prefix("runId="));
    pair.unwrap().parse().unwrap()
}

/// How often something happened.
#[derive(Clone, Debug, Default)]
pub(crate) struct Count(Arc<std::sync::atomic::AtomicU32>);

impl Count {
    pub(crate) fn hit(&self) -> u32 {
        self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst) + 1
    }

    pub(crate) fn get(&self) -> u32 {
        self.0.load(std::sync::atomic::Ordering::SeqCst)
    }
}

/// The log of this thread.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<std::sync::Mutex<Vec<u8>>>);

impl Log {
    /// Listens until the guard is dropped.
    pub(crate) fn listen(&self) -> tracing::subscriber::DefaultGuard {
        let level = tracing_subscriber::filter::LevelFilter::TRACE;
        let subscriber = tracing_subscriber::fmt().with_max_level(level).with_ansi(false).with_writer(self.clone());
        tracing::subscriber::set_default(subscriber.finish())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> tracing_subscriber::fmt::MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
