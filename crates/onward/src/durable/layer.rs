//! A layer that makes services durable.

use std::{marker::PhantomData, sync::Arc};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;

use super::{Durable, Endpoints, ServiceCall};
use crate::{endpoint::Call, error::BoxError, onward::Shared};

/// Makes the service that it wraps one durable endpoint: see
/// [`EndpointBuilder::layer`](crate::EndpointBuilder::layer).
pub struct DurableLayer<B> {
    pub(crate) shared: Arc<Shared>,
    pub(crate) endpoints: Endpoints,
    pub(crate) body: PhantomData<fn() -> B>,
}

impl<B> Clone for DurableLayer<B> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), endpoints: self.endpoints.clone(), body: PhantomData }
    }
}

impl<B> std::fmt::Debug for DurableLayer<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DurableLayer").field("endpoints", &self.endpoints).finish_non_exhaustive()
    }
}

impl<S, B, ResBody> Layer<S> for DurableLayer<B>
where
    S: Service<Request<B>, Response = Response<ResBody>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    B: From<Bytes> + Send + 'static,
    ResBody: Body<Data = Bytes> + Send + 'static,
    ResBody::Error: Into<BoxError>,
{
    type Service = Durable<S, B>;

    fn layer(&self, inner: S) -> Durable<S, B> {
        let service = parking_lot::Mutex::new(inner.clone());
        let call: Arc<dyn Call> = Arc::new(ServiceCall { service, body: PhantomData });
        Durable::new(inner, Arc::clone(&self.shared), self.endpoints.clone(), &call)
    }
}
