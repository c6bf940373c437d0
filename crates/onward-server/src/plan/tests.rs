//! What a run does next, case by case.
//!
//! A case is a script, a line a piece of news: whose it is, and what it says. Answered with what is journaled, and after
//! an arrow with what is to be called.
//!
//! Of a step `a`, an endpoint says: `a` it ran; `a!` it failed, `a!+30` and is to wait so long, `a!!` for good; `a?` is
//! to be called for; `a~30` sleeps so long; `a=30` waits for an event that long, `a=` without end; `a@` is a request;
//! `a-` cannot be. `|` before it: it is of a race. Calls are `discovery` or a step, with the attempt; `*` where no other
//! step may run.

mod attempts;
mod first_request;
mod groups;
mod limits;
mod program;
mod properties;
mod restart;
mod world;

use std::{collections::BTreeMap, fmt::Write, time::Duration};

use expect_test::Expect;
use onward_core::{
    Attempt, Draw, Payload, RetryPolicy, StepKey, Timestamp,
    event::Matcher,
    journal::{Change, Entry},
    step::{StepId, StepKind},
    waiter::Subject,
};

use super::{Ask, Asked, Failure, Plan, Told, Unit};

/// How long attempts are apart.
const DELAY: Duration = Duration::from_micros(100);
const STEPS_MAX: usize = 6;

fn policy(retries: u32) -> RetryPolicy {
    RetryPolicy::fixed(DELAY, retries).unwrap()
}

fn id(name: &str) -> StepId {
    StepId::try_new(name, 0).unwrap()
}

fn key(name: &str) -> StepKey {
    id(name).key()
}

struct Case {
    begins: Plan,
    plan: Plan,
    journal: Vec<Entry>,
    now: Timestamp,
    /// The attempts that are under way.
    attempts: BTreeMap<Unit, Attempt>,
    fetches: BTreeMap<StepKey, Attempt>,
}

impl Case {
    fn new(plan: Plan) -> Self {
        let now = Timestamp::from_micros(1_000);
        let begins = plan.clone();
        Self { begins, plan, journal: Vec::new(), now, attempts: BTreeMap::new(), fetches: BTreeMap::new() }
    }

    /// Takes a line of a script, and says what comes of it.
    fn line(&mut self, line: &str) -> String {
        let (who, what) = line.split_once(' ').unwrap_or((line, ""));
        let mut told = match (who, what) {
            ("begins", "") => Told::default(),
            ("at", micros) => {
                self.now = Timestamp::from_micros(micros.parse().unwrap());
                Told::default()
            }
            ("restart", "") => {
                self.plan = self.begins.clone().replay(&self.journal);
                self.attempts.clear();
                self.fetches.clear();
                Told::default()
            }
            ("lease", "ends") => self.plan.leave_first_request(self.now),
            (name, "comes") => self.plan.arrive(key(name), Ok(event(name)), self.now),
            (name, "is fetched") => self.plan.arrive(key(name), Ok(Payload::from("fetched")), self.now),
            (name, "is not fetched") => {
                let attempt = self.fetches.remove(&key(name)).unwrap();
                self.plan.fail_request(key(name), attempt, failure(), self.now, Draw(0))
            }
            (unit, what) => self.news(unit, what),
        };
        for (_, key) in self.plan.due(self.now) {
            told = told.and(self.plan.arrive(key, Ok(Payload::from("null")), self.now));
        }
        self.journal.extend(told.entries.iter().cloned());
        let mut said: Vec<_> = told.entries.iter().map(entry).collect();
        said.extend(told.failed.map(|error| format!("FAILED {}", text(&error))));
        let calls = self.calls();
        let arrow = if calls.is_empty() { "" } else { " -> " };
        format!("{line}: {}{arrow}{}", said.join(", "), calls.join(", ")).trim_end().to_owned()
    }

    fn calls(&mut self) -> Vec<String> {
        let mut said = Vec::new();
        for call in self.plan.calls(self.now) {
            let name = match call.unit {
                Unit::FirstRequest => "first".to_owned(),
                Unit::Discovery => "discovery".to_owned(),
                Unit::Targeted(key) => self.plan.steps[&key].id.to_string(),
            };
            let was_under_way = self.attempts.insert(call.unit, call.attempt).is_some();
            assert!(!was_under_way, "{name} is called twice at once");
            let plan_only = if call.plan_only && call.unit == Unit::Discovery { "*" } else { "" };
            said.push(format!("{name}{plan_only}/{}", call.attempt.0));
        }
        for (key, kind, attempt, _) in self.plan.requests(self.now) {
            self.fetches.insert(key, attempt);
            said.push(format!("{kind} {}/{}", self.plan.steps[&key].id, attempt.0));
        }
        said
    }

