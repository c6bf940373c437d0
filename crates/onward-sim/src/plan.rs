//! What happens to the nodes of a seed, and when: drawn before anything runs.

use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use crate::proxy::Way;

/// How many nodes share the database.
pub(crate) const NODES: usize = 3;
/// How long a node that is not heard of keeps its runs.
pub(crate) const LEASE: Duration = Duration::from_millis(1_500);
/// How wrong the clock of a node may be, in seconds.
const SKEW_MAX: i64 = 60;

/// One seed of so many kills one node and breaks nothing else: for how long a takeover takes.
const ONE_KILL_EVERY: u64 = 5;
/// One of so many breaks nothing by itself, and has a run whose step takes its process down each time.
const FATAL_EVERY: u64 = 10;
/// One of so many breaks nothing, and has steps that block all threads of a node for longer than its lease lasts.
const BLOCKING_EVERY: u64 = 10;

/// One thing that is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// `kill -9`.
    Kill(usize),
    /// Asks it to end, which it does in order.
    End(usize),
    /// Starts it again, with a clock that is wrong by so many seconds.
    Start(usize, i64),
    /// SIGSTOP: it hangs.
    Stop(usize),
    /// SIGCONT.
    Go(usize),
    /// What the network between it and the database does.
    Network(usize, Way),
    /// PostgreSQL crashes, and is started again.
    Restart,
}

/// What a seed tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trial {
    /// Nodes are killed, stopped and cut off.
    Faults,
    /// One node is killed once.
    OneKill,
    /// A step takes its process down, until its run has failed as crashed.
    Fatal,
    /// Steps block their threads.
    Blocking,
}

impl Trial {
    const fn of(seed: u64) -> Self {
        match seed {
            seed if seed % ONE_KILL_EVERY == ONE_KILL_EVERY - 1 => Self::OneKill,
            seed if seed % FATAL_EVERY == 3 => Self::Fatal,
            seed if seed % BLOCKING_EVERY == 7 => Self::Blocking,
            _ => Self::Faults,
        }
    }
}

/// The life of a seed.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) trial: Trial,
    /// How wrong each node's clock is at first, in seconds.
    pub(crate) skews: [i64; NODES],
    /// What is done when, the earliest first.
    pub(crate) acts: Vec<(Duration, Act)>,
    /// How long clients begin new runs.
    pub(crate) load: Duration,
}

impl Plan {
    pub(crate) fn draw(seed: u64) -> Self {
        let mut draws = StdRng::seed_from_u64(seed);
        let load = Duration::from_millis(draws.random_range(2_500..4_500));
        let skews = std::array::from_fn(|_| skew(&mut draws));
        let mut acts = Vec::new();
        let trial = Trial::of(seed);
        if trial == Trial::OneKill {
            let node = draws.random_range(0..NODES);
            let at = Duration::from_millis(draws.random_range(500..1_500));
            acts.extend([(at, Act::Kill(node)), (at + LEASE * 2, Act::Start(node, skew(&mut draws)))]);
        }
        for node in (0..NODES).filter(|_| trial == Trial::Faults) {
            let mut at = Duration::from_millis(draws.random_range(200..1_500));
            while at < load {
                at = fault(node, at, &mut draws, &mut acts);
                at += Duration::from_millis(draws.random_range(300..1_500));
            }
        }
        if trial == Trial::Faults && draws.random_range(0..5) == 0 {
            acts.push((load.mul_f64(draws.random_range(0.2..0.9)), Act::Restart));
        }
        acts.sort_by_key(|(at, _)| *at);
        Self { seed, trial, skews, acts, load }
    }

    /// Whether it needs a database server of its own.
    pub(crate) fn restarts(&self) -> bool {
        self.acts.iter().any(|(_, act)| *act == Act::Restart)
    }
}

fn skew(draws: &mut StdRng) -> i64 {
    draws.random_range(-SKEW_MAX..=SKEW_MAX)
}

/// Draws a fault of a node; gives when it is over.
fn fault(node: usize, at: Duration, draws: &mut StdRng, acts: &mut Vec<(Duration, Act)>) -> Duration {
    let lease = u64::try_from(LEASE.as_millis()).expect("it is short");
    // Half of them outlast the lease, so that another node takes over.
    let long = draws.random_range(lease * 11 / 10..lease * 2);
    let short = draws.random_range(50..lease * 2 / 3);
    let time = if draws.random_range(0..2) == 0 { long } else { short };
    let over = at + Duration::from_millis(time);
    let (first, last) = match draws.random_range(0..10) {
        0..=3 => (Act::Kill(node), Act::Start(node, skew(draws))),
        4 => (Act::End(node), Act::Start(node, skew(draws))),
        5..=6 => (Act::Stop(node), Act::Go(node)),
        7 => (Act::Network(node, Way::Cut), Act::Network(node, Way::Open)),
        8 => (Act::Network(node, Way::Frozen), Act::Network(node, Way::Open)),
        _ => {
            let slow = Way::Slow(Duration::from_millis(draws.random_range(5..60)));
            (Act::Network(node, slow), Act::Network(node, Way::Open))
        }
    };
    acts.extend([(at, first), (over, last)]);
    over
}

#[cfg(test)]
mod tests {
    use super::Plan;

    #[test]
    fn the_same_seed_is_the_same_plan() {
        assert_eq!(format!("{:?}", Plan::draw(7)), format!("{:?}", Plan::draw(7)));
        assert_ne!(format!("{:?}", Plan::draw(7)), format!("{:?}", Plan::draw(8)));
    }
}
