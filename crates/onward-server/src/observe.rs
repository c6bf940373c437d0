//! What the engine tells of its work: log lines, traces and metrics.
//!
//! The engine only emits; the binary, or whoever embeds the engine, subscribes.

mod metrics;
mod text;
pub mod trace;

use std::io::IsTerminal;

use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::{Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::Targets,
    fmt::{self, MakeWriter},
    layer::SubscriberExt,
};

pub use self::{
    metrics::{Levels, METRICS_TYPE, Metrics},
    text::plain,
};

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines: one JSON object a line.
    Json,
}

/// Why nothing can be told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ObserveError {
    /// The filter is malformed.
    #[error("the log filter is malformed")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// Traces cannot be sent there.
    #[error("traces cannot be sent to the collector")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
    /// The process subscribes already.
    #[error("log lines are written by something else already")]
    Subscribed(#[from] tracing::subscriber::SetGlobalDefaultError),
}

/// Keeps what the engine tells flowing. To be [shut down](Self::shutdown) last.
#[derive(Debug)]
#[must_use = "traces under way are lost where it is not shut down"]
pub struct Observe {
    traces: Option<SdkTracerProvider>,
}

impl Observe {
    /// Writes log lines to standard error, and sends traces to a collector if there is one. Once a process.
    ///
    /// `filter` is a level or filters of `tracing-subscriber`, such as `info,onward::run=debug`; traces do not go by it.
    pub fn init(format: LogFormat, filter: &str, otlp_endpoint: Option<&str>) -> Result<Self, ObserveError> {
        let ansi = std::io::stderr().is_terminal();
        let (subscriber, observe) = subscriber(format, filter, otlp_endpoint, std::io::stderr, ansi)?;
        tracing::subscriber::set_global_default(subscriber)?;
        Ok(observe)
    }

    /// Sends what is left to send, within a few seconds.
    pub fn shutdown(self) {
        if let Some(traces) = self.traces {
            trace::shutdown(&traces);
        }
    }
}

/// What hears all that is told in the process, or in a test on one thread.
fn subscriber<W>(
    format: LogFormat,
    filter: &str,
    otlp_endpoint: Option<&str>,
    writer: W,
    ansi: bool,
) -> Result<(impl Subscriber + Send + Sync, Observe), ObserveError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = EnvFilter::builder().parse(filter)?;
    let lines = fmt::layer().with_writer(writer);
    // Whether `NO_COLOR` is set is known to the layer alone.
    let lines = if ansi { lines } else { lines.with_ansi(false) };
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match format {
        LogFormat::Json => Box::new(lines.json().flatten_event(true).with_span_list(false).with_filter(filter)),
        LogFormat::Text => {
            Box::new(lines.fmt_fields(text::Fields).event_format(text::Lines::default()).with_filter(filter))
        }
    };
    let traces = otlp_endpoint.map(trace::exporter).transpose()?;
    // Only what is ours: the sending of traces has spans, too, and would tell of itself for ever.
    let ours = Targets::new().with_target("onward", LevelFilter::INFO);
    let spans = traces.as_ref().map(|traces| trace::layer(traces).with_filter(ours));
    Ok((Registry::default().with(lines).with(spans), Observe { traces }))
}

#[cfg(test)]
mod tests;
