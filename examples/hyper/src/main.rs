//! hyper without axum: any `tower` service over `http` types can be durable.

use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use onward::{Cors, Onward, Step, StepError};
use tokio::net::TcpListener;

/// The durable service: it finds its `Step` in the request's extensions.
async fn work(request: Request<Full<Bytes>>) -> Result<Response<Full<Bytes>>, Infallible> {
    let done = match request.extensions().get::<Step>().cloned() {
        Some(step) => count(&step).await,
        None => Err(StepError::fail("the service is not durable")),
    };
    Ok(match done {
        Ok(text) => Response::new(Full::new(Bytes::from(text))),
        Err(error) => error.to_response().map(Full::new),
    })
}

async fn count(step: &Step) -> Result<String, StepError> {
    let n = step.run("count", async || Ok::<_, StepError>(41)).await?;
    step.sleep("pause", "1s").await?;
    Ok(format!("{}\n", n + 1))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().init();
    let onward = Onward::open("sqlite:hyper.db").await?;
    let durable = onward.endpoint().id("work").service::<_, Full<Bytes>>(tower::service_fn(work));
    onward.start().await?;
    let listener = TcpListener::bind("127.0.0.1:3000").await?;
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted?.0,
            _ = tokio::signal::ctrl_c() => break,
        };
        stream.set_nodelay(true)?;
        let (onward, durable) = (onward.clone(), durable.clone());
        let service = service_fn(move |request: Request<Incoming>| {
            let (onward, durable) = (onward.clone(), durable.clone());
            async move {
                Ok::<_, Infallible>(if request.uri().path() == "/wait" {
                    let (parts, _) = request.into_parts();
                    let answer = onward.wait(&parts.method, &parts.uri, &parts.headers, &Cors::default()).await;
                    answer.map(|body| body.map_err(|never| match never {}).boxed_unsync())
                } else {
                    let called = hyper::service::Service::call(&TowerToHyperService::new(durable), request).await;
                    let Ok(response) = called;
                    response.map(BodyExt::boxed_unsync)
                })
            }
        });
        #[expect(clippy::disallowed_methods, reason = "the example's connections end with the process")]
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
    Ok(onward.shutdown().await?)
}
