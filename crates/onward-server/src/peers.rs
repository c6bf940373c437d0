//! The engines on one store: what is registered at one is known to all, and what is about a run that another moves is
//! passed on to it.
//!
//! A load balancer in front of them need know nothing of runs.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use axum::{body::Body, response::Response};
use http::{HeaderMap, HeaderName, Method, StatusCode, header};
use onward_core::{NodeId, Payload, Store, StoreError};
use parking_lot::RwLock;

use crate::{options::Options, shared::Shared};

/// What begins the name under which an engine's address is registered; its node is the value.
const KEPT: &str = "engine:";

/// How often it is looked what others have registered.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long a connection to another engine may take to be made: it is near, or gone.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// How long another engine may take to answer a report.
pub(crate) const REPORT_TIMEOUT: Duration = Duration::from_secs(15);

/// Says that a request was passed on, so that it is not passed on again.
const PASSED_ON: HeaderName = HeaderName::from_static("x-onward-passed-on");

/// The engines on one store.
#[derive(Debug)]
pub(crate) struct Peers {
    client: reqwest::Client,
    /// Where this one is.
    own: Option<String>,
    by_node: RwLock<BTreeMap<NodeId, String>>,
}

impl Peers {
    pub(crate) fn try_new(options: &Options, listens: SocketAddr) -> Result<Self, reqwest::Error> {
        let own = options.advertise.clone();
        let own = own.or_else(|| (!listens.ip().is_unspecified()).then(|| format!("http://{listens}")));
        let client = reqwest::Client::builder()
            .no_proxy()
            .tcp_nodelay(true)
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        Ok(Self { client, own, by_node: RwLock::default() })
    }

    /// Where an engine is.
    fn find(&self, node: NodeId) -> Option<String> {
        self.by_node.read().get(&node).cloned()
    }

    /// Whether it is known where an engine is; one that is not is looked for at once.
    pub(crate) async fn is_known(&self, store: &dyn Store, node: NodeId) -> Result<bool, StoreError> {
        if self.find(node).is_none() {
            self.know(&store.registrations().await?);
        }
        Ok(self.find(node).is_some())
    }

    fn know(&self, registrations: &[(String, Payload)]) {
        let read = |(name, value): &(String, Payload)| {
            let node = std::str::from_utf8(value.as_ref()).ok()?.parse().ok()?;
            Some((NodeId(node), name.strip_prefix(KEPT)?.to_owned()))
        };
        *self.by_node.write() = registrations.iter().filter_map(read).collect();
    }

    /// Tells the others where this engine is.
    async fn announce(&self, store: &dyn Store, node: NodeId) -> Result<(), StoreError> {
        let Some(own) = &self.own else { return Ok(()) };
        store.announce(node, format!("{KEPT}{own}"), node.0.to_string().into()).await.map(drop)
    }

    /// This engine is not here any more.
    pub(crate) async fn leave(&self, store: &dyn Store) {
        let Some(own) = self.own.as_ref().filter(|_| store.is_shared()) else { return };
        if let Err(error) = store.unregister(format!("{KEPT}{own}")).await {
            tracing::debug!(error = &error as &dyn std::error::Error, "the engine's address stays registered");
        }
    }
}

/// Keeps what is known of the other engines and their functions until the engine stops.
pub(crate) async fn keep_up(shared: Arc<Shared>) {
    if shared.peers.own.is_none() {
        tracing::warn!("other engines on this store cannot reach this one: say where it is with --advertise");
    }
    let mut announced = None;
    loop {
        if let Err(error) = look(&shared, &mut announced).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "it was not seen what other engines registered");
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            // Why so early: what is drained begins nothing, and knows all that it needs.
            () = shared.tasks.shutdown_token().cancelled() => return,
        }
    }
}

async fn look(shared: &Shared, announced: &mut Option<NodeId>) -> Result<(), StoreError> {
    let node = shared.scheduler.node();
    if let Some(node) = node.filter(|_| *announced != node) {
        shared.peers.announce(&*shared.store, node).await?;
        *announced = Some(node);
    }
    let registrations = shared.functions.refresh(&*shared.store).await?;
    shared.peers.know(&registrations);
    Ok(())
}

/// A request that may be passed on.
pub(crate) struct Passing {
    pub(crate) method: Method,
    /// The path with its query.
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
}

impl Passing {
    pub(crate) fn of(parts: &http::request::Parts) -> Self {
        let target = parts.uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
        Self { method: parts.method.clone(), target, headers: parts.headers.clone() }
    }

    /// Passes a request on to the engine that is a node, and gives its answer; `None` where that cannot be: it is this
    /// one, it is not known, the request was passed on before, or it does not answer.
    pub(crate) async fn pass_on(
        &self,
        shared: &Shared,
        node: NodeId,
        body: reqwest::Body,
        timeout: Option<Duration>,
    ) -> Option<Response> {
        if self.headers.contains_key(PASSED_ON) || shared.scheduler.node() == Some(node) {
            return None;
        }
        let url = format!("{}{}", shared.peers.find(node)?, self.target);
        let mut headers = self.headers.clone();
        for name in
            [header::HOST, header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::CONNECTION, header::EXPECT]
        {
            headers.remove(name);
        }
        headers.insert(PASSED_ON, http::HeaderValue::from_static("1"));
        let mut request = shared.peers.client.request(self.method.clone(), &url).headers(headers).body(body);
        if let Some(timeout) = timeout {
            request = request.timeout(timeout);
        }
        let answer = request.send().await.inspect_err(|error| {
            tracing::debug!(node = node.0, error = error as &dyn std::error::Error, "an engine did not answer");
        });
        let answer = answer.ok()?;
        // Why: it has just let go of the run, so it is looked for again.
        if answer.status() == StatusCode::SERVICE_UNAVAILABLE {
            return None;
        }
        let mut response = Response::new(Body::empty());
        *response.status_mut() = answer.status();
        for name in [header::CONTENT_TYPE, header::CACHE_CONTROL, header::RETRY_AFTER] {
            if let Some(value) = answer.headers().get(&name) {
                response.headers_mut().insert(name, value.clone());
            }
        }
        *response.body_mut() = Body::from_stream(answer.bytes_stream());
        Some(response)
    }
}
