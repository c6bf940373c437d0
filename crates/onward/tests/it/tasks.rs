//! Steps that are taken in tasks of their own, late, or inside of one another.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Router, routing::get};
use futures_util::FutureExt;
use onward::{Onward, RunQuery, Step, StepError};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
};

use crate::support::{App, Count, Log, run_id, text};

/// Two steps beside each other, each in a task.
async fn spawned(step: Step) -> Result<String, StepError> {
    let (a, b) = (step.clone(), step.clone());
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { a.run("a", async || Ok::<_, StepError>(1)).await });
    tasks.spawn(async move { b.run("b", async || Ok::<_, StepError>(2)).await });
    let mut sum = 0;
    while let Some(done) = tasks.join_next().await {
        sum += done.unwrap()?;
    }
    Ok(sum.to_string())
}

/// Waits, retries and closures that take a while, in tasks.
async fn waits(step: Step) -> Result<String, StepError> {
    let (nap, fails, slow) = (step.clone(), step.clone(), step.clone());
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { nap.sleep("nap", "2h").await.map(|()| "nap") });
    tasks.spawn(async move {
        let once = fails.run_with("fails", async |attempt| match attempt.attempt {
            1 => Err(StepError::retry("not yet")),
            _ => Ok("retried".to_owned()),
        });
        once.await.map(|_| "fails")
    });
    tasks.spawn(async move {
        let slow = slow.run("slow", async || {
            tokio::task::yield_now().await;
            Ok::<_, StepError>(())
        });
        slow.await.map(|()| "slow")
    });
    let mut done = Vec::new();
    while let Some(task) = tasks.join_next().await {
        done.push(task.unwrap()?);
    }
    done.sort_unstable();
    let last = step.run("last", async || Ok::<_, StepError>("last".to_owned())).await?;
    Ok(format!("{done:?} {last}"))
}

/// The step is an actor's, which is told what to do.
async fn actor(step: Step) -> Result<String, StepError> {
    let (tell, mut told) = mpsc::channel::<(&str, oneshot::Sender<Result<u32, StepError>>)>(1);
    let owner = step.clone();
    let mut task = JoinSet::new();
    task.spawn(async move {
        while let Some((id, answer)) = told.recv().await {
            // The receiver may have gone.
            let _ = answer.send(owner.run(id, async || Ok::<_, StepError>(5)).await);
        }
    });
    let mut sum = 0;
    for id in ["first", "second"] {
        let (answer, answered) = oneshot::channel();
        tell.send((id, answer)).await.unwrap();
        sum += answered.await.unwrap()?;
        step.sleep("between", "1m").await?;
    }
    Ok(sum.to_string())
}

fn routes(onward: &Onward) -> Router {
    let routes = onward.route("/spawned", get(spawned)).merge(onward.route("/waits", get(waits)));
    routes.merge(onward.route("/actor", get(actor)))
}

async fn works_in_tasks(app: &App) {
    for (path, expected) in [("/spawned", "3"), ("/waits", "[\"fails\", \"nap\", \"slow\"] last"), ("/actor", "10")] {
        assert_eq!(text(&app.outcome(path).await), expected, "{path}");
    }
    app.settle().await;
    let load = app.onward.load();
    assert_eq!((load.hung, load.blocked, load.executing), (0, 0, 0), "{load:?}");
}

#[tokio::test]
async fn steps_in_other_tasks_are_steps() {
    works_in_tasks(&App::new(routes).await).await;
}

#[tokio::test]
async fn steps_in_other_tasks_are_steps_of_replays() {
    works_in_tasks(&App::with(Onward::builder().parked_max(0), routes).await).await;
}

/// In real time, and on threads of their own.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn steps_on_other_threads_are_steps() {
    let onward = Onward::builder().open("memory:").await.unwrap();
    let app = App::opened(onward, onward_testing::ManualClock::new(), |onward| onward.route("/", get(spawned))).await;
    let all = (0..200).map(|_| app.get("/"));
    let done = tokio::time::timeout(Duration::from_secs(60), futures_util::future::join_all(all)).await;
    assert!(done.expect("none hangs").iter().all(|answer| text(answer) == "3"));
    app.onward.shutdown().await.unwrap();
}

