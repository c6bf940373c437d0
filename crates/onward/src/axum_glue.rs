//! axum: method routers as one handler, the `Step` extractor, responses, and the routes of the app.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
};

use axum::{
    Router,
    body::Body,
    extract::{DefaultBodyLimit, FromRequestParts, OptionalFromRequestParts, OriginalUri, Request},
    handler::Handler,
    response::{IntoResponse, Response},
    routing::{MethodRouter, Route, any},
};
use bytes::Bytes;
use http::{Uri, request::Parts};
use onward_core::BoxFuture;
use onward_protocol::problem::{Code, Problem};
use parking_lot::Mutex;
use tower_service::Service;

use crate::{
    Cors, Onward, Step, StepError,
    durable::any_body,
    endpoint::{AnyBody, Call},
    error::BoxError,
};

/// A method router as one handler, so that one service has all methods of a route, and its state.
pub(crate) struct Methods<S> {
    methods: Arc<MethodRouter<S>>,
}

impl<S> Clone for Methods<S> {
    fn clone(&self) -> Self {
        Self { methods: Arc::clone(&self.methods) }
    }
}

impl<S> Methods<S> {
    pub(crate) fn new(methods: MethodRouter<S>) -> Self {
        Self { methods: Arc::new(methods) }
    }
}

/// A method router that has been given its state. A route carries one in its requests, so that the router is given
/// its state once, and not for each request.
#[derive(Clone, Default)]
struct Stateful(Arc<OnceLock<Mutex<MethodRouter<()>>>>);

impl<S> Handler<(), S> for Methods<S>
where
    S: Clone + Send + Sync + 'static,
{
    type Future = RouteFuture<Infallible>;

    fn call(self, mut request: Request, state: S) -> Self::Future {
        let stateful = request.extensions_mut().remove::<Stateful>().unwrap_or_default();
        let give = || Mutex::new(MethodRouter::clone(&self.methods).with_state(state));
        let future = Service::call(&mut *stateful.0.get_or_init(give).lock(), request);
        RouteFuture { future }
    }
}

pin_project_lite::pin_project! {
    /// The response of a method router, which cannot fail.
    pub(crate) struct RouteFuture<E> {
        #[pin]
        future: axum::routing::future::RouteFuture<E>,
    }
}

impl Future for RouteFuture<Infallible> {
    type Output = Response;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Response> {
        self.project().future.poll(cx).map(|answer| answer.unwrap_or_else(|never| match never {}))
    }
}

/// A route of [`Methods`] with the router that has its state.
#[derive(Clone)]
pub(crate) struct StatefulRoute {
    route: Route,
    stateful: Stateful,
}

impl StatefulRoute {
    pub(crate) fn new(route: Route) -> Self {
        Self { route, stateful: Stateful::default() }
    }
}

impl Service<Request> for StatefulRoute {
    type Response = Response;
    type Error = Infallible;
    type Future = axum::routing::future::RouteFuture<Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(())) // a route always is
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        request.extensions_mut().insert(self.stateful.clone());
        // Why: the body was read within the endpoint's own limit, and a replay must meet no other.
        DefaultBodyLimit::disable().apply(&mut request);
        self.route.call(request)
    }
}

/// Calls a route for stored requests. They are routed once more by their path, so that path parameters are there.
pub(crate) struct RouteCall {
    route: StatefulRoute,
    router: OnceLock<(String, Router)>,
}

impl RouteCall {
    pub(crate) const fn new(route: StatefulRoute) -> Self {
        Self { route, router: OnceLock::new() }
    }
}

impl Call for RouteCall {
    fn call(
        &self,
        request: http::Request<Bytes>,
        route: Option<(String, Uri)>,
    ) -> BoxFuture<'static, Result<http::Response<AnyBody>, BoxError>> {
        let mut request = request.map(Body::from);
        let Some((path, original)) = route else {
            let mut route = self.route.clone();
            return Box::pin(async move { Ok(route.call(request).await?.map(any_body)) });
        };
        // The handler sees the URI that it saw first: a nested router had cut its prefix off.
        let seen = std::mem::replace(request.uri_mut(), original);
        request.extensions_mut().insert(Seen(seen));
        let build = || Router::new().route_service(&path, Restored(self.route.clone()));
        let mut router = match self.router.get_or_init(|| (path.clone(), build())) {
            (known, router) if *known == path => router.clone(),
            _ => build(),
        };
        Box::pin(async move { Ok(router.call(request).await?.map(any_body)) })
    }
}

