//! Serving on a real socket: draining, and what a client that is held is told.

use std::{sync::Arc, time::Duration};

use axum::{Router, routing::get};
use onward::{Onward, Step, StepError};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Notify,
};

/// Sends a request on a connection of its own and gives the whole answer.
async fn ask(address: std::net::SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn a_drain_finishes_what_is_under_way_redirects_who_is_held_and_keeps_what_waits() {
    let (begun, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (tell, gate) = (begun.clone(), go.clone());
    let slow = async move |step: Step| {
        step.run("slow", async || {
            tell.notify_one();
            gate.notified().await;
            Ok::<_, StepError>("finished".to_owned())
        })
        .await
    };
    let held = async |step: Step| {
        step.sleep("nap", "1h").await?;
        Ok::<_, StepError>("awake")
    };
    let onward = Onward::open("memory:").await.unwrap();
    let app = Router::new()
        .merge(onward.route("/slow", get(slow)))
        .merge(onward.endpoint().hold("10m").route("/held", get(held)))
        .route("/wait", onward.proxy());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serve = onward.serve_until(listener, app, async { stopped.await.unwrap() });
    let clients = async {
        let (slow, held, ()) = tokio::join!(ask(address, "/slow"), ask(address, "/held"), async {
            begun.notified().await;
            while onward.load().executing == 0 {
                tokio::task::yield_now().await;
            }
            stop.send(()).unwrap();
            tokio::task::yield_now().await;
            go.notify_one();
        });
        assert!(slow.starts_with("HTTP/1.1 200") && slow.ends_with("finished"), "{slow}");
        assert!(held.starts_with("HTTP/1.1 302") && held.contains("location: /wait?runId="), "{held}");
    };
    let both = async { tokio::join!(serve, clients).0 };
    tokio::time::timeout(Duration::from_secs(20), both).await.expect("the drain is short").unwrap();
}

#[tokio::test]
async fn an_app_is_served_on_an_address_or_a_listener() {
    let std_listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let onward = Onward::open("memory:").await.unwrap();
    onward.serve_until(std_listener, Router::new(), async {}).await.unwrap();
    let onward = Onward::open("memory:").await.unwrap();
    onward.serve_until(String::from("127.0.0.1:0"), Router::new(), async {}).await.unwrap();
    let onward = Onward::open("memory:").await.unwrap();
    assert!(onward.serve_until("nowhere", Router::new(), async {}).await.is_err());
}

/// `onward-host` has the tests of each kind of silence.
#[tokio::test(start_paused = true)]
async fn a_connection_that_says_nothing_is_closed() {
    let onward = Onward::builder().store(Arc::new(onward_testing::MemoryStore::new())).await.unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let until = async move { drop(stopped.await) };
    let serving = onward.serve_until(listener, Router::new(), until);
    let silent = async {
        let began = tokio::time::Instant::now();
        let mut stream = TcpStream::connect(address).await.unwrap();
        let mut came = Vec::new();
        let _ = stream.read_to_end(&mut came).await;
        drop(stop);
        (came.len(), began.elapsed())
    };
    let (served, (came, after)) = tokio::join!(serving, silent);
    served.unwrap();
    assert_eq!(came, 0);
    assert!(after >= Duration::from_secs(14) && after <= Duration::from_secs(20), "{after:?}");
}
