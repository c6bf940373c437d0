//! A clock that moves between any two readings: no run may hang, and no timer may fire early.

use std::{sync::Arc, time::Duration};

use axum::{Router, routing::get};
use futures_util::{FutureExt, future::BoxFuture};
use onward::{Onward, RetryPolicy, Step, StepError};
use onward_core::Clock;
use onward_testing::{LeapingClock, MemoryStore};
use proptest::prelude::*;

use crate::support::{App, text};

async fn app(clock: &LeapingClock, routes: impl FnOnce(&Onward) -> Router) -> App {
    let builder = Onward::builder().clock(Arc::new(clock.clone()));
    App::opened(builder.store(Arc::new(MemoryStore::new())).await.unwrap(), clock.manual().clone(), routes).await
}

#[tokio::test]
async fn no_nap_hangs_whose_time_comes_between_two_readings_of_the_clock() {
    async fn naps(step: Step) -> Result<&'static str, StepError> {
        for _ in 0..5 {
            step.sleep("nap", "9ms").await?;
        }
        Ok("rested")
    }
    for leap in [0, 50, 500, 3_000] {
        let clock = LeapingClock::new(leap, Duration::from_micros(leap));
        let app = app(&clock, |onward| onward.route("/naps", get(naps))).await;
        for _ in 0..60 {
            assert_eq!(text(&app.outcome("/naps").await), "rested", "with leaps of {leap} µs");
        }
        assert_eq!(app.onward.load().hung, 0);
        app.onward.shutdown().await.unwrap();
    }
}

/// A handler.
#[derive(Clone, Debug)]
enum Program {
    Nap(u64),
    /// A step whose first attempts fail.
    Fails(u32),
    /// A wait for an event that nobody sends.
    Waits(u64),
    Sequence(Vec<Program>),
    Join(Vec<Program>),
    Race(Vec<Program>),
}

fn program() -> impl Strategy<Value = Program> {
    let step = prop_oneof![
        (0_u64..12).prop_map(Program::Nap),
        (0_u32..3).prop_map(Program::Fails),
        (0_u64..12).prop_map(Program::Waits),
    ];
    step.prop_recursive(3, 12, 3, |inner| {
        let some = || prop::collection::vec(inner.clone(), 1..4);
        prop_oneof![some().prop_map(Program::Sequence), some().prop_map(Program::Join), some().prop_map(Program::Race)]
    })
}

/// Does what a program says. The clock is read without a leap, so that the test itself moves no time.
fn execute<'a>(step: &'a Step, clock: &'a LeapingClock, program: &'a Program) -> BoxFuture<'a, Result<(), StepError>> {
    let all = |programs: &'a [Program]| programs.iter().map(|program| execute(step, clock, program));
    match program {
        Program::Nap(millis) => Box::pin(async move {
            let until = clock.manual().now().after(Duration::from_millis(*millis));
            let slept = step.run("until", async || Ok::<_, StepError>(until.as_micros())).await?;
            step.sleep("nap", Duration::from_millis(*millis)).await?;
            assert!(clock.manual().now().as_micros() >= slept, "a timer fired early");
            Ok(())
        }),
        Program::Fails(times) => Box::pin(async move {
            let failing = step.run_with("fails", async |attempt| {
                if attempt.attempt <= *times { Err(StepError::retry("not yet")) } else { Ok(()) }
            });
            failing.await
        }),
        Program::Waits(millis) => Box::pin(async move {
            let wait = step.wait_for_event::<u32>("waits", "never").timeout(Duration::from_millis(*millis));
            assert!(wait.await?.is_none());
            Ok(())
        }),
        Program::Sequence(programs) => Box::pin(async move {
            for program in all(programs) {
                program.await?;
            }
            Ok(())
        }),
        Program::Join(programs) => futures_util::future::try_join_all(all(programs)).map(|done| done.map(drop)).boxed(),
        Program::Race(programs) => futures_util::future::select_all(all(programs)).map(|(done, ..)| done).boxed(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, max_shrink_iters: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn every_handler_ends_however_the_clock_moves(
        program in program(),
        seed in any::<u64>(),
        leap in prop::sample::select(vec![1_u64, 50, 500, 3_000, 9_000]),
        parks in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let clock = LeapingClock::new(seed, Duration::from_micros(leap));
            let (own, program) = (clock.clone(), Arc::new(program));
            let handler = async move |step: Step| {
                execute(&step, &own, &program).await.map(|()| "done")
            };
            // Either all waits are in memory, or each of them is a replay.
            let parked = Duration::from_millis(if parks { 10_000 } else { 0 });
            let policy = RetryPolicy::fixed(Duration::from_millis(4), 5).unwrap();
            let builder = Onward::builder().clock(Arc::new(clock.clone())).parked_for(parked);
            let builder = builder.defaults(onward::Options::default().retry_policy(policy));
            let onward = builder.store(Arc::new(MemoryStore::new())).await.unwrap();
            let app = App::opened(onward, clock.manual().clone(), |onward| onward.route("/", get(handler))).await;
            assert_eq!(text(&app.outcome("/").await), "done");
            let load = app.onward.load();
            assert_eq!((load.hung, load.blocked), (0, 0), "a deterministic handler is never blocked");
            app.onward.shutdown().await.unwrap();
        });
    }
}
