//! P2, P3 and P5, from what the bodies of steps wrote down.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{Life, Verdict};
use crate::record::{Line, What};

/// How long a process that has lost a run may go on in it, at the machine's pace: its own stopwatch tells it so.
const STRAY_MAX: Duration = Duration::from_millis(1_500);

/// One call of a handler.
type Execution<'a> = (&'a str, u64);

/// What one run wrote down.
struct Run<'a> {
    id: &'a str,
    lines: Vec<&'a Line>,
    /// When each execution entered, and whether that was as its process had just been woken: then it may have got the
    /// run long before, and says nothing of who had lost it.
    entered: BTreeMap<Execution<'a>, (u64, bool)>,
}

pub(super) fn check(life: &Life<'_>, verdict: &mut Verdict) {
    let mut runs: BTreeMap<&str, Vec<&Line>> = BTreeMap::new();
    for line in life.lines {
        runs.entry(&line.run).or_default().push(line);
    }
    let mut keys: BTreeMap<&str, (&str, &str)> = BTreeMap::new();
    for (id, lines) in runs {
        let enters = lines.iter().filter(|line| line.what == What::Enter);
        let entered = enters.map(|line| (execution(line), (line.at, just_woke(life, line)))).collect();
        let run = Run { id, lines, entered };
        run.nothing_again(life, verdict);
        run.one_output(verdict);
        run.attempts(&mut keys, verdict);
    }
}

/// Whether the line's process had gone on from a SIGSTOP just before.
fn just_woke(life: &Life<'_>, line: &Line) -> bool {
    let soon = |at: u64| line.at >= at && life.pace.between(at, line.at) < STRAY_MAX;
    let woke = |(process, at): &(String, u64)| *process == line.process && soon(*at);
    life.done.continued.iter().any(woke)
}

fn execution(line: &Line) -> Execution<'_> {
    (&line.process, line.execution)
}

/// How far a line is in its handler: the number that the step's name begins with, and whether its output is there.
///
/// Which attempt it is does not count: the next one does not wait until the failure of the last is stored, so a crash
/// may repeat both.
fn place(line: &Line) -> Option<(u32, bool)> {
    let number = |step: &str| step.split('-').next().and_then(|number| number.parse().ok());
    match &line.what {
        What::Start { step, .. } => Some((number(step)?, false)),
        What::Got { step, .. } => Some((number(step)?, true)),
        What::Enter | What::End { .. } => None,
    }
}

impl<'a> Run<'a> {
    fn entered(&self, execution: Execution<'_>) -> (u64, bool) {
        self.entered.get(&execution).copied().unwrap_or_default()
    }

    /// When another execution took over from this one.
    fn superseded(&self, execution: Execution<'_>) -> Option<u64> {
        let (own, _) = self.entered(execution);
        let later = self.entered.values().filter(|(at, just_woke)| *at > own && !just_woke);
        later.map(|(at, _)| *at).min()
    }

    /// P2: a step that was committed (the handler went on from it) does not begin again, but in a process that hangs
    /// over from before.
    fn nothing_again(&self, life: &Life<'_>, verdict: &mut Verdict) {
        let mut furthest: BTreeMap<Execution<'a>, (u32, bool)> = BTreeMap::new();
        for line in &self.lines {
            let Some(here) = place(line) else { continue };
            let own = execution(line);
            if matches!(line.what, What::Start { .. }) {
                if let Some(superseded) = self.superseded(own).filter(|at| *at < line.at) {
                    self.stray(line, superseded, life, verdict);
                }
                for (other, there) in &furthest {
                    let ((entered, just_woke), (there_entered, _)) = (self.entered(own), self.entered(*other));
                    let is_older = entered < there_entered || just_woke && own != *other;
                    if *there > here && !is_older {
                        let what = &line.what;
                        verdict.wrong.push(format!(
                            "P2: {} ran {what:?} in {own:?} at {}, though {other:?} was at {there:?}",
                            self.id, line.at
                        ));
                    }
                }
            }
            let mine = furthest.entry(own).or_insert(here);
            *mine = (*mine).max(here);
        }
    }

    /// P5: a process that has lost a run stops to go on in it, soon after it can notice.
    fn stray(&self, line: &Line, superseded: u64, life: &Life<'_>, verdict: &mut Verdict) {
        verdict.strays += 1;
        let continued = life.done.continued.iter().filter(|(process, at)| *process == line.process && *at <= line.at);
        let noticed = continued.map(|(_, at)| *at).chain([superseded]).max().unwrap_or(superseded);
        if life.pace.between(noticed, line.at) > STRAY_MAX {
            let (what, late) = (&line.what, (line.at - noticed) / 1000);
            verdict.wrong.push(format!(
                "P5: {} ran {what:?} in {:?} {late} ms after it was lost",
                self.id,
                execution(line)
            ));
        }
    }

    /// P2 and P5: every execution gets the same output of a step, and it is not of one that had lost the run.
    fn one_output(&self, verdict: &mut Verdict) {
        let mut got: BTreeMap<&str, &str> = BTreeMap::new();
        for line in &self.lines {
            let What::Got { step, nonce } = &line.what else { continue };
            let first = *got.entry(step).or_insert(nonce);
            if first != nonce {
                verdict.wrong.push(format!("P2: {} has two outputs of {step}: {first} and {nonce}", self.id));
            }
        }
        for (step, nonce) in got {
            let is_it = |line: &&&Line| matches!(&line.what, What::End { nonce: ended, .. } if ended == nonce);
            let Some(end) = self.lines.iter().find(is_it) else {
                verdict.wrong.push(format!("P2: {} has an output of {step} that no body gave: {nonce}", self.id));
                continue;
            };
            if self.superseded(execution(end)).is_some_and(|at| at < end.at) {
                verdict.wrong.push(format!("P5: {} took {nonce} from a process that had lost it", self.id));
            }
        }
    }

    /// P3: attempts are numbered without a gap, and each has the step's own key.
    fn attempts(&self, keys: &mut BTreeMap<&'a str, (&'a str, &'a str)>, verdict: &mut Verdict) {
        let mut attempts: BTreeMap<&str, BTreeSet<u32>> = BTreeMap::new();
        let mut tried = BTreeMap::new();
        for line in &self.lines {
            let What::Start { step, attempt: attempt @ 1.., key } = &line.what else { continue };
            if tried.insert((execution(line), step), *attempt).is_some_and(|before| before + 1 != *attempt) {
                verdict.wrong.push(format!("P3: {} {step} made attempt {attempt} out of turn", self.id));
            }
            attempts.entry(step).or_default().insert(*attempt);
            let of = *keys.entry(key).or_insert((self.id, step));
            if of != (self.id, step) {
                verdict.wrong.push(format!("P3: {} {step} has the key of {of:?}: {key}", self.id));
            }
        }
        let steps = keys.values().filter(|(run, _)| *run == self.id).count();
        if steps != attempts.len() {
            verdict.wrong.push(format!("P3: {} has {} steps and {steps} keys", self.id, attempts.len()));
        }
        for (step, attempts) in attempts {
            if attempts.iter().zip(1..).any(|(attempt, number)| *attempt != number) {
                verdict.wrong.push(format!("P3: {} {step} had the attempts {attempts:?}", self.id));
            }
        }
    }
}
