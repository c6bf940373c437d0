//! Traces in OpenTelemetry: a run's re-entries join the trace of the request that started it.
//!
//! Where nobody collects traces, nothing here does anything.

use std::{collections::BTreeMap, time::Duration};

use opentelemetry::{
    KeyValue,
    propagation::{Extractor, TextMapPropagator},
    trace::{TraceContextExt, TracerProvider},
};
use opentelemetry_otlp::{ExporterBuildError, Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::{
    Resource,
    propagation::TraceContextPropagator,
    trace::{SdkTracer, SdkTracerProvider},
};
use tracing::{Span, Subscriber};
use tracing_opentelemetry::{OpenTelemetryLayer, OpenTelemetrySpanExt};
use tracing_subscriber::registry::LookupSpan;

/// The header of W3C Trace Context.
const TRACEPARENT: &str = "traceparent";
/// How long a collector may take for one batch.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a shutdown waits for what is left to be sent.
const FLUSH: Duration = Duration::from_secs(5);

/// Makes a span a child of a W3C `traceparent`. To be called before the span is entered; a malformed one is as none.
pub fn set_parent(span: &Span, traceparent: &str) {
    let context = TraceContextPropagator::new().extract(&Header(traceparent));
    if context.span().span_context().is_valid() {
        // It fails where nobody collects, or the span has begun: then it stays in its own trace.
        let _ = span.set_parent(context);
    }
}

/// The one header that is read.
struct Header<'a>(&'a str);

impl Extractor for Header<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        (key == TRACEPARENT).then_some(self.0)
    }

    fn keys(&self) -> Vec<&str> {
        vec![TRACEPARENT]
    }
}

/// The W3C `traceparent` of a span, for who is called within it. `None` where nobody collects traces.
pub fn traceparent(span: &Span) -> Option<String> {
    let context = span.context();
    let context = context.span().span_context().clone();
    let flags = context.trace_flags().to_u8();
    context.is_valid().then(|| format!("00-{}-{}-{flags:02x}", context.trace_id(), context.span_id()))
}

/// Sends spans in batches, from a thread of its own.
pub(super) fn exporter(endpoint: &str) -> Result<SdkTracerProvider, ExporterBuildError> {
    // Only the first of a process is taken; all are the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let exporter = SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
        .with_timeout(PATIENCE)
        .build()?;
    Ok(SdkTracerProvider::builder().with_resource(resource()).with_batch_exporter(exporter).build())
}

/// Who tells. `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` are heard.
fn resource() -> Resource {
    let ours = Resource::builder_empty().with_service_name("onward").build();
    let told = Resource::builder().with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION"))).build();
    let name = told.get(&"service.name".into());
    if name.is_some_and(|name| !name.as_str().starts_with("unknown_service")) {
        return told;
    }
    let attributes: BTreeMap<_, _> = told.iter().chain(ours.iter()).collect();
    let attributes = attributes.into_iter().map(|(key, value)| KeyValue::new(key.clone(), value.clone()));
    Resource::builder_empty().with_attributes(attributes).build()
}

pub(super) fn layer<S>(provider: &SdkTracerProvider) -> OpenTelemetryLayer<S, SdkTracer>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("onward"))
        .with_location(false)
        .with_threads(false)
        .with_tracked_inactivity(false)
}

pub(super) fn shutdown(provider: &SdkTracerProvider) {
    if let Err(error) = provider.shutdown_with_timeout(FLUSH) {
        tracing::warn!(%error, "the last traces were not sent");
    }
}