/// The result of a step in a task of its own.
type Outcome = Arc<Mutex<Option<Result<u32, StepError>>>>;

#[tokio::test]
async fn a_step_that_ends_after_its_handler_returned_makes_no_run_and_is_an_error() {
    let log = Log::default();
    let _listens = log.listen();
    let (outcome, calls) = (Outcome::default(), Count::default());
    let (keeps, counts) = (Arc::clone(&outcome), calls.clone());
    let (go, gate) = (Arc::new(tokio::sync::Notify::new()), Arc::new(tokio::sync::Notify::new()));
    let (opens, opened) = (Arc::clone(&go), Arc::clone(&gate));
    let tasks = Arc::new(Mutex::new(JoinSet::new()));
    let own = Arc::clone(&tasks);
    let handler = async move |step: Step| {
        counts.hit();
        let (keeps, go, begun) = (Arc::clone(&keeps), Arc::clone(&opens), Arc::clone(&opened));
        own.lock().unwrap().spawn(async move {
            let late = step.run("late", async || {
                begun.notify_one();
                go.notified().await;
                Ok::<_, StepError>(1)
            });
            *keeps.lock().unwrap() = Some(late.await);
        });
        opened.notified().await;
        "returned"
    };
    let app = App::new(|onward| onward.route("/", get(handler))).await;
    assert_eq!(text(&app.get("/").await), "returned");
    go.notify_one();
    app.advance(Duration::from_secs(3600)).await;
    let error = outcome.lock().unwrap().take().expect("the step has ended").unwrap_err();
    assert!(error.message().contains("the handler has returned"), "{error}");
    assert!(app.onward.runs().list(RunQuery::new()).await.unwrap().runs.is_empty(), "no run was made");
    assert_eq!(calls.get(), 1, "the handler is not called again");
    assert!(log.text().contains("after the handler had returned"), "{}", log.text());
}

#[tokio::test]
async fn a_step_that_nobody_awaits_changes_nothing_of_a_run_that_has_ended() {
    let outcome = Outcome::default();
    let keeps = Arc::clone(&outcome);
    let tasks = Arc::new(Mutex::new(JoinSet::new()));
    let own = Arc::clone(&tasks);
    let handler = async move |step: Step| {
        step.run("first", async || Ok::<_, StepError>(())).await?;
        let (late, keeps) = (step.clone(), Arc::clone(&keeps));
        own.lock().unwrap().spawn(async move {
            late.sleep("nap", "1h").await.unwrap_err();
            *keeps.lock().unwrap() = Some(late.run("later", async || Ok::<_, StepError>(1)).await);
        });
        tokio::task::yield_now().await;
        Ok::<_, StepError>("returned")
    };
    let app = App::new(|onward| onward.route("/", get(handler))).await;
    let _ = app.outcome("/").await;
    app.advance(Duration::from_secs(7200)).await;
    assert!(outcome.lock().unwrap().take().expect("the step has ended").is_err());
    let runs = app.onward.runs().list(RunQuery::new()).await.unwrap().runs;
    assert_eq!(runs.iter().map(|run| run.status).collect::<Vec<_>>(), ["completed"]);
}

