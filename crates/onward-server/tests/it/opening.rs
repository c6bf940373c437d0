//! An engine that starts while its database is not there yet.

use std::{net::TcpListener, time::Duration};

use onward_core::StoreError;
use onward_server::{Engine, Error, Options, options::Mode};
use onward_testing::postgres::{PostgresOptions, PostgresServer};
use tokio::{sync::oneshot, task::JoinSet};

use crate::{
    endpoint::client,
    world::{pause, soon},
};

/// Options with a free port, on a store.
fn on(store: String, start_patience: Duration) -> Options {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    Options { store, listen: free, start_patience, ..Options::new(Mode::Dev) }
}

async fn health(options: &Options) -> Option<(u16, Option<String>)> {
    let response = client().get(format!("http://{}/health", options.listen)).send().await.ok()?;
    let again = response.headers().get("retry-after").and_then(|after| after.to_str().ok()).map(str::to_owned);
    Some((response.status().as_u16(), again))
}

async fn until_health_is(options: &Options, status: u16) -> Option<String> {
    soon("an answer of /health", async {
        loop {
            match health(options).await {
                Some((is, again)) if is == status => return again,
                _ => pause().await,
            }
        }
    })
    .await
}

#[tokio::test]
async fn an_engine_that_starts_before_its_database_waits_for_it_and_is_not_ready_until_then() {
    let server = PostgresServer::start(&PostgresOptions::new());
    let options = on(server.url(), Duration::from_secs(60));
    server.stop_immediate();
    let (stop, stopped) = oneshot::channel::<()>();
    let mut engine = JoinSet::new();
    let opening = options.clone();
    engine.spawn(async move {
        let engine = Engine::open(opening).await?;
        engine.serve(async { drop(stopped.await) }).await
    });
    assert_eq!(until_health_is(&options, 503).await.as_deref(), Some("1"));
    server.start_again();
    until_health_is(&options, 200).await;
    stop.send(()).unwrap();
    engine.join_next().await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn patience_ends_and_is_not_had_with_what_no_retry_helps() {
    // This server takes connections and never says a word.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("postgres://app@{}/app", silent.local_addr().unwrap());
    let options = on(url, Duration::from_millis(300));
    let patience = tokio::time::timeout(Duration::from_secs(20), Engine::open(options.clone()));
    assert!(matches!(patience.await, Ok(Err(Error::Store(StoreError::Unavailable(_))))));

    let server = PostgresServer::shared();
    let missing = on(format!("{}-missing", server.url().split('?').next().unwrap()), Duration::from_secs(3_600));
    let refused = tokio::time::timeout(Duration::from_secs(20), Engine::open(missing)).await;
    assert!(matches!(refused, Ok(Err(Error::Store(StoreError::Misconfigured(_))))), "{refused:?}");
}

/// `onward-host` has the tests of each kind of silence.
#[tokio::test(start_paused = true)]
async fn a_connection_that_says_nothing_is_closed() {
    let options = on("memory:".to_owned(), Duration::ZERO);
    let address = options.listen;
    let engine = Engine::open_on(options, std::sync::Arc::new(onward_testing::MemoryStore::new())).await.unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = engine.serve(async move { drop(stopped.await) });
    let silent = async {
        let began = tokio::time::Instant::now();
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let mut came = Vec::new();
        let _ = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut came).await;
        drop(stop);
        (came.len(), began.elapsed())
    };
    let (served, (came, after)) = tokio::join!(serving, silent);
    served.unwrap();
    assert_eq!(came, 0);
    assert!(after >= Duration::from_secs(14) && after <= Duration::from_secs(20), "{after:?}");
}