/// The URI that the handler saw first.
#[derive(Clone)]
struct Seen(Uri);

/// Puts the URI back that the handler saw first.
#[derive(Clone)]
struct Restored(StatefulRoute);

impl Service<Request> for Restored {
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        if let Some(Seen(uri)) = request.extensions_mut().remove() {
            *request.uri_mut() = uri;
        }
        let mut route = self.0.clone();
        Box::pin(async move { route.call(request).await })
    }
}

// ===== extractor and responses =====

/// The handler is not wrapped as a durable endpoint.
#[derive(Clone, Copy, Debug)]
pub struct NotDurable;

impl IntoResponse for NotDurable {
    fn into_response(self) -> Response {
        tracing::error!("a handler with a `Step` argument was called on a route that is not durable");
        Problem::new(Code::NotDurable).into_response().map(Body::from)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Step {
    type Rejection = NotDurable;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, NotDurable> {
        parts.extensions.get::<Self>().cloned().ok_or(NotDurable)
    }
}

impl<S: Send + Sync> OptionalFromRequestParts<S> for Step {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Infallible> {
        Ok(parts.extensions.get::<Self>().cloned())
    }
}

impl IntoResponse for StepError {
    /// See [`StepError::to_response`].
    fn into_response(self) -> Response {
        self.to_response().map(Body::from)
    }
}

// ===== routes =====

impl Onward {
    /// The waiting route, readable from every origin: mount it at the path of
    /// [`Options::redirect_to`](crate::Options::redirect_to), `/wait` by default. See [`Onward::wait`].
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), onward::Error> {
    /// # let onward = onward::Onward::open("memory:").await?;
    /// let app = axum::Router::<()>::new().route("/wait", onward.proxy()).route("/events", onward.events());
    /// # drop(app);
    /// # onward.shutdown().await }
    /// ```
    pub fn proxy<S>(&self) -> MethodRouter<S>
    where
        S: Clone + Send + Sync + 'static,
    {
        self.proxy_with(Cors::default())
    }

    /// The waiting route with cross-origin rules of your own.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), onward::Error> {
    /// # let onward = onward::Onward::open("memory:").await?;
    /// let cors = onward::Cors::origins(["https://app.example.com"]).credentials(true);
    /// let app = axum::Router::<()>::new().route("/wait", onward.proxy_with(cors));
    /// # drop(app);
    /// # onward.shutdown().await }
    /// ```
    pub fn proxy_with<S>(&self, cors: Cors) -> MethodRouter<S>
    where
        S: Clone + Send + Sync + 'static,
    {
        let (onward, cors) = (self.clone(), Arc::new(cors));
        any(move |original: OriginalUri, request: Request| {
            let (onward, cors) = (onward.clone(), Arc::clone(&cors));
            let (parts, _) = request.into_parts();
            async move { onward.wait(&parts.method, &original.0, &parts.headers, &cors).await.map(Body::new) }
        })
    }

    /// The run API, a router to nest where operators find it: lists of runs, one with its steps, cancel, retry, delete.
    /// See [`Onward::answer_runs`]. **Whoever reaches it is an operator**: put your authentication in front.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), onward::Error> {
    /// # let onward = onward::Onward::open("memory:").await?;
    /// let app = axum::Router::<()>::new().nest("/runs", onward.runs_api());
    /// # drop(app);
    /// # onward.shutdown().await }
    /// ```
    pub fn runs_api<S>(&self) -> Router<S>
    where
        S: Clone + Send + Sync + 'static,
    {
        let onward = self.clone();
        let answer = any(move |request: Request| {
            let onward = onward.clone();
            let (parts, _) = request.into_parts();
            async move { onward.answer_runs(&parts.method, parts.uri.path(), &parts.uri).await.map(Body::from) }
        });
        Router::new().route("/", answer.clone()).route("/{*path}", answer)
    }

    /// A route that accepts events: `POST` a JSON object `{"name", "data", "id"?, "ts"?}` or an array of them, and get
    /// `{"ids"}` once they are stored. Anyone who reaches it may send: put your authentication in front.
    pub fn events<S>(&self) -> MethodRouter<S>
    where
        S: Clone + Send + Sync + 'static,
    {
        let onward = self.clone();
        any(move |request: Request| {
            let onward = onward.clone();
            async move { onward.accept_events(request).await.map(Body::from) }
        })
    }
}
