//! An HTTP handler made durable: its id, its options, and how it is called again.

mod builder;
mod carry;
mod registered;

pub use self::builder::EndpointBuilder;
pub(crate) use self::{carry::Carried, registered::Registered};

use std::{
    collections::BTreeSet,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use onward_core::{BoxFuture, EndpointId};
use parking_lot::Mutex;

use crate::{Error, Options, error::BoxError};

/// The body of a handler's response, whatever its type was.
pub(crate) type AnyBody = UnsyncBoxBody<Bytes, BoxError>;

/// An endpoint of an app.
pub(crate) struct Endpoint {
    pub(crate) id: EndpointId,
    pub(crate) options: Arc<Options>,
    /// The path as the router was given it, where there is one.
    pub(crate) template: Option<String>,
    pub(crate) carried: Arc<[Carried]>,
    /// Whether a layer makes its service.
    is_layered: bool,
    /// The headers of which the log has warned.
    warned: Mutex<BTreeSet<&'static str>>,
    /// How a stored request reaches the handler: set when the handler has its state.
    call: OnceLock<Arc<dyn Call>>,
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint").field("id", &self.id).finish_non_exhaustive()
    }
}

/// How a stored request reaches a handler.
pub(crate) trait Call: Send + Sync {
    /// Calls the handler with a request whose extensions are set. `route` is the route's template and the URI by
    /// which the client asked, where a router matched one.
    fn call(
        &self,
        request: Request<Bytes>,
        route: Option<(String, http::Uri)>,
    ) -> BoxFuture<'static, Result<Response<AnyBody>, BoxError>>;
}

impl Endpoint {
    /// Whether the log has yet to warn of a header that is not kept.
    pub(crate) fn warns_of(&self, header: &'static str) -> bool {
        self.warned.lock().insert(header)
    }

    pub(crate) fn try_new(
        id: impl Into<Arc<str>>,
        options: Arc<Options>,
        template: Option<String>,
        carried: Arc<[Carried]>,
        is_layered: bool,
    ) -> Result<Self, Error> {
        let id = EndpointId::try_new(id).map_err(|error| Error::config(error.to_string()))?;
        Ok(Self { id, options, template, carried, is_layered, warned: Mutex::default(), call: OnceLock::new() })
    }

    /// Whether a replay is sure to reach the service of a request that a router matched by this path. A layer around
    /// routes wraps each of them, and more: which of them a replay is for nobody could tell.
    pub(crate) const fn is_for(&self, matched_path: Option<&str>) -> bool {
        !self.is_layered || matched_path.is_none()
    }

    /// Says how the handler is called. The first to say it counts.
    pub(crate) fn set_call(&self, call: &Arc<dyn Call>) {
        self.call.get_or_init(|| Arc::clone(call));
    }

    pub(crate) fn call(&self) -> Option<Arc<dyn Call>> {
        self.call.get().cloned()
    }
}
