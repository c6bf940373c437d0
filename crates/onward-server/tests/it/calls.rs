//! Calls of endpoints: how they go over the wire, what bounds them, and what is no answer.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{body::Body, response::Response};
use onward_testing::MemoryStore;
use serde_json::json;

use crate::{
    endpoint::{Asked, Endpoint, reply},
    engine::options,
    script::{Branch, program},
    world::{World, asked},
};

async fn world(change: impl FnOnce(&mut onward_server::Options)) -> World {
    let mut options = options();
    change(&mut options);
    let store = Arc::new(MemoryStore::new());
    World::with(options, Arc::<MemoryStore>::clone(&store), store).await
}

#[tokio::test]
async fn the_trace_of_the_first_request_reaches_the_calls() {
    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    let mut world = world(|_| {}).await;
    world.register(&[("app-child", "app/started")]).await;
    world.serve("app-child", program(|_| Ok(json!("c"))));
    world.serve(
        "/run",
        program(|s| {
            s.sleep("z", "1ms")?;
            s.invoke("i", "app-child", &json!(1))
        }),
    );
    let traceparent = Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    let run_id = world.begin(Asked { traceparent, ..asked() });
    assert_eq!(world.outcome(&run_id).await, (200, json!("c")));
    let seen = world.endpoint.seen();
    assert_eq!(seen.len(), 3, "{seen:?}");
    for call in seen {
        assert_eq!(call.header("traceparent").unwrap().split('-').nth(1), Some(TRACE), "{call:?}");
    }
    let run_id = world.begin(asked());
    world.outcome(&run_id).await;
    assert!(world.endpoint.seen()[3..].iter().all(|call| !call.headers.contains_key("traceparent")));
}

#[tokio::test]
async fn twenty_calls_are_made_over_few_connections() {
    let world = world(|_| {}).await;
    world.serve(
        "/run",
        program(|s| {
            s.sleep("z", "1ms")?;
            for id in 0..20 {
                s.value(&format!("s{id}"), json!(id))?;
            }
            Ok(json!("done"))
        }),
    );
    let run_id = world.handed_over().await;
    assert_eq!(world.outcome(&run_id).await, (200, json!("done")));
    let seen = world.endpoint.seen();
    assert_eq!(seen.len(), 21);
    let peers: BTreeSet<_> = seen.iter().map(|call| call.peer).collect();
    assert!(peers.len() <= 2, "{} connections", peers.len());
    for call in &seen {
        assert_eq!((call.method.as_str(), call.path.as_str(), call.query.as_str()), ("GET", "/run", "q=1"));
        assert_eq!(call.header("x-run-id"), Some(run_id.as_str()));
        assert!(!call.header("x-inngest-signature").unwrap().is_empty());
        assert_eq!(call.header("x-inngest-req-version"), Some("2"));
    }
}

#[tokio::test]
async fn calls_of_one_origin_are_bounded() {
    let world = world(|options| options.limits.reentries_per_origin = 2).await;
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counts = (Arc::clone(&now), Arc::clone(&most));
    world.serve(
        "/run",
        program(move |s| {
            let branch = |id: usize| -> Branch<'static> {
                let (now, most) = counts.clone();
                Box::new(move |s| {
                    s.run(&format!("s{id}"), move |_| async move {
                        most.fetch_max(now.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
                        tokio::time::sleep(Duration::from_millis(20)).await;
                        now.fetch_sub(1, Ordering::Relaxed);
                        Ok(json!(id))
                    })
                })
            };
            s.all((0..7).map(branch).collect())
        }),
    );
    let run_id = world.handed_over().await;
    assert_eq!(world.outcome(&run_id).await, (200, json!([0, 1, 2, 3, 4, 5, 6])));
    assert_eq!(most.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn an_answer_that_cannot_be_taken_fails_at_once() {
    let world = world(|options| options.limits.reply_bytes = 2_000).await;
    world.serve(
        "/run",
        program(|s| {
            s.sleep("z", "1ms")?;
            s.run("s", |_| async { Ok(json!("x".repeat(3_000))) })
        }),
    );
    let run_id = world.handed_over().await;
    let (status, body) = world.outcome(&run_id).await;
    assert_eq!((status, &body["error"]["name"]), (500, &json!("AnswerTooLarge")));
    assert_eq!(world.endpoint.begun(&run_id, "s"), 1, "another time it would be as large");

    world.endpoint.hook(|_| Some(reply(206, &[], &json!([{ "op": "NoSuchOp", "id": "x" }]))));
    let run_id = world.handed_over().await;
    let (status, body) = world.outcome(&run_id).await;
    assert_eq!((status, &body["error"]["name"]), (500, &json!("InvalidAnswer")));
    world.endpoint.unhook();
}

#[tokio::test]
async fn an_answer_of_something_else_is_never_the_end() {
    let world = world(|_| {}).await;
    world.serve(
        "/run",
        program(|s| {
            s.sleep("z", "1ms")?;
            Ok(json!([s.value("s", json!("s"))?]))
        }),
    );
    let calls = AtomicUsize::new(0);
    world.endpoint.hook(move |_| {
        let wrong =
            |status: u16, body: &'static str| Response::builder().status(status).body(Body::from(body)).unwrap();
        match calls.fetch_add(1, Ordering::Relaxed) {
            0 => Some(wrong(502, "Bad Gateway")),
            1 => Some(wrong(200, r#"{"ok":true}"#)),
            _ => None,
        }
    });
    let run_id = world.handed_over().await;
    assert_eq!(world.outcome(&run_id).await, (200, json!(["s"])));
    assert_eq!(world.endpoint.seen().len(), 4);
    world.endpoint.unhook();
}

#[tokio::test]
async fn a_redirect_is_followed_on_its_own_origin_alone() {
    let mut world = world(|_| {}).await;
    world.serve(
        "/new",
        program(|s| {
            s.sleep("z", "1ms")?;
            s.value("s", json!("s"))
        }),
    );
    world.serve("/run", program(|s| s.sleep("z", "1ms")));
    world.endpoint.hook(|seen| {
        let moved = || Response::builder().status(307).header("location", "/new?q=1").body(Body::empty()).unwrap();
        (seen.path == "/run").then(moved)
    });
    let run_id = world.begin(asked());
    assert_eq!(world.outcome(&run_id).await, (200, json!("s")));
    let seen = world.endpoint.seen();
    let followed: Vec<_> = seen.iter().filter(|call| call.path == "/new").collect();
    assert_eq!(followed.len(), 2);
    assert!(followed.iter().all(|call| call.header("x-run-id") == Some(&run_id) && call.method == "GET"));

    let elsewhere = Endpoint::new(world.address.clone(), Arc::clone(&world.store)).await;
    elsewhere.serve("/new", program(|s| s.sleep("z", "1ms")));
    let target = format!("{}/new", elsewhere.url);
    world
        .endpoint
        .hook(move |_| Some(Response::builder().status(307).header("location", &target).body(Body::empty()).unwrap()));
    let run_id = world.begin(Asked { retries: 1, ..asked() });
    let (status, body) = world.outcome(&run_id).await;
    assert_eq!((status, &body["error"]["name"]), (500, &json!("EndpointUnreachable")));
    assert!(elsewhere.seen().is_empty());
}
