//! How long it took until the runs of a node that was killed went on elsewhere.

use std::collections::BTreeMap;

use crate::{
    cluster::Done,
    record::{Line, What},
};

/// When each process was killed, and when each call of a handler began that goes on with a run of it, by the stopwatch:
/// of those runs whose step was under way, as others may have nothing to do just then.
pub(crate) fn takeovers(lines: &[Line], done: &Done) -> Vec<(u64, u64)> {
    let mut runs: BTreeMap<&str, Vec<&Line>> = BTreeMap::new();
    for line in lines {
        runs.entry(&line.run).or_default().push(line);
    }
    let mut took = Vec::new();
    for (process, at) in &done.killed {
        for lines in runs.values() {
            let Some(last) = lines.iter().rfind(|line| line.at <= *at) else { continue };
            let was_in_step = last.process == *process && matches!(last.what, What::Start { .. });
            let next = lines.iter().find(|line| line.at > *at && line.what == What::Enter);
            if let Some(next) = next.filter(|_| was_in_step) {
                took.push((*at, next.at));
            }
        }
    }
    took
}
