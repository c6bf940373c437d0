//! One request to a node that may be dead, hang, or be cut off.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};

/// How long a node may take for an answer: longer than it holds who waits.
pub(super) const PATIENCE: Duration = Duration::from_millis(2_500);

/// An HTTP client that many share.
#[derive(Clone, Debug)]
pub(crate) struct Http(Client<HttpConnector, Full<Bytes>>);

/// A response with its whole body.
pub(crate) type Answer = Response<Bytes>;

/// What is asked of a node.
#[derive(Clone, Debug)]
pub(crate) struct Ask<'a> {
    pub(crate) path: &'a str,
    pub(crate) headers: &'a [(&'a str, &'a str)],
    /// The body of a POST; a GET has none.
    pub(crate) posted: Option<Bytes>,
}

impl Ask<'_> {
    fn request(self, node: SocketAddr) -> Request<Full<Bytes>> {
        let method = if self.posted.is_some() { Method::POST } else { Method::GET };
        let mut request = Request::builder().method(method).uri(format!("http://{node}{}", self.path));
        if self.posted.is_some() {
            request = request.header("content-type", "application/json");
        }
        for (name, value) in self.headers {
            request = request.header(*name, *value);
        }
        request.body(Full::new(self.posted.unwrap_or_default())).expect("paths and headers are plain")
    }
}

impl Http {
    pub(crate) fn new() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(Duration::from_secs(1)));
        Self(Client::builder(TokioExecutor::new()).build(connector))
    }

    /// The answer to a request, with a body that is still to be read; `None` where none came.
    pub(crate) async fn begin(&self, node: SocketAddr, ask: Ask<'_>) -> Option<Response<hyper::body::Incoming>> {
        let asked = self.0.request(ask.request(node));
        tokio::time::timeout(PATIENCE, asked).await.ok()?.ok()
    }

    /// The whole answer to a request; `None` where none came.
    pub(crate) async fn ask(&self, node: SocketAddr, ask: Ask<'_>) -> Option<Answer> {
        let asked = async {
            let (parts, body) = self.begin(node, ask).await?.into_parts();
            Some(Response::from_parts(parts, body.collect().await.ok()?.to_bytes()))
        };
        tokio::time::timeout(PATIENCE, asked).await.ok().flatten()
    }
}
