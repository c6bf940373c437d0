//! The checkers see each promise broken.

use super::{Life, Money, Verdict};
use crate::{
    client::{Ended, Told},
    cluster::Done,
    order::{Kind, Order, Output, Receipt},
    pace::Pace,
    record::{Line, What},
};

/// A run of two steps that went well, and what is made wrong with it.
struct Case {
    lines: Vec<Line>,
    told: Told,
    done: Done,
    money: Vec<Money>,
}

const RUN: &str = "run-1";

fn line(at: u64, process: &str, execution: u64, what: What) -> Line {
    Line { at, process: process.to_owned(), execution, run: RUN.to_owned(), op: "op".to_owned(), what }
}

fn start(step: &str, attempt: u32) -> What {
    What::Start { step: step.to_owned(), attempt, key: format!("{RUN}-{step}") }
}

fn end(step: &str, nonce: &str) -> What {
    What::End { step: step.to_owned(), attempt: 1, nonce: nonce.to_owned() }
}

fn got(step: &str, nonce: &str) -> What {
    What::Got { step: step.to_owned(), nonce: nonce.to_owned() }
}

fn output(nonce: &str, began: u64, ended: u64) -> Output {
    Output { nonce: nonce.to_owned(), began, ended }
}

impl Case {
    fn new(kind: Kind, came: &[&str]) -> Self {
        let whats = [
            What::Enter,
            start("0-a", 1),
            end("0-a", "x"),
            got("0-a", "x"),
            start("1-b", 1),
            end("1-b", "y"),
            got("1-b", "y"),
        ];
        let lines = whats.into_iter().zip(1..).map(|(what, at)| line(at * 1_000_000, "n0.1", 0, what)).collect();
        let order = Order { op: "op".to_owned(), group: "op".to_owned(), pause_ms: 0, fails: 1, nap_ms: 2_000 };
        let mut told = Told::new(kind, order, true);
        let outputs = vec![output("x", 2_000_000, 3_000_000), output("y", 5_000_000, 6_000_000)];
        let came: Vec<_> = came.iter().map(|came| (*came).to_owned()).collect();
        let receipt = Receipt { op: "op".to_owned(), run: RUN.to_owned(), outputs, came: came.clone() };
        told.ended.push(Ended { status: 200, body: serde_json::to_string(&receipt).unwrap() });
        told.sent = came;
        told.runs.insert(RUN.to_owned());
        Self { lines, told, done: Done::default(), money: Vec::new() }
    }

    fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    fn add(self, at: u64, process: &str, execution: u64, what: What) -> Self {
        self.with(|case| {
            case.lines.push(line(at, process, execution, what));
            case.lines.sort_by_key(|line| line.at);
        })
    }

    fn verdict(&self) -> Verdict {
        let told = std::slice::from_ref(&self.told);
        let pace = Pace::steady();
        Life { lines: &self.lines, told, done: &self.done, money: &self.money, pace: &pace }.check()
    }

    #[track_caller]
    fn breaks(self, promise: &str) {
        let wrong = self.verdict().wrong;
        assert!(wrong.iter().any(|wrong| wrong.starts_with(promise)), "{promise}: {wrong:?}");
    }
}

#[test]
fn what_goes_well_breaks_nothing() {
    for (kind, came) in [(Kind::Event, &["e 1"][..]), (Kind::Pair, &["e 1", "e 2"]), (Kind::Nap, &[])] {
        assert_eq!(Case::new(kind, came).verdict().wrong, Vec::<String>::new());
    }
}

#[test]
fn a_step_that_runs_again_breaks_p2() {
    let case = || Case::new(Kind::Steps, &[]);
    case().add(8_000_000, "n0.1", 0, start("0-a", 1)).breaks("P2");
    case().add(8_000_000, "n1.1", 0, What::Enter).add(9_000_000, "n1.1", 0, start("1-b", 1)).breaks("P2");
    let two = case().add(8_000_000, "n1.1", 0, What::Enter).add(9_000_000, "n1.1", 0, got("0-a", "z"));
    two.breaks("P2");
}

