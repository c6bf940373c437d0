//! Every write of a run is refused once, and once never answered because the engine dies: nothing is lost, and nothing
//! is done twice.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt, stream};
use onward_core::{BoxFuture, Store, run::Status};
use onward_sqlite::SqliteStore;
use onward_testing::{Call, Fault, FaultyStore, MemoryStore};
use serde_json::{Value, json};

use crate::{
    client::{self, committed},
    endpoint::First,
    engine::{Running, options},
    script::{Program, Stop, error, key, program, thrown},
    world::{World, asked, pause},
};

/// How many lives are lived at once.
const AT_ONCE: usize = 8;
/// How long a life may take.
const LIFE: Duration = Duration::from_secs(30);

/// What is lived through.
struct Scenario {
    /// On what.
    store: fn() -> Arc<dyn Store>,
    /// What is at the endpoint, by name.
    programs: fn() -> Vec<(&'static str, Program)>,
    /// What happens from its beginning; gives what is wrong with how it ended.
    live: fn(&World) -> BoxFuture<'_, Result<(), String>>,
}

fn in_memory() -> Arc<dyn Store> {
    Arc::new(MemoryStore::new())
}

fn on_sqlite() -> Arc<dyn Store> {
    Arc::new(SqliteStore::in_memory().unwrap())
}

/// Lives through a scenario as often as it writes, for each fault. One life without a fault tells how often that is.
async fn everywhere(scenario: Scenario) {
    let (writes, wrong) = life(&scenario, None).await;
    assert!(wrong.is_empty(), "without a fault: {wrong:#?}");
    assert!(writes > 3, "{writes} writes");
    let faults = [Fault::Fail, Fault::CrashBefore, Fault::CrashAfter];
    let lives = (1..=writes).flat_map(|nth| faults.map(|fault| (nth, fault)));
    let lives = stream::iter(lives).map(async |(nth, fault)| {
        let (_, wrong) = life(&scenario, Some((nth, fault))).await;
        wrong.into_iter().map(|wrong| format!("{fault:?} at write {nth} of {writes}: {wrong}")).collect::<Vec<_>>()
    });
    let wrong: Vec<_> = lives.buffer_unordered(AT_ONCE).collect().await;
    let wrong = wrong.concat();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn a_run_whose_write_the_store_never_takes_fails_and_its_endpoint_is_not_called_again() {
    let memory = in_memory();
    let store = FaultyStore::counting(Arc::clone(&memory), |call| call == Call::Checkpoint);
    let world = World::with(options(), Arc::clone(&memory), Arc::new(store.clone())).await;
    world.serve(
        "/run",
        program(|s| {
            s.sleep("z", "10ms")?;
            s.value("a", json!(1))?;
            s.value("b", json!(2))
        }),
    );
    // The report of the first request, then the end of the sleep, then what the first call reports.
    let store = store.with_fault(3, Fault::Reject);
    let run_id = world.handed_over().await;
    let (status, said) = world.outcome(&run_id).await;
    assert_eq!(status, 500);
    assert!(said.to_string().contains("the store cannot keep what the run wrote"), "{said}");
    let calls = world.endpoint.begun(&run_id, "a");
    pause().await;
    assert_eq!((world.endpoint.begun(&run_id, "a"), world.status(&run_id).await), (calls, Some(Status::Failed)));
    drop(store);
}

/// Lives once; gives how many writes there were, and what was wrong.
async fn life(scenario: &Scenario, fault: Option<(usize, Fault)>) -> (usize, Vec<String>) {
    let memory = (scenario.store)();
    let faulty = FaultyStore::counting(Arc::clone(&memory), Call::is_fact);
    let faulty = fault.into_iter().fold(faulty, |faulty, (nth, fault)| faulty.with_fault(nth, fault));
    let mut world = World::with(options(), Arc::clone(&memory), Arc::new(faulty.clone())).await;
    for (name, program) in (scenario.programs)() {
        world.serve(name, program);
    }
    world.register(&[("app-child", "app/started")]).await;
    let engine = world.engine.take().unwrap();
    let lived = tokio::time::timeout(LIFE, async {
        let restarts = async {
            while !faulty.is_crashed() {
                pause().await;
            }
            engine.kill();
            let engine = Running::start(world.options.clone(), Arc::clone(&memory)).await;
            world.address.set(&engine.base);
            // It lives until all else has ended.
            std::future::pending::<()>().await;
            drop(engine);
        };
        tokio::select! {
            lived = async {
                (scenario.live)(&world).await?;
                world.left_over().await.map_or(Ok(()), Err)
            } => lived,
            () = restarts => Ok(()),
        }
    });
    let lived = match lived.await {
        Ok(lived) => lived,
        Err(_) => Err(format!("it does not end: {}", world.told().await)),
    };
    let mut wrong = world.endpoint.wrong();
    wrong.extend(lived.err());
    (faulty.writes(), wrong)
}

/// Waits for an outcome and compares it.
async fn ends_with(world: &World, run_id: &str, expected: &Value) -> Result<(), String> {
    let token = world.endpoint.tokens(run_id).await.token;
    let (status, body) = client::outcome(&world.http, &world.address, run_id, &token).await;
    if (status, &body) == (200, expected) { Ok(()) } else { Err(format!("it ends with {status} {body}")) }
}

#[tokio::test]
async fn a_run_with_steps_of_every_kind() {
    everywhere(Scenario {
        store: in_memory,
        programs: || vec![("/run", every_kind()), ("app-child", child())],
        live: |world| Box::pin(live_through_every_kind(world)),
    })
    .await;
}

fn every_kind() -> Program {
    program(|s| {
        let a = s.value("a", json!({ "x": 1 }))?;
        let b = s.value("b", json!(null))?;
        s.sleep("z", "100ms")?;
        let c = s.run("c", |doing| async move {
            doing.push(&json!({ "try": doing.nth }));
            doing.stored(1).await;
            if doing.nth == 1 { Err(thrown("at first it fails")) } else { Ok(json!("c")) }
        })?;
        let group = s.all(vec![
            Box::new(|s| s.value("p", json!("p"))),
            Box::new(|s| {
                s.sleep("q", "30ms")?;
                s.value("q2", json!("q2"))
            }),
            Box::new(|s| s.value("r", json!("r"))),
        ])?;
        let event = s.wait("w", "app/approved", "1h")?;
        let child = s.invoke("i", "app-child", &json!({ "from": "run" }))?;
        let d = s.run("d", |doing| async move {
            for chunk in ["one", "two"] {
                doing.push(&json!(chunk));
            }
            doing.stored(2).await;
            Ok(json!("d"))
        })?;
        Ok(json!([a, b, c, group, event["data"], child, d]))
    })
}

fn child() -> Program {
    program(|s| {
        let k = s.value("k", json!("k"))?;
        s.sleep("kz", "20ms")?;
        Ok(json!({ "child": k }))
    })
}

async fn live_through_every_kind(world: &World) -> Result<(), String> {
    let asked = asked();
    let run_id = asked.run_id.clone();
    let first = Arc::clone(&world.endpoint).request(asked);
    let reads = async {
        let tokens = world.endpoint.tokens(&run_id).await;
        client::read(&world.http, &world.address, &tokens).await
    };
    let approves = async {
        while world.entries(&run_id, "w").await.is_empty() {
            pause().await;
        }
        world.send(&json!([{ "name": "app/approved", "data": { "by": "ada" } }])).await;
    };
    let expected = json!([{ "x": 1 }, null, "c", ["p", "q2", "r"], { "by": "ada" }, { "child": "k" }, "d"]);
    let ends = ends_with(world, &run_id, &expected);
    let (first, told, (), ended) = tokio::join!(first, reads, approves, ends);
    ended?;
    if first != First::HandedOver {
        return Err(format!("the first request ended with {first:?}"));
    }
    let read = committed(&told)?;
    let d = key("d");
    let of_c: Vec<_> = read.iter().filter(|(step, _)| *step == key("c")).collect();
    if of_c.len() != 1 || of_c[0].1["try"].as_u64() < Some(2) {
        return Err(format!("what step c has streamed was read as {of_c:?}: {told:?}"));
    }
    if read[1..] != [(d.clone(), json!("one")), (d, json!("two"))] {
        return Err(format!("what was streamed was read as {read:?}"));
    }
    if world.status(&run_id).await != Some(Status::Completed) {
        return Err("it is not stored that it completed".to_owned());
    }
    Ok(())
}

#[tokio::test]
async fn a_run_that_ends_in_its_first_request() {
    everywhere(Scenario {
        store: in_memory,
        programs: || {
            vec![(
                "/run",
                program(|s| {
                    let (a, b) = (s.value("a", json!(1))?, s.value("b", json!(2))?);
                    Ok(json!([a, b, s.value("c", json!(3))?]))
                }),
            )]
        },
        live: |world| {
            Box::pin(async {
                let asked = asked();
                let run_id = asked.run_id.clone();
                let first = Arc::clone(&world.endpoint).request(asked).await;
                if first != First::Done(json!([1, 2, 3])) {
                    return Err(format!("the first request ended with {first:?}"));
                }
                ends_with(world, &run_id, &json!([1, 2, 3])).await
            })
        },
    })
    .await;
}

#[tokio::test]
async fn a_function_that_an_event_starts() {
    everywhere(Scenario {
        store: in_memory,
        programs: || vec![("app-child", child())],
        live: |world| {
            Box::pin(async {
                let event = json!([{ "name": "app/started", "data": { "n": 1 }, "id": "once" }]);
                world.send(&event).await;
                world.send(&event).await;
                loop {
                    let runs =
                        world.store.runs(onward_core::store::RunFilter { limit: 10, ..Default::default() }).await;
                    let runs = runs.unwrap().runs;
                    match runs.as_slice() {
                        [run] if run.status == Status::Completed => return Ok(()),
                        [run] if run.status.is_final() => return Err(format!("it ended: {:?}", run.outcome)),
                        [] | [_] => pause().await,
                        runs => return Err(format!("{} runs were started", runs.len())),
                    }
                }
            })
        },
    })
    .await;
}

#[tokio::test]
async fn a_run_whose_handler_fails_for_good() {
    everywhere(Scenario {
        store: in_memory,
        programs: || {
            vec![(
                "/run",
                program(|s| {
                    s.value("a", json!(1))?;
                    s.sleep("z", "10ms")?;
                    s.run("f", |_| async { Err(thrown("it never works")) })
                }),
            )]
        },
        live: |world| {
            Box::pin(async {
                let asked = asked();
                let run_id = asked.run_id.clone();
                Arc::clone(&world.endpoint).request(asked).await;
                let tokens = world.endpoint.tokens(&run_id).await;
                let (status, body) = client::outcome(&world.http, &world.address, &run_id, &tokens.token).await;
                let expected = json!({ "error": { "name": "Error", "message": "it never works" } });
                if (status, &body) != (500, &expected) {
                    return Err(format!("it ends with {status} {body}"));
                }
                let begun = world.endpoint.begun(&run_id, "f");
                // Four attempts; one whose outcome was not stored does not count.
                if (4..=5).contains(&begun) { Ok(()) } else { Err(format!("the step was begun {begun} times")) }
            })
        },
    })
    .await;
}

#[tokio::test]
async fn a_run_that_throws_and_waits_for_a_signal() {
    everywhere(Scenario {
        store: on_sqlite,
        programs: || {
            let thrown = Arc::new(AtomicBool::new(false));
            let handler = program(move |s| {
                let a = s.value("a", json!("a"))?;
                if !thrown.swap(true, Ordering::Relaxed) {
                    return Err(Stop::Threw { error: error("outside of steps"), retryable: true });
                }
                let both = s.all(vec![
                    Box::new(|s| Ok(s.signal("w", "go", "1h")?["data"].clone())),
                    Box::new(|s| s.value("b", json!("b"))),
                ])?;
                Ok(json!([a, both]))
            });
            vec![("/run", handler)]
        },
        live: |world| Box::pin(live_through_a_signal(world)),
    })
    .await;
}

async fn live_through_a_signal(world: &World) -> Result<(), String> {
    let asked = asked();
    let run_id = asked.run_id.clone();
    let signals = async {
        // Once it is taken it must arrive; who is not told so finds nobody waiting any more.
        while world.entries(&run_id, "w").await.len() < 2 {
            let signal = json!({ "signal": "go", "data": 7 });
            let taken = world.post("/v1/signals", &[], &signal).await.is_some_and(|(status, _)| status == 200);
            if taken {
                return;
            }
            pause().await;
        }
    };
    let expected = json!(["a", [7, "b"]]);
    let request = Arc::clone(&world.endpoint).request(asked);
    let (_, (), ended) = tokio::join!(request, signals, ends_with(world, &run_id, &expected));
    ended
}