/// A suspended run's tasks would wait for ever: their steps end.
#[tokio::test]
async fn a_step_in_a_task_ends_with_its_execution() {
    let ended = Count::default();
    let counts = ended.clone();
    let tasks = Arc::new(Mutex::new(JoinSet::new()));
    let own = Arc::clone(&tasks);
    let handler = async move |step: Step| {
        let (nap, counts) = (step.clone(), counts.clone());
        let (tell, told) = oneshot::channel();
        own.lock().unwrap().spawn(async move {
            let slept = nap.sleep("long", "5h").await;
            if slept.is_err() {
                counts.hit();
            }
            // The receiver may have gone.
            let _ = tell.send(slept);
        });
        step.sleep("nap", "1h").await?;
        told.await.unwrap()?;
        Ok::<_, StepError>("done")
    };
    let app = App::with(Onward::builder().parked_max(0), |onward| onward.route("/", get(handler))).await;
    let first = app.get("/").await;
    let is_suspended = async || {
        let detail = app.onward.runs().get(run_id(&first)).await.unwrap().unwrap();
        detail.summary.status == "suspended"
    };
    while !is_suspended().await {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    app.settle().await;
    assert_eq!(ended.get(), 1, "the execution that was suspended has ended its task's step");
    assert_eq!(text(&app.follow(first.clone()).await), "done");
}

#[tokio::test]
async fn steps_do_not_nest() {
    let handler = async |step: Step| {
        let inner = step.clone();
        let nested = step.run("outer", async || inner.run("inner", async || Ok::<_, StepError>(1)).await).await;
        let inner = step.clone();
        let in_transaction = step
            .transaction("transaction", move |_| {
                inner.sleep("nap", "1s").now_or_never().expect("it is refused at once").map(|()| 1)
            })
            .await;
        Ok::<_, StepError>(format!("{} | {}", nested.unwrap_err().message(), in_transaction.unwrap_err().message()))
    };
    let onward = Onward::open("memory:").await.unwrap();
    let app = App::opened(onward, onward_testing::ManualClock::new(), |onward| onward.route("/", get(handler))).await;
    let answer = app.get("/").await;
    let said = text(&answer);
    assert!(said.contains("inside of step \"outer\"") && said.contains("inside of step \"transaction\""), "{said}");
    let runs = app.onward.runs().list(RunQuery::new()).await.unwrap().runs;
    let detail = app.onward.runs().get(runs[0].run_id.parse().unwrap()).await.unwrap().unwrap();
    let steps: Vec<_> = detail.steps.iter().map(|step| (step.id.as_str(), step.status, step.attempts)).collect();
    assert_eq!(steps, [("outer", "failed", 1), ("transaction", "failed", 1)], "no retry would help");
    app.onward.shutdown().await.unwrap();
}

/// In real time, because a blocked thread stops the clocks of tests, too.
#[tokio::test]
async fn a_step_that_blocks_its_thread_is_told_of_by_its_name() {
    let log = Log::default();
    let _listens = log.listen();
    let handler = async |step: Step| {
        step.run("quick", async || Ok::<_, StepError>(())).await?;
        step.run("blocks", async || {
            std::thread::sleep(Duration::from_millis(1_100));
            Ok::<_, StepError>("done".to_owned())
        })
        .await
    };
    let app = App::new(|onward| onward.route("/", get(handler))).await;
    assert_eq!(text(&app.get("/").await), "done");
    let shown = log.text();
    let told: Vec<_> = shown.lines().filter(|line| line.contains("spawn_blocking")).collect();
    assert!(told.len() == 1 && told[0].contains("step=\"blocks\""), "{told:?}");
}

/// A wait of days beside a task of several steps: the task has its time to take an outcome and to ask for the next step.
#[tokio::test]
async fn a_task_of_many_steps_beside_a_long_wait_is_not_cut_off() {
    let handler = async |step: Step| {
        let own = step.clone();
        let mut task = JoinSet::new();
        task.spawn(async move {
            for number in 0..20 {
                own.run(&format!("s{number}"), async || Ok::<_, StepError>(number)).await?;
            }
            Ok::<_, StepError>("the task")
        });
        tokio::select! {
            slept = step.sleep("days", "72h") => slept.map(|()| "the wait"),
            done = task.join_next() => done.unwrap().unwrap(),
        }
    };
    for parked in [0, 100] {
        let app = App::with(Onward::builder().parked_max(parked), |onward| onward.route("/", get(handler))).await;
        let first = app.get("/").await;
        // No time passes on the clock of the app.
        let last = if first.status().is_redirection() {
            let at = crate::support::location(&first);
            tokio::time::timeout(Duration::from_secs(30), app.get(&at)).await.expect("it goes on at once")
        } else {
            first
        };
        assert_eq!(text(&last), "the task");
    }
}
