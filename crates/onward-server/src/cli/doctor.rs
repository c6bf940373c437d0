//! `onward doctor`: looks whether an engine can work here, a line for each check.

mod endpoint;
mod machine;

use onward_server::options::Mode;
use serde_json::json;

use super::{
    ModeName,
    output::{Failure, plain, say, say_json},
    table::Table,
};
use crate::config::{Config, Environment, Flags};

#[derive(Debug, clap::Args)]
pub(super) struct Doctor {
    /// What the engine is to be.
    #[arg(long, value_enum, default_value_t = ModeName::Dev)]
    mode: ModeName,
    /// An endpoint that the engine is to call.
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
    /// Answer in JSON, for a script.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    flags: Flags,
}

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Good,
    Warning,
    Bad,
}

/// What a check found, and what to do.
#[derive(Debug)]
struct Finding {
    verdict: Verdict,
    about: &'static str,
    text: String,
}

impl Finding {
    fn good(about: &'static str, text: impl Into<String>) -> Self {
        Self { verdict: Verdict::Good, about, text: text.into() }
    }

    fn warning(about: &'static str, text: impl Into<String>) -> Self {
        Self { verdict: Verdict::Warning, about, text: text.into() }
    }

    fn bad(about: &'static str, text: impl Into<String>) -> Self {
        Self { verdict: Verdict::Bad, about, text: text.into() }
    }

    const fn word(&self) -> &'static str {
        match self.verdict {
            Verdict::Good => "ok",
            Verdict::Warning => "warn",
            Verdict::Bad => "FAIL",
        }
    }
}

impl Doctor {
    pub(super) async fn run(self, environment: &Environment) -> Result<(), Failure> {
        let mode = Mode::from(self.mode);
        let mut findings = Vec::new();
        match Config::load(mode, &self.flags, environment) {
            Ok(config) => {
                findings.push(configuration(&config));
                findings.push(keys(&config));
                findings.push(origins(&config));
                if config.options.store.starts_with("postgres") {
                    findings.push(machine::database(&config.options).await);
                } else {
                    findings.extend(machine::store(&config.options.store));
                }
                findings.push(machine::clock(&config.options.store));
                findings.push(machine::port(config.options.listen).await);
                if let Some(url) = &self.endpoint {
                    findings.extend(endpoint::check(url, &config.options).await);
                }
            }
            // What the other checks would look at is not known.
            Err(error) => findings.extend(error.0.iter().map(|problem| Finding::bad("config", problem.to_string()))),
        }
        if self.json {
            let lines = findings.iter().map(|finding| {
                json!({ "check": finding.about, "verdict": finding.word().to_lowercase(), "text": finding.text })
            });
            say_json(&json!({ "data": lines.collect::<Vec<_>>() }));
        } else {
            say(&text(&findings));
        }
        if findings.iter().any(|finding| finding.verdict == Verdict::Bad) { Err(Failure::Told) } else { Ok(()) }
    }
}

fn text(findings: &[Finding]) -> String {
    let mut table = Table::new(&[]);
    for finding in findings {
        table.row([format!("{:4}", finding.word()), finding.about.to_owned(), plain(&finding.text)]);
    }
    table.text("").trim_start().to_owned()
}

fn configuration(config: &Config) -> Finding {
    let from = config.file.as_ref().map_or_else(
        || "no file is read; flags, variables and defaults hold".to_owned(),
        |file| format!("{} is read and in order", file.display()),
    );
    Finding::good("config", from)
}

fn origins(config: &Config) -> Finding {
    let (mode, origins) = (config.options.mode, &config.options.origins);
    match (mode, origins.any) {
        (Mode::Start, true) => Finding::warning(
            "origins",
            "every origin is called, so whoever reaches an endpoint with a Host header of his own chooses where signed \
             calls go; name those that have endpoints with --allow-origin",
        ),
        (Mode::Dev, true) => Finding::good("origins", "every one is called, as `onward dev` does"),
        (_, false) => Finding::good("origins", format!("called are {}", origins.only.join(", "))),
    }
}

fn keys(config: &Config) -> Finding {
    let options = &config.options;
    match (options.mode, options.signing_keys.len(), options.event_keys.len()) {
        (Mode::Dev, 0, 0) => Finding::good("keys", "none, and `onward dev` needs none"),
        (_, signing, event) => Finding::good("keys", format!("well-formed: {signing} for signing, {event} for events")),
    }
}
