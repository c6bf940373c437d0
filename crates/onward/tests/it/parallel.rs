//! Steps side by side, and races that are decided the same way in every replay.

use std::time::Duration;

use axum::{Router, routing::get};
use futures_util::{StreamExt, future::try_join_all, stream::FuturesUnordered};
use onward::{Step, StepError};

use crate::support::{App, Count, text};

#[tokio::test]
async fn joined_steps_run_concurrently_and_answer_directly() {
    async fn handler(step: Step) -> Result<String, StepError> {
        let barrier = tokio::sync::Barrier::new(3);
        let one = |n: u32| {
            let barrier = &barrier;
            step.run("one", move || async move {
                barrier.wait().await;
                Ok::<_, StepError>(n)
            })
        };
        let (a, b, c) = tokio::join!(one(1), one(2), one(3));
        Ok(format!("{}{}{}", a?, b?, c?))
    }
    let app = App::new(|onward| onward.route("/", get(handler))).await;
    let response = app.get("/").await;
    assert_eq!((response.status().as_u16(), text(&response)), (200, "123"));
}

#[tokio::test]
async fn steps_sleeps_and_waits_mix_and_each_is_checkpointed_on_its_own() {
    let count = Count::default();
    let counted = count.clone();
    let handler = async move |step: Step| {
        let steps = try_join_all((0..20_u32).map(|n| {
            let counted = &counted;
            step.run("item", move || async move {
                counted.hit();
                Ok::<_, StepError>(n)
            })
        }));
        let (sum, slept, event) = tokio::join!(
            async { steps.await.map(|all| all.iter().sum::<u32>()) },
            step.sleep("nap", "3h"),
            step.wait_for_event::<u32>("event", "go"),
        );
        slept?;
        let data = event?.map(|event| event.data);
        let mut pending: FuturesUnordered<_> =
            (0..5_u32).map(|n| step.run("late", move || async move { Ok::<_, StepError>(n) })).collect();
        let mut late = 0;
        while let Some(n) = pending.next().await {
            late += n?;
        }
        Ok::<_, StepError>(format!("{} {data:?} {late}", sum?))
    };
    let app = App::new(|onward| onward.route("/", get(handler))).await;
    let first = app.get("/").await;
    app.advance(Duration::from_secs(3600)).await;
    app.onward.send_event("go", &7).await.unwrap();
    assert_eq!(text(&app.follow(first).await), "190 Some(7) 10");
    assert_eq!(count.get(), 20);
}

#[tokio::test]
async fn a_race_is_decided_the_same_way_in_a_replay() {
    async fn handler(step: Step) -> Result<String, StepError> {
        let winner = tokio::select! {
            a = step.run("a", async || { tokio::task::yield_now().await; Ok::<_, StepError>(1) }) => a?,
            b = step.run("b", async || Ok::<_, StepError>(2)) => b?,
        };
        step.sleep("nap", "2h").await?;
        let again = tokio::select! {
            () = async { let _ = step.sleep("short", "1h").await; } => "short",
            () = async { let _ = step.sleep("long", "3h").await; } => "long",
        };
        step.sleep("nap again", "2h").await?;
        Ok(format!("{winner} {again}"))
    }
    for _ in 0..10 {
        let app = App::new(|onward| onward.route("/", get(handler))).await;
        assert_eq!(text(&app.outcome("/").await), "2 short");
    }
}

#[tokio::test]
async fn a_step_that_lost_its_race_does_not_hold_up_what_follows() {
    async fn handler(step: Step) -> Result<String, StepError> {
        let mut nap = step.sleep("nap", "1h");
        let quick = tokio::select! {
            biased;
            _ = &mut nap => 0,
            quick = step.run("quick", async || Ok::<_, StepError>(7)) => quick?,
        };
        // `nap` is held and not polled while this one sleeps past it.
        step.sleep("longer", "2h").await?;
        nap.await?;
        Ok(quick.to_string())
    }
    let app = App::new(|onward| Router::new().merge(onward.route("/", get(handler)))).await;
    assert_eq!(text(&app.outcome("/").await), "7");
}