    /// News of an endpoint.
    fn news(&mut self, who: &str, what: &str) -> Told {
        let unit = match who {
            "first" => Unit::FirstRequest,
            "discovery" => Unit::Discovery,
            name => Unit::Targeted(key(name)),
        };
        let attempt = match unit {
            Unit::FirstRequest => Attempt::FIRST,
            unit => self.attempts.remove(&unit).expect("it is under way"),
        };
        match what {
            "throws" => self.plan.fail(unit, attempt, failure(), self.now, Draw(0)),
            "throws for good" => {
                let failure = Failure { retryable: false, ..failure() };
                self.plan.fail(unit, attempt, failure, self.now, Draw(0))
            }
            "says to wait 30" => {
                let failure = Failure { retry_after: Some(Duration::from_micros(30)), ..failure() };
                self.plan.fail(unit, attempt, failure, self.now, Draw(0))
            }
            says => {
                let says = says.strip_prefix("says").unwrap();
                let asked = says.split_whitespace().map(|word| self.asked(word)).collect();
                self.plan.apply(unit, attempt, asked, self.now, || Draw(0))
            }
        }
    }

    fn asked(&self, word: &str) -> Asked {
        let (is_race, word) = word.strip_prefix('|').map_or((false, word), |word| (true, word));
        let end = word.find(|char: char| !char.is_alphanumeric()).unwrap_or(word.len());
        let (name, says) = word.split_at(end);
        let later = |micros: &str| self.now.after(Duration::from_micros(micros.parse().unwrap()));
        let ask = match says.split_at(says.len().min(1)) {
            ("", _) => Ask::Ran(Payload::from("output")),
            ("?", _) => Ask::Planned,
            ("~", micros) => Ask::Sleep(later(micros)),
            ("@", _) => Ask::Request { kind: StepKind::Fetch, request: "request".to_owned() },
            ("-", _) => Ask::Refused { kind: StepKind::Sleep, error: Payload::from("refused") },
            ("=", micros) => {
                let matcher = Matcher { name: name.to_owned(), value: None, when: None };
                let subject = Subject::Event { matcher, since: None };
                let until = (!micros.is_empty()).then(|| later(micros));
                Ask::Wait { kind: StepKind::WaitForEvent, name: name.to_owned(), subject, until }
            }
            ("!", how) => {
                let after = how.strip_prefix('+').map(|micros| Duration::from_micros(micros.parse().unwrap()));
                Ask::Failed { error: Payload::from("error"), retryable: how != "!", retry_after: after }
            }
            _ => panic!("{word} says nothing"),
        };
        Asked { id: id(name), is_race, ask }
    }
}

fn failure() -> Failure {
    Failure::passing(Payload::from("thrown"))
}

fn event(id: &str) -> Payload {
    Payload::from(format!("{{\"id\":\"{id}\"}}"))
}

fn text(payload: &Payload) -> String {
    String::from_utf8(payload.as_ref().to_vec()).unwrap()
}

fn entry(entry: &Entry) -> String {
    let name = &entry.step;
    let what = match &entry.change {
        Change::AttemptFailed { attempt, retry_at, .. } => {
            format!("failed/{} until {}", attempt.0, retry_at.as_micros())
        }
        Change::Waiting { until, .. } => {
            until.map_or("waits".to_owned(), |until| format!("waits until {}", until.as_micros()))
        }
        Change::Succeeded { attempt, output } => format!("= {}/{}", text(output), attempt.0),
        Change::Failed { attempt, error } => format!("! {}/{}", text(error), attempt.0),
        Change::Reset => "reset".to_owned(),
        Change::LetGo => "let go".to_owned(),
        Change::Blocked { step, .. } => format!("blocked at {step}"),
    };
    format!("{name} {what}")
}

/// A run that begins with its client's request.
#[track_caller]
fn check(retries: u32, script: &str, expected: &Expect) {
    play(Case::new(Plan::new(policy(retries), STEPS_MAX)), script, expected);
}

/// A run of a function.
#[track_caller]
fn check_called(retries: u32, script: &str, expected: &Expect) {
    play(Case::new(Plan::called(policy(retries), STEPS_MAX)), script, expected);
}

#[track_caller]
fn play(mut case: Case, script: &str, expected: &Expect) {
    let mut said = String::new();
    for line in script.split(';') {
        writeln!(said, "{}", case.line(line.trim())).unwrap();
    }
    expected.assert_eq(&said);
}
