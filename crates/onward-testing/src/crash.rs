//! Kills an app at each of its writes in turn, restarts it, and checks that nothing was lost or done twice.

mod journals;
mod world;

use std::{
    any::Any,
    fmt::Debug,
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    task::Poll,
};

use onward_core::Timestamp;

pub use self::world::World;
use self::{journals::Journals, world::Shared};
use crate::{Fault, clock};

/// How long a killed process stays dead, on the world's clock.
const DOWNTIME: std::time::Duration = std::time::Duration::from_secs(1);

/// How often an app may take itself down in one world: runs fail after far fewer crashes.
const DEATHS_MAX: usize = 1_000;

/// What [`crash_everywhere`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// How many writes the app makes when nothing kills it from outside, in all its lives.
    pub writes: usize,
    /// How often the app takes itself down, with [`World::die`], when nothing kills it from outside.
    pub deaths: usize,
    /// How often it was killed and restarted.
    pub crashes: usize,
    /// How often it ended before the write at which it was to be killed: what it writes depends on timing.
    pub missed: usize,
}

/// Runs an app again and again, killing it before and after each of its writes in turn, and restarting it.
///
/// The closure gets a [`World`] and starts the app on [`World::store`] and [`World::clock`], does with it what is to
/// be tested, and gives what a client sees. It first runs once without a crash, which tells how many writes there are
/// (checkpoints, sent events and signals, operators' words) and what the answer is. Then, for each write and both
/// sides of it, in a world of its own:
///
/// 1. The closure runs until the write. There the process dies: the store never answers again and the closure's
///    future is dropped.
/// 2. A second later the closure runs once more, on the same stored state, to its end.
///
/// The clock goes on by itself whenever everything waits, so a sleep of 24 hours takes no time; see
/// [`ManualClock::drive`](crate::ManualClock::drive) for what that asks of the runtime and of the closure.
///
/// Because the closure runs twice, it should come back to its run as a real client would: with an idempotency key.
///
/// A step that takes its process down calls [`World::die`] instead of ending. Each time the process dies as in 1., and
/// the closure runs once more as in 2., until a life ends by itself. The writes of all these lives are counted through,
/// and at each of them the process is killed besides, so that the crashes of a run meet those of everything else.
///
/// # Panics
///
/// With the place of the crash, where
/// - the app panics,
/// - a later life gives another answer than the one without a crash,
/// - the app took itself down 1,000 times: whatever calls [`World::die`] is begun again for ever,
/// - a step succeeded twice, or [`World::ran`] was told that one ran again whose success was durable,
/// - a journal lost or changed an entry that was durable at the crash, or a run with it,
/// - an outcome that was durable at the crash changed.
///
/// # Example
///
/// An app takes the place of `onward` here; it appends an entry for each of two steps and ends the run.
///
/// ```
/// use onward_core::{Clock, NodeId, Store, StoreError};
/// use onward_testing::{World, crash_everywhere};
/// # use std::time::Duration;
/// # use onward_core::{Attempt, EndpointId, Fence, Payload, RunId, Seq, journal::{Change, Entry}, run::*, step::*, store::*};
/// #
/// # fn entry(seq: u32, step: &str) -> Entry {
/// #     let change = Change::Succeeded { attempt: Attempt::FIRST, output: Payload::default() };
/// #     Entry { seq: Seq(seq), at: onward_core::Timestamp::EPOCH, step: StepId::try_new(step, 0).unwrap(),
/// #         kind: StepKind::Run, change }
/// # }
/// # async fn lease(world: &World, store: &dyn Store, node: NodeId) -> Result<Option<Lease>, StoreError> {
/// #     let now = world.clock().now();
/// #     let run_id = RunId::first_at(onward_core::Timestamp::EPOCH);
/// #     let endpoint = EndpointId::try_new("GET /order").unwrap();
/// #     if store.run(run_id).await?.is_none() {
/// #         let lease = Lease { run_id, fence: Fence::FIRST, node };
/// #         let start = NewRun { run_id, endpoint, version: None, pinned: false, created_at: now, request: "".into(), timeout_at: None,
/// #             retention: Duration::from_secs(3600), key: None, parent: None };
/// #         store.checkpoint(Checkpoint { start: Some(start), ..Checkpoint::new(lease, now) }).await?;
/// #         return Ok(Some(lease));
/// #     }
/// #     let endpoints = Endpoints::Only(vec![endpoint.into()]);
/// #     let claims = store.claim(ClaimRequest { node, now, limit: 1, endpoints }).await?;
/// #     Ok(claims.leases.first().map(|(lease, _)| *lease))
/// # }
///
/// async fn order(world: World) -> Result<&'static str, StoreError> {
///     let store = world.store();
///     let node = store.join(world.clock().now(), Duration::from_secs(10)).await?;
///     let Some(lease) = lease(&world, &*store, node).await? else { return Ok("done") };
///     let done = store.load(lease.run_id).await?.map_or(0, |run| run.journal.len());
///     for (seq, step) in (0..).zip(["reserve", "charge"]).skip(done) {
///         world.ran(step);
///         let entries = vec![entry(seq, step)];
///         store.checkpoint(Checkpoint { entries, ..Checkpoint::new(lease, world.clock().now()) }).await?;
///     }
///     let outcome = Outcome { status: Status::Completed, response: "done".into(), error: "".into() };
///     let then = Then::Finish(outcome);
///     store.checkpoint(Checkpoint { then, ..Checkpoint::new(lease, world.clock().now()) }).await?;
///     Ok("done")
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let report = crash_everywhere(|world| async move { order(world).await.unwrap() }).await;
/// assert_eq!((report.writes, report.crashes), (4, 8));
/// # }
/// ```
pub async fn crash_everywhere<F, Fut, T>(mut world: F) -> Report
where
    F: FnMut(World) -> Fut,
    Fut: Future<Output = T>,
    T: PartialEq + Debug,
{
    let whole = lives(&mut world, "without a crash", None, None).await;
    let writes = whole.writes;
    let mut report = Report { writes, deaths: whole.deaths, crashes: 0, missed: 0 };
    for nth in 1..=writes {
        for fault in [Fault::CrashBefore, Fault::CrashAfter] {
            let side = if fault == Fault::CrashBefore { "before" } else { "after" };
            let place = format!("with a crash {side} write {nth} of {writes}");
            let killed = lives(&mut world, &place, Some((nth, fault)), Some(&whole.answer)).await;
            if killed.killed {
                report.crashes += 1;
            } else {
                report.missed += 1;
            }
        }
    }
    report
}

