//! Log lines for people: a run's events read as sentences.

use std::fmt::{self, Debug, Write};

use onward_core::Clock;
use onward_scheduler::SystemClock;
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    field::MakeExt,
    fmt::{
        FmtContext, FormatEvent, FormatFields, FormattedFields,
        format::{Writer, debug_fn},
    },
    registry::LookupSpan,
};

/// The target of what happens to runs.
const RUN: &str = "onward::run";

/// Text of unknown origin without what a terminal or a reader of lines would obey.
pub fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || misleads(c) { plain.extend(c.escape_default()) } else { plain.push(c) }
    }
    plain
}

/// Whether a character makes a line look other than it is: marks of writing direction, which reorder what stands around
/// them, separators of lines and paragraphs, and the mark of a byte order (Unicode Standard Annex 9 and 14).
const fn misleads(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// The fields of spans: `name=value`, separated by spaces.
#[derive(Debug)]
pub(super) struct Fields;

impl<'w> FormatFields<'w> for Fields {
    fn format_fields<R: tracing_subscriber::field::RecordFields>(&self, writer: Writer<'w>, fields: R) -> fmt::Result {
        let each = debug_fn(|writer, field, value| write!(writer, "{field}={}", plain(&format!("{value:?}"))));
        each.delimited(" ").format_fields(writer, fields)
    }
}

/// One event a line: time, level, what happened.
#[derive(Debug, Default)]
pub(super) struct Lines {
    clock: SystemClock,
}

impl Lines {
    /// The time of day in UTC: who reads along knows the date.
    fn time(&self) -> String {
        let millis = self.clock.now().as_millis().rem_euclid(86_400_000);
        let (seconds, millis) = (millis / 1000, millis % 1000);
        format!("{:02}:{:02}:{:02}.{millis:03}", seconds / 3600, seconds / 60 % 60, seconds % 60)
    }
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut said = Said::default();
        event.record(&mut said);
        let paint = Paint(writer.has_ansi_escapes());
        let level = paint.level(*event.metadata().level());
        write!(writer, "{} {level} ", paint.dim(&self.time()))?;
        let target = event.metadata().target();
        if target == RUN && !said.run_id.is_empty() {
            write!(writer, "{}", said.of_a_run(&paint))?;
        } else {
            if !target.starts_with("onward") {
                write!(writer, "{} ", paint.dim(target))?;
            }
            write!(writer, "{}", said.of_anything(&paint))?;
            for span in context.event_scope().into_iter().flatten() {
                let extensions = span.extensions();
                let fields = extensions.get::<FormattedFields<N>>().map_or("", |fields| fields.as_str());
                write!(writer, "  {}", paint.dim(&format!("{}{{{fields}}}", span.name())))?;
            }
        }
        writeln!(writer)
    }
}

/// The fields of an event as text in which nothing is a command to a terminal.
#[derive(Default)]
struct Said {
    message: String,
    run_id: String,
    endpoint: String,
    step: String,
    rest: Vec<(&'static str, String)>,
}

impl Said {
    fn keep(&mut self, field: &Field, text: &str) {
        let text = plain(text);
        match field.name() {
            "message" => self.message = text,
            "run_id" => self.run_id = text,
            "endpoint" => self.endpoint = text,
            "step" => self.step = text,
            name => self.rest.push((name, text)),
        }
    }

    /// `run 01… https://app.example/checkout  step charge succeeded (attempt 2, 31 ms)`
    fn of_a_run(&self, paint: &Paint) -> String {
        let mut text = format!("run {} {}  ", paint.dim(&self.run_id), self.endpoint);
        if !self.step.is_empty() {
            let _ = write!(text, "step {} ", paint.bold(&self.step));
        }
        // The message says of what it is for those who read it alone.
        let about = if self.step.is_empty() { "run " } else { "step " };
        text.push_str(self.message.strip_prefix(about).unwrap_or(&self.message));
        if !self.rest.is_empty() {
            let rest: Vec<_> = self.rest.iter().map(|(name, value)| words(name, value)).collect();
            let _ = write!(text, " ({})", rest.join(", "));
        }
        text
    }

    /// `the store is slow  writes=12`
    fn of_anything(&self, paint: &Paint) -> String {
        let mut text = self.message.clone();
        let named = [("run_id", &self.run_id), ("endpoint", &self.endpoint), ("step", &self.step)];
        let named = named.into_iter().filter(|(_, value)| !value.is_empty());
        for (name, value) in named.chain(self.rest.iter().map(|(name, value)| (*name, value))) {
            let _ = write!(text, "  {}{value}", paint.dim(&format!("{name}=")));
        }
        text
    }
}

/// A field in words: `attempt 2`, `31 ms`, `delay 500 ms`.
fn words(name: &str, value: &str) -> String {
    match name.strip_suffix("_ms") {
        Some("took") => format!("{value} ms"),
        Some(name) => format!("{} {value} ms", name.replace('_', " ")),
        None => format!("{} {value}", name.replace('_', " ")),
    }
}

impl Visit for Said {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.keep(field, value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut text = value.to_string();
        let mut source = value.source();
        while let Some(cause) = source {
            let _ = write!(text, ": {cause}");
            source = cause.source();
        }
        self.keep(field, &text);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.keep(field, &format!("{value:?}"));
    }
}

/// Colours, where they are seen.
struct Paint(bool);

impl Paint {
    fn with(&self, code: &str, text: &str) -> String {
        if self.0 { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    fn dim(&self, text: &str) -> String {
        self.with("2", text)
    }

    fn bold(&self, text: &str) -> String {
        self.with("1", text)
    }

    fn level(&self, level: Level) -> String {
        match level {
            Level::ERROR => self.with("31", "ERROR"),
            Level::WARN => self.with("33", " WARN"),
            Level::INFO => self.with("32", " INFO"),
            Level::DEBUG => self.with("34", "DEBUG"),
            Level::TRACE => self.with("35", "TRACE"),
        }
    }
}
