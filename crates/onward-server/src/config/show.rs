//! The effective configuration as TOML, each line with its source.

use std::fmt::Write;

use onward_server::{
    observe::LogFormat,
    options::{Limits, OutputForm, Retry},
};

use super::{
    Config,
    setting::{SETTINGS, Setting},
    value::{duration_text, quoted, size_text},
};

pub(super) fn show(config: &Config) -> String {
    let mut text = String::new();
    let mut table = None;
    for setting in SETTINGS {
        let Some(source) = config.sources.get(setting.name) else { continue };
        let (its_table, key) = setting.key();
        if its_table != table {
            let _ = writeln!(text, "\n[{}]", its_table.unwrap_or_default());
            table = its_table;
        }
        // A value that is not there cannot be written in TOML.
        let line = value(config, setting).map_or_else(|| format!("# {key}"), |value| format!("{key} = {value}"));
        let _ = writeln!(text, "{line}  # {source}");
    }
    text
}

fn value(config: &Config, setting: &Setting) -> Option<String> {
    let options = &config.options;
    let time = |duration| quoted(&duration_text(duration));
    Some(match setting.name {
        "host" => quoted(&options.listen.ip().to_string()),
        "port" => options.listen.port().to_string(),
        "store" => quoted(&options.shown_store()),
        "store-connections" => options.store_connections.to_string(),
        "lease" => time(options.lease),
        "start-patience" => time(options.start_patience),
        "signing-key" => list(options.signing_keys.iter().map(|_| "…")),
        "event-key" => list(options.event_keys.iter().map(|_| "…")),
        "retry-interval" | "retry-min" | "retry-max" => time(match (setting.name, options.retry) {
            ("retry-min", Retry::Between(min, _)) => min,
            (_, Retry::Between(_, max)) => max,
            (_, Retry::Every(every)) => every,
        }),
        "advertise" => quoted(options.advertise.as_ref()?),
        "allow-origin" => {
            let any = (options.origins.any && options.origins.only.is_empty()).then_some("*");
            list(options.origins.only.iter().map(String::as_str).chain(any))
        }
        "allow-host" => list(options.hosts.iter().map(String::as_str)),
        "allow-private" => options.origins.private.to_string(),
        "output" => quoted(match options.output {
            OutputForm::Compatible => "compatible",
            OutputForm::Original => "original",
        }),
        "retention" => time(options.retention),
        "event-retention" => time(options.event_retention),
        "token-lifetime" => time(options.token_lifetime),
        "first-request-lease" => time(options.first_request_lease),
        "unreachable-for" => time(options.unreachable_for),
        "reentry-timeout" => time(options.reentry_timeout),
        "hold" => time(options.hold),
        "drain" => time(options.drain),
        "log-format" => quoted(match config.log_format {
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        }),
        "log" => quoted(&config.log),
        "otlp-endpoint" => quoted(config.otlp_endpoint.as_ref()?),
        name => limit(&options.limits, name)?,
    })
}

fn limit(limits: &Limits, name: &str) -> Option<String> {
    let size = |size| Some(quoted(&size_text(size)));
    let count = |count: usize| Some(count.to_string());
    match name {
        "limit-checkpoint-bytes" => size(limits.checkpoint_bytes),
        "limit-reply-bytes" => size(limits.reply_bytes),
        "limit-event-bytes" => size(limits.event_bytes),
        "limit-events" => count(limits.events),
        "limit-steps" => count(limits.steps),
        "limit-chunk-bytes" => size(limits.chunk_bytes),
        "limit-stream-bytes" => size(limits.stream_bytes),
        "limit-state-bytes" => size(limits.state_bytes),
        "limit-bodies-bytes" => size(limits.bodies_bytes),
        "limit-runs-bytes" => size(limits.runs_bytes),
        "limit-transfers-bytes" => size(limits.transfers_bytes),
        "limit-connections" => count(limits.connections),
        "limit-reentries" => count(limits.reentries),
        "limit-reentries-per-origin" => count(limits.reentries_per_origin),
        _ => None,
    }
}

fn list<'a>(values: impl Iterator<Item = &'a str>) -> String {
    format!("[{}]", values.map(quoted).collect::<Vec<_>>().join(", "))
}