#[test]
fn a_process_that_lost_the_run_may_not_go_on_for_long_nor_write() {
    // It entered first, and another took over; both are of the same run.
    let stopped = |at| {
        let case = Case::new(Kind::Steps, &[]).add(500_000, "n1.1", 7, What::Enter);
        case.add(at, "n1.1", 7, start("0-a", 1))
    };
    assert_eq!(stopped(2_400_000).verdict().wrong, Vec::<String>::new());
    assert_eq!(stopped(2_400_000).verdict().strays, 1);
    stopped(8_000_000).breaks("P5");
    let woken = stopped(8_000_000).with(|case| case.done.continued.push(("n1.1".to_owned(), 7_900_000)));
    assert_eq!(woken.verdict().wrong, Vec::<String>::new());
    Case::new(Kind::Steps, &[]).add(2_500_000, "n1.1", 7, What::Enter).breaks("P5");
}

#[test]
fn attempts_out_of_turn_and_keys_that_change_break_p3() {
    let case = || Case::new(Kind::Steps, &[]);
    case().with(|case| case.lines[1].what = start("0-a", 2)).breaks("P3");
    let other = What::Start { step: "0-a".to_owned(), attempt: 2, key: "other".to_owned() };
    case().add(2_500_000, "n0.1", 0, other).breaks("P3");
    let twice = |nonce: &str| Money { run: RUN.to_owned(), nonce: nonce.to_owned() };
    case().with(|case| case.money = vec![twice("x"), twice("y")]).breaks("P3");
}

#[test]
fn two_outcomes_or_two_runs_of_a_key_break_p4() {
    let case = || Case::new(Kind::Steps, &[]);
    case().with(|case| case.told.runs.extend(["run-2".to_owned()])).breaks("P4");
    case().with(|case| case.told.ended.push(Ended { status: 200, body: "else".to_owned() })).breaks("P4");
}

#[test]
fn no_outcome_or_a_wrong_one_breaks_p1() {
    let case = || Case::new(Kind::Steps, &[]);
    case().with(|case| case.told.ended.clear()).breaks("P1");
    case().with(|case| case.told.ended[0].status = 410).breaks("P1");
    case().with(|case| case.lines[6].what = got("1-b", "z")).breaks("P1");
}

#[test]
fn a_timer_that_is_early_breaks_p6() {
    Case::new(Kind::Nap, &[]).with(|case| case.told.order.nap_ms = 2_200).breaks("P6");
}

#[test]
fn an_event_that_is_lost_or_comes_twice_breaks_p7() {
    Case::new(Kind::Event, &["e 1"]).with(|case| case.told.sent = vec!["f 1".to_owned()]).breaks("P7");
    Case::new(Kind::Pair, &["e 1", "e 1"]).with(|case| case.told.sent[1] = "e 2".to_owned()).breaks("P7");
}

#[test]
fn a_run_that_takes_its_process_down_too_often_or_too_seldom_breaks_p3() {
    let died = |times: u64| {
        let case = Case::new(Kind::Fatal, &[]).with(|case| {
            case.lines.truncate(4);
            case.told.ended[0] = Ended { status: 500, body: "…/errors/run-crashed".to_owned() };
        });
        (0..times).fold(case, |case, time| {
            let (process, at) = (format!("n{time}.1"), 10_000_000 * (time + 1));
            case.add(at, &process, 0, What::Enter).add(at + 1, &process, 0, start("1-fatal", 1))
        })
    };
    assert_eq!(died(3).verdict().wrong, Vec::<String>::new());
    died(4).breaks("P3");
    died(2).breaks("P3");
    died(3).with(|case| case.told.ended[0].body = "…/errors/run-failed".to_owned()).breaks("P1");
}