/// What the lives of an app in one world came to.
struct Lives<T> {
    answer: T,
    writes: usize,
    /// How often it took itself down.
    deaths: usize,
    /// Whether it was killed at the write at which it was to be.
    killed: bool,
}

/// Runs the closure in a world of its own, life after life, until one does not end with its process.
async fn lives<F, Fut, T>(app: &mut F, place: &str, kill: Option<(usize, Fault)>, expected: Option<&T>) -> Lives<T>
where
    F: FnMut(World) -> Fut,
    Fut: Future<Output = T>,
    T: PartialEq + Debug,
{
    let mut world = World::new(kill);
    let (mut given, mut writes, mut deaths) = (None, 0, 0);
    let mut durable = Journals::default();
    let mut killed = false;
    loop {
        let side = match kill {
            None => "",
            Some(_) if killed => " after the restart",
            Some(_) => " before it",
        };
        let when = if deaths == 0 { side.to_owned() } else { format!("{side} in life {}", world.life()) };
        let panicked = format!("{place}, the app panicked{when}");
        if let Some(answer) = live(&panicked, &world, app(world.clone())).await {
            if let Some(expected) = expected.or(given.as_ref()) {
                assert_eq!(&answer, expected, "{place}, the answer{when} differs");
            }
            given = Some(answer);
        }
        writes += world.writes();
        check(place, &world.shared, &durable, world.now());
        if !world.is_dead() {
            let answer = given.expect("a process that lives has answered");
            return Lives { answer, writes, deaths, killed };
        }
        if world.is_killed() {
            killed = true;
        } else {
            deaths += 1;
            assert!(deaths < DEATHS_MAX, "{place}, the app has taken itself down {deaths} times and begins again");
        }
        durable = Journals::of(&world.shared.memory);
        world = world.restarted(DOWNTIME);
    }
}

/// Runs the closure until it ends or the process dies, then lets what it left behind come to rest.
async fn live<Fut: Future>(panicked: &str, world: &World, future: Fut) -> Option<Fut::Output> {
    let answer = {
        // Dropped here: a dead process holds nothing.
        let future = pin!(future);
        let clock = world.clock();
        let mut driven = pin!(clock::drive_until(&clock, || world.activity(), || world.is_dead(), future));
        let caught = poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| driven.as_mut().poll(cx))) {
            Ok(poll) => poll.map(Ok),
            Err(panic) => Poll::Ready(Err(panic_text(&*panic))),
        });
        // Why: the panic alone does not tell which of the many lives it ended.
        caught.await.unwrap_or_else(|text| panic!("{panicked}: {text}"))
    };
    clock::settle(|| world.activity()).await;
    answer
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}

fn check(place: &str, shared: &Shared, durable: &Journals, now: Timestamp) {
    let mut broken = shared.violations();
    broken.extend(Journals::of(&shared.memory).broken_since(durable, now));
    assert!(broken.is_empty(), "{place}: {}", broken.join("; "));
}

#[cfg(test)]
mod tests;
