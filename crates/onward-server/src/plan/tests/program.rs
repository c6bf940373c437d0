//! Random handlers, and what the SDK makes of them, given the outcomes of steps in the order in which they came.

use std::collections::{BTreeMap, BTreeSet};

use onward_core::{StepKey, step::StepId};
use proptest::prelude::*;

use super::super::step_id;

/// More often than any policy tries.
pub(super) const ALWAYS: u32 = 99;

/// A handler.
#[derive(Clone, Debug)]
pub(super) enum Program {
    Step(Step),
    Sequence(Vec<Program>),
    /// All must end well; the first error ends it.
    Parallel(Vec<Program>),
    /// The first to end decides. Whether the engine is told that it is a race.
    Race(bool, Vec<Program>),
    /// What fails in it is handled.
    Handled(Box<Program>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    name: char,
    /// Which use of the name it is.
    index: u32,
    /// Whether a middleware has changed its id.
    is_renamed: bool,
    pub(super) does: Does,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Does {
    /// Its first attempts fail, and say how long to wait.
    Run {
        fails: u32,
        retry_after: Option<u64>,
    },
    /// It fails for good at once.
    Fatal,
    Sleep(u64),
    Wait(Option<u64>),
    Fetch {
        fails: u32,
    },
}

/// The outcome of a step, or of the handler.
pub(super) type Outcome = Result<String, String>;

/// The outcomes of steps, with their places in the order in which they came.
pub(super) type Memos = BTreeMap<StepKey, (usize, Outcome)>;

/// What the SDK finds when it runs a handler over memos.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) result: Option<Outcome>,
    /// The steps that were reached and have no outcome, and whether they race.
    pub(super) open: Vec<(Step, bool)>,
}

impl Step {
    /// The key that the SDK has for it.
    pub(super) fn wire(&self) -> StepKey {
        if self.is_renamed {
            StepKey::of("renamed", self.at())
        } else {
            StepKey::of(&self.name.to_string(), self.index)
        }
    }

    fn at(&self) -> u32 {
        u32::from(self.name) * 1000 + self.index
    }

    pub(super) fn id(&self) -> StepId {
        step_id(&self.name.to_string(), self.index, self.wire().to_bytes()).unwrap()
    }

    /// Whether an endpoint runs it.
    pub(super) const fn runs(&self) -> bool {
        matches!(self.does, Does::Run { .. } | Does::Fatal)
    }

    pub(super) fn output(&self) -> String {
        match self.does {
            Does::Wait(_) => format!("{{\"id\":\"{}{}\"}}", self.name, self.index),
            _ => format!("{}{}", self.name, self.index),
        }
    }

    pub(super) fn error(&self) -> String {
        format!("{}{} failed", self.name, self.index)
    }

    /// How many attempts fail, of a step that does not fail for good.
    pub(super) const fn fails(&self) -> u32 {
        match self.does {
            Does::Run { fails, .. } | Does::Fetch { fails } if fails < ALWAYS => fails,
            _ => 0,
        }
    }

    /// Whether the step can end so by itself.
    pub(super) fn ends_so(&self, outcome: &Outcome) -> bool {
        let own = || match self.does {
            Does::Fatal => Err(self.error()),
            Does::Run { fails, .. } | Does::Fetch { fails } if fails >= ALWAYS => Err(self.error()),
            _ => Ok(self.output()),
        };
        let null = || Ok("null".to_owned());
        match self.does {
            Does::Sleep(_) => *outcome == null(),
            Does::Wait(timeout) => *outcome == own() || (timeout.is_some() && *outcome == null()),
            _ => *outcome == own(),
        }
    }
}

impl Program {
    /// Runs the handler over memos, as the SDK does.
    pub(super) fn run(&self, memos: &Memos) -> Found {
        let mut open = Vec::new();
        let result = self.walk(0, memos, false, &mut open).map(|(_, result)| result);
        Found { result, open }
    }

