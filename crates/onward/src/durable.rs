//! Middleware that runs an inner service as durable runs.

mod answer;
mod body;
mod first;
mod layer;

pub use self::{body::DurableBody, layer::DurableLayer};

use std::{
    convert::Infallible,
    marker::PhantomData,
    sync::Arc,
    task::{Context as TaskContext, Poll},
};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body::Body;
use http_body_util::BodyExt;
use onward_core::BoxFuture;
use onward_host::bodies::Refused;
use onward_protocol::problem::{Code, Problem};
use tower_service::Service;

use crate::{
    endpoint::{AnyBody, Call, Endpoint},
    error::BoxError,
    onward::Shared,
};

/// Which endpoint a request is for.
#[derive(Clone, Debug)]
pub(crate) enum Endpoints {
    /// All requests are one endpoint's.
    One(Arc<Endpoint>),
    /// Each method has its own.
    PerMethod(Arc<[(Method, Arc<Endpoint>)]>),
}

impl Endpoints {
    fn of(&self, method: &Method) -> Option<&Arc<Endpoint>> {
        match self {
            Self::One(endpoint) => Some(endpoint),
            Self::PerMethod(each) => each.iter().find(|(own, _)| own == method).map(|(_, endpoint)| endpoint),
        }
    }

    /// One for all methods; none where it could not be made.
    pub(crate) fn of_all(endpoint: Option<Arc<Endpoint>>) -> Self {
        endpoint.map_or_else(|| Self::PerMethod(Arc::from([])), Self::One)
    }

    pub(crate) fn all(&self) -> Vec<Arc<Endpoint>> {
        match self {
            Self::One(endpoint) => vec![Arc::clone(endpoint)],
            Self::PerMethod(each) => each.iter().map(|(_, endpoint)| Arc::clone(endpoint)).collect(),
        }
    }
}

/// Runs `S` durably: made by [`EndpointBuilder::service`](crate::EndpointBuilder::service) or a [`DurableLayer`].
///
/// `B` is the type of body that `S` takes. It is made from the request's bytes, which are read before `S` is called.
pub struct Durable<S, B> {
    inner: S,
    shared: Arc<Shared>,
    endpoints: Endpoints,
    body: PhantomData<fn() -> B>,
}

impl<S: Clone, B> Clone for Durable<S, B> {
    fn clone(&self) -> Self {
        let (shared, endpoints) = (Arc::clone(&self.shared), self.endpoints.clone());
        Self { inner: self.inner.clone(), shared, endpoints, body: PhantomData }
    }
}

impl<S, B> std::fmt::Debug for Durable<S, B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Durable").field("endpoints", &self.endpoints).finish_non_exhaustive()
    }
}

impl<S, B> Durable<S, B> {
    pub(crate) fn new(inner: S, shared: Arc<Shared>, endpoints: Endpoints, call: &Arc<dyn Call>) -> Self {
        for endpoint in endpoints.all() {
            endpoint.set_call(call);
        }
        Self { inner, shared, endpoints, body: PhantomData }
    }
}

impl<S, B, ReqBody, ResBody> Service<Request<ReqBody>> for Durable<S, B>
where
    S: Service<Request<B>, Response = Response<ResBody>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    B: From<Bytes> + Send + 'static,
    ReqBody: Body<Data = Bytes> + Send + 'static,
    ReqBody::Error: Into<BoxError>,
    ResBody: Body<Data = Bytes> + Send + 'static,
    ResBody::Error: Into<BoxError>,
{
    type Response = Response<DurableBody<ResBody>>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<(), Infallible>> {
        // An inner service that is not ready because it failed says so again when it is called.
        let _ = std::task::ready!(self.inner.poll_ready(cx));
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let next = self.inner.clone();
        let inner = std::mem::replace(&mut self.inner, next);
        match self.endpoints.of(request.method()).cloned() {
            Some(endpoint) => {
                let shared = Arc::clone(&self.shared);
                // Why not in a block of its own: that would keep its own copy of all that it hands over.
                Box::pin(first::handle(shared, endpoint, inner, request))
            }
            None => {
                let shared = Arc::clone(&self.shared);
                Box::pin(first::pass(shared, inner, request))
            }
        }
    }
}

/// Calls a cloned service for stored requests.
pub(crate) struct ServiceCall<S, B> {
    pub(crate) service: parking_lot::Mutex<S>,
    pub(crate) body: PhantomData<fn() -> B>,
}

impl<S, B, ResBody> Call for ServiceCall<S, B>
where
    S: Service<Request<B>, Response = Response<ResBody>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    B: From<Bytes> + Send + 'static,
    ResBody: Body<Data = Bytes> + Send + 'static,
    ResBody::Error: Into<BoxError>,
{
    fn call(
        &self,
        request: Request<Bytes>,
        _route: Option<(String, http::Uri)>,
    ) -> BoxFuture<'static, Result<Response<AnyBody>, BoxError>> {
        let mut service = self.service.lock().clone();
        Box::pin(async move {
            std::future::poll_fn(|cx| service.poll_ready(cx)).await.map_err(Into::into)?;
            let response = service.call(request.map(B::from)).await.map_err(Into::into)?;
            Ok(response.map(any_body))
        })
    }
}

/// A body whose type is forgotten.
pub(crate) fn any_body<B>(body: B) -> AnyBody
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    body.map_err(Into::into).boxed_unsync()
}

/// The problem of a body that was not read. `code` is that of one with more than `bytes_max` bytes.
pub(crate) fn body_refused(refused: Refused, code: Code, bytes_max: usize) -> Response<Bytes> {
    let problem = match refused {
        Refused::TooLarge => Problem::new(code).limit(bytes_max as u64),
        Refused::Limited => Problem::new(code), // whoever limits it knows how much
        Refused::Full => Problem::new(Code::TooManyBodies),
        Refused::Silent | Refused::Unreadable => Problem::new(Code::BodyUnreadable),
    };
    problem.into_response()
}
