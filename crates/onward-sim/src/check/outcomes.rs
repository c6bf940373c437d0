//! P1, P3, P4, P6, P7 and P8, from what clients were told and what runs answered.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{Life, Verdict};
use crate::{
    client::Told,
    node::CRASHES_MAX,
    order::{Kind, Receipt},
    record::{Line, What},
};

/// How early a timer may be, at the machine's pace: nodes know the database's clock to half of a round trip.
const EARLY_MAX: Duration = Duration::from_millis(100);

/// A row of the table that steps write to in their own transactions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Money {
    pub(crate) run: String,
    pub(crate) nonce: String,
}

pub(super) fn check(life: &Life<'_>, verdict: &mut Verdict) {
    let mut got: BTreeMap<(&str, &str), &str> = BTreeMap::new();
    let mut runs: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for line in life.lines {
        runs.entry(&line.op).or_default().insert(&line.run);
        if let What::Got { step, nonce } = &line.what {
            got.insert((&line.run, step), nonce);
        }
    }
    for told in life.told {
        let mut wrong = |text: String| verdict.wrong.push(format!("{text}; of {} ({:?})", told.order.op, told.kind));
        let ran = runs.get(told.order.op.as_str()).cloned().unwrap_or_default();
        one(told, &ran, &mut wrong);
        let Some(ended) = told.ended.first() else { continue };
        match (told.kind, ended.receipt()) {
            (Kind::Hopeless, None) if ended.status == 500 => {}
            (Kind::Never, None) if ended.status == 409 => {}
            (Kind::Fatal, None) if ended.body.contains("run-crashed") => crashed(life, told, &mut wrong),
            (Kind::Hopeless | Kind::Never | Kind::Fatal, _) | (_, None) => {
                wrong(format!("P1: it ended with {}: {}", ended.status, ended.body));
            }
            (_, Some(receipt)) => {
                let kept = got.iter().filter(|((run, _), _)| *run == receipt.run).map(|(_, nonce)| *nonce);
                if receipt.op != told.order.op || !kept.eq(receipt.outputs.iter().map(|output| output.nonce.as_str())) {
                    wrong(format!("P1: it answered {receipt:?}"));
                }
                came(told, &receipt, &runs, &mut wrong);
                if told.kind == Kind::Nap {
                    let [before, after] = &receipt.outputs[..] else { continue };
                    let slept = i64::try_from(after.began.saturating_sub(before.ended)).unwrap_or(i64::MAX);
                    let early = i64::try_from(told.order.nap_ms * 1000).unwrap_or(i64::MAX) - slept;
                    let too_early = u64::try_from(early).unwrap_or(0);
                    if life.pace.between(after.began, after.began.saturating_add(too_early)) > EARLY_MAX {
                        wrong(format!("P6: its timer fired {early} µs early"));
                    }
                    verdict.early_us = verdict.early_us.max(early);
                }
            }
        }
    }
    money(life, &got, verdict);
}

/// P4: one run a key, and one outcome, however often and wherever it is asked for. P8: one stream.
fn one(told: &Told, ran: &BTreeSet<&str>, wrong: &mut impl FnMut(String)) {
    if told.keyed && (told.runs.len() > 1 || ran.len() > 1) {
        wrong(format!("P4: one key became the runs {:?}, and {ran:?} ran", told.runs));
    }
    let Some(first) = told.ended.first() else { return wrong("P1: it has not ended".to_owned()) };
    if let Some(other) = told.ended.iter().find(|ended| *ended != first) {
        wrong(format!("P4: it ended with {first:?} and {other:?}"));
    }
    let Some(shown) = told.shown.first() else { return };
    if let Some(other) = told.shown.iter().find(|other| *other != shown) {
        wrong(format!("P8: readers saw {shown:?} and {other:?}"));
    }
    if shown.response != first.body {
        wrong(format!("P8: the stream ended with {:?}, and the run with {:?}", shown.response, first.body));
    }
    let (a, b) = (1 + told.order.fails, 1);
    let of = |name: &str, chunks: u32, attempt: u32| {
        (0..chunks).map(|chunk| format!("\"{name} {chunk} of {attempt}\"")).collect::<Vec<_>>()
    };
    let should = [vec!["\"first\"".to_owned()], of("0-a", 4, a), of("1-b", 5, b), vec!["\"last\"".to_owned()]].concat();
    let is: Vec<_> = shown.permanent().into_iter().map(|(_, data)| data).collect();
    if is != should {
        wrong(format!("P8: the stream is {is:?}, and should be {should:?}"));
    }
}

/// P3: a run that takes its process down is begun again as often as it may, and not once more.
fn crashed(life: &Life<'_>, told: &Told, wrong: &mut impl FnMut(String)) {
    let is_fatal = |line: &&Line| matches!(&line.what, What::Start { step, .. } if step == "1-fatal");
    let begun = life.lines.iter().filter(|line| line.op == told.order.op).filter(is_fatal).count();
    // The first crash came after progress, and the others count. Where the machine is so slow that a node loses its lease
    // as it begins, that counts until the node says that it lives.
    let most = 1 + CRASHES_MAX as usize;
    if begun > most || begun < most && life.was_quick() {
        wrong(format!("P3: it took its process down {begun} times, and may {CRASHES_MAX} times after the first"));
    }
}

/// P7: what was accepted came, once, and nothing else did.
fn came(told: &Told, receipt: &Receipt, runs: &BTreeMap<&str, BTreeSet<&str>>, wrong: &mut impl FnMut(String)) {
    match told.kind {
        Kind::Event | Kind::Late | Kind::Pair | Kind::Group if receipt.came != told.sent => {
            wrong(format!("P7: {:?} was accepted and {:?} came", told.sent, receipt.came));
        }
        Kind::Signal => {
            let number = receipt.came.first().and_then(|number| number.parse::<u32>().ok()).unwrap_or(0);
            if receipt.came.len() != 1 || number == 0 || number > told.tried {
                wrong(format!("P7: of {} signals {:?} came", told.tried, receipt.came));
            }
            if told.sent.first().is_some_and(|sent| *sent != receipt.came[0]) {
                wrong(format!("P7: signal {:?} was taken and {:?} came", told.sent, receipt.came));
            }
        }
        Kind::Parent => {
            let child: Option<Receipt> = receipt.came.first().and_then(|body| serde_json::from_str(body).ok());
            let op = format!("{}/child", told.order.op);
            if child.as_ref().is_none_or(|child| child.op != op) {
                wrong(format!("P1: its child answered {:?}", receipt.came));
            }
            // Each run without a key has a child of its own.
            let ran = |op: &str| runs.get(op).map_or(0, BTreeSet::len);
            if ran(&op) > ran(&told.order.op) {
                wrong(format!("P4: {} runs had {} children", ran(&told.order.op), ran(&op)));
            }
        }
        _ => {}
    }
}

/// P3: a transaction has committed once, together with the output that the handler got.
fn money(life: &Life<'_>, got: &BTreeMap<(&str, &str), &str>, verdict: &mut Verdict) {
    let mut rows: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for row in life.money {
        rows.entry(&row.run).or_default().push(&row.nonce);
    }
    for ((run, step), nonce) in got {
        if *step == "1-money" && rows.get(run).is_none_or(|rows| rows[..] != [*nonce]) {
            verdict
                .wrong
                .push(format!("P3: {run} got {nonce} of its transaction, and the table has {:?}", rows.get(run)));
        }
    }
    for (run, rows) in rows.iter().filter(|(_, rows)| rows.len() > 1) {
        verdict.wrong.push(format!("P3: the transaction of {run} was committed {} times", rows.len()));
    }
}
