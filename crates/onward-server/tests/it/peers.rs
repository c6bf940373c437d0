//! Several engines on one store: whatever request comes to whichever of them.

use std::{sync::Arc, time::Duration};

use onward_core::{NodeId, Timestamp};
use onward_testing::MemoryStore;
use serde_json::json;
use tokio::time::Instant;

use crate::{
    client::{self, committed},
    engine::{Running, options},
    script::{key, program},
    world::{World, soon},
};

/// Three engines, each request to the next one. The world's own is the first.
async fn three() -> (World, Running, Running) {
    let store = MemoryStore::shared();
    let own = Arc::new(store.another());
    let world = World::with(options(), Arc::new(store.another_without_news()), own).await;
    let second = Running::start(options(), Arc::new(store.another())).await;
    let third = Running::start(options(), Arc::new(store.another_without_news())).await;
    world.address.set_all(&[&world.engine.as_ref().unwrap().base, &second.base, &third.base]);
    // Until then they do not know each other.
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    (world, second, third)
}

#[tokio::test]
async fn reports_events_streams_and_waits_of_a_run_may_come_to_any_engine() {
    let (world, second, third) = three().await;
    world.serve(
        "/run",
        program(|s| {
            for id in ["a", "b", "c", "d"] {
                s.value(id, json!(id))?;
            }
            s.sleep("z", "20ms")?;
            s.run("streams", |doing| async move {
                doing.push(&json!("chunk"));
                Ok(json!(1))
            })?;
            let got = s.wait("w", "app/go", "1h")?;
            s.value("last", got["data"].clone())
        }),
    );
    for n in 0..6 {
        let run_id = world.handed_over().await;
        world.knows(&run_id, "w").await;
        world.send_anew(&json!([{ "name": "app/go", "data": { "n": n } }])).await;
        assert_eq!(world.outcome(&run_id).await, (200, json!({ "n": n })));
        let tokens = world.tokens(&run_id).await;
        let told = soon("the end of the stream", client::read(&world.http, &world.address, &tokens)).await;
        assert_eq!(committed(&told).unwrap(), [(key("streams"), json!("chunk"))]);
        for id in ["a", "b", "c", "d", "streams", "last"] {
            assert_eq!(world.endpoint.begun(&run_id, id), 1, "{id}");
        }
    }
    assert_eq!(world.endpoint.wrong(), Vec::<String>::new());
    drop((second, third));
}

#[tokio::test]
async fn functions_registered_at_one_engine_are_started_by_events_at_the_others() {
    let (world, second, third) = three().await;
    world.register(&[("app-a", "app/e")]).await;
    world.serve("app-a", program(|s| s.value("s", json!(1))));
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    for n in 0..3 {
        world.send_anew(&json!([{ "name": "app/e", "data": { "n": n } }])).await;
    }
    soon("three runs", async {
        while world.store.runs(completed()).await.unwrap().runs.len() < 3 {
            crate::world::pause().await;
        }
    })
    .await;
    drop((second, third));
}

fn completed() -> onward_core::store::RunFilter {
    let statuses = vec![onward_core::run::Status::Completed];
    onward_core::store::RunFilter { statuses, limit: 10, ..Default::default() }
}

#[tokio::test]
async fn the_runs_of_an_engine_that_dies_go_on_at_the_others_within_a_second_after_its_lease() {
    let (mut world, second, third) = three().await;
    let own = world.engine.take().unwrap();
    world.address.set(&own.base);
    world.serve(
        "/run",
        program(|s| {
            s.value("a", json!(1))?;
            s.sleep("z", "300ms")?;
            s.value("b", json!("done"))
        }),
    );
    let run_id = world.handed_over().await;
    own.kill();
    let died = Instant::now();
    world.address.set_all(&[&second.base, &third.base]);
    assert_eq!(world.outcome(&run_id).await, (200, json!("done")));
    // The machine that tests may be slow: the bound itself is tested where time stands still.
    assert!(died.elapsed() < Duration::from_secs(13), "{:?}", died.elapsed());
    assert_eq!(world.endpoint.begun(&run_id, "a"), 1);
}

#[tokio::test]
async fn the_address_of_an_engine_that_died_is_forgotten_with_its_node() {
    let (world, second, third) = three().await;
    let addresses = async || {
        let registered = world.store.registrations().await.unwrap();
        registered.into_iter().filter(|(name, _)| name.starts_with("engine:")).collect::<Vec<_>>()
    };
    let before = addresses().await;
    assert_eq!(before.len(), 3);
    let name = format!("engine:{}", third.base);
    let (_, node) = before.into_iter().find(|(registered, _)| *registered == name).unwrap();
    third.kill();
    let node = NodeId(std::str::from_utf8(node.as_ref()).unwrap().parse().unwrap());
    // Its lease ends: the others find that later by themselves.
    world.store.leave(node, Timestamp::EPOCH).await.unwrap();
    world.store.sweep(Timestamp::EPOCH, Timestamp::EPOCH, 10).await.unwrap();
    let left: Vec<_> = addresses().await.into_iter().map(|(name, _)| name).collect();
    assert!(left.len() == 2 && !left.contains(&name), "{left:?}");
    drop(second);
}