    /// When and how a part ends that begins at `from`. Time counts the memos that the handler has got.
    fn walk(
        &self,
        from: usize,
        memos: &Memos,
        is_race: bool,
        open: &mut Vec<(Step, bool)>,
    ) -> Option<(usize, Outcome)> {
        match self {
            Self::Step(step) => match memos.get(&step.wire()) {
                Some((place, outcome)) => Some((from.max(place + 1), outcome.clone())),
                None => {
                    open.push((step.clone(), is_race));
                    None
                }
            },
            Self::Sequence(parts) => {
                let (mut at, mut values) = (from, Vec::new());
                for part in parts {
                    let (ended, result) = part.walk(at, memos, is_race, open)?;
                    match result {
                        Ok(value) => values.push(value),
                        Err(error) => return Some((ended, Err(error))),
                    }
                    at = ended;
                }
                Some((at, Ok(values.join(","))))
            }
            Self::Parallel(parts) => {
                let ends: Vec<_> = parts.iter().map(|part| part.walk(from, memos, is_race, open)).collect();
                let failed = ends.iter().flatten().filter(|(_, result)| result.is_err()).min_by_key(|(at, _)| *at);
                if let Some(failed) = failed {
                    return Some(failed.clone());
                }
                let ends = ends.into_iter().collect::<Option<Vec<_>>>()?;
                let last = ends.iter().map(|(at, _)| *at).max().unwrap_or(from);
                let values: Vec<_> = ends.into_iter().filter_map(|(_, result)| result.ok()).collect();
                Some((last, Ok(format!("[{}]", values.join(",")))))
            }
            Self::Race(is_told, parts) => {
                let is_race = is_race || *is_told;
                let ends: Vec<_> = parts.iter().map(|part| part.walk(from, memos, is_race, open)).collect();
                ends.into_iter().flatten().min_by_key(|(at, _)| *at)
            }
            Self::Handled(part) => {
                let (at, result) = part.walk(from, memos, is_race, open)?;
                Some((at, result.or_else(|error| Ok(format!("caught {error}")))))
            }
        }
    }

    pub(super) fn steps(&self) -> Vec<&Step> {
        match self {
            Self::Step(step) => vec![step],
            Self::Handled(part) => part.steps(),
            Self::Sequence(parts) | Self::Parallel(parts) | Self::Race(_, parts) => {
                parts.iter().flat_map(Self::steps).collect()
            }
        }
    }

    /// The keys of the steps that race, and of which the engine is told so.
    pub(super) fn racing(&self) -> BTreeSet<StepKey> {
        match self {
            Self::Step(_) => BTreeSet::new(),
            Self::Race(true, parts) => parts.iter().flat_map(Self::steps).map(Step::wire).collect(),
            Self::Handled(part) => part.racing(),
            Self::Sequence(parts) | Self::Parallel(parts) | Self::Race(false, parts) => {
                parts.iter().flat_map(Self::racing).collect()
            }
        }
    }

    /// Tells the uses of a name apart.
    fn number(&mut self, used: &mut BTreeMap<char, u32>) {
        match self {
            Self::Step(step) => {
                let next = used.entry(step.name).or_default();
                step.index = *next;
                *next += 1;
            }
            Self::Handled(part) => part.number(used),
            Self::Sequence(parts) | Self::Parallel(parts) | Self::Race(_, parts) => {
                for part in parts {
                    part.number(used);
                }
            }
        }
    }
}

/// Handlers whose steps fail at most `retries` times, or always.
pub(super) fn program(retries: u32) -> impl Strategy<Value = Program> {
    let fails = move || prop_oneof![3 => Just(0), 3 => 0..=retries, 1 => Just(ALWAYS)];
    let does = prop_oneof![
        6 => (fails(), prop::option::weighted(0.2, 0_u64..50))
            .prop_map(|(fails, retry_after)| Does::Run { fails, retry_after }),
        1 => Just(Does::Fatal),
        2 => (0_u64..60).prop_map(Does::Sleep),
        2 => prop::option::of(0_u64..60).prop_map(Does::Wait),
        2 => fails().prop_map(|fails| Does::Fetch { fails }),
    ];
    let step = (prop::char::range('a', 'c'), prop::bool::weighted(0.2), does)
        .prop_map(|(name, is_renamed, does)| Program::Step(Step { name, index: 0, is_renamed, does }));
    let program = step.prop_recursive(3, 12, 4, |inner| {
        let some = || prop::collection::vec(inner.clone(), 1..4);
        prop_oneof![
            4 => some().prop_map(Program::Sequence),
            3 => some().prop_map(Program::Parallel),
            3 => (any::<bool>(), some()).prop_map(|(is_told, parts)| Program::Race(is_told, parts)),
            2 => inner.clone().prop_map(|part| Program::Handled(Box::new(part))),
        ]
    });
    program.prop_map(|mut program| {
        program.number(&mut BTreeMap::new());
        program
    })
}
