//! Options of one endpoint, and the ways to mount it.

use std::{marker::PhantomData, sync::Arc};

use serde::{Serialize, de::DeserializeOwned};

use super::{Carried, Endpoint};
use crate::{
    AsyncResponse, DurableLayer, Onward, Options,
    durable::{Durable, Endpoints},
};

/// The methods that have an endpoint of their own on a route.
#[cfg(feature = "axum")]
const METHODS: [http::Method; 8] = [
    http::Method::GET,
    http::Method::HEAD,
    http::Method::POST,
    http::Method::PUT,
    http::Method::PATCH,
    http::Method::DELETE,
    http::Method::OPTIONS,
    http::Method::TRACE,
];

/// Begins with the app's default [`Options`], and ends with [`route`](EndpointBuilder::route),
/// [`service`](EndpointBuilder::service) or [`layer`](EndpointBuilder::layer).
///
/// # Example
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), onward::Error> {
/// # use axum::{Router, routing::post};
/// # use onward::{AsyncResponse, Onward, Step};
/// # async fn pay(step: Step) {}
/// let onward = Onward::open("memory:").await?;
/// let app: Router = onward
///     .endpoint()
///     .id("pay")
///     .retries(5)
///     .async_response(AsyncResponse::Token)
///     .timeout("1h")
///     .route("/pay", post(pay));
/// # drop(app); onward.shutdown().await }
/// ```
#[derive(Clone, Debug)]
#[must_use = "an endpoint is mounted with `route`, `service` or `layer`"]
pub struct EndpointBuilder {
    onward: Onward,
    id: Option<String>,
    options: Options,
    carried: Vec<Carried>,
}

impl Onward {
    /// Begins an endpoint with options of its own.
    pub fn endpoint(&self) -> EndpointBuilder {
        let options = self.0.defaults.clone();
        EndpointBuilder { onward: self.clone(), id: None, options, carried: Vec::new() }
    }
}

impl EndpointBuilder {
    /// The endpoint's id, by which its runs find it again after a restart and others invoke it. Default: the method
    /// and path, `"POST /pay"`: an endpoint a method. With an id of yours all methods of a route are one endpoint.
    ///
    /// Two endpoints of one app have different ids, or different [versions](EndpointBuilder::version).
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// All options at once, in the place of the app's defaults.
    pub fn options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// See [`Options::retries`].
    pub fn retries(mut self, retries: u32) -> Self {
        self.options = self.options.retries(retries);
        self
    }

    /// See [`Options::retry_policy`].
    pub fn retry_policy(mut self, policy: onward_core::RetryPolicy) -> Self {
        self.options = self.options.retry_policy(policy);
        self
    }

    /// See [`Options::async_response`].
    pub fn async_response(mut self, response: AsyncResponse) -> Self {
        self.options = self.options.async_response(response);
        self
    }

    /// See [`Options::redirect_to`].
    pub fn redirect_to(mut self, path: impl Into<String>) -> Self {
        self.options = self.options.redirect_to(path);
        self
    }

    /// See [`Options::redirect_with`].
    pub fn redirect_with<F, Fut>(mut self, make: F) -> Self
    where
        F: Fn(String, String) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = String> + Send + 'static,
    {
        self.options = self.options.redirect_with(make);
        self
    }

    /// See [`crate::Options::body_bytes_max`].
    pub fn body_bytes_max(mut self, bytes: usize) -> Self {
        self.options = self.options.body_bytes_max(bytes);
        self
    }

    /// See [`Options::keep_header`].
    pub fn keep_header(mut self, name: &str) -> Self {
        self.options = self.options.keep_header(name);
        self
    }

    /// See [`Options::drop_header`].
    pub fn drop_header(mut self, name: &str) -> Self {
        self.options = self.options.drop_header(name);
        self
    }

    /// See [`Options::hold`].
    pub fn hold(mut self, hold: impl onward_core::IntoDuration) -> Self {
        self.options = self.options.hold(hold);
        self
    }

    /// See [`Options::timeout`].
    pub fn timeout(mut self, timeout: impl onward_core::IntoDuration) -> Self {
        self.options = self.options.timeout(timeout);
        self
    }

    /// See [`Options::retention`].
    pub fn retention(mut self, retention: impl onward_core::IntoDuration) -> Self {
        self.options = self.options.retention(retention);
        self
    }

    /// See [`Options::version`].
    pub fn version(mut self, version: &str) -> Self {
        self.options = self.options.version(version);
        self
    }

    /// See [`Options::pin_version`]. Without a version it is an error when the app starts.
    pub fn pin_version(mut self) -> Self {
        self.options = self.options.pin_version();
        self
    }

    /// Carries a value that outer middleware puts into the request's extensions (an authenticated user, say) to the
    /// run's resumptions, which outer middleware does not see. The value is stored with the run, as JSON and under
    /// `name`; a value that cannot be stored is a `500` before the handler runs.
    ///
    /// The type may be renamed or moved; the name stays. A run whose kept value this endpoint cannot restore, because it
    /// carries nothing of that name or because the JSON is not of type `T`, is blocked
    /// (see [`Options::blocked_for`](crate::Options::blocked_for)): its handler is not called without the value.
    /// [`carry_retired`](Self::carry_retired) says that a name is gone on purpose.
    ///
    /// Two values of one endpoint have different names: [`Onward::start`](crate::Onward::start) returns an error
    /// otherwise.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), onward::Error> {
    /// # let onward = onward::Onward::open("memory:").await?;
    /// #[derive(Clone, serde::Serialize, serde::Deserialize)]
    /// struct User(String);
    ///
    /// async fn pay(axum::Extension(user): axum::Extension<User>, _step: onward::Step) -> String {
    ///     user.0
    /// }
    /// let app = onward.endpoint().carry::<User>("user").route::<()>("/pay", axum::routing::post(pay));
    /// # drop(app);
    /// # onward.shutdown().await }
    /// ```
    pub fn carry<T>(mut self, name: &str) -> Self
    where
        T: Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
    {
        self.carried.push(Carried::of::<T>(name));
        self
    }

    /// Says that [`carry`](Self::carry) had this name once and that the handler no longer needs the value: runs that
    /// kept one go on without it.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), onward::Error> {
    /// # let onward = onward::Onward::open("memory:").await?;
    /// # async fn pay(_step: onward::Step) {}
    /// let app = onward.endpoint().carry_retired("user").route::<()>("/pay", axum::routing::post(pay));
    /// # drop(app);
    /// # onward.shutdown().await }
    /// ```
    pub fn carry_retired(mut self, name: &str) -> Self {
        self.carried.push(Carried::retired(name));
        self
    }

    /// Makes one endpoint with this id known, if it can be one.
    fn register(&self, id: String, template: Option<&str>, is_layered: bool) -> Option<Arc<Endpoint>> {
        let shared = &self.onward.0;
        let options = Arc::new(self.options.clone());
        let template = template.map(str::to_owned);
        match Endpoint::try_new(id, options, template, self.carried.clone().into(), is_layered) {
            Ok(endpoint) => {
                let endpoint = Arc::new(endpoint);
                shared.register(Arc::clone(&endpoint));
                Some(endpoint)
            }
            Err(error) => {
                shared.complain(error.to_string());
                None
            }
        }
    }

    fn complain(&self) {
        if let Err(error) = self.options.check() {
            self.onward.0.complain(error.to_string());
        }
        if let Err(error) = Carried::check(&self.carried) {
            self.onward.0.complain(error.to_string());
        }
        // An app may pin by default and leave the versions to its endpoints, so this is not wrong before.
        if self.options.pinned && self.options.version.is_none() {
            self.onward.0.complain("pin_version needs a version".to_owned());
        }
    }

    /// A layer that makes the service it wraps this endpoint, whatever the request's method: for a
    /// `tower::ServiceBuilder`. It needs an [`id`](EndpointBuilder::id). `B` is the type of body that the service takes.
    ///
    /// Axum routes are made durable with [`route`](EndpointBuilder::route): a layer around them refuses their requests,
    /// because it wraps each of them and a replay could not tell which it is for.
    pub fn layer<B>(self) -> DurableLayer<B> {
        self.layered(true)
    }

    fn layered<B>(self, is_layered: bool) -> DurableLayer<B> {
        self.complain();
        let id = self.id.clone().unwrap_or_default();
        let endpoints = Endpoints::of_all(self.register(id, None, is_layered));
        DurableLayer { shared: Arc::clone(&self.onward.0), endpoints, body: PhantomData }
    }

    /// Wraps a [`tower_service::Service`] over `http` types: hyper, tonic, or one of your own. It needs an
    /// [`id`](EndpointBuilder::id). The service finds its [`Step`](crate::Step) in the request's extensions.
    ///
    /// ```
    /// # use bytes::Bytes;
    /// # use http_body_util::Full;
    /// # use onward::{Onward, Step, StepError};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), onward::Error> {
    /// # let onward = Onward::open("memory:").await?;
    /// async fn answer(request: http::Request<Full<Bytes>>) -> Result<http::Response<Full<Bytes>>, StepError> {
    ///     let step = request.extensions().get::<Step>().cloned().expect("it is durable");
    ///     let n = step.run("compute", async || Ok::<_, StepError>(42)).await?;
    ///     Ok(http::Response::new(Full::new(Bytes::from(n.to_string()))))
    /// }
    ///
    /// let durable = onward.endpoint().id("answer").service::<_, Full<Bytes>>(tower::service_fn(answer));
    /// # drop(durable); onward.shutdown().await }
    /// ```
    pub fn service<S, B>(self, service: S) -> Durable<S, B>
    where
        DurableLayer<B>: tower_layer::Layer<S, Service = Durable<S, B>>,
    {
        tower_layer::Layer::layer(&self.layered::<B>(false), service)
    }
}

#[cfg(feature = "axum")]
mod axum_route {
    use super::{Arc, Durable, EndpointBuilder, Endpoints, METHODS, Onward};
    use crate::{
        axum_glue::{Methods, RouteCall, StatefulRoute},
        endpoint::Call,
    };
    use axum::{
        Router,
        body::Body,
        routing::{MethodRouter, Route},
    };

    impl EndpointBuilder {
        /// Mounts a method router as durable endpoints, one for each method (or one for all of them, with an
        /// [`id`](EndpointBuilder::id)): a router to merge into the app's.
        ///
        /// All methods, path parameters, state and extractors work as ever (a method that no RFC of HTTP itself
        /// defines needs an `id`). Middleware inside `methods` runs with every replay of the handler; middleware
        /// outside sees the client's request alone. All methods of a path go into one method router: axum does not
        /// merge two durable routes of one path. The limit of bodies is the endpoint's
        /// ([`crate::Options::body_bytes_max`]) and not axum's.
        pub fn route<S>(self, path: &str, methods: MethodRouter<S>) -> Router<S>
        where
            S: Clone + Send + Sync + 'static,
        {
            self.complain();
            let endpoints = match &self.id {
                Some(id) => Endpoints::of_all(self.register(id.clone(), Some(path), false)),
                None => Endpoints::PerMethod(
                    METHODS
                        .into_iter()
                        .filter_map(|method| {
                            Some((self.register(format!("{method} {path}"), Some(path), false)?, method))
                        })
                        .map(|(endpoint, method)| (method, endpoint))
                        .collect(),
                ),
            };
            let shared = Arc::clone(&self.onward.0);
            let layer = tower_layer::layer_fn(move |route: Route| {
                let route = StatefulRoute::new(route);
                let call: Arc<dyn Call> = Arc::new(RouteCall::new(route.clone()));
                Durable::<StatefulRoute, Body>::new(route, Arc::clone(&shared), endpoints.clone(), &call)
            });
            Router::new().route(path, axum::routing::any(Methods::new(methods)).layer(layer))
        }
    }

    impl Onward {
        /// Mounts a method router as durable endpoints with the app's default options: see
        /// [`EndpointBuilder::route`].
        pub fn route<S>(&self, path: &str, methods: MethodRouter<S>) -> Router<S>
        where
            S: Clone + Send + Sync + 'static,
        {
            self.endpoint().route(path, methods)
        }
    }
}
