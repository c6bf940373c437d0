//! Whether anything goes on on a connection.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, request::Parts};
use http_body::{Body, Frame, SizeHint};
use parking_lot::Mutex;
use pin_project_lite::pin_project;
use tokio::{
    sync::Notify,
    time::{Instant, Sleep},
};
use tower_service::Service;

use super::{Raw, refusal};
use crate::BoxError;

/// The requests of a connection that are under way.
pub(super) struct Activity {
    state: Mutex<State>,
    changed: Notify,
}

struct State {
    under_way: usize,
    /// Whether the connection has had a request.
    had_one: bool,
    /// Since when it has none.
    since: Instant,
}

impl Activity {
    pub(super) fn new() -> Self {
        let state = Mutex::new(State { under_way: 0, had_one: false, since: Instant::now() });
        Self { state, changed: Notify::new() }
    }

    fn begin(self: &Arc<Self>) -> UnderWay {
        let mut state = self.state.lock();
        state.under_way += 1;
        state.had_one = true;
        drop(state);
        self.changed.notify_one();
        UnderWay(Arc::clone(self))
    }

    /// Ends when the connection has had no request for as long as it may: `first` until its first one, `then` after that.
    pub(super) async fn silent(&self, first: Duration, then: Duration) {
        loop {
            let over_at = {
                let state = self.state.lock();
                let limit = if state.had_one { then } else { first };
                (state.under_way == 0).then(|| state.since + limit)
            };
            match over_at {
                Some(at) if at <= Instant::now() => return,
                Some(at) => {
                    tokio::select! {
                        () = tokio::time::sleep_until(at) => {}
                        () = self.changed.notified() => {}
                    }
                }
                None => self.changed.notified().await,
            }
        }
    }
}

/// A request is under way until this is dropped.
struct UnderWay(Arc<Activity>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.under_way -= 1;
        state.since = Instant::now();
        drop(state);
        self.0.changed.notify_one();
    }
}

/// A service that counts the requests under way of its connection, and bounds how long their bodies are silent.
#[derive(Clone)]
pub struct Counted<S> {
    app: S,
    activity: Arc<Activity>,
    body_silence: Option<Duration>,
    /// The only requests that are served.
    only: Option<fn(&Parts) -> bool>,
}

impl<S> std::fmt::Debug for Counted<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Counted").finish_non_exhaustive()
    }
}

impl<S> Counted<S> {
    pub(super) const fn new(
        app: S,
        activity: Arc<Activity>,
        body_silence: Option<Duration>,
        only: Option<fn(&Parts) -> bool>,
    ) -> Self {
        Self { app, activity, body_silence, only }
    }
}

impl<S, B> Service<Request<Raw>> for Counted<S>
where
    S: Service<Request<RequestBody>, Response = Response<B>>,
    B: Body<Data = Bytes>,
{
    type Response = Response<ResponseBody<B>>;
    type Error = S::Error;
    type Future = Answer<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.app.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Raw>) -> Self::Future {
        let under_way = Some(self.activity.begin());
        let (parts, body) = request.into_parts();
        if self.only.is_some_and(|only| !only(&parts)) {
            return Answer { under_way, future: None };
        }
        let body = RequestBody { body, limit: self.body_silence, waits: None };
        Answer { under_way, future: Some(self.app.call(Request::from_parts(parts, body))) }
    }
}

pin_project! {
    /// The answer to a request: the service's, or a refusal because no place is free.
    pub struct Answer<F> {
        under_way: Option<UnderWay>,
        #[pin]
        future: Option<F>,
    }
}

impl<F> std::fmt::Debug for Answer<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answer").finish_non_exhaustive()
    }
}

impl<F, B, E> Future for Answer<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<ResponseBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = match this.future.as_pin_mut() {
            Some(future) => ready!(future.poll(cx))?.map(Some),
            None => {
                let (parts, body) = refusal().into_parts();
                let body = ResponseBody { body: None, own: Some(body), _under_way: this.under_way.take() };
                return Poll::Ready(Ok(Response::from_parts(parts, body)));
            }
        };
        let under_way = this.under_way.take();
        Poll::Ready(Ok(response.map(|body| ResponseBody { body, own: None, _under_way: under_way })))
    }
}

pin_project! {
    /// The body of a response. Its request is under way until it is dropped.
    pub struct ResponseBody<B> {
        #[pin]
        body: Option<B>,
        own: Option<Bytes>,
        _under_way: Option<UnderWay>,
    }
}

impl<B> std::fmt::Debug for ResponseBody<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ResponseBody").finish_non_exhaustive()
    }
}

impl<B: Body<Data = Bytes>> Body for ResponseBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.project();
        match this.body.as_pin_mut() {
            Some(body) => body.poll_frame(cx),
            None => Poll::Ready(this.own.take().map(|own| Ok(Frame::data(own)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().map_or(self.own.is_none(), Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let own = self.own.as_ref().map_or(0, |own| own.len() as u64);
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(own), Body::size_hint)
    }
}

/// The body of a request. Reading fails when the body is silent for too long.
pub struct RequestBody {
    body: Raw,
    limit: Option<Duration>,
    waits: Option<Pin<Box<Sleep>>>,
}

impl std::fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RequestBody").finish_non_exhaustive()
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            self.waits = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let Some(limit) = self.limit else { return Poll::Pending };
        let waits = self.waits.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        ready!(waits.as_mut().poll(cx));
        Poll::Ready(Some(Err(format!("the request's body was silent for {limit:?}").into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
