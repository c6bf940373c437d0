//! Every setting, once: its flag, variable and key in the file have one name.

/// Something that can be set.
#[derive(Debug)]
pub(crate) struct Setting {
    /// As the flag is called, without its dashes.
    pub(super) name: &'static str,
    /// What stands for the value in the help.
    pub(super) value: &'static str,
    /// What the help says.
    pub(super) help: &'static str,
    pub(super) kind: Kind,
    /// A variable of a standard that is heard, too, after our own.
    pub(super) variable_of_others: Option<&'static str>,
}

/// What shape a setting's value has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    One,
    Switch,
    List,
    /// A list that is never shown.
    Secrets,
}

impl Setting {
    const fn new(name: &'static str, value: &'static str, help: &'static str) -> Self {
        Self { name, value, help, kind: Kind::One, variable_of_others: None }
    }

    const fn kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    const fn or_variable(mut self, name: &'static str) -> Self {
        self.variable_of_others = Some(name);
        self
    }

    pub(super) const fn is_list(&self) -> bool {
        matches!(self.kind, Kind::List | Kind::Secrets)
    }

    /// Its environment variable.
    pub(super) fn variable(&self) -> String {
        format!("ONWARD_{}", self.name.replace('-', "_").to_uppercase())
    }

    /// Its table and key in the file.
    pub(super) fn key(&self) -> (Option<&'static str>, String) {
        match self.name.strip_prefix("limit-") {
            Some(limit) => (Some("limits"), limit.replace('-', "_")),
            None => (None, self.name.replace('-', "_")),
        }
    }
}

/// All settings, in the order in which they are shown.
pub(super) const SETTINGS: &[Setting] = &[
    Setting::new("host", "IP", "The address to listen on, such as 127.0.0.1 or 0.0.0.0"),
    Setting::new("port", "PORT", "The port to listen on; 0 takes a free one"),
    Setting::new(
        "advertise",
        "ORIGIN",
        "Where other engines on the same store reach this one; by default where it listens",
    ),
    Setting::new("store", "URL", "Where runs are kept: sqlite:PATH, postgres://…, or memory: until the engine stops"),
    Setting::new("store-connections", "COUNT", "Connections to PostgreSQL for reads and what touches several runs"),
    Setting::new("lease", "DURATION", "Where engines share a store: take over the runs of one that was silent so long"),
    Setting::new("start-patience", "DURATION", "At start, wait as long as this for a database that is not there yet"),
    Setting::new("signing-key", "KEY", "A signing key, as in INNGEST_SIGNING_KEY; repeatable, the first signs")
        .kind(Kind::Secrets),
    Setting::new("event-key", "KEY", "An event key, as in INNGEST_EVENT_KEY; repeatable").kind(Kind::Secrets),
    Setting::new("retry-interval", "DURATION", "Retry failed attempts always after as long as this"),
    Setting::new("retry-min", "DURATION", "Retry first after as long as this, then doubling"),
    Setting::new("retry-max", "DURATION", "Never wait longer than this for a retry"),
    Setting::new(
        "allow-origin",
        "ORIGIN",
        "Call endpoints of this origin, such as https://app.example, or '*' for every one; repeatable, needed by start",
    )
    .kind(Kind::List),
    Setting::new(
        "allow-private",
        "BOOL",
        "Let steps, and endpoints under '*', lead to any loopback, private or link-local address",
    )
    .kind(Kind::Switch),
    Setting::new(
        "allow-host",
        "NAME",
        "Without keys, let the engine be called by this name, such as engine; repeatable",
    )
    .kind(Kind::List),
    Setting::new("output", "FORM", "What redirected clients get of a Response: compatible or original"),
    Setting::new("retention", "DURATION", "Keep an ended run as long as this"),
    Setting::new("event-retention", "DURATION", "Keep an event as long as this"),
    Setting::new("token-lifetime", "DURATION", "Let a run's token open it as long as this"),
    Setting::new("first-request-lease", "DURATION", "Take a run over after its first request was silent so long"),
    Setting::new("unreachable-for", "DURATION", "Call an endpoint again that is not reached for as long as this"),
    Setting::new("reentry-timeout", "DURATION", "Let an endpoint take as long as this to answer a call"),
    Setting::new(
        "hold",
        "DURATION",
        "Hold a client that waits for an outcome as long as this, then redirect it to come again",
    ),
    Setting::new("drain", "DURATION", "Wait as long as this for calls under way at a shutdown"),
    Setting::new("log-format", "FORMAT", "How log lines look: text or json"),
    Setting::new("log", "FILTER", "What is logged: a level, or filters such as info,onward::run=debug"),
    Setting::new("otlp-endpoint", "URL", "Send traces to this OpenTelemetry collector, such as http://127.0.0.1:4318")
        .or_variable("OTEL_EXPORTER_OTLP_ENDPOINT"),
    Setting::new("limit-checkpoint-bytes", "SIZE", "The largest checkpoint, such as 16MiB"),
    Setting::new("limit-reply-bytes", "SIZE", "The largest answer of an endpoint"),
    Setting::new("limit-event-bytes", "SIZE", "The largest event"),
    Setting::new("limit-events", "COUNT", "The most events of one call"),
    Setting::new("limit-steps", "COUNT", "The most steps of a run"),
    Setting::new("limit-chunk-bytes", "SIZE", "The largest chunk of a stream"),
    Setting::new("limit-stream-bytes", "SIZE", "The most bytes that a run may stream"),
    Setting::new("limit-state-bytes", "SIZE", "The most bytes that the outputs of a run's steps may have together"),
    Setting::new("limit-bodies-bytes", "SIZE", "The most bytes of all request bodies under way"),
    Setting::new("limit-runs-bytes", "SIZE", "The most bytes that the runs under way may have in memory"),
    Setting::new("limit-transfers-bytes", "SIZE", "The most bytes of all calls and answers that are being transferred"),
    Setting::new("limit-connections", "COUNT", "The most connections that are served at once"),
    Setting::new("limit-reentries", "COUNT", "The most calls of endpoints under way at once"),
    Setting::new("limit-reentries-per-origin", "COUNT", "The most calls under way at once to one host"),
];

/// The setting of that name.
pub(super) fn named(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.name == name)
}
