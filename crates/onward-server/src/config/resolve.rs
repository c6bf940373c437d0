//! From what was given to what holds: every value is read, and combinations are checked.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use onward_server::{
    observe::LogFormat,
    options::{Limits, Mode, Options, Origins, Retry},
};

use super::{
    Config, Raw, defaults,
    problem::{ConfigError, Problem, Source},
    value,
};

/// Reads one value after the other and collects what is wrong.
struct Reader {
    raw: Raw,
    mode: Mode,
    sources: BTreeMap<&'static str, Source>,
}

pub(super) fn resolve(mode: Mode, raw: Raw) -> Result<Config, ConfigError> {
    let mut reader = Reader { raw, mode, sources: BTreeMap::new() };
    let default = defaults(mode);
    let options = reader.options(&default);
    let config = Config {
        log_format: reader.one("log-format", LogFormat::Text, value::log_format),
        log: reader.one("log", "info".to_owned(), value::log),
        otlp_endpoint: reader.one("otlp-endpoint", None, |text| value::url(text).map(Some)),
        file: reader.raw.file.take(),
        options,
        sources: reader.sources,
    };
    if reader.raw.problems.is_empty() { Ok(config) } else { Err(ConfigError(reader.raw.problems)) }
}

impl Reader {
    fn options(&mut self, default: &Options) -> Options {
        let host = self.one("host", default.listen.ip(), value::host);
        let port = self.one("port", default.listen.port(), value::port);
        let mut options = Options {
            mode: self.mode,
            listen: SocketAddr::new(host, port),
            advertise: self.one("advertise", None, |text| value::origin(text).map(Some)),
            store: self.one("store", default.store.clone(), value::store),
            store_connections: self.one("store-connections", default.store_connections, value::count),
            lease: self.one("lease", default.lease, value::lease),
            start_patience: self.one("start-patience", default.start_patience, value::duration_or_zero),
            signing_keys: self.keys("signing-key", value::signing_key),
            event_keys: self.keys("event-key", value::event_key),
            retry: self.retry(default.retry),
            origins: self.origins(&default.origins),
            hosts: self.list("allow-host", value::host_name),
            output: self.one("output", default.output, value::output),
            retention: self.one("retention", default.retention, value::duration),
            event_retention: self.one("event-retention", default.event_retention, value::duration),
            token_lifetime: self.one("token-lifetime", default.token_lifetime, value::duration),
            first_request_lease: self.one("first-request-lease", default.first_request_lease, value::duration),
            unreachable_for: self.one("unreachable-for", default.unreachable_for, value::duration_or_zero),
            reentry_timeout: self.one("reentry-timeout", default.reentry_timeout, value::duration),
            hold: self.one("hold", default.hold, value::duration),
            drain: self.one("drain", default.drain, value::duration_or_zero),
            limits: self.limits(&default.limits),
        };
        // No run is kept longer than its token opens it. A default gives way to what was said.
        if self.is_default("token-lifetime") {
            options.token_lifetime = options.token_lifetime.max(options.retention);
        }
        if options.token_lifetime < options.retention {
            self.clash("token-lifetime", "retention", "a run would be kept longer than its token opens it");
        }
        options
    }

    fn limits(&mut self, default: &Limits) -> Limits {
        let mut limits = Limits {
            checkpoint_bytes: self.one("limit-checkpoint-bytes", default.checkpoint_bytes, value::size),
            reply_bytes: self.one("limit-reply-bytes", default.reply_bytes, value::size),
            event_bytes: self.one("limit-event-bytes", default.event_bytes, value::size),
            events: self.one("limit-events", default.events, value::count),
            steps: self.one("limit-steps", default.steps, value::count),
            chunk_bytes: self.one("limit-chunk-bytes", default.chunk_bytes, value::size),
            stream_bytes: self.one("limit-stream-bytes", default.stream_bytes, value::size),
            state_bytes: self.one("limit-state-bytes", default.state_bytes, value::size),
            bodies_bytes: self.one("limit-bodies-bytes", default.bodies_bytes, value::size),
            runs_bytes: self.one("limit-runs-bytes", default.runs_bytes, value::size),
            transfers_bytes: self.one("limit-transfers-bytes", default.transfers_bytes, value::size),
            connections: self.one("limit-connections", default.connections, value::count),
            reentries: self.one("limit-reentries", default.reentries, value::count),
            reentries_per_origin: self.one("limit-reentries-per-origin", default.reentries_per_origin, value::count),
        };
        // A default gives way to what was said.
        if self.is_default("limit-chunk-bytes") {
            limits.chunk_bytes = limits.chunk_bytes.min(limits.stream_bytes);
        }
        if self.is_default("limit-reentries-per-origin") {
            limits.reentries_per_origin = limits.reentries_per_origin.min(limits.reentries);
        }
        for (all, one, bytes) in [
            ("limit-bodies-bytes", &mut limits.bodies_bytes, limits.checkpoint_bytes),
            (
                "limit-transfers-bytes",
                &mut limits.transfers_bytes,
                limits.reply_bytes.max(limits.state_bytes).saturating_mul(2),
            ),
            ("limit-runs-bytes", &mut limits.runs_bytes, limits.state_bytes),
        ] {
            if self.is_default(all) {
                *one = bytes.max(*one);
            }
        }
        if limits.checkpoint_bytes > limits.bodies_bytes {
            self.clash("limit-checkpoint-bytes", "limit-bodies-bytes", "one body may be larger than all bodies");
        }
        if limits.reply_bytes > limits.transfers_bytes / 2 {
            self.clash("limit-reply-bytes", "limit-transfers-bytes", "one answer may be more than half of all");
        }
        if limits.state_bytes > limits.transfers_bytes / 2 {
            self.clash("limit-state-bytes", "limit-transfers-bytes", "one state may be more than half of all");
        }
        if limits.state_bytes > limits.runs_bytes {
            self.clash("limit-state-bytes", "limit-runs-bytes", "one run may be larger than all runs");
        }
        if limits.chunk_bytes > limits.stream_bytes {
            self.clash("limit-chunk-bytes", "limit-stream-bytes", "a chunk may be larger than a stream");
        }
        if limits.reentries_per_origin > limits.reentries {
            self.clash("limit-reentries-per-origin", "limit-reentries", "one origin may have more calls than all have");
        }
        limits
    }

