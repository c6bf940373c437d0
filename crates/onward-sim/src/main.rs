//! Real nodes on one PostgreSQL under load and seeded faults, and then checkers over what the endpoints wrote down.
//!
//! `onward-sim [--seeds 0..50] [--jobs 3] [--load 0] [--keep FOLDER]` lives each seed, with so many busy processes beside
//! it, and fails where a promise (P1 to P8 of `docs/ARCHITECTURE.md`) was broken. `onward-sim node …` and
//! `onward-sim busy` are processes that the simulator starts by itself.

mod busy;
mod check;
mod client;
mod cluster;
mod node;
mod order;
mod pace;
mod plan;
mod proxy;
mod record;
mod seed;
mod tables;

use std::{ops::Range, path::PathBuf, process::ExitCode};

use tokio::task::JoinSet;

use crate::{
    pace::Pace,
    plan::{LEASE, Plan},
    seed::Figures,
};

/// What is asked for.
#[derive(Debug)]
struct Asked {
    seeds: Range<u64>,
    /// How many seeds live side by side.
    jobs: usize,
    /// How many busy processes each has beside it.
    load: usize,
    /// Where the logs of seeds that fail are kept.
    keep: PathBuf,
}

impl Asked {
    fn read(args: &[String]) -> Result<Self, String> {
        let mut asked = Self { seeds: 0..50, jobs: 3, load: 0, keep: std::env::temp_dir().join("onward-sim") };
        let mut args = args.iter();
        while let Some(name) = args.next() {
            let value = args.next().ok_or_else(|| format!("{name} needs a value"))?;
            match name.as_str() {
                "--seeds" => asked.seeds = seeds(value)?,
                "--jobs" => asked.jobs = value.parse().map_err(|error| format!("--jobs: {error}"))?,
                "--load" => asked.load = value.parse().map_err(|error| format!("--load: {error}"))?,
                "--keep" => asked.keep = value.into(),
                _ => return Err(format!("{name} is not known; there are --seeds, --jobs, --load and --keep")),
            }
        }
        Ok(asked)
    }
}

/// Reads `FROM..TO`, or one seed.
fn seeds(text: &str) -> Result<Range<u64>, String> {
    let number = |text: &str| text.parse::<u64>().map_err(|error| format!("--seeds {text}: {error}"));
    match text.split_once("..") {
        Some((from, to)) => Ok(number(from)?..number(to)?),
        None => number(text).map(|seed| seed..seed + 1),
    }
}

#[expect(clippy::print_stdout, reason = "it is what the program is for")]
fn say(text: &str) {
    println!("{text}");
}

#[tokio::main(worker_threads = 2)]
async fn main() -> ExitCode {
    let args: Vec<_> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|first| first == "node") {
        let Some(arguments) = node::Arguments::read(&args[1..]) else { return ExitCode::FAILURE };
        return match node::serve(arguments).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                tracing::error!(error = &*error, "the node failed");
                ExitCode::FAILURE
            }
        };
    }
    if args.first().is_some_and(|first| first == "busy") {
        busy::be();
        return ExitCode::SUCCESS;
    }
    match Asked::read(&args) {
        Ok(asked) => simulate(asked).await,
        Err(error) => {
            say(&error);
            ExitCode::FAILURE
        }
    }
}

async fn simulate(asked: Asked) -> ExitCode {
    if cluster::faketime().is_none() {
        say("the clocks of nodes are right: Debian's package faketime is not installed");
    }
    let (pace, mut waiting) = (Pace::start(), asked.seeds.clone());
    let mut living = JoinSet::new();
    let (mut all, mut failed) = (Vec::new(), Vec::new());
    loop {
        while living.len() < asked.jobs
            && let Some(seed) = waiting.next()
        {
            let (folder, load, pace) = (asked.keep.join(format!("seed-{seed}")), asked.load, pace.clone());
            living.spawn(async move { (seed, life(seed, folder, load, pace).await) });
        }
        match living.join_next().await {
            None => break,
            Some(Ok((_, Some(figures)))) => all.push(figures),
            Some(Ok((seed, None))) => failed.push(seed),
            Some(Err(error)) => {
                say(&format!("a seed broke off: {error}"));
                return ExitCode::FAILURE;
            }
        }
    }
    summary(&all);
    if failed.is_empty() && !all.is_empty() {
        return ExitCode::SUCCESS;
    }
    for seed in failed {
        say(&format!("seed {seed} failed: cargo run -p onward-sim -- --seeds {seed} --load {}", asked.load));
    }
    ExitCode::FAILURE
}

/// Lives one seed and says what it came to. Its logs stay where it failed.
async fn life(seed: u64, folder: PathBuf, load: usize, pace: Pace) -> Option<Figures> {
    let plan = Plan::draw(seed);
    let _ = std::fs::remove_dir_all(&folder);
    if let Err(error) = std::fs::create_dir_all(&folder) {
        say(&format!("{}: {error}", folder.display()));
        return None;
    }
    let acts = format!("{plan:#?}");
    match seed::live(plan, folder.clone(), load, pace).await {
        Ok(figures) => {
            say(&format!("seed {seed}: {}", one_line(&figures)));
            let _ = std::fs::remove_dir_all(&folder);
            Some(figures)
        }
        Err(wrong) => {
            let text = format!("{}\n{acts}\n", wrong.join("\n"));
            let _ = std::fs::write(folder.join("wrong.txt"), text);
            say(&format!("seed {seed} FAILED; see {}", folder.display()));
            wrong.iter().take(10).for_each(|wrong| say(&format!("  {wrong}")));
            None
        }
    }
}

fn one_line(figures: &Figures) -> String {
    let Figures { orders, lines, kills, strays, takeovers, restarts, .. } = figures;
    let took: Vec<_> = takeovers.iter().map(|us| format!("{:.1}", secs(*us))).collect();
    let restarted = if *restarts { ", PostgreSQL restarted" } else { "" };
    format!(
        "{orders} orders, {lines} lines, {kills} kills (taken over after {} s), {strays} strays{restarted}",
        took.join(" ")
    )
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn secs(us: u64) -> f64 {
    us as f64 / 1e6
}

fn summary(all: &[Figures]) {
    let sum = |of: fn(&Figures) -> usize| all.iter().map(of).sum::<usize>();
    let longest = |only: bool| {
        let of = all.iter().filter(|figures| figures.only_kills || !only).flat_map(|figures| &figures.takeovers);
        of.max().map_or(0.0, |us| secs(*us))
    };
    say(&format!(
        "{} seeds held: {} orders, {} lines, {} kills, {} restarts of PostgreSQL; {} strays; earliest timer {} µs early",
        all.len(),
        sum(|figures| figures.orders),
        sum(|figures| figures.lines),
        sum(|figures| figures.kills),
        sum(|figures| usize::from(figures.restarts)),
        sum(|figures| figures.strays as usize),
        all.iter().map(|figures| figures.early_us).max().unwrap_or(i64::MIN),
    ));
    say(&format!(
        "a killed node's runs went on after {:.2} s at most ({:.2} s where nothing else was broken); the lease is {:.1} s",
        longest(false),
        longest(true),
        LEASE.as_secs_f64(),
    ));
}