    /// Reads one value, and notes where it comes from.
    fn one<T>(&mut self, name: &'static str, default: T, read: impl Fn(&str) -> Result<T, String>) -> T {
        let Some(given) = self.raw.get(name) else {
            self.sources.insert(name, Source::Default(self.mode));
            return default;
        };
        let (source, value) = (given.source.clone(), given.values.first().map(|text| read(text)));
        self.sources.insert(name, source.clone());
        match value {
            Some(Ok(value)) => value,
            // With a problem no value is used, so any will do.
            Some(Err(what)) => {
                self.raw.problems.push(Problem::new(&source, what));
                default
            }
            None => default,
        }
    }

    /// Reads every value of a list.
    fn list<T>(&mut self, name: &'static str, read: impl Fn(&str) -> Result<T, String>) -> Vec<T> {
        let Some(given) = self.raw.get(name).cloned() else {
            self.sources.insert(name, Source::Default(self.mode));
            return Vec::new();
        };
        self.sources.insert(name, given.source.clone());
        let read =
            |text: &String| read(text).map_err(|what| self.raw.problems.push(Problem::new(&given.source, what))).ok();
        given.values.iter().filter_map(read).collect()
    }

    /// Keys: users' requests are not served without.
    fn keys(&mut self, name: &'static str, read: impl Fn(&str) -> Result<String, String>) -> Vec<String> {
        let keys = self.list(name, read);
        let given = self.raw.get(name).is_some_and(|given| !given.values.is_empty());
        if self.mode == Mode::Start && !given {
            let (variable, key) = (format!("ONWARD_{}", name.replace('-', "_").to_uppercase()), name.replace('-', "_"));
            let app = variable.replace("ONWARD", "INNGEST");
            self.raw.problems.push(Problem::missing(format!(
                "there is no {}: make one with `openssl rand -hex 32`, give it with {variable}, --{name} or {key} in the \
                 file, and give the same to your app as {app}; or use `onward dev`, which needs none",
                name.replace('-', " "),
            )));
        }
        keys
    }

    /// The endpoints that are called. `start` needs at least one origin.
    fn origins(&mut self, default: &Origins) -> Origins {
        let listed = self.list("allow-origin", value::origin_or_any);
        let given = self.raw.get("allow-origin").is_some_and(|given| !given.values.is_empty());
        if self.mode == Mode::Start && !given {
            self.raw.problems.push(Problem::missing(
                "there is no allowed origin: name each one that has endpoints with --allow-origin https://app.example, \
                 ONWARD_ALLOW_ORIGIN, or allow_origin in the file; '*' allows every one, and then whoever reaches an \
                 endpoint with a Host header of his own chooses where signed calls go",
            ));
        }
        Origins {
            any: if given { listed.iter().any(Option::is_none) } else { default.any },
            only: listed.into_iter().flatten().collect(),
            private: self.one("allow-private", default.private, value::switch),
        }
    }

    /// Always as long or in growing steps: of two that contradict each other the source of higher rank is heard.
    fn retry(&mut self, default: Retry) -> Retry {
        let rank = |name| self.raw.get(name).map(|given| given.source.rank());
        let (interval, bounds) = (rank("retry-interval"), rank("retry-min").max(rank("retry-max")));
        if interval.is_some() && interval == bounds {
            let bound = if rank("retry-min") == bounds { "retry-min" } else { "retry-max" };
            self.note("retry-interval");
            self.note(bound);
            self.clash("retry-interval", bound, "either retries are evenly spaced or they grow apart");
            return default;
        }
        match default {
            Retry::Every(every) if interval >= bounds => self.every(every),
            _ if interval > bounds => self.every(Duration::ZERO),
            _ => self.between(default),
        }
    }

    fn every(&mut self, default: Duration) -> Retry {
        Retry::Every(self.one("retry-interval", default, value::duration))
    }

    fn between(&mut self, default: Retry) -> Retry {
        let (min, max) = match (default, Options::new(Mode::Start).retry) {
            (Retry::Between(min, max), _) | (_, Retry::Between(min, max)) => (min, max),
            (Retry::Every(every), _) => (every, every),
        };
        let min = self.one("retry-min", min, value::duration);
        let max = self.one("retry-max", max, value::duration);
        if min > max {
            self.clash("retry-min", "retry-max", "the shortest wait is longer than the longest");
        }
        Retry::Between(min, max)
    }

    fn is_default(&self, name: &str) -> bool {
        self.raw.get(name).is_none()
    }

    /// Notes where a value comes from that is not read.
    fn note(&mut self, name: &'static str) {
        if let Some(given) = self.raw.get(name) {
            self.sources.insert(name, given.source.clone());
        }
    }

    /// Two values that cannot both hold.
    fn clash(&mut self, one: &str, other: &str, what: &str) {
        let source = |name| {
            self.sources.get(name).map_or_else(String::new, |source: &Source| match source {
                Source::Default(_) => format!("{name} ({source})"),
                _ => source.to_string(),
            })
        };
        let both = format!("{} and {}", source(one), source(other));
        self.raw.problems.push(Problem::new(&both, format_args!("{what}; change one of them or take it out")));
    }
}
